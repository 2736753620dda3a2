//! The reasons for which a request is rejected, and their status codes.

use std::time::Duration;

use axum::response::Response;
use http::{StatusCode, header};
use throughline_store::InsertError;
use tonic::Code;

/// Time after which a client should repeat a request for which there was no room.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The content codings that are accepted, as responses name them to clients that sent another one.
pub(crate) const ACCEPTED_CODINGS: &str = "gzip, deflate, zstd";

/// The reason for which a request is rejected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IngestError {
    /// No permit or memory is free; the client should retry.
    #[error("the collector is busy, try again later")]
    Busy,
    /// The sender's rate is used up.
    #[error("the token allows no more spans for now, try again later")]
    RateExceeded(Duration),
    /// The body is too large, as sent or inflated.
    #[error("the body is larger than {0} bytes, as sent or inflated")]
    TooLarge(usize),
    /// The body took too long to arrive.
    #[error("the body did not arrive in time")]
    Timeout,
    /// The connection failed, or the client violated its protocol.
    #[error("the body could not be read: {0}")]
    BodyRead(#[source] axum::Error),
    /// The compression is not supported.
    #[error("content encoding {0:?} is not supported; use one of {ACCEPTED_CODINGS}, or none")]
    UnsupportedEncoding(String),
    /// The body is not in the coding that its header names.
    #[error("the body is not {0}: {1}")]
    Inflate(&'static str, #[source] std::io::Error),
    /// The body cannot be decoded.
    #[error("{0}")]
    Malformed(String),
    /// The store refuses the spans; the client should retry.
    #[error("{0}")]
    Store(#[source] InsertError),
    /// The decoder failed.
    #[error("the collector failed to decode the body")]
    Internal,
}

impl IngestError {
    /// Returns the time after which the client should repeat the request; `None` when that would
    /// not help.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy | Self::Store(_) => Some(RETRY_AFTER),
            Self::RateExceeded(wait) => Some(*wait),
            Self::TooLarge(_)
            | Self::Timeout
            | Self::BodyRead(_)
            | Self::UnsupportedEncoding(_)
            | Self::Inflate(..)
            | Self::Malformed(_)
            | Self::Internal => None,
        }
    }

    /// Adds the header from which an HTTP client learns when to repeat the request.
    pub(crate) fn add_retry_header(&self, response: &mut Response) {
        if let Some(wait) = self.retry_after() {
            // The header has whole seconds; a fraction would be too early.
            let seconds = wait
                .as_secs()
                .saturating_add(u64::from(wait.subsec_nanos() > 0));
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, seconds.into());
        }
    }

    /// Returns the HTTP and the gRPC status. OTLP clients retry after 429 and 503, after
    /// UNAVAILABLE and RESOURCE_EXHAUSTED with a time, and after none of the others.
    pub(crate) const fn status(&self) -> (StatusCode, Code) {
        match self {
            Self::Busy | Self::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable),
            Self::RateExceeded(_) => (StatusCode::TOO_MANY_REQUESTS, Code::ResourceExhausted),
            // Not OUT_OF_RANGE, which OTLP counts among the retryable codes.
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, Code::ResourceExhausted),
            Self::Timeout => (StatusCode::REQUEST_TIMEOUT, Code::DeadlineExceeded),
            Self::UnsupportedEncoding(_) => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::Unimplemented)
            }
            Self::BodyRead(_) | Self::Inflate(..) | Self::Malformed(_) => {
                (StatusCode::BAD_REQUEST, Code::InvalidArgument)
            }
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, Code::Internal),
        }
    }
}
