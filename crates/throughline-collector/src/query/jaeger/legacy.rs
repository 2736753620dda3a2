//! Jaeger's legacy API, which Grafana and older tools use.

use std::collections::HashSet;

use axum::Router;
use axum::extract::{Path, Query as QueryString, State};
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use http::StatusCode;
use throughline_model::TraceId;
use throughline_store::{
    ServiceDependency, SpanSearch, Store, StoredTrace, TagCondition, TraceQuery, WeavingView,
};

use super::trace_json::JaegerTraceJson;
use crate::clock;
use crate::query::query_params::{self, QueryParams};
use crate::query::state::{
    MAX_SEARCH_SPANS, MAX_SEARCH_TRACES, QueryError, QueryState, json_response, to_json,
};
use crate::query::trace_id;

const NOT_FOUND: &str = "trace not found";

/// A day in nanoseconds: the default range of dependencies.
const DAY: u64 = 24 * 3600 * 1_000_000_000;

/// Default range of a search before now, as in Jaeger.
const DEFAULT_LOOKBACK: u64 = 2 * DAY;

/// Returns the routes of the API.
pub(super) fn routes() -> Router<QueryState> {
    Router::new()
        .route("/api/services", get(services))
        .route(
            "/api/services/{service}/operations",
            get(service_operations),
        )
        .route("/api/operations", get(operations))
        .route("/api/traces", get(search))
        .route("/api/traces/{id}", get(trace))
        .route("/api/dependencies", get(dependencies))
}

/// The envelope of every response.
#[derive(serde::Serialize)]
struct JaegerEnvelopeJson<T> {
    data: Option<T>,
    total: usize,
    limit: usize,
    offset: usize,
    errors: Option<Vec<JaegerErrorJson>>,
}

#[derive(serde::Serialize)]
pub(super) struct JaegerErrorJson {
    code: u16,
    msg: String,
    #[serde(rename = "traceID", skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

async fn services(State(state): State<QueryState>) -> Response {
    respond(state.run(|store| list_json(&store.services())).await)
}

async fn service_operations(
    State(state): State<QueryState>,
    Path(service): Path<String>,
) -> Response {
    let body = state.run(move |store| {
        let mut names: Vec<String> = store
            .operations(Some(&service), None)
            .into_iter()
            .map(|operation| operation.name)
            .collect();
        // The list is sorted by name; an operation of several kinds appears once.
        names.dedup();
        list_json(&names)
    });
    respond(body.await)
}

async fn operations(
    State(state): State<QueryState>,
    QueryString(params): QueryString<QueryParams>,
) -> Response {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "camelCase")]
    struct OperationJson {
        name: String,
        span_kind: &'static str,
    }
    let body = state.run(move |store| {
        let operations = store.operations(params.first(&["service"]), params.kind(&["spanKind"])?);
        let operations: Vec<_> = operations
            .into_iter()
            .map(|operation| OperationJson {
                name: operation.name,
                span_kind: operation.kind,
            })
            .collect();
        list_json(&operations)
    });
    respond(body.await)
}

async fn search(
    State(state): State<QueryState>,
    QueryString(params): QueryString<QueryParams>,
) -> Response {
    let body = state.run(move |store| {
        let ids = params
            .all("traceID")
            .map(trace_id::parse)
            .collect::<Result<Vec<_>, _>>()?;
        // In Jaeger, ids replace the other conditions of a search.
        if !ids.is_empty() {
            return traces_by_id(store, &ids, params.view()?);
        }
        let query = TraceQuery {
            view: params.view()?,
            ..span_search(&params)?.into()
        };
        traces_json(&store.search_traces(&query), None)
    });
    respond(body.await)
}

fn traces_by_id(
    store: &dyn Store,
    ids: &[TraceId],
    view: WeavingView,
) -> Result<Vec<u8>, QueryError> {
    let mut traces: Vec<StoredTrace> = Vec::new();
    let mut known = HashSet::new();
    let mut errors = Vec::new();
    // A URL can hold thousands of ids.
    for id in ids.iter().take(MAX_SEARCH_TRACES) {
        match store.trace(*id, view) {
            // Several ids may be those of one woven trace.
            Some(trace) if known.insert(trace.id) => traces.push(trace),
            Some(_) => {}
            None => errors.push(JaegerErrorJson {
                code: 404,
                msg: NOT_FOUND.to_owned(),
                trace_id: Some(id.to_string()),
            }),
        }
    }
    traces_json(&traces, (!errors.is_empty()).then_some(errors))
}

