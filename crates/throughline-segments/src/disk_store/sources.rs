//! All that is stored, at one moment, as one: generations in memory and sealed segments.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use throughline_model::TraceId;
use throughline_store::{MemoryStore, WeavingView, WovenEdge};

use super::generation::Generation;
use super::sealed_segment::{IndexCache, SealedSegment};
use super::woven_layer::WovenLayer;
use crate::segment::SegmentSpan;

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
}

// === impl Sources ===

impl Sources {
    /// Returns the only generation when there is nothing else.
    pub(crate) fn sole(&self) -> Option<&Arc<Generation>> {
        match self.generations.as_slice() {
            [generation] if self.segments.is_empty() => Some(generation),
            _ => None,
        }
    }

    /// Returns the start of a stored trace, as its index has it; the greatest number for another.
    pub(crate) fn start_of(&self, id: TraceId, cache: &IndexCache) -> u64 {
        let generations = self.generations.iter();
        let hot = generations.filter_map(|it| Some(it.memory.bounds(id)?.first_start));
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
    /// Returns whether a trace is stored.
    pub(crate) fn contains(&self, id: TraceId) -> bool {
        let mut generations = self.sources.generations.iter();
        generations.any(|it| it.memory.bounds(id).is_some())
            || self
                .sources
                .segments
                .iter()
                .any(|segment| segment.has_trace(id, self.cache))
    }

    /// Returns the start of a stored trace, as its index has it; the greatest number for another.
    pub(crate) fn start_of(&self, id: TraceId) -> u64 {
        self.sources.start_of(id, self.cache)
    }

    /// Returns whether a trace of a segment may have spans elsewhere, or is joined with another.
    pub(crate) fn is_sealed_joint(&self, id: TraceId, view: WeavingView) -> bool {
        self.sources.shared.contains(&id)
            || self
                .sources
                .generations
                .iter()
                .any(|it| it.memory.bounds(id).is_some())
            || (view == WeavingView::Woven && self.woven.is_joined(id))
    }

    /// Returns whether a trace of a generation may have spans elsewhere, or is joined with another.
    pub(crate) fn is_hot_joint(&self, id: TraceId, view: WeavingView) -> bool {
        let generations = self.sources.generations.iter();
        let hot = generations.filter(|it| it.memory.bounds(id).is_some());
        hot.take(2).count() > 1
            || self
                .sources
                .segments
                .iter()
                .any(|segment| segment.has_trace(id, self.cache))
            || (view == WeavingView::Woven && self.woven.is_joined(id))
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
        // In the order in which they arrived, as if they were all in memory.
        for segment in &self.sources.segments {
            let mut spans = Vec::new();
            segment.spans_of(ids.iter().copied(), self.cache, |span| spans.push(span));
            insert(scratch, &spans);
        }
        for generation in &self.sources.generations {
            for id in ids {
                insert(scratch, &generation.spans_of(*id));
            }
        }
        let edges: Vec<WovenEdge> = ids.iter().flat_map(|id| self.woven.edges_of(*id)).collect();
        if !edges.is_empty() {
            throughline_store::Store::weave(scratch, edges);
        }
    }
}

/// Adds spans in their order.
pub(crate) fn insert(memory: &MemoryStore, spans: &[SegmentSpan]) {
    for run in spans.chunk_by(|a, b| a.is_fragment == b.is_fragment) {
        if run.first().is_some_and(|first| first.is_fragment) {
            memory.insert_fragments(run.iter().map(|it| (*it.span).clone()).collect());
        } else {
            let shared: Vec<_> = run.iter().map(|it| Arc::clone(&it.span)).collect();
            memory.insert_shared(&shared);
        }
    }
}
