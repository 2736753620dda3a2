//! The messages of gRPC over HTTP/2: a request of one message, and responses with their status.
//!
//! Source: github.com/grpc/grpc, `doc/PROTOCOL-HTTP2.md`. The frames are read here instead of by
//! tonic's server, so that no memory is reserved for an announced length.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http_body_util::{BodyExt as _, Full};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::ingest::{ContentCodings, IngestError};

/// Length of the prefix of a message: compression flag and message length.
pub(crate) const MESSAGE_PREFIX_BYTES: usize = 5;

/// Messages of a response, each with its prefix.
#[derive(Debug, Default)]
pub(crate) struct MessageFrames(Vec<u8>);

// === impl MessageFrames ===

impl MessageFrames {
    /// Adds a message.
    pub(crate) fn push(&mut self, message: &[u8]) {
        // Not compressed.
        self.0.push(0);
        let length = u32::try_from(message.len()).unwrap_or_default();
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(message);
    }

    /// Returns the bytes of all messages.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Returns whether a request is one of gRPC.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
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

/// Returns the response to a request that is not one of gRPC. It is answered 415, to help other
/// clients.
pub(crate) fn not_grpc_response() -> Response {
    let mut response = Response::new(Body::from("this port speaks gRPC\n"));
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    response
}

/// Returns the compression of the only message of a request, which begins after
/// [`MESSAGE_PREFIX_BYTES`].
///
/// # Errors
/// [`IngestError`] for a body that is not one whole message, or compressed in an unknown way.
pub(crate) fn parse_prefix(
    body: &[u8],
    headers: &HeaderMap,
) -> Result<ContentCodings, IngestError> {
    let malformed = |message: &str| Err(IngestError::Malformed(message.to_owned()));
    // A flag of one byte, and the length in four, big-endian.
    let Some((&[flag, a, b, c, d], message)) = body.split_first_chunk::<5>() else {
        return malformed("the request has no message");
    };
    if usize::try_from(u32::from_be_bytes([a, b, c, d])) != Ok(message.len()) {
        return malformed("the request is not a single whole message");
    }
    let name = headers.get("grpc-encoding").map(HeaderValue::as_bytes);
    match (flag, name) {
        // `grpc-encoding` may name a compression that this message does not use.
        (0, _) => Ok(ContentCodings::default()),
        (1, Some(name)) => ContentCodings::from_name(name),
        _ => malformed("the message is compressed without a grpc-encoding header"),
    }
}

/// Returns the response of a call that succeeded, with the bytes of [`MessageFrames`].
pub(crate) fn success_response(frames: Bytes) -> Response {
    // The status of a response with a message goes into the trailers.
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(frames).with_trailers(async { Some(Ok(trailers)) });
    let mut response = Response::new(Body::new(body));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// Returns the response to a request that is rejected.
pub(crate) fn error_response(error: &IngestError) -> Response {
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
