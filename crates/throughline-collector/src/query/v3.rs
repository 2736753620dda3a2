//! Jaeger's API v3: OTLP JSON (jaegertracing/jaeger-idl, `api_v3/query_service.proto`, as its HTTP gateway speaks it).

use axum::Router;
use axum::extract::{Path, Query as QueryString, State};
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use http::StatusCode;
use throughline_otlp::spans_to_json;
use throughline_store::{Query, Trace};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::params::{self, Params};
use super::summary::SummaryJson;
use super::{Desk, Failure, SEARCH_SPANS_MAX, ids, json_response, shared_span, to_json};

/// The routes of the API.
pub(super) fn routes() -> Router<Desk> {
    Router::new()
        .route("/api/v3/services", get(services))
        .route("/api/v3/operations", get(operations))
        .route("/api/v3/traces", get(search))
        .route("/api/v3/traces/{id}", get(trace))
        .route("/api/v3/trace-summaries", get(summaries))
}

async fn services(State(desk): State<Desk>) -> Response {
    respond(
        desk.ask(|store| to_json(&serde_json::json!({ "services": store.services() })))
            .await,
    )
}

async fn operations(
    State(desk): State<Desk>,
    QueryString(params): QueryString<Params>,
) -> Response {
    let answer = desk.ask(move |store| {
        let kind = params.kind(&["spanKind", "span_kind"])?;
        let found = store
            .operations(params.first(&["service"]), kind)
            .into_iter();
        let operations: Vec<_> = found
            .map(|operation| {
                // As Jaeger prints a kind that nobody gave.
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
    respond(answer.await)
}

async fn search(State(desk): State<Desk>, QueryString(params): QueryString<Params>) -> Response {
    let answer = desk.ask(move |store| {
        let traces: Vec<Trace> = store
            .search(&query(&params)?)
            .into_iter()
            .map(shared_span::parted)
            .collect();
        traces_json(&traces)
    });
    respond(answer.await)
}

async fn trace(State(desk): State<Desk>, Path(id): Path<String>) -> Response {
    let answer = desk.ask(move |store| {
        let trace = store
            .trace(ids::parse(&id)?)
            .ok_or(Failure::Missing(NOT_FOUND))?;
        traces_json(&[shared_span::parted(trace)])
    });
    respond(answer.await)
}

async fn summaries(State(desk): State<Desk>, QueryString(params): QueryString<Params>) -> Response {
    #[derive(serde::Serialize)]
    struct Summaries<'a> {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        summaries: Vec<SummaryJson<'a>>,
    }
    let answer = desk.ask(move |store| {
        let traces: Vec<Trace> = store
            .search(&query(&params)?)
            .into_iter()
            .map(shared_span::parted)
            .collect();
        to_json(&Summaries {
            summaries: traces.iter().map(SummaryJson::from).collect(),
        })
    });
    respond(answer.await)
}

fn query(params: &Params) -> Result<Query, Failure> {
    if params.first(&["query.filter"]).is_some() {
        return Err(Failure::Bad(
            "parameter query.filter is not supported yet; use query.attributes".to_owned(),
        ));
    }
    let time = |names: &[&'static str]| {
        let name = names.first().copied().unwrap_or_default();
        let time = params.read(names, "a time as in 2026-01-31T12:00:00Z", timestamp)?;
        time.ok_or_else(|| Failure::Bad(format!("parameter {name} is required")))
    };
    let start = time(&["query.startTimeMin", "query.start_time_min"])?;
    let end = time(&["query.startTimeMax", "query.start_time_max"])?;
    let attributes = params.read(
        &["query.attributes"],
        "a JSON object of texts",
        params::filters,
    )?;
    Ok(Query {
        service: params
            .first(&["query.serviceName", "query.service_name"])
            .map(str::to_owned),
        operation: params
            .first(&["query.operationName", "query.operation_name"])
            .map(str::to_owned),
        attributes: attributes.unwrap_or_default(),
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
        spans_max: SEARCH_SPANS_MAX,
    })
}

/// Nanoseconds since the Unix epoch, of a time of RFC 3339. A time that no span can have stands for the first or the last it can: who
/// asks for everything may well ask from year 0 to year 9999.
fn timestamp(text: &str) -> Option<u64> {
    let nanoseconds = OffsetDateTime::parse(text, &Rfc3339)
        .ok()?
        .unix_timestamp_nanos();
    Some(u64::try_from(nanoseconds.max(0)).unwrap_or(u64::MAX))
}

fn traces_json(traces: &[Trace]) -> Result<Vec<u8>, Failure> {
    #[derive(serde::Serialize)]
    struct Reply<T> {
        result: T,
    }
    #[derive(serde::Serialize)]
    #[serde(rename_all = "camelCase")]
    struct TracesData<T> {
        resource_spans: T,
    }
    if traces.is_empty() {
        return Err(Failure::Missing(NOT_FOUND));
    }
    // Trace by trace, so that no entry mixes two of them.
    let resource_spans: Vec<_> = traces
        .iter()
        .flat_map(|trace| spans_to_json(trace.spans.iter().map(|span| &**span)))
        .collect();
    to_json(&Reply {
        result: TracesData { resource_spans },
    })
}

fn respond(answer: Result<Bytes, Failure>) -> Response {
    let (status, message) = match answer {
        Ok(body) => return json_response(StatusCode::OK, body),
        Err(failure) => failure.told(),
    };
    let error = serde_json::json!({ "error": { "httpCode": status.as_u16(), "message": message } });
    json_response(status, to_json(&error).unwrap_or_default())
}

const NOT_FOUND: &str = "No traces found";
