//! The store on disk: what arrives is in a log and in memory, what is older in segments, and
//! queries see both as one.

mod check;
mod decision_ages;
mod decision_codec;
mod decision_uploads;
mod deletions;
mod discarded_file;
mod folder;
mod followed_decisions;
mod follower;
mod generation;
mod graph;
mod inner;
mod maintenance;
mod recovery;
mod repeated_work;
mod sealed_segment;
mod settings;
mod sources;
mod trace_search;
mod unopened;
mod uploads;
mod worker;
mod woven_layer;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use throughline_model::{Span, SpanKind, TraceId};
use throughline_store::{
    CompletionKind, CompletionList, InsertError, MemoryStore, SearchPage, ServiceGraph,
    ServiceOperation, SpanKey, Store, StoreFreshness, StoreOccupancy, StoredTrace, TraceChanges,
    TraceQuery, TraceSummary, WeaveOutcome, WeavingView, WovenEdge,
};

pub use self::check::{FolderCheck, check_folder};
pub use self::folder::StoreOpenError;
use self::follower::StoreFollower;
use self::inner::DiskStoreInner;
pub use self::settings::{DiskSettings, Durability};
use self::trace_search::TraceSearch;
use crate::objects::ObjectBucket;
use crate::request_log::RecordKind;

/// Time that a request to an object store has when the store is closed.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// Time between two looks whether it has ended.
const STOP_TICK: Duration = Duration::from_millis(10);

/// A store in a folder, which it owns until it is dropped.
#[derive(Debug)]
pub struct DiskStore {
    inner: Arc<DiskStoreInner>,
    worker: Option<JoinHandle<()>>,
}

// === impl DiskStore ===

impl DiskStore {
    /// Opens a store in a folder, which is created where it is missing, and continues where a
    /// former process stopped.
    ///
    /// # Errors
    /// The folder is in use or cannot be used.
    pub fn open(root: &Path, settings: DiskSettings) -> Result<Self, StoreOpenError> {
        let inner = DiskStoreInner::open(root, None, settings)?;
        Self::start(root, inner, DiskStoreInner::work)
    }

    /// Opens a store whose segments are objects, below a prefix of its own, which the folder names.
    /// The folder has the log, segments that are not uploaded yet, and copies of objects.
    ///
    /// # Errors
    /// The folder is in use or cannot be used, or the bucket cannot be listed and written.
    pub fn open_objects(
        root: &Path,
        bucket: Arc<dyn ObjectBucket>,
        settings: DiskSettings,
    ) -> Result<Self, StoreOpenError> {
        let inner = DiskStoreInner::open(root, Some(bucket), settings)?;
        Self::start(root, inner, DiskStoreInner::work)
    }

    /// Opens the stores of a folder to answer queries: its own store, and those of its subfolders,
    /// which other processes own and write. Their segments are seen as one, those that come later
    /// within [`DiskSettings::refresh_interval`]; spans that are in no segment yet are not. Nothing
    /// is written, and spans are refused.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn open_query_only(
        root: &Path,
        settings: DiskSettings,
    ) -> Result<Arc<dyn Store>, StoreOpenError> {
        Self::start_query_only(root, DiskStoreInner::open_query_only(root, settings)?)
    }

    /// Opens the stores in a bucket to answer queries, as [`Self::open_query_only`] does; the
    /// folder has copies of objects alone.
    ///
    /// # Errors
    /// The folder is in use or cannot be used, or the bucket cannot be listed.
    pub fn open_query_only_objects(
        root: &Path,
        bucket: Arc<dyn ObjectBucket>,
        settings: DiskSettings,
    ) -> Result<Arc<dyn Store>, StoreOpenError> {
        let opened = DiskStoreInner::open_query_only_objects(root, bucket, settings)?;
        Self::start_query_only(root, opened)
    }

    fn start_query_only(
        root: &Path,
        (inner, mut follower): (DiskStoreInner, StoreFollower),
    ) -> Result<Arc<dyn Store>, StoreOpenError> {
        let store = Self::start(root, inner, move |inner| inner.follow(&mut follower))?;
        Ok(Arc::new(store))
    }

    fn start(
        root: &Path,
        inner: DiskStoreInner,
        work: impl FnOnce(&DiskStoreInner) + Send + 'static,
    ) -> Result<Self, StoreOpenError> {
        let inner = Arc::new(inner);
        let worker = {
            let inner = Arc::clone(&inner);
            let thread = std::thread::Builder::new().name("store".to_owned());
            let spawned = thread.spawn(move || work(&inner));
            spawned.map_err(|source| StoreOpenError::Unusable {
                path: root.to_path_buf(),
                source,
            })?
        };
        Ok(Self {
            inner,
            worker: Some(worker),
        })
    }

    /// Seals everything that arrived so far.
    pub fn seal(&self) {
        self.inner.rotate(None);
        if let Err(error) = self.inner.seal_closed() {
            tracing::error!(%error, "spans cannot be sealed; they stay in the log");
        }
    }

    /// Merges the small segments of each hour; returns how many are left.
    #[must_use]
    pub fn compact(&self) -> usize {
        while self.inner.compact_once(true) {}
        self.inner.sources().segments.len()
    }

    /// Returns the number of segments and their size in bytes.
    #[must_use]
    pub fn segments(&self) -> (usize, u64) {
        let sources = self.inner.sources();
        let bytes = sources.segments.iter().map(|segment| segment.bytes);
        (sources.segments.len(), bytes.sum())
    }

    /// Passes the spans of every trace to `visit`, a trace at a time.
    pub fn export(&self, mut visit: impl FnMut(Vec<Arc<Span>>)) {
        let view = self.inner.view();
        let mut ids = BTreeSet::new();
        for segment in &view.sources.segments {
            ids.extend(
                segment
                    .index(view.cache)
                    .traces
                    .iter()
                    .map(|trace| trace.id),
            );
        }
        for generation in &view.sources.generations {
            ids.extend(generation.trace_ids());
        }
        let ids: Vec<TraceId> = ids.into_iter().collect();
        for chunk in ids.chunks(256) {
            let scratch = view.load(&chunk.iter().copied().collect());
            for id in chunk {
                visit(scratch.reported_spans(*id));
            }
        }
    }
}

