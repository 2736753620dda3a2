//! The state of a store on disk, and what ingest and queries do with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use throughline_model::{Span, TraceId};
use throughline_otlp::ScannedRequest;
use throughline_store::{
    ChangeLog, CompletionKind, InsertError, Store as _, StoreFreshness, WeavingView,
};

use super::decision_uploads::DecisionUploads;
use super::discarded_file::DiscardedFile;
use super::folder::StoreFolder;
use super::generation::RequestInsertion;
use super::sealed_segment::IndexCache;
use super::settings::{DiskSettings, Durability};
use super::sources::{Sources, StoreView};
use super::worker::Worker;
use super::woven_layer::WovenLayer;
use crate::objects::ObjectCache;
use crate::request_log::RecordKind;

/// Time that spans wait for an earlier generation to be sealed, before they are refused.
const MAX_PARKING: Duration = Duration::from_secs(5);

/// All that the store and its worker share.
#[derive(Debug)]
pub(super) struct DiskStoreInner {
    pub(super) folder: StoreFolder,
    pub(super) settings: DiskSettings,
    pub(super) sources: RwLock<Arc<Sources>>,
    /// Held while the sources are replaced.
    pub(super) replacing: Mutex<()>,
    pub(super) cache: IndexCache,
    /// The objects of the store; `None` where the folder has all of it.
    pub(super) objects: Option<Arc<ObjectCache>>,
    pub(super) decisions: Mutex<DecisionUploads>,
    pub(super) woven: WovenLayer,
    pub(super) changes: Mutex<ChangeLog>,
    pub(super) worker: Worker,
    /// As of the last look for segments of others; `None` in a store that is written here.
    pub(super) freshness: Mutex<Option<StoreFreshness>>,
    /// True while the disk has no room that the store may use.
    pub(super) is_full: AtomicBool,
    /// Whether the reason is that the local folder is full of segments that are not uploaded yet.
    pub(super) has_backlog: AtomicBool,
    pub(super) discarded: Mutex<Vec<DiscardedFile>>,
    /// Joined traces that may begin earlier than before, until the object thread has looked.
    pub(super) late_starts: Mutex<BTreeSet<TraceId>>,
    pub(super) evicted_traces: AtomicU64,
    pub(super) evicted_spans: AtomicU64,
    pub(super) evicted_joins: AtomicU64,
}

// === impl DiskStoreInner ===

