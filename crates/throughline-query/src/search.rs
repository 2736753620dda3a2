//! Searches that the store alone cannot answer: it selects candidates, and each is evaluated.

use std::ops::ControlFlow;

use throughline_store::{
    SearchPage, SortOrder, SortPosition, Store, StoredTrace, TraceExpression, TraceQuery,
};

use crate::candidate::Candidates;
use crate::evaluate::{MatchedSpanset, TraceView, matched_spansets};
use crate::traceql::SpansetExpression;

/// Candidates that are read from the store at a time.
const CHUNK_TRACES: usize = 64;

/// Spans of the candidates that are read at a time; one trace may have more.
const CHUNK_SPANS: usize = 50_000;

/// A search for traces whose spansets match.
#[derive(Debug)]
pub struct SearchRequest<'a> {
    /// Bounds, order, limit and further conditions.
    pub query: TraceQuery,
    /// Query for the spansets.
    pub spansets: &'a SpansetExpression,
}

/// A matching trace.
#[derive(Debug)]
pub struct MatchedTrace<T> {
    /// Position of the trace in the order of the search.
    pub position: SortPosition,
    /// Result of the caller for the trace and its spansets.
    pub content: T,
}

/// Returns one page of matching traces; `project` makes of each what the caller needs.
pub fn search_matches<T>(
    store: &dyn Store,
    request: SearchRequest<'_>,
    mut project: impl FnMut(&TraceView<'_>, Vec<MatchedSpanset>) -> T,
) -> SearchPage<MatchedTrace<T>> {
    let SearchRequest { query, spansets } = request;
    let limit = query.limit;
    let is_first = query.after.is_none();
    let mut page: SearchPage<MatchedTrace<T>> = SearchPage::default();
    let mut is_more = false;
    for_each_candidate(store, &query, spansets, |position, trace| {
        let view = TraceView::new(trace);
        let matched = matched_spansets(spansets, &view);
        if matched.is_empty() {
            return ControlFlow::Continue(());
        }
        // One match beyond the page shows whether there is a next page.
        if page.traces.len() >= limit {
            is_more = true;
            return ControlFlow::Break(());
        }
        let content = project(&view, matched);
        page.traces.push(MatchedTrace { position, content });
        ControlFlow::Continue(())
    });
    let last = page.traces.last().map(|trace| trace.position);
    page.next = last.filter(|_| is_more);
    page.total = (is_first && !is_more).then_some(page.traces.len() as u64);
    page
}

/// Passes each trace that the store cannot exclude to `visit`, in the order of the query.
pub(crate) fn for_each_candidate(
    store: &dyn Store,
    query: &TraceQuery,
    spansets: &SpansetExpression,
    mut visit: impl FnMut(SortPosition, &StoredTrace) -> ControlFlow<()>,
) {
    let mut conditions = vec![Candidates::of(spansets).expression];
    conditions.extend(query.expression.clone());
    let query = TraceQuery {
        expression: Some(TraceExpression::All(conditions)),
        limit: CHUNK_TRACES,
        max_spans: CHUNK_SPANS,
        ..query.clone()
    };
    match query.order {
        SortOrder::Newest => newest(store, query, &mut visit),
        SortOrder::Duration | SortOrder::Spans | SortOrder::Errors => {
            greatest(store, query, &mut visit);
        }
    }
}

type Visit<'a> = &'a mut dyn FnMut(SortPosition, &StoredTrace) -> ControlFlow<()>;

fn newest(store: &dyn Store, mut query: TraceQuery, visit: Visit<'_>) {
    loop {
        let traces = store.search_traces(&query);
        for trace in &traces {
            let start = trace.spans.iter().map(|span| span.start).min();
            let start = start.unwrap_or_default();
            let position = SortPosition {
                value: start,
                start,
                id: trace.id,
            };
            // A page that does not move on would be repeated for ever.
            if query.after.is_some_and(|after| position >= after) {
                return;
            }
            query.after = Some(position);
            if visit(position, trace).is_break() {
                return;
            }
        }
        if traces.is_empty() {
            return;
        }
    }
}

/// Reads summaries first, because only they have the values of these orders.
fn greatest(store: &dyn Store, mut query: TraceQuery, visit: Visit<'_>) {
    loop {
        let page = store.search(&query);
        for summary in &page.traces {
            let value = match query.order {
                SortOrder::Newest => summary.start,
                SortOrder::Duration => summary.duration,
                SortOrder::Spans => summary.spans,
                SortOrder::Errors => summary.errors,
            };
            let position = SortPosition {
                value,
                start: summary.start,
                id: summary.id,
            };
            // The trace may have been evicted since.
            let Some(trace) = store.trace(summary.id, query.view) else {
                continue;
            };
            if visit(position, &trace).is_break() {
                return;
            }
        }
        match page.next {
            Some(next) if query.after.is_none_or(|after| next < after) => query.after = Some(next),
            _ => return,
        }
    }
}
