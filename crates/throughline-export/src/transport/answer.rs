//! A collector's answer, and what it means for the spans (opentelemetry-proto, "OTLP/HTTP Response" and "OTLP/gRPC Response").

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use throughline_otlp::response;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::Outcome;
use crate::retry::retry_after;

/// A whole answer, of either protocol.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) trailers: Option<HeaderMap>,
    pub(super) body: Bytes,
}

/// The most characters of a collector's words that are told.
const WORDS_MAX: usize = 300;

/// The bytes before a message of gRPC.
const PREFIX: usize = 5;

// === impl Answer ===

impl Answer {
    pub(super) fn of_http(&self) -> Outcome {
        if self.status.is_success() {
            return taken(&self.body);
        }
        let words = response::read_status_protobuf(&self.body).unwrap_or_default();
        let reason = if words.is_empty() {
            self.status.to_string()
        } else {
            format!("{}: {}", self.status, told(&words))
        };
        if may_go_well_later(self.status) {
            return Outcome::Failed {
                reason,
                asked: retry_after(&self.headers, SystemTime::now()),
            };
        }
        Outcome::Refused { reason }
    }

    pub(super) fn of_grpc(&self) -> Outcome {
        if self.status != StatusCode::OK {
            let reason = format!("{} instead of an answer of gRPC", self.status);
            if may_go_well_later(self.status) {
                return Outcome::Failed {
                    reason,
                    asked: retry_after(&self.headers, SystemTime::now()),
                };
            }
            return Outcome::Refused { reason };
        }
        let status = self.trailers.as_ref().and_then(Status::from_header_map);
        let Some(status) = status.or_else(|| Status::from_header_map(&self.headers)) else {
            return Outcome::Refused {
                reason: "its answer is not one of gRPC".to_owned(),
            };
        };
        if status.code() == Code::Ok {
            return taken(self.body.get(PREFIX..).unwrap_or_default());
        }
        let asked = asked(&status);
        let reason = format!("{:?}: {}", status.code(), told(status.message()));
        if is_retryable(status.code(), asked) {
            Outcome::Failed { reason, asked }
        } else {
            Outcome::Refused { reason }
        }
    }
}

fn taken(message: &[u8]) -> Outcome {
    // An answer that makes no sense is still a yes.
    let (refused, message) = response::read_export_protobuf(message).unwrap_or_default();
    Outcome::Taken {
        refused,
        message: told(&message),
    }
}

const fn may_go_well_later(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

/// OTLP's table of codes. A collector out of resources gets it again only when it says that it will recover.
fn is_retryable(code: Code, asked: Option<Duration>) -> bool {
    match code {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::ResourceExhausted => asked.is_some(),
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

/// The pause of `google.rpc.RetryInfo`.
fn asked(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

/// A stranger's words, on one line and not too long.
fn told(words: &str) -> String {
    words
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(WORDS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    fn grpc(status: &Status) -> Outcome {
        let mut trailers = HeaderMap::new();
        status.add_header(&mut trailers).unwrap();
        let answer = Answer {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            trailers: Some(trailers),
            body: Bytes::new(),
        };
        answer.of_grpc()
    }

    fn http(status: u16, body: Vec<u8>) -> Outcome {
        let status = StatusCode::from_u16(status).unwrap();
        Answer {
            status,
            headers: HeaderMap::new(),
            trailers: None,
            body: body.into(),
        }
        .of_http()
    }

    #[test]
    fn only_the_statuses_that_the_protocol_names_are_tried_again() {
        for status in [429, 502, 503, 504] {
            assert!(
                matches!(
                    http(status, Vec::new()),
                    Outcome::Failed { asked: None, .. }
                ),
                "{status}"
            );
        }
        for status in [301, 400, 401, 404, 413, 415, 500, 501] {
            assert!(
                matches!(http(status, Vec::new()), Outcome::Refused { .. }),
                "{status}"
            );
        }
    }

    #[test]
    fn the_words_of_a_refusal_are_told_on_one_line() {
        let Outcome::Refused { reason } =
            http(400, response::status_protobuf(3, "not\nan OTLP request"))
        else {
            panic!("400 is a refusal")
        };
        assert_eq!(reason, "400 Bad Request: not an OTLP request");
    }

    #[test]
    fn only_the_codes_that_the_protocol_names_are_tried_again() {
        for code in [1, 4, 10, 11, 14, 15].map(Code::from) {
            assert!(
                matches!(grpc(&Status::new(code, "no")), Outcome::Failed { .. }),
                "{code:?}"
            );
        }
        for code in [2, 3, 5, 6, 7, 8, 9, 12, 13, 16].map(Code::from) {
            assert!(
                matches!(grpc(&Status::new(code, "no")), Outcome::Refused { .. }),
                "{code:?}"
            );
        }
    }

    #[test]
    fn a_collector_out_of_resources_says_when_to_come_back() {
        let pause = Duration::from_secs(2);
        let details = ErrorDetails::with_retry_info(Some(pause));
        let status = Status::with_error_details(Code::ResourceExhausted, "full", details);
        assert_eq!(
            grpc(&status),
            Outcome::Failed {
                reason: "ResourceExhausted: full".to_owned(),
                asked: Some(pause)
            }
        );
    }

    #[test]
    fn what_does_not_speak_grpc_refuses() {
        let answer = Answer {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            trailers: None,
            body: Bytes::from("hello"),
        };
        assert!(matches!(answer.of_grpc(), Outcome::Refused { .. }));
    }

    #[test]
    fn an_answer_of_nonsense_is_still_a_yes() {
        assert_eq!(
            http(200, vec![0xff; 9]),
            Outcome::Taken {
                refused: 0,
                message: String::new()
            }
        );
    }
}
