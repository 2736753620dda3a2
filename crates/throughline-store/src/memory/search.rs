//! The search engine: pages of matching traces, in order.
//!
//! The read lock is held for [`CHUNK_TRACES`] traces at a time, so that a long search does not keep
//! new spans waiting.

use std::collections::BinaryHeap;
use std::collections::btree_set::Range;
use std::ops::Bound;

use throughline_model::TraceId;

use super::joined_trace::JoinedTrace;
use super::prefilter::{IndexStatistics, Prefilter};
use super::trace_index::{LockedIndex, TraceIndex};
use crate::{SearchPage, SortOrder, SortPosition, StoredTrace, TraceExpression, TraceQuery};

/// Traces examined under one lock.
const CHUNK_TRACES: usize = 256;

/// Returns one page of summaries.
pub(super) fn search_page(index: &LockedIndex, query: &TraceQuery) -> SearchPage {
    // One match beyond the page shows whether there is a next page.
    let expression = query.expression.as_ref();
    SearchRun::new(index, query, true).run(|trace| trace.to_summary(expression))
}

/// Returns the first matching traces with their spans.
pub(super) fn search_traces(index: &LockedIndex, query: &TraceQuery) -> Vec<StoredTrace> {
    // Nobody pages on from here, so the search ends with the last trace of the page.
    let run = SearchRun::new(index, query, false);
    run.run(|trace| trace.to_trace()).traces
}

/// Returns the necessary condition of an expression, or of none.
pub(super) fn prefilter(index: &TraceIndex, expression: Option<&TraceExpression>) -> Prefilter {
    let statistics = IndexStatistics {
        attributes: index.attribute_index(),
        services: index.service_index(),
    };
    expression.map_or(Prefilter::Unknown, |expression| {
        Prefilter::of_expression(expression, &statistics)
    })
}

/// One run of the engine.
struct SearchRun<'a> {
    index: &'a LockedIndex,
    query: &'a TraceQuery,
    prefilter: Prefilter,
    /// Continue behind a full page to the next match.
    look_beyond: bool,
}

/// A page that is being filled.
struct PageBuilder<T> {
    page: SearchPage<T>,
    spans: usize,
    /// A match beyond the page was found, or the search ended with the full page.
    is_finished: bool,
}

// === impl SearchRun ===

impl<'a> SearchRun<'a> {
    fn new(index: &'a LockedIndex, query: &'a TraceQuery, look_beyond: bool) -> Self {
        Self {
            index,
            query,
            prefilter: prefilter(&index.read(), query.expression.as_ref()),
            look_beyond,
        }
    }

