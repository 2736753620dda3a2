//! A store in memory, bounded by bytes: when it is full, the oldest traces are evicted whole.
//!
//! Age is the arrival of a trace's first span, not its own time stamp: a sender with a wrong clock
//! can neither keep its traces for ever nor lose them at once. A span that arrives for an evicted
//! trace starts that trace again. Traces that decisions have joined are evicted together.

mod attribute_index;
mod backlink_index;
mod change_log;
mod fingerprint;
mod fragment;
mod heap_size;
mod joined_trace;
mod name_pool;
mod prefilter;
mod resource_index;
mod search;
mod service_graph;
mod service_index;
mod span_set;
mod stored_identity;
mod trace_entry;
mod trace_index;
mod woven_index;

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::sync::Arc;

use throughline_model::{Span, SpanKind, TraceId};

pub use self::change_log::ChangeLog;
pub use self::fingerprint::{
    HashedField, attribute_hashes, field_hash, span_hashes, target_hash, text_attribute_hashes,
    value_texts,
};
use self::fragment::MergeBudget;
pub use self::prefilter::{Prefilter, PrefilterTarget, ValueStatistics};
use self::trace_index::{LockedIndex, TraceIndex, WovenParts};
pub use self::woven_index::WovenIndex;
use crate::{
    CompletionKind, CompletionList, InsertError, SearchPage, ServiceGraph, ServiceOperation,
    SpanKey, Store, StoreOccupancy, StoredTrace, TraceBounds, TraceChanges, TraceExpression,
    TraceQuery, TraceSummary, WeaveOutcome, WeavingView, WovenEdge,
};

/// A store in memory, bounded by bytes.
#[derive(Debug)]
pub struct MemoryStore {
    /// Limit of the estimated memory; see [`heap_size`].
    max_bytes: usize,
    index: LockedIndex,
}

// === impl MemoryStore ===

impl MemoryStore {
    /// Creates an empty store that keeps about `max_bytes` bytes.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            index: LockedIndex::default(),
        }
    }

    /// Keeps spans; see [`Store::insert`]. Memory never refuses any.
    pub fn insert(&self, spans: Vec<Span>) {
        self.insert_all(spans, TraceIndex::insert);
    }

    /// Keeps spans that may be fragments; see [`Store::insert_fragments`].
    pub fn insert_fragments(&self, fragments: Vec<Span>) {
        let mut budget = MergeBudget::of_batch(fragments.len());
        self.insert_all(fragments, |index, span: Span, revision| {
            index.insert_fragment(span, revision, &mut budget)
        });
    }

    /// Keeps spans that are stored elsewhere too, without a copy.
    pub fn insert_shared(&self, spans: &[Arc<Span>]) {
        self.insert_all(spans.iter().cloned(), |index, span: Arc<Span>, revision| {
            index.insert_shared(&span, revision)
        });
    }

    /// Returns the spans of a reported trace, as they were sent and by their ids.
    #[must_use]
    pub fn reported_spans(&self, id: TraceId) -> Vec<Arc<Span>> {
        let index = self.index.read();
        let entry = index.entry(id);
        entry.map_or_else(Vec::new, |entry| entry.spans.values().cloned().collect())
    }

    /// Returns the bounds of a reported trace.
    #[must_use]
    pub fn bounds(&self, id: TraceId) -> Option<TraceBounds> {
        let index = self.index.read();
        index.entry(id).map(|entry| entry.bounds(id))
    }

    /// Returns the bounds of all reported traces that can match an expression, by their starts.
    #[must_use]
    pub fn candidates(&self, expression: Option<&TraceExpression>) -> Vec<TraceBounds> {
        let index = self.index.read();
        let prefilter = search::prefilter(&index, expression);
        if prefilter.is_unsatisfiable() {
            return Vec::new();
        }
        let started = index.starts_in(..).filter_map(|(_, id)| {
            let trace = index.joined(*id, WeavingView::Raw)?;
            let entry = index.entry(*id).filter(|_| prefilter.accepts(&trace))?;
            Some(entry.bounds(*id))
        });
        started.collect()
    }

    fn weave_all(&self, edges: Vec<WovenEdge>, parts: WovenParts) -> WeaveOutcome {
        let mut outcome = WeaveOutcome::default();
        let mut index = self.index.write();
        let revision = index.begin_revision();
        for edge in edges {
            index.weave(edge, parts, &mut outcome, revision);
        }
        while index.bytes() > self.max_bytes && index.evict_oldest() {}
        outcome
    }

    /// Stores a batch with `insert`, which returns whether the bounds of the trace are stale.
    fn insert_all<S: Borrow<Span>>(
        &self,
        spans: impl IntoIterator<Item = S>,
        mut insert: impl FnMut(&mut TraceIndex, S, u64) -> bool,
    ) {
        // One lock for the whole batch: a reader sees a request entirely or not at all.
        let mut index = self.index.write();
        let revision = index.begin_revision();
        let mut stale_bounds = BTreeSet::new();
        for span in spans {
            let id = span.borrow().trace_id;
            if insert(&mut index, span, revision) {
                stale_bounds.insert(id);
            }
            // After each span, not after the batch: a batch may be larger than the store.
            while index.bytes() > self.max_bytes && index.evict_oldest() {}
        }
        // Once for each trace: replacing many spans of one large trace stays linear.
        for id in stale_bounds {
            index.refresh_bounds(id);
        }
    }
}

