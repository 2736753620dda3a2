//! A search over generations and segments.
//!
//! The indexes name traces that can match, each with the greatest position in the order that it can
//! have. From the greatest on, traces are read whole, into a store in memory whose engine decides;
//! what it finds is returned once no trace that was not examined can come before.

use std::collections::{BTreeSet, BinaryHeap, HashSet};
use std::sync::Arc;

use throughline_model::TraceId;
use throughline_store::{
    MemoryStore, Prefilter, SearchPage, SortOrder, SortPosition, Store as _, TraceQuery,
    TraceSummary, WeavingView,
};

use super::generation::Generation;
use super::sealed_segment::SealedSegment;
use super::sources::StoreView;
use crate::index::{IndexQuery, IndexedTrace};

/// Traces that are read together, at first and at most.
const FIRST_BATCH: usize = 32;
const MAX_BATCH: usize = 512;

/// One search.
pub(crate) struct TraceSearch<'a> {
    view: &'a StoreView<'a>,
    query: &'a TraceQuery,
    /// The query for what was read: the page is cut here.
    inner: TraceQuery,
    /// Traces that were not examined, by the greatest position that they can have.
    pool: BinaryHeap<SortPosition>,
    /// Segments whose traces are not in the pool; the one with the latest trace is the last.
    pending: Vec<Arc<SealedSegment>>,
    /// Traces that were examined.
    examined: HashSet<TraceId>,
}

/// A match that waits for its place in the page.
struct FoundTrace<T> {
    position: SortPosition,
    spans: u64,
    content: T,
}

// === impl TraceSearch ===

impl<'a> TraceSearch<'a> {
    pub(crate) fn new(view: &'a StoreView<'a>, query: &'a TraceQuery) -> Self {
        let inner = TraceQuery {
            limit: usize::MAX,
            max_spans: usize::MAX,
            ..query.clone()
        };
        let mut pending = view.sources.segments.clone();
        pending.retain(|segment| {
            let header = &segment.header;
            header.last_first_start >= *query.start.start()
                && header.first_start <= *query.start.end()
        });
        pending.sort_by_key(|segment| segment.header.last_first_start);
        Self {
            view,
            query,
            inner,
            pool: BinaryHeap::new(),
            pending,
            examined: HashSet::new(),
        }
    }

    /// Fills a page with what `project` makes of the traces that match. `look_beyond` continues
    /// behind a full page to the next match.
    pub(crate) fn run<T>(
        mut self,
        look_beyond: bool,
        project: impl Fn(&MemoryStore, TraceSummary) -> Option<T>,
    ) -> SearchPage<T> {
        let mut page = SearchPage::default();
        if self.query.start.is_empty() {
            page.total = Some(0);
            return page;
        }
        for generation in &self.view.sources.generations {
            self.add_generation(generation);
        }
        let mut found: Vec<FoundTrace<T>> = Vec::new();
        let mut batch = FIRST_BATCH;
        let mut spans = 0;
        let mut is_finished = false;
        loop {
            self.add_segments();
            let bound = self.pool.peek().copied();
            // Matches before everything that was not examined, the greatest at the end.
            found.sort_by_key(|it| it.position);
            while let Some(next) = found.pop_if(|it| bound.is_none_or(|bound| it.position > bound))
            {
                if self.is_full(page.traces.len(), spans) {
                    is_finished = true;
                    break;
                }
                page.next = Some(next.position);
                page.traces.push(next.content);
                spans += next.spans;
                is_finished = !look_beyond && self.is_full(page.traces.len(), spans);
                if is_finished {
                    break;
                }
            }
            if is_finished || bound.is_none() {
                break;
            }
            self.examine(batch, &mut found, &project);
            batch = (batch * 2).min(MAX_BATCH);
        }
        let is_all = !is_finished && self.query.after.is_none();
        page.total = is_all.then_some(page.traces.len() as u64);
        // A page that did not fill up is the last one.
        page.next = page.next.filter(|_| is_finished);
        page
    }

    fn is_full(&self, traces: usize, spans: u64) -> bool {
        traces >= self.query.limit || spans >= self.query.max_spans as u64
    }

    /// Reads the next traces of the pool and adds those that match to `found`.
    fn examine<T>(
        &mut self,
        count: usize,
        found: &mut Vec<FoundTrace<T>>,
        project: &impl Fn(&MemoryStore, TraceSummary) -> Option<T>,
    ) {
        let mut ids = BTreeSet::new();
        while ids.len() < count
            && let Some(position) = self.pool.pop()
        {
            if self.examined.contains(&position.id) {
                continue;
            }
            let unit = self.view.unit_of(position.id, self.query.view);
            self.examined.extend(unit.iter().copied());
            ids.extend(unit);
            // Traces of a segment that was not opened yet may come next.
            let next = self.pool.peek().map(|next| next.value);
            if self.is_pending_before(next) {
                break;
            }
        }
        if ids.is_empty() {
            return;
        }
        let scratch = self.view.load(&ids);
        for summary in scratch.search(&self.inner).traces {
            let position = position_of(&summary, self.query.order);
            let spans = summary.spans;
            if let Some(content) = project(&scratch, summary) {
                found.push(FoundTrace {
                    position,
                    spans,
                    content,
                });
            }
        }
    }