    fn run<T>(&self, project: impl Fn(&JoinedTrace<'_>) -> T) -> SearchPage<T> {
        if self.query.start.is_empty() || self.prefilter.is_unsatisfiable() {
            return SearchPage {
                total: Some(0),
                ..SearchPage::default()
            };
        }
        match self.query.order {
            SortOrder::Newest => self.run_newest(project),
            SortOrder::Duration | SortOrder::Spans | SortOrder::Errors => {
                self.run_greatest(project)
            }
        }
    }

    /// Walks back in time until the page is full.
    fn run_newest<T>(&self, project: impl Fn(&JoinedTrace<'_>) -> T) -> SearchPage<T> {
        let mut builder = PageBuilder::default();
        let mut after = self.query.after;
        while !builder.is_finished {
            let index = self.index.read();
            // Collected before the traces are examined: the next chunk continues by position,
            // which stays valid when traces come and go between two locks.
            let positions: Vec<SortPosition> = self
                .range(&index, after)
                .rev()
                .take(CHUNK_TRACES)
                .map(|(start, id)| SortPosition {
                    value: *start,
                    start: *start,
                    id: *id,
                })
                .collect();
            for position in &positions {
                self.examine(&index, *position, &mut builder, &project);
                if builder.is_finished {
                    break;
                }
            }
            let last = positions.last();
            let Some(last) = last.filter(|_| positions.len() == CHUNK_TRACES) else {
                break;
            };
            after = Some(*last);
        }
        let total = if self.matches_whole_range() {
            let index = self.index.read();
            let range = self.range(&index, None);
            let listed = range.filter(|(_, id)| index.is_listed(*id, self.query.view));
            Some(listed.count() as u64)
        } else {
            // All matches are on this page when it is the first one and did not fill up.
            let is_all = !builder.is_finished && self.query.after.is_none();
            is_all.then_some(builder.page.traces.len() as u64)
        };
        builder.finish(total)
    }

    /// Puts all candidates on a heap and examines the greatest until the page is full.
    fn run_greatest<T>(&self, project: impl Fn(&JoinedTrace<'_>) -> T) -> SearchPage<T> {
        let mut candidates: Vec<SortPosition> = {
            let index = self.index.read();
            let positions = self.range(&index, None).filter_map(|(_, id)| {
                let trace = index.listed(*id, self.query.view)?;
                // The expression is left to the examination: it is the only costly condition.
                (trace.matches_bounds(self.query) && self.prefilter.accepts(&trace))
                    .then(|| trace.position(self.query.order))
            });
            positions.collect()
        };
        let candidate_count = candidates.len() as u64;
        // After the count: the total covers the earlier pages too.
        candidates.retain(|it| self.query.after.is_none_or(|after| *it < after));
        // A heap sorts only as far as the page needs: building it is linear.
        let mut heap = BinaryHeap::from(candidates);
        let mut builder = PageBuilder::default();
        while !builder.is_finished && !heap.is_empty() {
            let index = self.index.read();
            for _ in 0..CHUNK_TRACES {
                let Some(position) = heap.pop() else { break };
                self.examine(&index, position, &mut builder, &project);
                if builder.is_finished {
                    break;
                }
            }
        }
        let total = match (&self.query.expression, self.query.after) {
            // Without an expression every candidate is a match.
            (None, _) => Some(candidate_count),
            (Some(_), None) if !builder.is_finished => Some(builder.page.traces.len() as u64),
            (Some(_), _) => None,
        };
        builder.finish(total)
    }

    /// Adds the trace at this position to the page if it matches.
    fn examine<T>(
        &self,
        index: &TraceIndex,
        position: SortPosition,
        builder: &mut PageBuilder<T>,
        project: impl Fn(&JoinedTrace<'_>) -> T,
    ) {
        // The trace may have been evicted or joined since the positions were collected.
        let Some(trace) = index.listed(position.id, self.query.view) else {
            return;
        };
        if !self.matches(&trace) {
            return;
        }
        if builder.is_full(self.query) {
            builder.is_finished = true;
            return;
        }
        builder.page.next = Some(position);
        builder.page.traces.push(project(&trace));
        builder.spans = builder.spans.saturating_add(trace.span_count());
        builder.is_finished = !self.look_beyond && builder.is_full(self.query);
    }

    /// Returns whether a trace matches; the cheap conditions come first.
    fn matches(&self, trace: &JoinedTrace<'_>) -> bool {
        trace.matches_bounds(self.query)
            && self.prefilter.accepts(trace)
            && self
                .query
                .expression
                .as_ref()
                .is_none_or(|expression| trace.matches(expression))
    }

    /// Returns the traces that started in the query's range, before this position.
    fn range<'i>(
        &self,
        index: &'i TraceIndex,
        after: Option<SortPosition>,
    ) -> Range<'i, (u64, TraceId)> {
        // Ids are never zero: the least id bounds a start from below, and the next start, with
        // the least id, bounds it from above.
        let least_id = TraceId::from_bytes(1u128.to_be_bytes());
        let (from, until) = (*self.query.start.start(), *self.query.start.end());
        let lower = least_id.map_or(Bound::Unbounded, |id| Bound::Included((from, id)));
        let end = until.checked_add(1).zip(least_id);
        let upper = match (after, end) {
            (Some(after), Some(end)) => Bound::Excluded((after.start, after.id).min(end)),
            (Some(after), None) => Bound::Excluded((after.start, after.id)),
            (None, Some(end)) => Bound::Excluded(end),
            (None, None) => Bound::Unbounded,
        };
        // `BTreeSet::range` panics on a range that ends before it begins.
        match (&lower, &upper) {
            (Bound::Included(from), Bound::Excluded(to)) if to <= from => {
                index.starts_in(*from..*from)
            }
            _ => index.starts_in((lower, upper)),
        }
    }

    /// Returns whether the query restricts nothing but the start of the trace.
    fn matches_whole_range(&self) -> bool {
        self.query.expression.is_none()
            && self.query.topic.is_none()
            && self.query.duration == (0..=u64::MAX)
    }
}

// === impl PageBuilder ===

impl<T> Default for PageBuilder<T> {
    fn default() -> Self {
        Self {
            page: SearchPage::default(),
            spans: 0,
            is_finished: false,
        }
    }
}

impl<T> PageBuilder<T> {
    const fn is_full(&self, query: &TraceQuery) -> bool {
        self.page.traces.len() >= query.limit || self.spans >= query.max_spans
    }

    fn finish(mut self, total: Option<u64>) -> SearchPage<T> {
        // A page that did not fill up is the last one.
        self.page.next = self.page.next.filter(|_| self.is_finished);
        self.page.total = total;
        self.page
    }
}