impl Store for MemoryStore {
    fn insert(&self, spans: Vec<Span>) -> Result<(), InsertError> {
        Self::insert(self, spans);
        Ok(())
    }

    fn insert_fragments(&self, fragments: Vec<Span>) -> Result<(), InsertError> {
        Self::insert_fragments(self, fragments);
        Ok(())
    }

    fn weave(&self, edges: Vec<WovenEdge>) -> WeaveOutcome {
        self.weave_all(edges, WovenParts::Both)
    }

    fn weave_shared(&self, edges: Vec<WovenEdge>) -> WeaveOutcome {
        self.weave_all(edges, WovenParts::Either)
    }

    fn trace(&self, id: TraceId, view: WeavingView) -> Option<StoredTrace> {
        let index = self.index.read();
        index.joined(id, view).map(|trace| trace.to_trace())
    }

    fn search(&self, query: &TraceQuery) -> SearchPage {
        // Takes the lock itself, for a part of the traces at a time.
        search::search_page(&self.index, query)
    }

    fn search_traces(&self, query: &TraceQuery) -> Vec<StoredTrace> {
        search::search_traces(&self.index, query)
    }

    fn summary(&self, id: TraceId, view: WeavingView) -> Option<TraceSummary> {
        let index = self.index.read();
        index.joined(id, view).map(|trace| trace.to_summary(None))
    }

    fn may_have(&self, key: SpanKey) -> bool {
        self.index.read().span(key).is_some()
    }

    fn span(&self, key: SpanKey) -> Option<Arc<Span>> {
        self.index.read().span(key).map(Arc::clone)
    }

    fn links_from(&self, id: TraceId, view: WeavingView, limit: usize) -> Vec<Arc<Span>> {
        self.index.read().links_from(id, view, limit)
    }

    fn links_to(&self, id: TraceId, view: WeavingView, limit: usize) -> Vec<Arc<Span>> {
        self.index.read().links_to(id, view, limit)
    }

    fn service_graph(&self, from: u64, until: u64) -> ServiceGraph {
        service_graph::build(&self.index, from, until)
    }

    fn complete(&self, kind: &CompletionKind, text: &str, limit: usize) -> CompletionList {
        let (candidates, is_complete) = self.index.read().completion_candidates(kind);
        // The lock is released here: selecting and sorting needs no index.
        CompletionList::select(candidates, is_complete, text, limit)
    }

    fn changes(&self, since: u64, view: WeavingView) -> TraceChanges {
        self.index.read().changes(since, view)
    }

    fn services(&self) -> Vec<String> {
        self.index.read().services()
    }

    fn operations(&self, service: Option<&str>, kind: Option<SpanKind>) -> Vec<ServiceOperation> {
        self.index.read().operations(service, kind)
    }

    fn occupancy(&self) -> StoreOccupancy {
        self.index.read().occupancy()
    }
}
