//! OTLP over gRPC: the unary method `TraceService/Export`.
//!
//! The frame is read here and not by tonic's server, for three reasons: bodies pass the same admission as those over HTTP; no memory
//! is reserved for a length that was only announced; and a message too large is answered `RESOURCE_EXHAUSTED`, which OTLP says is
//! not to be sent again, where tonic answers `OUT_OF_RANGE`, which is.

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
use throughline_otlp::{RejectedSpans, decode_protobuf, response};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::config::Door;
use crate::intake::{Admitted, Encoding, Intake, Refusal};
use crate::otlp_http::verdict;

/// The one method of the door; others are answered `UNIMPLEMENTED`.
pub(crate) fn router(intake: Arc<Intake>) -> Router {
    Router::new()
        .route(
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            post(export),
        )
        .fallback(async || {
            Status::unimplemented("only trace export is served here").into_http::<Body>()
        })
        .with_state(intake)
}

async fn export(State(intake): State<Arc<Intake>>, headers: HeaderMap, body: Body) -> Response {
    if !is_grpc(&headers) {
        let mut response = Response::new(Body::from("this port speaks gRPC\n"));
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return response;
    }
    match take(&intake, &headers, body).await {
        Ok(rejected) => accepted(&response::export_protobuf(&rejected)),
        Err(refusal) => refused(&refusal, &intake),
    }
}

async fn take(
    intake: &Arc<Intake>,
    headers: &HeaderMap,
    body: Body,
) -> Result<RejectedSpans, Refusal> {
    let mut body = intake.admit(body).await?;
    let encoding = unframe(&mut body, headers)?;
    let decode = |bytes: &[u8]| {
        decode_protobuf(bytes).map_err(|error| Refusal::Malformed(error.to_string()))
    };
    intake.keep(Door::OtlpGrpc, body, encoding, decode).await
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            matches!(
                value.split(';').next().map(str::trim),
                Some("application/grpc" | "application/grpc+proto")
            )
        })
}

/// Takes the prefix off the one message of the body: a flag for compression, and its length (gRPC over HTTP/2,
/// "Length-Prefixed-Message").
fn unframe(body: &mut Admitted, headers: &HeaderMap) -> Result<Encoding, Refusal> {
    let malformed = |message: &str| Err(Refusal::Malformed(message.to_owned()));
    let Some((&[flag, a, b, c, d], message)) = body.bytes().split_first_chunk::<5>() else {
        return malformed("the request has no message");
    };
    if usize::try_from(u32::from_be_bytes([a, b, c, d])) != Ok(message.len()) {
        return malformed("the request is not one whole message");
    }
    let encoding = match (
        flag,
        headers.get("grpc-encoding").map(HeaderValue::as_bytes),
    ) {
        (0, _) => Encoding::Identity,
        (1, Some(b"gzip")) => Encoding::Gzip,
        (1, Some(other)) => {
            return Err(Refusal::Encoding(
                String::from_utf8_lossy(other).into_owned(),
            ));
        }
        _ => return malformed("the message is compressed, and grpc-encoding does not say how"),
    };
    body.skip(PREFIX);
    Ok(encoding)
}

fn accepted(message: &[u8]) -> Response {
    let mut frame = BytesMut::with_capacity(PREFIX + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or_default());
    frame.extend_from_slice(message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::<Bytes>::new(frame.freeze()).with_trailers(async { Some(Ok(trailers)) });
    let mut response = Response::new(Body::new(body));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn refused(refusal: &Refusal, intake: &Intake) -> Response {
    let (_, code) = verdict(refusal);
    let status = if code == Code::Unavailable {
        let details = ErrorDetails::with_retry_info(Some(intake.retry_after()));
        Status::with_error_details(code, refusal.to_string(), details)
    } else {
        Status::new(code, refusal.to_string())
    };
    let mut response = status.into_http::<Body>();
    if code == Code::Unimplemented {
        response.headers_mut().insert(
            "grpc-accept-encoding",
            HeaderValue::from_static("identity,gzip"),
        );
    }
    response
}

/// Bytes before a message.
const PREFIX: usize = 5;