impl DiskStoreInner {
    pub(super) fn sources(&self) -> Arc<Sources> {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&sources)
    }

    /// Replaces the sources by what `change` makes of them.
    pub(super) fn replace(&self, change: impl FnOnce(&mut Sources)) {
        let _guard = self
            .replacing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut next = (*self.sources()).clone();
        change(&mut next);
        *self.sources.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
    }

    pub(super) fn view(&self) -> StoreView<'_> {
        StoreView {
            sources: self.sources(),
            cache: &self.cache,
            woven: &self.woven,
            objects: self.objects.as_deref(),
        }
    }

    /// Makes everything that arrived so far durable. Spans of logs that are gone are in segments.
    pub(super) fn sync(&self) -> std::io::Result<()> {
        let sources = self.sources();
        let mut logs = sources.generations.iter().map(|it| &it.log);
        let synced = logs.try_for_each(|log| log.sync(log.bytes()));
        // Decisions are found again, so they do not matter to those who wait for spans.
        self.woven.sync().unwrap_or_default();
        synced
    }

    pub(super) fn changes(&self) -> MutexGuard<'_, ChangeLog> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn freshness(&self) -> MutexGuard<'_, Option<StoreFreshness>> {
        self.freshness
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn record_changes(&self, ids: &[TraceId]) {
        let mut changes = self.changes();
        changes.begin_revision();
        ids.iter().for_each(|id| changes.record(*id));
    }

    /// Adds spans; `otlp` is the request that they were decoded from.
    pub(super) fn insert(
        &self,
        kind: RecordKind,
        otlp: &[u8],
        spans: &[Span],
    ) -> Result<(), InsertError> {
        if spans.is_empty() {
            return Ok(());
        }
        if self.insert_request(kind, otlp)?.is_some() {
            return Ok(());
        }
        // The request has more than these spans, or other ones until they were repaired.
        let otlp = throughline_otlp::encode_protobuf(spans);
        match self.insert_request(kind, &otlp)? {
            Some(_) => Ok(()),
            None => Err(InsertError::Write(std::io::Error::other(
                "the spans cannot be encoded",
            ))),
        }
    }

    /// Adds the spans of a request; returns how many there are, or `None` when the request has to
    /// be decoded.
    pub(super) fn insert_request(
        &self,
        kind: RecordKind,
        otlp: &[u8],
    ) -> Result<Option<u64>, InsertError> {
        let Some(scanned) = ScannedRequest::scan(otlp) else {
            return Ok(None);
        };
        if scanned.spans.is_empty() {
            return Ok(Some(0));
        }
        if !self.folder.is_owned() {
            return Err(InsertError::QueryOnly);
        }
        if self.is_full.load(Ordering::Relaxed) {
            return Err(if self.has_backlog.load(Ordering::Relaxed) {
                InsertError::NotUploaded
            } else {
                InsertError::Full
            });
        }
        let deadline = Instant::now() + MAX_PARKING;
        let (generation, length) = loop {
            if !self.worker.wait_until_room(deadline, || self.has_room()) {
                return Err(InsertError::Busy);
            }
            let sources = self.sources();
            let Some(open) = sources.generations.last() else {
                return Err(InsertError::Busy);
            };
            match open.insert(kind, otlp, &scanned) {
                Ok(RequestInsertion::Kept(length)) => break (Arc::clone(open), length),
                // It was closed meanwhile, and the next one is open.
                Ok(RequestInsertion::Closed) => {}
                Ok(RequestInsertion::Malformed) => return Ok(None),
                Err(error) => return Err(self.refusal(error)),
            }
        };
        if self.settings.durability == Durability::Fsync {
            generation
                .log
                .sync(length)
                .map_err(|error| self.refusal(error))?;
        }
        if generation.is_full(self.settings.generation_bytes()) {
            // Here, because the worker may be sealing the one before.
            self.rotate(Some(generation.number));
            self.worker.wake();
        }
        self.note_arrival(&scanned);
        Ok(Some(scanned.spans.len() as u64))
    }

    fn note_arrival(&self, scanned: &ScannedRequest) {
        let ids = scanned.spans.iter().map(|span| span.trace_id);
        let mut ids: Vec<TraceId> = ids.collect();
        ids.sort_unstable();
        ids.dedup();
        self.record_changes(&ids);
        if self.woven.is_empty() {
            return;
        }
        let joined = ids.into_iter().filter(|id| self.woven.is_joined(*id));
        let joined: Vec<TraceId> = joined.collect();
        if self.objects.is_some() {
            // The start of a trace may have to be downloaded, and spans do not wait for that.
            self.late_starts().extend(joined);
        } else {
            self.refresh_starts(joined);
        }
    }

    fn late_starts(&self) -> MutexGuard<'_, BTreeSet<TraceId>> {
        self.late_starts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of the starts of joined traces that came since the last time.
    pub(super) fn refresh_late_starts(&self) {
        let late = std::mem::take(&mut *self.late_starts());
        self.refresh_starts(late);
    }

    /// Takes note of the starts of joined traces.
    pub(super) fn refresh_starts(&self, joined: impl IntoIterator<Item = TraceId>) {
        let view = self.view();
        let joined: Vec<TraceId> = joined.into_iter().collect();
        self.woven.start_changed(&joined, &|id| view.start_of(id));
    }

    pub(super) fn refusal(&self, error: std::io::Error) -> InsertError {
        self.worker.wake();
        if error.kind() == std::io::ErrorKind::StorageFull {
            InsertError::Full
        } else {
            InsertError::Write(error)
        }
    }

    /// Returns whether the memory has room for another generation, or the open one has.
    pub(super) fn has_room(&self) -> bool {
        let sources = self.sources();
        let bytes: usize = sources.generations.iter().map(|it| it.bytes()).sum();
        bytes < self.settings.max_hot_bytes()
    }

    /// Returns all completions of a kind, and whether they are complete.
    pub(super) fn completions(&self, kind: &CompletionKind) -> (Vec<(String, u64)>, bool) {
        let view = self.view();
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        let mut is_complete = true;
        let mut add = |items: Vec<(String, u64)>| {
            for (text, count) in items {
                *counts.entry(text).or_default() += count;
            }
        };
        for segment in &view.sources.segments {
            let (items, all) = segment.index(view.cache).names.completions(kind);
            is_complete &= all;
            add(items);
        }
        for generation in &view.sources.generations {
            let (items, all) = generation.names().completions(kind);
            is_complete &= all;
            add(items);
        }
        (counts.into_iter().collect(), is_complete)
    }

    pub(super) fn links_to(&self, id: TraceId, view: WeavingView, limit: usize) -> Vec<Arc<Span>> {
        let stored = self.view();
        let unit = stored.unit_of(id, view);
        let mut sources: BTreeSet<TraceId> = BTreeSet::new();
        for target in &unit {
            for segment in &stored.sources.segments {
                let linking = segment.index(stored.cache);
                sources.extend(linking.links_to(*target).into_iter().take(limit));
            }
            for generation in &stored.sources.generations {
                let linking = generation.links_to(*target).into_iter();
                sources.extend(linking.filter(|id| id != target).take(limit));
            }
        }
        sources.extend(unit);
        let scratch = stored.load(&sources);
        scratch.links_to(id, view, limit)
    }
}
