//! Jaeger's Remote Storage API v2, for its storage backend `grpc`: `TraceReader` and
//! `DependencyReader` (jaegertracing/jaeger-idl, `storage/v2`).
//!
//! Traces are woven, as in other queries; the requests have no field to ask for raw ones. Unknown
//! ids are left out of a response, as the interface requires. The times of a trace by id are
//! ignored: a trace is returned whole.

use std::collections::HashSet;

use axum::Router;
use axum::routing::post;
use prost::{Message, Oneof};
use throughline_model::TraceId;
use throughline_store::{Store, TagCondition, TraceQuery, WeavingView};

use super::call::{answer, answer_one};
use super::message::{
    EmptyRequest, OperationMessage, OperationsRequest, OperationsResponse, ProtoTime,
    TraceConditions, services,
};
use super::trace_messages::push_trace;
use crate::grpc_message::MessageFrames;
use crate::query::state::{MAX_SEARCH_SPANS, MAX_SEARCH_TRACES, QueryError, QueryState};

/// `GetTracesRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
struct StoredTracesRequest {
    #[prost(message, repeated, tag = "1")]
    query: Vec<StoredTraceParameters>,
}

/// `GetTraceParams`.
#[derive(Clone, PartialEq, Eq, Message)]
struct StoredTraceParameters {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
}

/// `FindTracesRequest`.
#[derive(Clone, PartialEq, Message)]
struct StoredTraceQueryRequest {
    #[prost(message, optional, tag = "1")]
    query: Option<StoredTraceQuery>,
}

/// `TraceQueryParameters`.
#[derive(Clone, PartialEq, Message)]
struct StoredTraceQuery {
    #[prost(string, tag = "1")]
    service_name: String,
    #[prost(string, tag = "2")]
    operation_name: String,
    #[prost(message, repeated, tag = "3")]
    attributes: Vec<AttributeMessage>,
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
}

/// `KeyValue`.
#[derive(Clone, PartialEq, Message)]
struct AttributeMessage {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AttributeValueMessage>,
}

/// `AnyValue`.
#[derive(Clone, PartialEq, Message)]
struct AttributeValueMessage {
    #[prost(oneof = "AttributeScalar", tags = "1, 2, 3, 4")]
    value: Option<AttributeScalar>,
}

/// The values of an attribute that can be compared with. Lists, maps and bytes are unknown fields.
#[derive(Clone, PartialEq, Oneof)]
enum AttributeScalar {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(int64, tag = "3")]
    Int(i64),
    #[prost(double, tag = "4")]
    Double(f64),
}

/// `FindTraceIDsResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
struct TraceIdsResponse {
    #[prost(message, repeated, tag = "1")]
    trace_ids: Vec<FoundTraceMessage>,
}

/// `FoundTraceID`.
#[derive(Clone, PartialEq, Eq, Message)]
struct FoundTraceMessage {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    start: Option<ProtoTime>,
    #[prost(message, optional, tag = "3")]
    end: Option<ProtoTime>,
}

/// `GetDependenciesRequest`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct DependenciesRequest {
    #[prost(message, optional, tag = "1")]
    start_time: Option<ProtoTime>,
    #[prost(message, optional, tag = "2")]
    end_time: Option<ProtoTime>,
}

/// `GetDependenciesResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
struct DependenciesResponse {
    #[prost(message, repeated, tag = "1")]
    dependencies: Vec<DependencyMessage>,
}

/// `Dependency`.
#[derive(Clone, PartialEq, Eq, Message)]
struct DependencyMessage {
    #[prost(string, tag = "1")]
    parent: String,
    #[prost(string, tag = "2")]
    child: String,
    #[prost(uint64, tag = "3")]
    call_count: u64,
}

/// Returns the routes of the methods.
pub(super) fn routes() -> Router<QueryState> {
    let path = |method: &str| format!("/jaeger.storage.v2.{method}");
    Router::new()
        .route(
            &path("TraceReader/GetTraces"),
            post(async |state, headers, body| {
                let query = |store: &dyn Store, request| traces(store, &request);
                answer(state, headers, body, query).await
            }),
        )
        .route(
            &path("TraceReader/GetServices"),
            post(async |state, headers, body| {
                let query = |store: &dyn Store, _: EmptyRequest| Ok(services(store));
                answer_one(state, headers, body, query).await
            }),
        )
        .route(
            &path("TraceReader/GetOperations"),
            post(async |state, headers, body| {
                let query = |store: &dyn Store, request| operations(store, &request);
                answer_one(state, headers, body, query).await
            }),
        )
        .route(
            &path("TraceReader/FindTraces"),
            post(async |state, headers, body| answer(state, headers, body, find_traces).await),
        )
        .route(
            &path("TraceReader/FindTraceIDs"),
            post(async |state, headers, body| answer_one(state, headers, body, find_ids).await),
        )
        .route(
            &path("DependencyReader/GetDependencies"),
            post(async |state, headers, body| {
                let query = |store: &dyn Store, request| Ok(dependencies(store, request));
                answer_one(state, headers, body, query).await
            }),
        )
}