impl DiskStore {
    /// Waits for a request that is in progress, but not for an object store that does not answer:
    /// what it was about is done after the next start.
    fn end_requests(&self, worker: &JoinHandle<()>) {
        let Some(objects) = &self.inner.objects else {
            return;
        };
        let grace = Instant::now() + STOP_GRACE;
        while !worker.is_finished() {
            if Instant::now() >= grace {
                objects.cancel();
            }
            std::thread::park_timeout(STOP_TICK);
        }
    }
}

impl Drop for DiskStore {
    fn drop(&mut self) {
        self.inner.worker.stop();
        if let Some(worker) = self.worker.take() {
            self.end_requests(&worker);
            // A worker that panicked has reported it.
            worker.join().unwrap_or_default();
        }
        if self.inner.objects.is_none() {
            self.inner.delete_merged(Duration::ZERO);
        }
        if let Err(error) = self.inner.sync() {
            tracing::error!(%error, "the log cannot be made durable");
        }
    }
}

impl Store for DiskStore {
    fn insert(&self, spans: Vec<Span>) -> Result<(), InsertError> {
        let otlp = throughline_otlp::encode_protobuf(&spans);
        self.inner.insert(RecordKind::Spans, &otlp, &spans)
    }

    fn insert_request(&self, spans: Vec<Span>, otlp: &[u8]) -> Result<(), InsertError> {
        self.inner.insert(RecordKind::Spans, otlp, &spans)
    }

    fn insert_undecoded(&self, otlp: &[u8]) -> Option<Result<u64, InsertError>> {
        self.inner
            .insert_request(RecordKind::Spans, otlp)
            .transpose()
    }

    fn insert_fragments(&self, fragments: Vec<Span>) -> Result<(), InsertError> {
        let otlp = throughline_otlp::encode_protobuf(&fragments);
        self.inner.insert(RecordKind::Fragments, &otlp, &fragments)
    }

    fn sync(&self) -> Result<(), InsertError> {
        self.inner.sync().map_err(|error| self.inner.refusal(error))
    }

    fn weave(&self, edges: Vec<WovenEdge>) -> WeaveOutcome {
        weave_with(&self.inner, edges, |scratch, edges| scratch.weave(edges))
    }

    fn weave_shared(&self, edges: Vec<WovenEdge>) -> WeaveOutcome {
        weave_with(&self.inner, edges, |scratch, edges| {
            scratch.weave_shared(edges)
        })
    }

    fn trace(&self, id: TraceId, view: WeavingView) -> Option<StoredTrace> {
        let stored = self.inner.view();
        let unit = stored.unit_of(id, view).into_iter().collect();
        stored.load(&unit).trace(id, view)
    }

    fn may_have(&self, key: SpanKey) -> bool {
        self.inner.view().may_have(key)
    }

    fn search(&self, query: &TraceQuery) -> SearchPage {
        let view = self.inner.view();
        TraceSearch::new(&view, query).run()
    }

    fn search_traces(&self, query: &TraceQuery) -> Vec<StoredTrace> {
        let view = self.inner.view();
        TraceSearch::new(&view, query).traces()
    }

    fn summary(&self, id: TraceId, view: WeavingView) -> Option<TraceSummary> {
        let stored = self.inner.view();
        let unit = stored.unit_of(id, view).into_iter().collect();
        stored.load(&unit).summary(id, view)
    }

    fn span(&self, key: SpanKey) -> Option<Arc<Span>> {
        let unit = BTreeSet::from([key.trace_id]);
        self.inner.view().load(&unit).span(key)
    }

