//! The search: a page of trace summaries, in the requested order.

use serde::{Deserialize, Serialize};
use throughline_model::{SpanId, TraceId};
use throughline_query::{
    Candidates, MatchedSpanset, ParsedQuery, SearchRequest, SpansetExpression, TraceView,
    search_matches,
};
use throughline_store::{
    SearchPage, SortOrder, SortPosition, SpanField, SpanFilter, Store, TraceExpression, TraceQuery,
    TraceSummary, ValuePredicate, WeavingView,
};
use utoipa::{IntoParams, ToSchema};

use super::api_error::ApiError;
use super::change_feed::ChangeCursor;
use super::parameter;
use super::trace_summary::TraceSummaryJson;
use crate::query::state::{MAX_SEARCH_TRACES, QueryError, to_json};

/// Default number of traces on a page.
const DEFAULT_LIMIT: usize = 20;

/// Maximum number of matching spans named in a summary.
const MAX_MATCHED: usize = 20;

/// The conditions of a search. `service`, `operation`, `errors` and the `key=value` pairs of `q`
/// must hold together on *one span* of a trace; topic, durations and times are those of the *whole
/// trace*; a TraceQL query in `q` must hold in addition.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SearchParams {
    /// Query: TraceQL (`{ span.http.response.status_code >= 500 } && { topic = "orders" }`),
    /// logfmt (`http.route=/pay error=true`), or a bare trace id or span id.
    pub(crate) q: Option<String>,
    /// Earliest start of the trace, in microseconds since the Unix epoch.
    #[param(value_type = Option<u64>)]
    pub(crate) start: Option<String>,
    /// Latest start of the trace, in microseconds since the Unix epoch.
    #[param(value_type = Option<u64>)]
    pub(crate) end: Option<String>,
    /// Service of the span.
    pub(crate) service: Option<String>,
    /// Name of the span.
    pub(crate) operation: Option<String>,
    /// Minimum duration of the trace: `100ms`, `1.5s`, or a number of microseconds.
    pub(crate) min_duration: Option<String>,
    /// Maximum duration of the trace.
    pub(crate) max_duration: Option<String>,
    /// `true`: the span failed.
    #[param(value_type = Option<bool>)]
    pub(crate) errors: Option<String>,
    /// Topic of a message in the trace.
    pub(crate) topic: Option<String>,
    /// Order of the results.
    #[param(value_type = Option<SearchOrder>)]
    pub(crate) order: Option<String>,
    /// Traces on a page: 20 by default, 1500 at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1500)]
    pub(crate) limit: Option<String>,
    /// `true`: traces as they were reported, without the joins that were found after the fact.
    #[param(value_type = Option<bool>)]
    pub(crate) raw: Option<String>,
    /// `next` of the previous page; all other parameters must stay the same.
    pub(crate) cursor: Option<String>,
}

/// The order of the results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(as = Order, rename_all = "lowercase")]
pub(crate) enum SearchOrder {
    /// Latest start first. The default.
    Newest,
    /// Longest trace first.
    Duration,
    /// Most spans first.
    Spans,
    /// Most failed spans first.
    Errors,
}

/// A page of search results.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SearchResponse {
    /// Traces, in the requested order.
    pub(crate) traces: Vec<TraceSummaryJson>,
    /// `cursor` of the next page; null on the last page.
    pub(crate) next: Option<String>,
    /// Number of matches on all pages; null when counting them would take longer than the page.
    pub(crate) total: Option<u64>,
    /// `since` for `/api/throughline/live`, which then returns changes after this response.
    pub(crate) live: String,
}

/// Plans the query of a request.
pub(super) fn plan(
    params: &SearchParams,
    epoch: u64,
) -> Result<impl FnOnce(&dyn Store) -> Result<Vec<u8>, QueryError> + use<>, ApiError> {
    let order = order(params.order.as_deref())?;
    let (query, spansets) = trace_query(params, order)?;
    Ok(move |store: &dyn Store| {
        // Read before the search: a change during the search is reported once too often rather
        // than never. No change is newer than the greatest number.
        let live = ChangeCursor {
            epoch,
            revision: store.changes(u64::MAX, WeavingView::Raw).revision,
        };
        let page = match spansets {
            None => store.search(&query),
            Some(spansets) => search_spansets(store, query, &spansets),
        };
        to_json(&SearchResponse {
            traces: page.traces.iter().map(TraceSummaryJson::from).collect(),
            next: page.next.map(|position| page_cursor(order, position)),
            total: page.total,
            live: live.to_string(),
        })
    })
}

/// Searches with a query that the store alone cannot answer.
fn search_spansets(
    store: &dyn Store,
    query: TraceQuery,
    spansets: &SpansetExpression,
) -> SearchPage {
    let view = query.view;
    let request = SearchRequest { query, spansets };
    let page = search_matches(store, request, |trace, matched| {
        let mut summary = store.summary(trace.trace().id, view)?;
        summary.matched = first_matched(trace, matched);
        Some(summary)
    });
    let summaries = page.traces.into_iter().filter_map(|it| it.content);
    let traces: Vec<TraceSummary> = summaries.collect();
    SearchPage {
        traces,
        next: page.next,
        total: page.total,
    }
}

/// Returns the first matching spans, by start as the trace is.
fn first_matched(trace: &TraceView<'_>, matched: Vec<MatchedSpanset>) -> Vec<SpanId> {
    let mut spans: Vec<usize> = matched.into_iter().flat_map(|it| it.spans).collect();
    spans.sort_unstable();
    spans.dedup();
    let ids = spans.into_iter().filter_map(|at| trace.span(at));
    ids.map(|span| span.span_id).take(MAX_MATCHED).collect()
}

