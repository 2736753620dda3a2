//! All that is stored, at one moment, as one: generations in memory and sealed segments.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use throughline_model::TraceId;
use throughline_store::{MemoryStore, SpanKey, WeavingView, WovenEdge};

use super::generation::Generation;
use super::sealed_segment::{IndexCache, SealedSegment, WantedTraces};
use super::woven_layer::WovenLayer;
use crate::columns::insert_in_order;
use crate::index;
use crate::objects::ObjectCache;

/// All that is stored. It is replaced as a whole, so that a reader sees each span once.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    /// The last one is open; the others are being sealed.
    pub(crate) generations: Vec<Arc<Generation>>,
    /// The earliest first.
    pub(crate) segments: Vec<Arc<SealedSegment>>,
    /// Traces that several segments have spans of.
    pub(crate) shared: Arc<HashSet<TraceId>>,
}

/// The view of a query.
#[derive(Debug)]
pub(crate) struct StoreView<'a> {
    pub(crate) sources: Arc<Sources>,
    pub(crate) cache: &'a IndexCache,
    pub(crate) woven: &'a WovenLayer,
    pub(crate) objects: Option<&'a ObjectCache>,
}

// === impl Sources ===

impl Sources {
    /// Returns the start of a stored trace, as its index has it; the greatest number for another.
    pub(crate) fn start_of(&self, id: TraceId, cache: &IndexCache) -> u64 {
        let generations = self.generations.iter();
        let hot = generations.filter_map(|it| Some(it.bounds(id)?.first_start));
        let segments = self.segments.iter();
        let possible = segments.filter(|it| it.header.filter.may_contain(id));
        let sealed = possible.filter_map(|it| Some(it.index(cache).trace(id)?.first_start));
        hot.chain(sealed).min().unwrap_or(u64::MAX)
    }

    /// Takes note of the traces that the segments share.
    pub(crate) fn refresh_shared(&mut self) {
        let shared = self.segments.iter().flat_map(|it| &it.header.shared);
        self.shared = Arc::new(shared.copied().collect());
    }
}

// === impl StoreView ===

impl StoreView<'_> {
    /// Returns whether a trace is stored, as far as the memory shows: nothing is read for it.
    pub(crate) fn may_contain(&self, id: TraceId) -> bool {
        let mut generations = self.sources.generations.iter();
        let mut segments = self.sources.segments.iter();
        generations.any(|it| it.has_trace(id))
            || segments.any(|it| it.header.filter.may_contain(id))
    }

    /// Returns false if a span is certainly not stored.
    pub(crate) fn may_have(&self, key: SpanKey) -> bool {
        let mut generations = self.sources.generations.iter();
        let mut segments = self.sources.segments.iter();
        let has_span = |it: &Generation| {
            let mut spans = it.spans_of(key.trace_id).into_iter();
            spans.any(|it| it.span.span_id == key.span_id)
        };
        generations.any(|it| has_span(it)) || segments.any(|it| it.may_have_span(key, self.cache))
    }

    /// Returns the start of a stored trace, as its index has it; the greatest number for another.
    pub(crate) fn start_of(&self, id: TraceId) -> u64 {
        self.sources.start_of(id, self.cache)
    }

    /// Returns the traces of which a generation has spans, and something else too.
    pub(crate) fn hot_joints(&self) -> HashSet<TraceId> {
        let mut joints = HashSet::new();
        let mut seen = HashSet::new();
        for generation in &self.sources.generations {
            let ids = generation.trace_ids();
            if self.sources.generations.len() > 1 {
                joints.extend(ids.iter().copied().filter(|id| !seen.insert(*id)));
            }
            let hashed = index::hashed(ids.into_iter());
            for segment in &self.sources.segments {
                let possible = segment.header.filter.possible(&hashed).into_iter();
                joints.extend(possible.filter(|id| segment.has_trace(*id, self.cache)));
            }
        }
        joints
    }

    /// Returns whether there are decisions about a trace.
    pub(crate) fn is_woven(&self, id: TraceId) -> bool {
        !self.woven.is_empty() && self.woven.has_edges(id)
    }

    /// Returns a trace with those that are joined with it.
    pub(crate) fn unit_of(&self, id: TraceId, view: WeavingView) -> Vec<TraceId> {
        let members = match view {
            WeavingView::Woven => self.woven.members(id),
            WeavingView::Raw => Vec::new(),
        };
        if members.is_empty() {
            vec![id]
        } else {
            members
        }
    }

    /// Returns a store with all spans of these traces and the decisions about them.
    pub(crate) fn load(&self, ids: &BTreeSet<TraceId>) -> MemoryStore {
        let scratch = MemoryStore::new(usize::MAX);
        self.load_into(&scratch, ids);
        scratch
    }

    /// Adds traces to a store.
    pub(crate) fn load_into(&self, scratch: &MemoryStore, ids: &BTreeSet<TraceId>) {
        let wanted = WantedTraces {
            whole: ids.clone(),
            outlined: BTreeSet::new(),
        };
        self.load_wanted(scratch, &wanted);
    }

    /// Downloads the segments of traces, where they are objects without copies.
    fn prefetch(&self, wanted: &WantedTraces) {
        let Some(objects) = self.objects else {
            return;
        };
        let segments = self.sources.segments.iter();
        let wanted = segments.filter(|segment| segment.may_have(wanted));
        objects.prefetch(wanted.map(|it| it.file.path()));
    }

    /// Adds traces to a store, some of them as outlines.
    pub(crate) fn load_wanted(&self, scratch: &MemoryStore, wanted: &WantedTraces) {
        self.prefetch(wanted);
        // In the order in which they arrived, as if they were all in memory.
        for segment in &self.sources.segments {
            let mut spans = Vec::new();
            segment.spans_of(wanted, self.cache, |span| spans.push(span));
            insert_in_order(scratch, &spans);
        }
        for generation in &self.sources.generations {
            for id in wanted.whole.iter().chain(&wanted.outlined) {
                insert_in_order(scratch, &generation.spans_of(*id));
            }
        }
        let edges = wanted.whole.iter().flat_map(|id| self.woven.edges_of(*id));
        let edges: Vec<WovenEdge> = edges.collect();
        if !edges.is_empty() {
            // They were accepted before, also where another store has a part of them.
            throughline_store::Store::weave_shared(scratch, edges);
        }
    }
}
