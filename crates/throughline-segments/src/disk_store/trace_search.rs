//! A search over generations and segments.
//!
//! The indexes name traces that can match, each with the greatest position in the order that it can
//! have. From the greatest on, traces are read whole, into a store in memory whose engine decides;
//! what it finds is returned once no trace that was not examined can come before.

use std::collections::{BinaryHeap, HashSet};
use std::sync::Arc;

use throughline_model::TraceId;
use throughline_store::{
    MemoryStore, Prefilter, SearchPage, SortOrder, SortPosition, SpanField, Store as _,
    StoredTrace, TraceQuery, TraceSummary, WeavingView,
};

use super::generation::{Generation, ListedTrace};
use super::sealed_segment::{SealedSegment, WantedTraces};
use super::sources::StoreView;
use crate::index::{IndexedTrace, SegmentIndex, TraceBitmap, candidates};

/// Traces that are read together, at first and at most.
const FIRST_BATCH: usize = 32;
const MAX_BATCH: usize = 512;

/// One search.
pub(crate) struct TraceSearch<'a> {
    view: &'a StoreView<'a>,
    query: &'a TraceQuery,
    /// The query for what was read: the page is cut here.
    inner: TraceQuery,
    /// Whether the condition can be checked on outlines of spans.
    has_outline: bool,
    /// Traces that were not examined, by the greatest position that they can have.
    pool: BinaryHeap<SortPosition>,
    /// Segments whose traces are not in the pool; the one with the latest trace is the last.
    pending: Vec<Arc<SealedSegment>>,
    /// Traces that were examined.
    examined: HashSet<TraceId>,
    /// Traces that have spans in a generation and elsewhere.
    hot_joints: HashSet<TraceId>,
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
        let expression = query.expression.as_ref();
        let has_outline = expression.is_none_or(|it| it.has_only_fields(&is_in_outline));
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
            has_outline,
            pool: BinaryHeap::new(),
            pending,
            examined: HashSet::new(),
            hot_joints: view.hot_joints(),
        }
    }

    /// Fills a page with the summaries of the traces that match, and looks behind a full page for
    /// the next match.
    pub(crate) fn run(self) -> SearchPage {
        self.run_with(true, |_, summary| Some(summary))
    }

    /// Returns the traces that match, whole.
    pub(crate) fn traces(mut self) -> Vec<StoredTrace> {
        self.has_outline = false;
        let view = self.query.view;
        let page = self.run_with(false, |read, summary| read.trace(summary.id, view));
        page.traces
    }

    /// Fills a page with what `project` makes of the traces that match. `look_beyond` continues
    /// behind a full page to the next match.
    fn run_with<T>(
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
        let mut wanted = WantedTraces::default();
        while wanted.whole.len() + wanted.outlined.len() < count
            && let Some(position) = self.pool.pop()
        {
            if self.examined.contains(&position.id) {
                continue;
            }
            let has_parts = self.is_sealed_joint(position.id) || self.view.is_woven(position.id);
            if self.has_outline && !has_parts {
                self.examined.insert(position.id);
                wanted.outlined.insert(position.id);
            } else {
                let unit = self.view.unit_of(position.id, self.query.view);
                self.examined.extend(unit.iter().copied());
                wanted.whole.extend(unit);
            }
            // Traces of a segment that was not opened yet may come next.
            let next = self.pool.peek().map(|next| next.value);
            if self.is_pending_before(next) {
                break;
            }
        }
        let scratch = MemoryStore::new(usize::MAX);
        self.view.load_wanted(&scratch, &wanted);
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

    /// Returns whether a trace may have spans in a generation and elsewhere, or is joined with
    /// another one.
    fn is_joint(&self, id: TraceId) -> bool {
        let is_woven = self.query.view == WeavingView::Woven && !self.view.woven.is_empty();
        self.hot_joints.contains(&id) || (is_woven && self.view.woven.is_joined(id))
    }

    fn add_generation(&mut self, generation: &Generation) {
        let expression = self.query.expression.as_ref();
        let listed = generation.list(expression, self.query.topic.as_deref());
        let is_newest = self.query.order == SortOrder::Newest;
        for ListedTrace {
            trace,
            is_candidate,
            is_repeated,
        } in listed
        {
            let start = trace.first_start;
            if is_repeated {
                // Only its spans show its place.
                self.add(u64::MAX, start, trace.id, false);
                continue;
            }
            if !self.query.start.contains(&start) {
                continue;
            }
            let is_joint = self.is_joint(trace.id);
            if !is_joint && !is_candidate {
                continue;
            }
            let value = match self.query.order {
                SortOrder::Newest => start,
                SortOrder::Duration | SortOrder::Spans | SortOrder::Errors if is_joint => u64::MAX,
                SortOrder::Duration => trace.duration(),
                SortOrder::Spans => trace.spans.into(),
                SortOrder::Errors => trace.errors.into(),
            };
            self.add(value, start, trace.id, is_newest || !is_joint);
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
        let mut accepted = TraceBitmap::new(index.traces.len());
        if !prefilter.is_unsatisfiable() {
            accepted = candidates(&index, &prefilter, segment);
        }
        for trace in accepted.iter().filter_map(|at| index.traces.get(at)) {
            let is_within = self.query.duration.contains(&trace.duration);
            if is_within && !self.is_sealed_joint(trace.id) {
                let value = value_of(trace, self.query.order);
                self.add_sealed(trace, value, true);
            } else if is_within && self.query.order == SortOrder::Newest {
                self.add_sealed(trace, trace.first_start, true);
            }
        }
        self.add_joints(segment, &index);
    }

    fn is_sealed_joint(&self, id: TraceId) -> bool {
        self.view.sources.shared.contains(&id) || self.is_joint(id)
    }

    /// Adds the traces of a segment that have spans elsewhere, or are joined with others: only
    /// their parts together show whether they match.
    fn add_joints(&mut self, segment: &SealedSegment, index: &SegmentIndex) {
        let is_newest = self.query.order == SortOrder::Newest;
        let shared = self.view.sources.shared.iter();
        let split = shared.chain(&self.hot_joints);
        let split = split.filter(|id| segment.header.filter.may_contain(**id));
        let mut joints: Vec<&IndexedTrace> = split.filter_map(|id| index.trace(*id)).collect();
        if self.query.view == WeavingView::Woven && !self.view.woven.is_empty() {
            let traces = index.traces.iter();
            joints.extend(traces.filter(|trace| self.view.woven.is_joined(trace.id)));
        }
        for trace in joints {
            let value = if is_newest {
                trace.first_start
            } else {
                u64::MAX
            };
            self.add_sealed(trace, value, is_newest);
        }
    }

    fn add_sealed(&mut self, trace: &IndexedTrace, value: u64, is_exact: bool) {
        if self.query.start.contains(&trace.first_start) {
            self.add(value, trace.first_start, trace.id, is_exact);
        }
    }

    /// Adds a trace to the pool, unless an earlier page has it. `is_exact`: the value is that of
    /// the trace, or of the part of it that starts first.
    fn add(&mut self, value: u64, start: u64, id: TraceId, is_exact: bool) {
        let position = SortPosition { value, start, id };
        let is_earlier = self.query.after.is_some_and(|after| position >= after);
        // The part of a trace that starts first has the position of the whole.
        let is_on_earlier_page = is_exact && is_earlier;
        if !is_on_earlier_page && !self.examined.contains(&id) {
            self.pool.push(position);
        }
    }
}

/// Returns whether a field is in the outline of a span; see
/// [`SegmentReader::read_outlines`](crate::SegmentReader).
const fn is_in_outline(field: &SpanField) -> bool {
    matches!(
        field,
        SpanField::Name
            | SpanField::StartTime
            | SpanField::Duration
            | SpanField::Status
            | SpanField::Kind
            | SpanField::Id
            | SpanField::ParentId
            | SpanField::Service
            | SpanField::TraceDuration
            | SpanField::RootName
            | SpanField::RootService
            | SpanField::TraceId
    )
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
