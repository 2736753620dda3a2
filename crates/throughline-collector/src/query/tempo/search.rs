//! Searches for traces, with the spans that match.

use axum::extract::{Query as QueryString, State};
use axum::response::Response;
use serde_json::{Value, json};
use throughline_query::{
    MatchedSpanset, ParsedQuery, SearchRequest, SelectedField, SpansetExpression, TraceView,
    parse_logfmt, parse_traceql, search_matches,
};
use throughline_store::{
    SpanFilter, Store, TraceExpression, TraceQuery, TraceSummary, WeavingView,
};

use super::super::query_params::QueryParams;
use super::super::state::{MAX_SEARCH_TRACES, QueryError, QueryState, to_json};
use super::attribute_json::attribute;
use super::tempo_response::{invalid_query, respond};
use super::time_range;

/// Default number of traces.
const DEFAULT_LIMIT: usize = 20;

/// Default number of spans of each spanset.
const DEFAULT_SPANS: usize = 3;

/// Maximum number of spans of each spanset.
const MAX_SPANS: usize = 1000;

/// Text of Tempo in place of the names of a root that has not arrived.
const NO_ROOT: &str = "<root span not yet received>";

pub(super) async fn search(
    State(state): State<QueryState>,
    QueryString(params): QueryString<QueryParams>,
) -> Response {
    let body = state.run(move |store| {
        let (query, spansets) = plan(&params)?;
        let spans = params.parse(&["spss"], "a whole number", |text| text.parse().ok())?;
        let spans = match spans.unwrap_or(DEFAULT_SPANS) {
            // In Tempo, 0 means all of them.
            0 => MAX_SPANS,
            spans => spans.min(MAX_SPANS),
        };
        let view = query.view;
        let fields = spansets.fields();
        let request = SearchRequest {
            query,
            spansets: &spansets,
        };
        let mut inspected = 0;
        let page = search_matches(store, request, |trace, matched| {
            inspected += 1;
            trace_json(store, view, trace, &matched, &fields, spans)
        });
        let traces: Vec<Value> = page
            .traces
            .into_iter()
            .filter_map(|it| it.content)
            .collect();
        to_json(&json!({
            "traces": traces,
            "metrics": { "inspectedTraces": inspected, "completedJobs": 1, "totalJobs": 1 },
        }))
    });
    respond(body.await)
}

/// Returns the bounds of a search and its query.
fn plan(params: &QueryParams) -> Result<(TraceQuery, SpansetExpression), QueryError> {
    let (start, end) = time_range::bounds(params)?;
    let limit = params.parse(&["limit"], "a whole number above 0", |text| {
        text.parse().ok().filter(|limit| *limit > 0)
    })?;
    let spansets = match params.first(&["q"]) {
        None => SpansetExpression::every_span(),
        Some(text) => match parse_traceql(text).map_err(|error| invalid_query(&error))? {
            ParsedQuery::Spansets(spansets) => spansets,
            ParsedQuery::Metrics(_) | ParsedQuery::Span(_) | ParsedQuery::Trace(_) => {
                return Err(QueryError::Invalid(
                    "a metrics query finds no traces: send it to /api/metrics/query_range"
                        .to_owned(),
                ));
            }
        },
    };
    let tags = params.first(&["tags"]).map(parse_logfmt).transpose();
    let tags: Option<SpanFilter> = tags.map_err(|error| invalid_query(&error))?;
    // The end includes its whole second.
    let end = end.map_or(u64::MAX, |end| end.saturating_add(time_range::SECOND - 1));
    let query = TraceQuery {
        expression: tags.map(TraceExpression::Spans),
        duration: params.durations(&["minDuration"], &["maxDuration"])?,
        start: start.unwrap_or(0)..=end,
        limit: limit.unwrap_or(DEFAULT_LIMIT).min(MAX_SEARCH_TRACES),
        view: params.view()?,
        ..TraceQuery::default()
    };
    Ok((query, spansets))
}

fn trace_json(
    store: &dyn Store,
    view: WeavingView,
    trace: &TraceView<'_>,
    matched: &[MatchedSpanset],
    fields: &[SelectedField],
    spans: usize,
) -> Option<Value> {
    let summary = store.summary(trace.trace().id, view)?;
    let sets: Vec<Value> = matched
        .iter()
        .map(|set| spanset_json(trace, set, fields, spans))
        .collect();
    let (service, name) = root_names(&summary);
    let stats = summary.services.iter().map(|service| {
        let counts = json!({ "spanCount": service.spans, "errorCount": service.errors });
        (service.name.to_string(), counts)
    });
    let stats: serde_json::Map<String, Value> = stats.collect();
    Some(json!({
        "traceID": summary.id.to_string(),
        "rootServiceName": service,
        "rootTraceName": name,
        "startTimeUnixNano": summary.start.to_string(),
        "durationMs": summary.duration / 1_000_000,
        // The first one also under the name that older versions of Grafana read.
        "spanSet": sets.first(),
        "spanSets": sets,
        "serviceStats": stats,
    }))
}

fn root_names(summary: &TraceSummary) -> (&str, &str) {
    if summary.rooted {
        (&*summary.service, summary.operation.as_str())
    } else {
        (NO_ROOT, NO_ROOT)
    }
}

fn spanset_json(
    trace: &TraceView<'_>,
    set: &MatchedSpanset,
    fields: &[SelectedField],
    spans: usize,
) -> Value {
    let shown: Vec<Value> = set
        .spans
        .iter()
        .take(spans)
        .filter_map(|at| span_json(trace, *at, fields))
        .collect();
    let values = set.values.iter();
    let values: Vec<Value> = values.map(|(key, value)| attribute(key, value)).collect();
    json!({ "attributes": values, "spans": shown, "matched": set.spans.len() })
}

fn span_json(trace: &TraceView<'_>, at: usize, fields: &[SelectedField]) -> Option<Value> {
    let span = trace.span(at)?;
    let attributes: Vec<Value> = fields
        .iter()
        .filter_map(|field| Some(attribute(&field.name, &trace.value(&field.value, at)?)))
        .collect();
    Some(json!({
        "spanID": span.span_id.to_string(),
        "name": span.name,
        "startTimeUnixNano": span.start.to_string(),
        "durationNanos": span.duration().to_string(),
        "attributes": attributes,
    }))
}
