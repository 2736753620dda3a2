//! OTLP over gRPC: the unary method `TraceService/Export`. Metrics and logs are accepted and
//! dropped.
//!
//! The message frame is not read by tonic's server, for three reasons: bodies pass the same
//! admission as those over HTTP; no memory is reserved for an announced length; and a message that
//! is too large is answered RESOURCE_EXHAUSTED, which OTLP clients do not retry, where tonic
//! answers OUT_OF_RANGE, which they do.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use http::header::HeaderMap;
use throughline_otlp::{RejectedSpans, response};
use tonic::Status;

use crate::access::IngestGrant;
use crate::config::CollectorEndpoint;
use crate::grpc_message::{
    self, MESSAGE_PREFIX_BYTES, MessageFrames, error_response, is_grpc, not_grpc_response,
};
use crate::ingest::{IgnoredSignal, IngestError, IngestPipeline};

/// Returns the routes of the methods; others are answered UNIMPLEMENTED.
pub(crate) fn router(pipeline: Arc<IngestPipeline>) -> Router {
    Router::new()
        .route(
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            post(export),
        )
        .route(
            "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            post(async |pipeline, headers, body| {
                drop_signal(pipeline, headers, body, IgnoredSignal::Metrics).await
            }),
        )
        .route(
            "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            post(async |pipeline, headers, body| {
                drop_signal(pipeline, headers, body, IgnoredSignal::Logs).await
            }),
        )
        .fallback(async || {
            Status::unimplemented("only the export of traces, metrics and logs is served here")
                .into_http::<Body>()
        })
        .with_state(pipeline)
}

async fn export(
    State(pipeline): State<Arc<IngestPipeline>>,
    grant: IngestGrant,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if !is_grpc(&headers) {
        return not_grpc_response();
    }
    match ingest(&pipeline, grant, &headers, body).await {
        Ok(rejected) => unary_response(&response::export_protobuf(&rejected)),
        Err(error) => error_response(&error),
    }
}

async fn drop_signal(
    State(pipeline): State<Arc<IngestPipeline>>,
    headers: HeaderMap,
    body: Body,
    signal: IgnoredSignal,
) -> Response {
    if !is_grpc(&headers) {
        return not_grpc_response();
    }
    let endpoint = CollectorEndpoint::OtlpGrpc;
    pipeline.drop_signal(endpoint, signal, body).await;
    // The responses of all signals are alike, and an empty one is a full success.
    unary_response(&[])
}

fn unary_response(message: &[u8]) -> Response {
    let mut frames = MessageFrames::default();
    frames.push(message);
    grpc_message::success_response(frames.into_bytes().into())
}

async fn ingest(
    pipeline: &Arc<IngestPipeline>,
    grant: IngestGrant,
    headers: &HeaderMap,
    body: Body,
) -> Result<RejectedSpans, IngestError> {
    let mut body = pipeline.admit(body).await?;
    let codings = grpc_message::parse_prefix(body.bytes(), headers)?;
    body.skip(MESSAGE_PREFIX_BYTES);
    let endpoint = CollectorEndpoint::OtlpGrpc;
    pipeline.store_otlp(endpoint, grant, body, codings).await
}
