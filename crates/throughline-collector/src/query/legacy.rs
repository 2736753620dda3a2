//! Jaeger's legacy API, which Grafana and older tools call.

use axum::Router;
use axum::extract::{Path, Query as QueryString, State};
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use http::StatusCode;
use throughline_model::TraceId;
use throughline_store::{AttributeFilter, Query, Store, Trace};

use super::jaeger::TraceJson;
use super::params::{self, Params};
use super::{Desk, Failure, SEARCH_SPANS_MAX, ids, json_response, shared_span, to_json};

/// The routes of the API.
pub(super) fn routes() -> Router<Desk> {
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

/// What every answer is wrapped in.
#[derive(serde::Serialize)]
struct Envelope<T> {
    data: Option<T>,
    total: usize,
    limit: usize,
    offset: usize,
    errors: Option<Vec<ErrorJson>>,
}

#[derive(serde::Serialize)]
struct ErrorJson {
    code: u16,
    msg: String,
    #[serde(rename = "traceID", skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

async fn services(State(desk): State<Desk>) -> Response {
    respond(desk.ask(|store| list(&store.services())).await)
}

async fn service_operations(State(desk): State<Desk>, Path(service): Path<String>) -> Response {
    let answer = desk.ask(move |store| {
        let mut names: Vec<String> = store
            .operations(Some(&service), None)
            .into_iter()
            .map(|operation| operation.name)
            .collect();
        names.dedup();
        list(&names)
    });
    respond(answer.await)
}

async fn operations(
    State(desk): State<Desk>,
    QueryString(params): QueryString<Params>,
) -> Response {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "camelCase")]
    struct OperationJson {
        name: String,
        span_kind: &'static str,
    }
    let answer = desk.ask(move |store| {
        let operations = store.operations(params.first(&["service"]), params.kind(&["spanKind"])?);
        let operations = operations.into_iter();
        list(
            &operations
                .map(|found| OperationJson {
                    name: found.name,
                    span_kind: found.kind,
                })
                .collect::<Vec<_>>(),
        )
    });
    respond(answer.await)
}

async fn search(State(desk): State<Desk>, QueryString(params): QueryString<Params>) -> Response {
    let answer = desk.ask(move |store| {
        let wanted = params
            .all("traceID")
            .map(ids::parse)
            .collect::<Result<Vec<_>, _>>()?;
        if !wanted.is_empty() {
            return by_ids(store, &wanted);
        }
        let traces: Vec<Trace> = store
            .search(&query(&params)?)
            .into_iter()
            .map(shared_span::parted)
            .collect();
        traces_json(&traces, None)
    });
    respond(answer.await)
}

fn by_ids(store: &dyn Store, wanted: &[TraceId]) -> Result<Vec<u8>, Failure> {
    let mut traces = Vec::new();
    let mut errors = Vec::new();
    for id in wanted.iter().take(super::SEARCH_TRACES_MAX) {
        match store.trace(*id) {
            Some(trace) => traces.push(shared_span::parted(trace)),
            None => errors.push(ErrorJson {
                code: 404,
                msg: NOT_FOUND.to_owned(),
                trace_id: Some(id.to_string()),
            }),
        }
    }
    traces_json(&traces, (!errors.is_empty()).then_some(errors))
}

fn query(params: &Params) -> Result<Query, Failure> {
    let time = |names: &[&str]| {
        params.read(names, "microseconds since the Unix epoch", |text| {
            text.parse::<u64>().ok()
        })
    };
    let start =
        time(&["start"])?.map_or_else(|| params::now().saturating_sub(DEFAULT_RANGE), nanoseconds);
    let end = time(&["end"])?.map_or(u64::MAX, |end| nanoseconds(end).saturating_add(999));
    let tags = params.read(&["tags"], "a JSON object of texts", params::filters)?;
    let mut attributes = tags.unwrap_or_default();
    for tag in params.all("tag") {
        let (key, value) = tag
            .split_once(':')
            .ok_or_else(|| Failure::Bad(format!("parameter tag must be key:value, not {tag:?}")))?;
        attributes.push(AttributeFilter {
            key: key.to_owned(),
            value: value.to_owned(),
        });
    }
    Ok(Query {
        service: params.first(&["service"]).map(str::to_owned),
        operation: params
            .first(&["operation"])
            .filter(|operation| *operation != "all")
            .map(str::to_owned),
        attributes,
        duration: params.durations(&["minDuration"], &["maxDuration"])?,
        start: start..=end,
        limit: params.limit(&["limit"])?,
        spans_max: SEARCH_SPANS_MAX,
    })
}

/// `start` and `end` are left aside: a trace is whole, and Grafana sends them in another unit.
async fn trace(State(desk): State<Desk>, Path(id): Path<String>) -> Response {
    let answer = desk.ask(move |store| {
        let trace = store
            .trace(ids::parse(&id)?)
            .ok_or(Failure::Missing(NOT_FOUND))?;
        traces_json(&[shared_span::parted(trace)], None)
    });
    respond(answer.await)
}

async fn dependencies(
    State(desk): State<Desk>,
    QueryString(params): QueryString<Params>,
) -> Response {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "camelCase")]
    struct DependencyJson {
        parent: String,
        child: String,
        call_count: u64,
    }
    let answer = desk.ask(move |store| {
        let milliseconds = |names: &[&str]| {
            let read = params.read(names, "a number of milliseconds", |text| {
                text.parse::<u64>().ok()
            })?;
            Ok(read.map(|number| number.saturating_mul(1_000_000)))
        };
        let end = milliseconds(&["endTs"])?.unwrap_or_else(params::now);
        let lookback = milliseconds(&["lookback"])?.unwrap_or(DAY);
        let found = store
            .dependencies(end.saturating_sub(lookback), end)
            .into_iter();
        let edge = |found: throughline_store::Dependency| DependencyJson {
            parent: found.parent,
            child: found.child,
            call_count: found.calls,
        };
        list(&found.map(edge).collect::<Vec<_>>())
    });
    respond(answer.await)
}

fn traces_json(traces: &[Trace], errors: Option<Vec<ErrorJson>>) -> Result<Vec<u8>, Failure> {
    let data: Vec<TraceJson<'_>> = traces.iter().map(TraceJson::from).collect();
    to_json(&Envelope {
        total: data.len(),
        data: Some(data),
        limit: 0,
        offset: 0,
        errors,
    })
}

fn list<T: serde::Serialize>(items: &[T]) -> Result<Vec<u8>, Failure> {
    to_json(&Envelope {
        total: items.len(),
        data: Some(items),
        limit: 0,
        offset: 0,
        errors: None,
    })
}

fn respond(answer: Result<Bytes, Failure>) -> Response {
    let (status, msg) = match answer {
        Ok(body) => return json_response(StatusCode::OK, body),
        Err(failure) => failure.told(),
    };
    let errors = Some(vec![ErrorJson {
        code: status.as_u16(),
        msg,
        trace_id: None,
    }]);
    let envelope = Envelope::<()> {
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

const NOT_FOUND: &str = "trace not found";

/// Nanoseconds of a day.
const DAY: u64 = 24 * 3600 * 1_000_000_000;

/// Jaeger looks back so far when not told.
const DEFAULT_RANGE: u64 = 2 * DAY;
