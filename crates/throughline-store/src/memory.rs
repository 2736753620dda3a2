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

use std::collections::BTreeSet;
use std::sync::Arc;

use throughline_model::{Span, SpanKind, TraceId};

use self::fragment::MergeBudget;
use self::trace_index::{LockedIndex, TraceIndex};
use crate::{
    CompletionKind, CompletionList, SearchPage, ServiceGraph, ServiceOperation, SpanKey, Store,
    StoreOccupancy, StoredTrace, TraceChanges, TraceQuery, TraceSummary, WeaveOutcome, WeavingView,
    WovenEdge,
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

    /// Stores a batch with `insert`, which returns whether the bounds of the trace are stale.
    fn insert_all(
        &self,
        spans: Vec<Span>,
        mut insert: impl FnMut(&mut TraceIndex, Span, u64) -> bool,
    ) {
        // One lock for the whole batch: a reader sees a request entirely or not at all.
        let mut index = self.index.write();
        let revision = index.begin_revision();
        let mut stale_bounds = BTreeSet::new();
        for span in spans {
            let id = span.trace_id;
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
    fn insert(&self, spans: Vec<Span>) {
        self.insert_all(spans, TraceIndex::insert);
    }

    fn insert_fragments(&self, fragments: Vec<Span>) {
        let mut budget = MergeBudget::of_batch(fragments.len());
        self.insert_all(fragments, |index, span, revision| {
            index.insert_fragment(span, revision, &mut budget)
        });
    }

    fn weave(&self, edges: Vec<WovenEdge>) -> WeaveOutcome {
        let mut outcome = WeaveOutcome::default();
        let mut index = self.index.write();
        let revision = index.begin_revision();
        for edge in edges {
            index.weave(edge, &mut outcome, revision);
        }
        while index.bytes() > self.max_bytes && index.evict_oldest() {}
        outcome
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