    /// Returns whether a pending segment may have a trace at this value or before it.
    fn is_pending_before(&self, value: Option<u64>) -> bool {
        let latest = self.pending.last();
        latest.is_some_and(|segment| {
            self.query.order != SortOrder::Newest
                || value.is_none_or(|value| segment.header.last_first_start >= value)
        })
    }

    /// Adds the segments that may have a trace before the first of the pool.
    fn add_segments(&mut self) {
        while self.is_pending_before(self.pool.peek().map(|first| first.value))
            && let Some(segment) = self.pending.pop()
        {
            self.add_segment(&segment);
        }
    }

    fn add_generation(&mut self, generation: &Generation) {
        let accepted: Option<HashSet<TraceId>> = self.query.expression.as_ref().map(|expression| {
            let accepted = generation.memory.candidates(Some(expression));
            accepted.into_iter().map(|bounds| bounds.id).collect()
        });
        for bounds in generation.memory.candidates(None) {
            if !self.query.start.contains(&bounds.first_start) {
                continue;
            }
            let id = bounds.id;
            let is_joint = self.view.is_hot_joint(id, self.query.view);
            let is_accepted = accepted.as_ref().is_none_or(|ids| ids.contains(&id));
            if !is_joint && !is_accepted {
                continue;
            }
            let value = if self.query.order == SortOrder::Newest {
                bounds.first_start
            } else if is_joint {
                u64::MAX
            } else {
                let summary = generation.memory.summary(id, WeavingView::Raw);
                summary.map_or(u64::MAX, |it| position_of(&it, self.query.order).value)
            };
            self.add(value, bounds.first_start, id, is_joint);
        }
    }

    fn add_segment(&mut self, segment: &SealedSegment) {
        let index = segment.index(self.view.cache);
        let mut parts = Vec::new();
        let expression = self.query.expression.as_ref();
        parts.extend(expression.map(|it| Prefilter::of_expression(it, &index.names)));
        let topic = self.query.topic.as_deref();
        parts.extend(topic.map(Prefilter::of_topic_name));
        let prefilter = Prefilter::All(parts);
        let mut accepted: HashSet<TraceId> = HashSet::new();
        if !prefilter.is_unsatisfiable() {
            let candidates = IndexQuery::new(&index, &prefilter);
            accepted.extend(candidates.candidates().map(|trace| trace.id));
        }
        for trace in &index.traces {
            if !self.query.start.contains(&trace.first_start) {
                continue;
            }
            let is_accepted =
                accepted.contains(&trace.id) && self.query.duration.contains(&trace.duration);
            let start = trace.first_start;
            let is_newest = self.query.order == SortOrder::Newest;
            if is_accepted && is_newest {
                self.add(start, start, trace.id, false);
            } else if self.view.is_sealed_joint(trace.id, self.query.view) {
                // Only its parts together show whether it matches.
                let value = if is_newest { start } else { u64::MAX };
                self.add(value, start, trace.id, true);
            } else if is_accepted {
                let value = value_of(trace, self.query.order);
                self.add(value, start, trace.id, false);
            }
        }
    }

    /// Adds a trace to the pool, unless an earlier page has it.
    fn add(&mut self, value: u64, start: u64, id: TraceId, is_joint: bool) {
        let position = SortPosition { value, start, id };
        let is_exact = !is_joint || self.query.order == SortOrder::Newest;
        let is_earlier = self.query.after.is_some_and(|after| position >= after);
        // The part of a trace that starts first has the position of the whole.
        let is_on_earlier_page = is_exact && is_earlier;
        if !is_on_earlier_page && !self.examined.contains(&id) {
            self.pool.push(position);
        }
    }
}

fn value_of(trace: &IndexedTrace, order: SortOrder) -> u64 {
    match order {
        SortOrder::Newest => trace.first_start,
        SortOrder::Duration => trace.duration,
        SortOrder::Spans => trace.spans.into(),
        SortOrder::Errors => trace.errors,
    }
}

fn position_of(summary: &TraceSummary, order: SortOrder) -> SortPosition {
    let value = match order {
        SortOrder::Newest => summary.start,
        SortOrder::Duration => summary.duration,
        SortOrder::Spans => summary.spans,
        SortOrder::Errors => summary.errors,
    };
    SortPosition {
        value,
        start: summary.start,
        id: summary.id,
    }
}
