//! A collector's response, and the fate of the spans (opentelemetry-proto, "OTLP/HTTP Response" and
//! "OTLP/gRPC Response").

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use throughline_otlp::response;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::retry::retry_after;

/// The longest part of a collector's message that is logged, in characters.
const MAX_MESSAGE_CHARS: usize = 300;
/// The prefix of a gRPC message: compression flag and length.
pub(crate) const GRPC_PREFIX_BYTES: usize = 5;

/// A complete response, of either protocol.
#[derive(Debug)]
pub(crate) struct ExportResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) trailers: Option<HeaderMap>,
    pub(crate) body: Bytes,
}

/// The result of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ExportOutcome {
    /// The collector accepted the request, except for `rejected` of its spans.
    Accepted { rejected: u64, message: String },
    /// The collector rejected the request for good.
    Rejected { reason: String },
    /// The request may succeed later, but not before `retry_after`.
    Retryable {
        reason: String,
        retry_after: Option<Duration>,
    },
}

// === impl ExportResponse ===

impl ExportResponse {
    /// Interprets a response of OTLP over HTTP.
    pub(crate) fn http_outcome(&self) -> ExportOutcome {
        if self.status.is_success() {
            return accepted(&self.body);
        }
        let message = response::read_status_protobuf(&self.body).unwrap_or_default();
        let reason = if message.is_empty() {
            self.status.to_string()
        } else {
            format!("{}: {}", self.status, loggable(&message))
        };
        if is_retryable_status(self.status) {
            return ExportOutcome::Retryable {
                reason,
                retry_after: retry_after(&self.headers, SystemTime::now()),
            };
        }
        ExportOutcome::Rejected { reason }
    }

    /// Interprets a response of OTLP over gRPC.
    pub(crate) fn grpc_outcome(&self) -> ExportOutcome {
        // A proxy in between answers in plain HTTP, with a status other than 200.
        if self.status != StatusCode::OK {
            let reason = format!("{} instead of a gRPC response", self.status);
            if is_retryable_status(self.status) {
                return ExportOutcome::Retryable {
                    reason,
                    retry_after: retry_after(&self.headers, SystemTime::now()),
                };
            }
            return ExportOutcome::Rejected { reason };
        }
        // Without a message the status is in the headers ("Trailers-Only" of gRPC over HTTP/2).
        let status = self.trailers.as_ref().and_then(Status::from_header_map);
        // A response without any status is not gRPC, whatever its HTTP status.
        let Some(status) = status.or_else(|| Status::from_header_map(&self.headers)) else {
            return ExportOutcome::Rejected {
                reason: "not a gRPC response".to_owned(),
            };
        };
        if status.code() == Code::Ok {
            return accepted(self.body.get(GRPC_PREFIX_BYTES..).unwrap_or_default());
        }
        let retry_after = retry_info(&status);
        let reason = format!("{:?}: {}", status.code(), loggable(status.message()));
        if is_retryable_code(status.code(), retry_after) {
            ExportOutcome::Retryable {
                reason,
                retry_after,
            }
        } else {
            ExportOutcome::Rejected { reason }
        }
    }
}

fn accepted(message: &[u8]) -> ExportOutcome {
    // The status says success: a body that cannot be decoded does not change that.
    let (rejected, message) = response::read_export_protobuf(message).unwrap_or_default();
    ExportOutcome::Accepted {
        rejected,
        message: loggable(&message),
    }
}

/// Returns whether OTLP over HTTP retries this status ("Retryable Response Codes").
const fn is_retryable_status(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

/// Returns whether OTLP over gRPC retries this code ("OTLP/gRPC Response", table of codes).
fn is_retryable_code(code: Code, retry_after: Option<Duration>) -> bool {
    match code {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => true,
        // Only a collector that signals recovery, by RetryInfo, gets the request again.
        Code::ResourceExhausted => retry_after.is_some(),
        Code::Ok
        | Code::Unknown
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Unimplemented
        | Code::Internal
        | Code::Unauthenticated => false,
    }
}

/// Returns the interval of `google.rpc.RetryInfo`.
fn retry_info(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

/// Returns a remote message on one line, and not too long.
fn loggable(message: &str) -> String {
    message
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_MESSAGE_CHARS)
        .collect()
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    fn grpc(status: &Status) -> ExportOutcome {
        let mut trailers = HeaderMap::new();
        status.add_header(&mut trailers).unwrap();
        let response = ExportResponse {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            trailers: Some(trailers),
            body: Bytes::new(),
        };
        response.grpc_outcome()
    }

    fn http(status: u16, body: Vec<u8>) -> ExportOutcome {
        let status = StatusCode::from_u16(status).unwrap();
        ExportResponse {
            status,
            headers: HeaderMap::new(),
            trailers: None,
            body: body.into(),
        }
        .http_outcome()
    }

    #[test]
    fn only_retryable_statuses_are_retried() {
        for status in [429, 502, 503, 504] {
            assert!(
                matches!(
                    http(status, Vec::new()),
                    ExportOutcome::Retryable {
                        retry_after: None,
                        ..
                    }
                ),
                "{status}"
            );
        }
        for status in [301, 400, 401, 404, 413, 415, 500, 501] {
            assert!(
                matches!(http(status, Vec::new()), ExportOutcome::Rejected { .. }),
                "{status}"
            );
        }
    }

    #[test]
    fn message_of_a_rejection_is_on_one_line() {
        let ExportOutcome::Rejected { reason } =
            http(400, response::status_protobuf(3, "not\nan OTLP request"))
        else {
            panic!("400 is a rejection")
        };
        assert_eq!(reason, "400 Bad Request: not an OTLP request");
    }

    #[test]
    fn only_retryable_codes_are_retried() {
        for code in [1, 4, 10, 11, 14, 15].map(Code::from) {
            assert!(
                matches!(
                    grpc(&Status::new(code, "no")),
                    ExportOutcome::Retryable { .. }
                ),
                "{code:?}"
            );
        }
        for code in [2, 3, 5, 6, 7, 8, 9, 12, 13, 16].map(Code::from) {
            assert!(
                matches!(
                    grpc(&Status::new(code, "no")),
                    ExportOutcome::Rejected { .. }
                ),
                "{code:?}"
            );
        }
    }

    #[test]
    fn exhausted_collector_is_retried_after_its_interval() {
        let pause = Duration::from_secs(2);
        let details = ErrorDetails::with_retry_info(Some(pause));
        let status = Status::with_error_details(Code::ResourceExhausted, "full", details);
        assert_eq!(
            grpc(&status),
            ExportOutcome::Retryable {
                reason: "ResourceExhausted: full".to_owned(),
                retry_after: Some(pause)
            }
        );
    }

    #[test]
    fn non_grpc_response_is_a_rejection() {
        let response = ExportResponse {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            trailers: None,
            body: Bytes::from("hello"),
        };
        assert!(matches!(
            response.grpc_outcome(),
            ExportOutcome::Rejected { .. }
        ));
    }

    #[test]
    fn undecodable_success_is_still_a_success() {
        assert_eq!(
            http(200, vec![0xff; 9]),
            ExportOutcome::Accepted {
                rejected: 0,
                message: String::new()
            }
        );
    }
}