fn traces(store: &dyn Store, request: &StoredTracesRequest) -> Result<MessageFrames, QueryError> {
    if request.query.len() > MAX_SEARCH_TRACES {
        return Err(QueryError::Invalid(format!(
            "more than {MAX_SEARCH_TRACES} traces were asked for; ask for fewer at once"
        )));
    }
    let mut frames = MessageFrames::default();
    let (mut known, mut spans) = (HashSet::new(), 0);
    for parameters in &request.query {
        let Some(trace) = store.trace(parse_id(&parameters.trace_id)?, WeavingView::Woven) else {
            continue;
        };
        // Several ids may be those of one woven trace.
        if !known.insert(trace.id) {
            continue;
        }
        // A single trace is returned whatever its size.
        spans += trace.spans.len();
        if spans > MAX_SEARCH_SPANS && known.len() > 1 {
            return Err(QueryError::Invalid(format!(
                "the traces have more than {MAX_SEARCH_SPANS} spans; ask for fewer at once"
            )));
        }
        push_trace(&mut frames, &trace);
    }
    Ok(frames)
}

fn parse_id(bytes: &[u8]) -> Result<TraceId, QueryError> {
    let id = bytes.try_into().ok().and_then(TraceId::from_bytes);
    id.ok_or_else(|| QueryError::Invalid("trace_id must be 16 bytes, not all zero".to_owned()))
}

fn operations(
    store: &dyn Store,
    request: &OperationsRequest,
) -> Result<OperationsResponse, QueryError> {
    let operations = request.operations(store)?.into_iter();
    let operations = operations.map(|operation| OperationMessage {
        name: operation.name,
        span_kind: operation.kind.to_owned(),
    });
    Ok(OperationsResponse {
        operations: operations.collect(),
    })
}

fn find_traces(
    store: &dyn Store,
    request: StoredTraceQueryRequest,
) -> Result<MessageFrames, QueryError> {
    let mut frames = MessageFrames::default();
    for trace in store.search_traces(&trace_query(request)?) {
        push_trace(&mut frames, &trace);
    }
    Ok(frames)
}

fn find_ids(
    store: &dyn Store,
    request: StoredTraceQueryRequest,
) -> Result<TraceIdsResponse, QueryError> {
    let found = store.search(&trace_query(request)?).traces.into_iter();
    let trace_ids = found.map(|trace| FoundTraceMessage {
        trace_id: trace.id.to_bytes().to_vec(),
        start: Some(ProtoTime::from_nanoseconds(trace.start)),
        end: Some(ProtoTime::from_nanoseconds(
            trace.start.saturating_add(trace.duration),
        )),
    });
    Ok(TraceIdsResponse {
        trace_ids: trace_ids.collect(),
    })
}

fn trace_query(request: StoredTraceQueryRequest) -> Result<TraceQuery, QueryError> {
    // Absent fields are those of an absent message.
    let query = request.query.unwrap_or_default();
    let tags = query.attributes.into_iter().map(tag_condition);
    let conditions = TraceConditions {
        service: query.service_name,
        operation: query.operation_name,
        tags: tags.collect::<Result<_, _>>()?,
        start_min: query.start_time_min,
        start_max: query.start_time_max,
        duration_min: query.duration_min,
        duration_max: query.duration_max,
        search_depth: query.search_depth,
    };
    Ok(conditions.into_search()?.into())
}

fn tag_condition(attribute: AttributeMessage) -> Result<TagCondition, QueryError> {
    let key = attribute.key;
    let value = match attribute.value.and_then(|value| value.value) {
        Some(AttributeScalar::Text(text)) => text,
        Some(AttributeScalar::Bool(truth)) => truth.to_string(),
        Some(AttributeScalar::Int(number)) => number.to_string(),
        Some(AttributeScalar::Double(number)) => number.to_string(),
        None => {
            return Err(QueryError::Invalid(format!(
                "the value of attribute {key:?} must be a text, a number, true or false"
            )));
        }
    };
    Ok(TagCondition { key, value })
}

fn dependencies(store: &dyn Store, request: DependenciesRequest) -> DependenciesResponse {
    let time = |time: Option<ProtoTime>| time.and_then(ProtoTime::timestamp);
    let from = time(request.start_time).unwrap_or(0);
    let until = time(request.end_time).unwrap_or(u64::MAX);
    // The graph that the map shows; only its direct dependencies are used.
    let graph = store.service_graph(from, until);
    let dependencies = graph.dependencies.iter();
    let dependencies = dependencies.map(|dependency| DependencyMessage {
        parent: dependency.parent.to_string(),
        child: dependency.child.to_string(),
        call_count: dependency.calls,
    });
    DependenciesResponse {
        dependencies: dependencies.collect(),
    }
}
