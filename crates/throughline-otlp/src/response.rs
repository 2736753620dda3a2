//! The answers of an OTLP receiver: `ExportTraceServiceResponse` and, for HTTP, `google.rpc.Status`, in both encodings; and how a
//! sender reads them.

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message as _;

use crate::Rejected;

/// The body of a 200 or of an OK in protobuf: empty when all was taken, else a partial success, which is not sent again.
#[must_use]
pub fn export_protobuf(rejected: &Rejected) -> Vec<u8> {
    let partial_success = (rejected.total() > 0).then(|| ExportTracePartialSuccess {
        rejected_spans: i64::try_from(rejected.total()).unwrap_or(i64::MAX),
        error_message: rejected.to_string(),
    });
    ExportTraceServiceResponse { partial_success }.encode_to_vec()
}

/// The body of a 200 in JSON, as [`export_protobuf`].
#[must_use]
pub fn export_json(rejected: &Rejected) -> String {
    if rejected.total() == 0 {
        return "{}".to_owned();
    }
    let partial = serde_json::json!({
        "rejectedSpans": rejected.total().to_string(),
        "errorMessage": rejected.to_string(),
    });
    serde_json::json!({ "partialSuccess": partial }).to_string()
}

/// The body of a failed HTTP request in protobuf: `google.rpc.Status` with a gRPC code and a message for people.
#[must_use]
pub fn status_protobuf(code: i32, message: &str) -> Vec<u8> {
    Status {
        code,
        message: message.to_owned(),
    }
    .encode_to_vec()
}

/// The body of a failed HTTP request in JSON, as [`status_protobuf`].
#[must_use]
pub fn status_json(code: i32, message: &str) -> String {
    serde_json::json!({ "code": code, "message": message }).to_string()
}

/// What [`export_protobuf`] writes: how many spans were rejected, and why. [`None`] when it is no such answer.
#[must_use]
pub fn read_export_protobuf(body: &[u8]) -> Option<(u64, String)> {
    let partial = ExportTraceServiceResponse::decode(body)
        .ok()?
        .partial_success
        .unwrap_or_default();
    Some((
        u64::try_from(partial.rejected_spans).unwrap_or_default(),
        partial.error_message,
    ))
}

/// The message of what [`status_protobuf`] writes. [`None`] when it is no such answer.
#[must_use]
pub fn read_status_protobuf(body: &[u8]) -> Option<String> {
    Some(Status::decode(body).ok()?.message)
}

/// `google/rpc/status.proto`, without the details.
#[derive(Clone, PartialEq, prost::Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_reads_what_a_receiver_wrote() {
        assert_eq!(
            read_export_protobuf(&export_protobuf(&Rejected::default())),
            Some((0, String::new()))
        );
        let partial = ExportTracePartialSuccess {
            rejected_spans: 3,
            error_message: "why".to_owned(),
        };
        let answer = ExportTraceServiceResponse {
            partial_success: Some(partial),
        }
        .encode_to_vec();
        assert_eq!(read_export_protobuf(&answer), Some((3, "why".to_owned())));
        assert_eq!(
            read_status_protobuf(&status_protobuf(3, "malformed")),
            Some("malformed".to_owned())
        );
    }

    #[test]
    fn nonsense_is_no_answer_and_less_than_none_is_none() {
        assert_eq!(read_export_protobuf(&[0xff]), None);
        assert_eq!(read_status_protobuf(&[0xff]), None);
        let partial = ExportTracePartialSuccess {
            rejected_spans: -1,
            error_message: String::new(),
        };
        let answer = ExportTraceServiceResponse {
            partial_success: Some(partial),
        }
        .encode_to_vec();
        assert_eq!(read_export_protobuf(&answer), Some((0, String::new())));
    }
}
