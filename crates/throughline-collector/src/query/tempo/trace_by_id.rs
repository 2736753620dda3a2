//! A trace by its id, as OTLP in protobuf or JSON.

use axum::extract::{Path, Query as QueryString, State};
use axum::response::{IntoResponse as _, Response};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use serde_json::json;
use throughline_model::Span;
use throughline_otlp::{encode_protobuf, spans_to_json};
use throughline_store::StoredTrace;

use super::super::query_params::QueryParams;
use super::super::state::{QueryError, QueryState, json_response, to_json};
use super::super::trace_id;
use super::tempo_response::error_response;

const PROTOBUF: &str = "application/protobuf";

/// Tag of field 1, a message, in protobuf.
const FIELD_1_MESSAGE: u8 = 0x0a;

/// The form of a response.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TraceFormat {
    /// The trace itself.
    Plain,
    /// The trace as a field of a response.
    Wrapped,
}

pub(super) async fn trace(
    State(state): State<QueryState>,
    Path(id): Path<String>,
    QueryString(params): QueryString<QueryParams>,
    headers: HeaderMap,
) -> Response {
    respond(&state, id, params, &headers, TraceFormat::Plain).await
}

pub(super) async fn trace_v2(
    State(state): State<QueryState>,
    Path(id): Path<String>,
    QueryString(params): QueryString<QueryParams>,
    headers: HeaderMap,
) -> Response {
    respond(&state, id, params, &headers, TraceFormat::Wrapped).await
}

async fn respond(
    state: &QueryState,
    id: String,
    params: QueryParams,
    headers: &HeaderMap,
    format: TraceFormat,
) -> Response {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let is_protobuf = accept.is_some_and(|accept| accept.contains(PROTOBUF));
    let body = state.run(move |store| {
        let trace = store
            .trace(trace_id::parse(&id)?, params.view()?)
            .ok_or(QueryError::NotFound("trace not found"))?;
        if is_protobuf {
            Ok(protobuf(&trace, format))
        } else {
            json_body(&trace, format)
        }
    });
    match body.await {
        Ok(body) if is_protobuf => {
            (StatusCode::OK, [(CONTENT_TYPE, PROTOBUF)], body).into_response()
        }
        Ok(body) => json_response(StatusCode::OK, body),
        Err(error) => error_response(error),
    }
}

fn spans(trace: &StoredTrace) -> impl Iterator<Item = &Span> {
    trace.spans.iter().map(|span| &**span)
}

fn protobuf(trace: &StoredTrace, format: TraceFormat) -> Vec<u8> {
    // Tempo's `Trace` has the fields of OTLP's export request.
    let message = encode_protobuf(spans(trace));
    match format {
        TraceFormat::Plain => message,
        TraceFormat::Wrapped => {
            let mut wrapped = vec![FIELD_1_MESSAGE];
            push_varint(&mut wrapped, message.len());
            wrapped.extend(message);
            wrapped
        }
    }
}

fn push_varint(bytes: &mut Vec<u8>, mut number: usize) {
    while let (low, rest @ 1..) = (number & 0x7f, number >> 7) {
        bytes.push(u8::try_from(low | 0x80).unwrap_or_default());
        number = rest;
    }
    bytes.push(u8::try_from(number).unwrap_or_default());
}

fn json_body(trace: &StoredTrace, format: TraceFormat) -> Result<Vec<u8>, QueryError> {
    let resource_spans = spans_to_json(spans(trace));
    match format {
        // The name of the field in the first version of the API.
        TraceFormat::Plain => to_json(&json!({ "batches": resource_spans })),
        TraceFormat::Wrapped => to_json(&json!({ "trace": { "resourceSpans": resource_spans } })),
    }
}
