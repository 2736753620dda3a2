//! `jaeger.api_v3.QueryService` (jaegertracing/jaeger-idl, `api_v3/query_service.proto`).
//!
//! `raw_traces` returns traces as they were reported, without joins. The times of a trace by id are
//! ignored: a trace is returned whole.

use std::collections::HashMap;

use axum::Router;
use axum::routing::post;
use prost::Message;
use throughline_store::{Store, TagCondition, TraceQuery};

use super::call::{answer, answer_one};
use super::message::{
    EmptyRequest, OperationMessage, OperationsRequest, OperationsResponse, ProtoTime,
    TraceConditions, services,
};
use super::trace_messages::push_trace;
use crate::grpc_message::MessageFrames;
use crate::query::state::{QueryError, QueryState, view_of};
use crate::query::trace_id;

const NOT_FOUND: &str = "trace not found";

/// `GetTraceRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
struct TraceRequestMessage {
    #[prost(string, tag = "1")]
    trace_id: String,
    #[prost(bool, tag = "4")]
    raw_traces: bool,
}

/// `FindTracesRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
struct TraceQueryRequest {
    #[prost(message, optional, tag = "1")]
    query: Option<TraceQueryMessage>,
}

/// `TraceQueryParameters`.
#[derive(Clone, PartialEq, Eq, Message)]
struct TraceQueryMessage {
    #[prost(string, tag = "1")]
    service_name: String,
    #[prost(string, tag = "2")]
    operation_name: String,
    #[prost(map = "string, string", tag = "3")]
    attributes: HashMap<String, String>,
    #[prost(message, optional, tag = "4")]
    start_time_min: Option<ProtoTime>,
    #[prost(message, optional, tag = "5")]
    start_time_max: Option<ProtoTime>,
    #[prost(message, optional, tag = "6")]
    duration_min: Option<ProtoTime>,
    #[prost(message, optional, tag = "7")]
    duration_max: Option<ProtoTime>,
    #[prost(int32, tag = "8")]
    search_depth: i32,
    #[prost(bool, tag = "9")]
    raw_traces: bool,
}

/// Returns the routes of the methods.
pub(super) fn routes() -> Router<QueryState> {
    let path = |method: &str| format!("/jaeger.api_v3.QueryService/{method}");
    Router::new()
        .route(
            &path("GetTrace"),
            post(async |state, headers, body| {
                let query = |store: &dyn Store, request| trace(store, &request);
                answer(state, headers, body, query).await
            }),
        )
        .route(
            &path("FindTraces"),
            post(async |state, headers, body| answer(state, headers, body, find_traces).await),
        )
        .route(
            &path("GetServices"),
            post(async |state, headers, body| {
                let query = |store: &dyn Store, _: EmptyRequest| Ok(services(store));
                answer_one(state, headers, body, query).await
            }),
        )
        .route(
            &path("GetOperations"),
            post(async |state, headers, body| {
                let query = |store: &dyn Store, request| operations(store, &request);
                answer_one(state, headers, body, query).await
            }),
        )
}

fn trace(store: &dyn Store, request: &TraceRequestMessage) -> Result<MessageFrames, QueryError> {
    let id = trace_id::parse(&request.trace_id)?;
    let trace = store.trace(id, view_of(request.raw_traces));
    let trace = trace.ok_or(QueryError::NotFound(NOT_FOUND))?;
    let mut frames = MessageFrames::default();
    push_trace(&mut frames, &trace);
    Ok(frames)
}

fn find_traces(store: &dyn Store, request: TraceQueryRequest) -> Result<MessageFrames, QueryError> {
    let required = |name: &str| QueryError::Invalid(format!("{name} is required"));
    let query = request.query.ok_or_else(|| required("query"))?;
    let view = view_of(query.raw_traces);
    let has_time = |time: Option<ProtoTime>| time.and_then(ProtoTime::timestamp).is_some();
    if !has_time(query.start_time_min) {
        return Err(required("start_time_min"));
    }
    if !has_time(query.start_time_max) {
        return Err(required("start_time_max"));
    }
    let query = TraceQuery {
        view,
        ..TraceConditions::from(query).into_search()?.into()
    };
    let mut frames = MessageFrames::default();
    for trace in store.search_traces(&query) {
        push_trace(&mut frames, &trace);
    }
    Ok(frames)
}

fn operations(
    store: &dyn Store,
    request: &OperationsRequest,
) -> Result<OperationsResponse, QueryError> {
    let operations = request.operations(store)?.into_iter();
    let operations = operations.map(|operation| OperationMessage {
        name: operation.name,
        // As over HTTP: Jaeger prints an unspecified kind as internal.
        span_kind: match operation.kind {
            "" => "internal".to_owned(),
            kind => kind.to_owned(),
        },
    });
    Ok(OperationsResponse {
        operations: operations.collect(),
    })
}

// === impl TraceConditions ===

impl From<TraceQueryMessage> for TraceConditions {
    fn from(query: TraceQueryMessage) -> Self {
        let tags = query.attributes.into_iter();
        Self {
            service: query.service_name,
            operation: query.operation_name,
            tags: tags
                .map(|(key, value)| TagCondition { key, value })
                .collect(),
            start_min: query.start_time_min,
            start_max: query.start_time_max,
            duration_min: query.duration_min,
            duration_max: query.duration_max,
            search_depth: query.search_depth,
        }
    }
}
