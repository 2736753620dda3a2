//! Jaeger's API v3: OTLP JSON (jaegertracing/jaeger-idl, `api_v3/query_service.proto`, as its HTTP
//! gateway speaks it).

use axum::Router;
use axum::extract::{Path, Query as QueryString, State};
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use http::StatusCode;
use throughline_otlp::spans_to_json;
use throughline_store::{SpanSearch, Store, StoredTrace, TagCondition, TraceQuery};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::summary_json::JaegerSummaryJson;
use crate::query::query_params::{self, QueryParams};
use crate::query::state::{MAX_SEARCH_SPANS, QueryError, QueryState, json_response, to_json};
use crate::query::trace_id;

const NOT_FOUND: &str = "No traces found";

/// Returns the routes of the API.
pub(super) fn routes() -> Router<QueryState> {
    Router::new()
        .route("/api/v3/services", get(services))
        .route("/api/v3/operations", get(operations))
        .route("/api/v3/traces", get(search))
        .route("/api/v3/traces/{id}", get(trace))
        .route("/api/v3/trace-summaries", get(summaries))
}

async fn services(State(state): State<QueryState>) -> Response {
    let body = state.run(|store| to_json(&serde_json::json!({ "services": store.services() })));
    respond(body.await)
}

async fn operations(
    State(state): State<QueryState>,
    QueryString(params): QueryString<QueryParams>,
) -> Response {
    let body = state.run(move |store| {
        let kind = params.kind(&["spanKind", "span_kind"])?;
        let operations = store
            .operations(params.first(&["service"]), kind)
            .into_iter();
        let operations: Vec<_> = operations
            .map(|operation| {
                // Jaeger prints an unspecified kind as internal.
                let kind = if operation.kind.is_empty() {
                    "internal"
                } else {
                    operation.kind
                };
                serde_json::json!({ "name": operation.name, "spanKind": kind })
            })
            .collect();
        to_json(&serde_json::json!({ "operations": operations }))
    });
    respond(body.await)
}

async fn search(
    State(state): State<QueryState>,
    QueryString(params): QueryString<QueryParams>,
) -> Response {
    let body = state.run(move |store| traces_json(&search_traces(store, &params)?));
    respond(body.await)
}

async fn trace(
    State(state): State<QueryState>,
    Path(id): Path<String>,
    QueryString(params): QueryString<QueryParams>,
) -> Response {
    let body = state.run(move |store| {
        let trace = store
            .trace(trace_id::parse(&id)?, params.view()?)
            .ok_or(QueryError::NotFound(NOT_FOUND))?;
        traces_json(&[trace])
    });
    respond(body.await)
}

async fn summaries(
    State(state): State<QueryState>,
    QueryString(params): QueryString<QueryParams>,
) -> Response {
    #[derive(serde::Serialize)]
    struct SummariesJson<'a> {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        summaries: Vec<JaegerSummaryJson<'a>>,
    }
    let body = state.run(move |store| {
        let traces = search_traces(store, &params)?;
        to_json(&SummariesJson {
            summaries: traces.iter().map(JaegerSummaryJson::from).collect(),
        })
    });
    respond(body.await)
}

fn search_traces(store: &dyn Store, params: &QueryParams) -> Result<Vec<StoredTrace>, QueryError> {
    // The same engine as the legacy API, and as our own search.
    Ok(store.search_traces(&TraceQuery {
        view: params.view()?,
        ..span_search(params)?.into()
    }))
}

fn span_search(params: &QueryParams) -> Result<SpanSearch, QueryError> {
    if params.first(&["query.filter"]).is_some() {
        return Err(QueryError::Invalid(
            "parameter query.filter is not supported yet; use query.attributes".to_owned(),
        ));
    }
    // The gateway accepts the names of the proto fields in camel case and in snake case.
    let time = |names: &[&'static str]| {
        let name = names.first().copied().unwrap_or_default();
        let time = params.parse(names, "a time such as 2026-01-31T12:00:00Z", timestamp)?;
        time.ok_or_else(|| QueryError::Invalid(format!("parameter {name} is required")))
    };
    let start = time(&["query.startTimeMin", "query.start_time_min"])?;
    let end = time(&["query.startTimeMax", "query.start_time_max"])?;
    let tags = params.parse(
        &["query.attributes"],
        "a JSON object with string values",
        query_params::parse_tags,
    )?;
    let mut tags = tags.unwrap_or_default();
    // The gateway reads a map of the proto in this form; the JSON object is Jaeger's own addition.
    let entries = params.entries("query.attributes");
    tags.extend(entries.map(|(key, value)| TagCondition {
        key: key.to_owned(),
        value: value.to_owned(),
    }));
    Ok(SpanSearch {
        service: params
            .first(&["query.serviceName", "query.service_name"])
            .map(str::to_owned),
        operation: params
            .first(&["query.operationName", "query.operation_name"])
            .map(str::to_owned),
        tags,
        duration: params.durations(
            &["query.durationMin", "query.duration_min"],
            &["query.durationMax", "query.duration_max"],
        )?,
        start: start..=end,
        limit: params.limit(&[
            "query.searchDepth",
            "query.search_depth",
            "query.num_traces",
        ])?,
        max_spans: MAX_SEARCH_SPANS,
    })
}

/// Parses a time of RFC 3339 into nanoseconds since the Unix epoch. A time outside the range of
/// spans becomes its first or last value: a client may ask from year 0 to year 9999 for everything.
fn timestamp(text: &str) -> Option<u64> {
    let nanoseconds = OffsetDateTime::parse(text, &Rfc3339)
        .ok()?
        .unix_timestamp_nanos();
    // Before 1970 becomes 0; after 2554 the greatest time.
    Some(u64::try_from(nanoseconds.max(0)).unwrap_or(u64::MAX))
}

fn traces_json(traces: &[StoredTrace]) -> Result<Vec<u8>, QueryError> {
    #[derive(serde::Serialize)]
    struct ResultJson<T> {
        result: T,
    }
    #[derive(serde::Serialize)]
    #[serde(rename_all = "camelCase")]
    struct TraceListJson<T> {
        resource_spans: T,
    }
    // Jaeger answers an empty result with 404.
    if traces.is_empty() {
        return Err(QueryError::NotFound(NOT_FOUND));
    }
    // Trace by trace, so that no `resourceSpans` entry mixes two of them.
    let resource_spans: Vec<_> = traces
        .iter()
        .flat_map(|trace| spans_to_json(trace.spans.iter().map(|span| &**span)))
        .collect();
    to_json(&ResultJson {
        result: TraceListJson { resource_spans },
    })
}

fn respond(body: Result<Bytes, QueryError>) -> Response {
    let (status, message) = match body {
        Ok(body) => return json_response(StatusCode::OK, body),
        Err(error) => error.into_status_and_message(),
    };
    let error = serde_json::json!({ "error": { "httpCode": status.as_u16(), "message": message } });
    json_response(status, to_json(&error).unwrap_or_default())
}