    fn links_from(&self, id: TraceId, view: WeavingView, limit: usize) -> Vec<Arc<Span>> {
        let stored = self.inner.view();
        let unit = stored.unit_of(id, view).into_iter().collect();
        stored.load(&unit).links_from(id, view, limit)
    }

    fn links_to(&self, id: TraceId, view: WeavingView, limit: usize) -> Vec<Arc<Span>> {
        self.inner.links_to(id, view, limit)
    }

    fn service_graph(&self, from: u64, until: u64) -> ServiceGraph {
        graph::build(&self.inner.view(), from, until)
    }

    fn complete(&self, kind: &CompletionKind, text: &str, limit: usize) -> CompletionList {
        let (candidates, is_complete) = self.inner.completions(kind);
        CompletionList::select(candidates, is_complete, text, limit)
    }

    fn changes(&self, since: u64, view: WeavingView) -> TraceChanges {
        let stored = self.inner.view();
        // The traces of the log are few, and stored unless they were evicted since.
        self.inner.changes().since(since, |id| {
            let listed = match view {
                WeavingView::Woven => stored.woven.representative(id),
                WeavingView::Raw => id,
            };
            stored.may_contain(id).then_some(listed)
        })
    }

    fn services(&self) -> Vec<String> {
        let (services, _) = self.inner.completions(&CompletionKind::Services);
        services.into_iter().map(|(service, _)| service).collect()
    }

    fn operations(&self, service: Option<&str>, kind: Option<SpanKind>) -> Vec<ServiceOperation> {
        let view = self.inner.view();
        let mut operations = BTreeSet::new();
        for segment in &view.sources.segments {
            operations.extend(segment.index(view.cache).names.operations(service, kind));
        }
        for generation in &view.sources.generations {
            operations.extend(generation.names().operations(service, kind));
        }
        operations.into_iter().collect()
    }

    fn has_evicted(&self) -> bool {
        self.inner.evicted_traces.load(Ordering::Relaxed) > 0
    }

    fn occupancy(&self) -> StoreOccupancy {
        let sources = self.inner.sources();
        let (woven_spans, woven_traces) = self.inner.woven.counts();
        let mut occupancy = StoreOccupancy {
            bytes: self.inner.woven.bytes(),
            woven_spans,
            woven_traces,
            evicted_traces: self.inner.evicted_traces.load(Ordering::Relaxed),
            evicted_spans: self.inner.evicted_spans.load(Ordering::Relaxed),
            evicted_joins: self.inner.evicted_joins.load(Ordering::Relaxed),
            objects: self.inner.objects.as_ref().map(|it| it.totals()),
            ..StoreOccupancy::default()
        };
        for generation in &sources.generations {
            let columns = generation.columns();
            occupancy.traces += columns.trace_count();
            occupancy.spans += columns.spans();
            occupancy.bytes += columns.memory();
        }
        for segment in &sources.segments {
            let header = &segment.header;
            // A trace that an earlier segment has too counts there.
            let traces = header.traces.saturating_sub(header.shared.len() as u64);
            occupancy.traces += usize::try_from(traces).unwrap_or(usize::MAX);
            occupancy.spans += usize::try_from(header.spans).unwrap_or(usize::MAX);
        }
        occupancy
    }

    fn freshness(&self) -> Option<StoreFreshness> {
        *self.inner.freshness()
    }
}

/// Keeps the decisions that `weave` accepts, given the spans and decisions that they touch.
fn weave_with(
    inner: &DiskStoreInner,
    edges: Vec<WovenEdge>,
    weave: impl Fn(&MemoryStore, Vec<WovenEdge>) -> WeaveOutcome,
) -> WeaveOutcome {
    let woven = &inner.woven;
    woven.decide(|| {
        let view = inner.view();
        let touched = edges.iter().flat_map(|edge| {
            let parent = edge.parent.map(|parent| parent.trace_id);
            [Some(edge.child.trace_id), parent].into_iter().flatten()
        });
        let touched: BTreeSet<TraceId> = touched.collect();
        let units = touched.iter();
        let units = units.flat_map(|id| view.unit_of(*id, WeavingView::Woven));
        let scratch = view.load(&units.collect());
        let mut outcome = WeaveOutcome::default();
        let mut kept = Vec::new();
        for edge in edges {
            let one = weave(&scratch, vec![edge.clone()]);
            if one.joined + one.kept > 0 {
                kept.push(edge);
            }
            outcome.joined += one.joined;
            outcome.kept += one.kept;
            outcome.missing += one.missing;
            outcome.reported += one.reported;
            outcome.cyclic += one.cyclic;
            outcome.too_many += one.too_many;
        }
        let lost = woven.keep(&kept, &|id| view.start_of(id));
        inner.evicted_joins.fetch_add(lost, Ordering::Relaxed);
        if !kept.is_empty() {
            let touched: Vec<TraceId> = touched.into_iter().collect();
            inner.record_changes(&touched);
        }
        outcome
    })
}