/// Returns the store's part of the search, and the query that it cannot answer alone, if any.
fn trace_query(
    params: &SearchParams,
    order: SearchOrder,
) -> Result<(TraceQuery, Option<SpansetExpression>), ApiError> {
    let least = parameter::duration("min_duration", params.min_duration.as_deref())?;
    let most = parameter::duration("max_duration", params.max_duration.as_deref())?;
    let (least, most) = (least.unwrap_or(0), most.unwrap_or(u64::MAX));
    if most < least {
        return Err(ApiError::invalid(
            "max_duration",
            "max_duration is less than min_duration: swap them",
        ));
    }
    let start = parameter::time("start", params.start.as_deref())?.unwrap_or(0);
    let end = parameter::time_until("end", params.end.as_deref())?.unwrap_or(u64::MAX);
    let limit = parameter::count("limit", params.limit.as_deref(), 1..=MAX_SEARCH_TRACES)?;
    let after = parameter::text(params.cursor.as_deref());
    let (expression, spansets) = expression(params)?;
    let query = TraceQuery {
        expression,
        topic: parameter::text(params.topic.as_deref()).map(str::to_owned),
        duration: least..=most,
        start: start..=end,
        order: order.into(),
        limit: limit.unwrap_or(DEFAULT_LIMIT),
        after: after.map(|cursor| position(order, cursor)).transpose()?,
        view: parameter::view(params.raw.as_deref())?,
        ..TraceQuery::default()
    };
    Ok((query, spansets))
}

/// Combines the conditions of the form, which hold on one span, with the query line.
fn expression(
    params: &SearchParams,
) -> Result<(Option<TraceExpression>, Option<SpansetExpression>), ApiError> {
    let mut spansets = None;
    let mut span = Vec::new();
    let mut trace = Vec::new();
    for (field, value) in [
        (SpanField::Service, &params.service),
        (SpanField::Name, &params.operation),
    ] {
        let value = parameter::text(value.as_deref());
        span.extend(value.map(|value| SpanFilter::Is(field, ValuePredicate::equal(value))));
    }
    if parameter::boolean("errors", params.errors.as_deref())? {
        let failed = ValuePredicate::equal("error");
        span.push(SpanFilter::Is(SpanField::Status, failed));
    }
    match throughline_query::parse(params.q.as_deref().unwrap_or_default()) {
        Ok(None) => {}
        Ok(Some(ParsedQuery::Span(filter))) => span.push(filter),
        Ok(Some(ParsedQuery::Trace(expression))) => trace.push(expression),
        Ok(Some(ParsedQuery::Spansets(query))) => {
            let candidates = Candidates::of(&query);
            if candidates.is_exact {
                trace.push(candidates.expression);
            } else {
                spansets = Some(query);
            }
        }
        Ok(Some(ParsedQuery::Metrics(_))) => {
            let message = "a metrics query finds no traces: leave out the metrics function, or \
                           send the query to /tempo/api/metrics/query_range";
            return Err(ApiError::invalid("q", message).at(0));
        }
        Err(error) => return Err(ApiError::invalid("q", error.message).at(error.position)),
    }
    // All in one filter: they must hold on the same span.
    if !span.is_empty() {
        trace.push(TraceExpression::Spans(SpanFilter::All(span)));
    }
    let expression = (!trace.is_empty()).then_some(TraceExpression::All(trace));
    Ok((expression, spansets))
}

fn order(text: Option<&str>) -> Result<SearchOrder, ApiError> {
    let Some(text) = parameter::text(text) else {
        return Ok(SearchOrder::Newest);
    };
    let mut orders = SearchOrder::ALL.into_iter();
    orders.find(|order| order.name() == text).ok_or_else(|| {
        ApiError::invalid(
            "order",
            format!("order must be newest, duration, spans or errors, not {text:?}"),
        )
    })
}

/// Returns a position as text for a URL. It names the order, so that a cursor of another order is
/// rejected.
fn page_cursor(order: SearchOrder, position: SortPosition) -> String {
    format!(
        "{}.{:x}.{:x}.{}",
        order.name(),
        position.value,
        position.start,
        position.id
    )
}

fn position(order: SearchOrder, cursor: &str) -> Result<SortPosition, ApiError> {
    let parse = || {
        let rest = cursor.strip_prefix(order.name())?.strip_prefix('.')?;
        let (value, rest) = rest.split_once('.')?;
        let (start, id) = rest.split_once('.')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        Some(SortPosition {
            value: number(value)?,
            start: number(start)?,
            id: TraceId::from_hex(id)?,
        })
    };
    parse().ok_or_else(|| {
        let message = "cursor must be `next` of a response to the same search in the same order; \
                       leave it out for the first page";
        ApiError::invalid("cursor", message)
    })
}

// === impl SearchOrder ===

impl SearchOrder {
    const ALL: [Self; 4] = [Self::Newest, Self::Duration, Self::Spans, Self::Errors];

    const fn name(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Duration => "duration",
            Self::Spans => "spans",
            Self::Errors => "errors",
        }
    }
}

impl From<SearchOrder> for SortOrder {
    fn from(order: SearchOrder) -> Self {
        match order {
            SearchOrder::Newest => Self::Newest,
            SearchOrder::Duration => Self::Duration,
            SearchOrder::Spans => Self::Spans,
            SearchOrder::Errors => Self::Errors,
        }
    }
}