fn span_search(params: &QueryParams) -> Result<SpanSearch, QueryError> {
    let time = |names: &[&str]| {
        params.parse(names, "microseconds since the Unix epoch", |text| {
            text.parse::<u64>().ok()
        })
    };
    let default_start = || clock::now().saturating_sub(DEFAULT_LOOKBACK);
    let start = time(&["start"])?.map_or_else(default_start, nanoseconds);
    // The end includes its whole microsecond.
    let end = time(&["end"])?.map_or(u64::MAX, |end| nanoseconds(end).saturating_add(999));
    let expected = "a JSON object with string values";
    let tags = params.parse(&["tags"], expected, query_params::parse_tags)?;
    let mut tags = tags.unwrap_or_default();
    for tag in params.all("tag") {
        let (key, value) = tag.split_once(':').ok_or_else(|| {
            QueryError::Invalid(format!("parameter tag must be key:value, not {tag:?}"))
        })?;
        tags.push(TagCondition {
            key: key.to_owned(),
            value: value.to_owned(),
        });
    }
    Ok(SpanSearch {
        service: params.first(&["service"]).map(str::to_owned),
        // Jaeger's UI sends `all` for any operation.
        operation: params
            .first(&["operation"])
            .filter(|operation| *operation != "all")
            .map(str::to_owned),
        tags,
        duration: params.durations(&["minDuration"], &["maxDuration"])?,
        start: start..=end,
        limit: params.limit(&["limit"])?,
        // Traces are returned whole, so their number alone would not bound the response.
        max_spans: MAX_SEARCH_SPANS,
    })
}

/// Returns one trace. `start` and `end` are ignored: a trace is returned whole, and Grafana sends
/// them in milliseconds where Jaeger expects microseconds.
async fn trace(
    State(state): State<QueryState>,
    Path(id): Path<String>,
    QueryString(params): QueryString<QueryParams>,
) -> Response {
    let body = state.run(move |store| {
        let trace = store
            .trace(trace_id::parse(&id)?, params.view()?)
            .ok_or(QueryError::NotFound(NOT_FOUND))?;
        traces_json(&[trace], None)
    });
    respond(body.await)
}

async fn dependencies(
    State(state): State<QueryState>,
    QueryString(params): QueryString<QueryParams>,
) -> Response {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "camelCase")]
    struct DependencyJson<'a> {
        parent: &'a str,
        child: &'a str,
        call_count: u64,
    }
    fn dependency_json(dependency: &ServiceDependency) -> DependencyJson<'_> {
        DependencyJson {
            parent: &dependency.parent,
            child: &dependency.child,
            call_count: dependency.calls,
        }
    }
    let body = state.run(move |store| {
        let milliseconds = |names: &[&str]| {
            let number = params.parse(names, "a number of milliseconds", |text| {
                text.parse::<u64>().ok()
            })?;
            Ok(number.map(|number| number.saturating_mul(1_000_000)))
        };
        let end = milliseconds(&["endTs"])?.unwrap_or_else(clock::now);
        let lookback = milliseconds(&["lookback"])?.unwrap_or(DAY);
        // The graph that the map shows; only its direct dependencies are used.
        let graph = store.service_graph(end.saturating_sub(lookback), end);
        let dependencies: Vec<_> = graph.dependencies.iter().map(dependency_json).collect();
        list_json(&dependencies)
    });
    respond(body.await)
}

pub(super) fn traces_json(
    traces: &[StoredTrace],
    errors: Option<Vec<JaegerErrorJson>>,
) -> Result<Vec<u8>, QueryError> {
    let data: Vec<JaegerTraceJson<'_>> = traces.iter().map(JaegerTraceJson::from).collect();
    to_json(&JaegerEnvelopeJson {
        total: data.len(),
        data: Some(data),
        limit: 0,
        offset: 0,
        errors,
    })
}

fn list_json<T: serde::Serialize>(items: &[T]) -> Result<Vec<u8>, QueryError> {
    to_json(&JaegerEnvelopeJson {
        total: items.len(),
        data: Some(items),
        limit: 0,
        offset: 0,
        errors: None,
    })
}

pub(super) fn respond(body: Result<Bytes, QueryError>) -> Response {
    let (status, msg) = match body {
        Ok(body) => return json_response(StatusCode::OK, body),
        Err(error) => error.into_status_and_message(),
    };
    let errors = Some(vec![JaegerErrorJson {
        code: status.as_u16(),
        msg,
        trace_id: None,
    }]);
    let envelope = JaegerEnvelopeJson::<()> {
        data: None,
        total: 0,
        limit: 0,
        offset: 0,
        errors,
    };
    json_response(status, to_json(&envelope).unwrap_or_default())
}

const fn nanoseconds(microseconds: u64) -> u64 {
    microseconds.saturating_mul(1000)
}
