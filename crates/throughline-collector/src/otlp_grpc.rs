//! OTLP over gRPC: the unary method `TraceService/Export`. Metrics and logs are accepted and
//! dropped.
//!
//! The message frame is read here instead of by tonic's server, for three reasons: bodies pass the
//! same admission as those over HTTP; no memory is reserved for an announced length; and a message
//! that is too large is answered RESOURCE_EXHAUSTED, which OTLP clients do not retry, where tonic
//! answers OUT_OF_RANGE, which they do.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http_body_util::{BodyExt as _, Full};
use throughline_otlp::{RejectedSpans, response};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::access::IngestGrant;
use crate::config::CollectorEndpoint;
use crate::ingest::{AdmittedBody, ContentCodings, IgnoredSignal, IngestError, IngestPipeline};

/// Length of the prefix of a message: compression flag and message length.
const MESSAGE_PREFIX_BYTES: usize = 5;

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
        Ok(rejected) => success_response(&response::export_protobuf(&rejected)),
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
    success_response(&[])
}

/// gRPC over HTTP/2: a request of another type is answered 415, to help other clients.
fn not_grpc_response() -> Response {
    let mut response = Response::new(Body::from("this port speaks gRPC\n"));
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    response
}

async fn ingest(
    pipeline: &Arc<IngestPipeline>,
    grant: IngestGrant,
    headers: &HeaderMap,
    body: Body,
) -> Result<RejectedSpans, IngestError> {
    let mut body = pipeline.admit(body).await?;
    let codings = remove_prefix(&mut body, headers)?;
    let endpoint = CollectorEndpoint::OtlpGrpc;
    pipeline.store_otlp(endpoint, grant, body, codings).await
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            matches!(
                value.split(';').next().map(str::trim),
                // Other message formats, such as `application/grpc+json`, are not supported.
                Some("application/grpc" | "application/grpc+proto")
            )
        })
}

/// Removes the prefix of the only message of a unary call ("Length-Prefixed-Message" in gRPC over
/// HTTP/2) and returns the compression of the message.
fn remove_prefix(
    body: &mut AdmittedBody,
    headers: &HeaderMap,
) -> Result<ContentCodings, IngestError> {
    let malformed = |message: &str| Err(IngestError::Malformed(message.to_owned()));
    // A flag of one byte, and the length in four, big-endian.
    let Some((&[flag, a, b, c, d], message)) = body.bytes().split_first_chunk::<5>() else {
        return malformed("the request has no message");
    };
    if usize::try_from(u32::from_be_bytes([a, b, c, d])) != Ok(message.len()) {
        return malformed("the request is not a single whole message");
    }
    let name = headers.get("grpc-encoding").map(HeaderValue::as_bytes);
    let codings = match (flag, name) {
        // `grpc-encoding` may name a compression that this message does not use.
        (0, _) => ContentCodings::default(),
        (1, Some(name)) => ContentCodings::from_name(name)?,
        _ => return malformed("the message is compressed without a grpc-encoding header"),
    };
    body.skip(MESSAGE_PREFIX_BYTES);
    Ok(codings)
}

fn success_response(message: &[u8]) -> Response {
    let mut frame = BytesMut::with_capacity(MESSAGE_PREFIX_BYTES + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or_default());
    frame.extend_from_slice(message);
    // The status of a response with a message goes into the trailers.
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::<Bytes>::new(frame.freeze()).with_trailers(async { Some(Ok(trailers)) });
    let mut response = Response::new(Body::new(body));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn error_response(error: &IngestError) -> Response {
    let (_, code) = error.status();
    // OTLP specification: `RetryInfo` gives the client the time to wait, and only its presence
    // makes RESOURCE_EXHAUSTED retryable.
    let status = if let Some(wait) = error.retry_after() {
        let details = ErrorDetails::with_retry_info(Some(wait));
        Status::with_error_details(code, error.to_string(), details)
    } else {
        Status::new(code, error.to_string())
    };
    // A response without messages: the status goes into the headers ("Trailers-Only").
    let mut response = status.into_http::<Body>();
    if code == Code::Unimplemented {
        response.headers_mut().insert(
            "grpc-accept-encoding",
            HeaderValue::from_static("identity,gzip,deflate,zstd"),
        );
    }
    response
}
