//! The responses of an OTLP receiver: `ExportTraceServiceResponse` and, for HTTP,
//! `google.rpc.Status`, in both encodings, with their readers for senders.

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message as _;

use crate::decode::RejectedSpans;

/// Returns the body of a success in protobuf: empty when all spans were accepted, else a partial
/// success, which senders must not retry.
#[must_use]
pub fn export_protobuf(rejected: &RejectedSpans) -> Vec<u8> {
    let partial_success = (rejected.total() > 0).then(|| ExportTracePartialSuccess {
        rejected_spans: i64::try_from(rejected.total()).unwrap_or(i64::MAX),
        error_message: rejected.to_string(),
    });
    // A response without partial success is an empty message (opentelemetry-proto, "Full Success").
    ExportTraceServiceResponse { partial_success }.encode_to_vec()
}

/// Returns the body of a success in JSON, as [`export_protobuf`].
#[must_use]
pub fn export_json(rejected: &RejectedSpans) -> String {
    if rejected.total() == 0 {
        // An empty object is the full success.
        return "{}".to_owned();
    }
    let partial = serde_json::json!({
        // proto3 writes 64-bit numbers as text.
        "rejectedSpans": rejected.total().to_string(),
        "errorMessage": rejected.to_string(),
    });
    serde_json::json!({ "partialSuccess": partial }).to_string()
}

/// Returns the body of a failed HTTP request in protobuf: `google.rpc.Status` with a gRPC code and
/// a message for people.
#[must_use]
pub fn status_protobuf(code: i32, message: &str) -> Vec<u8> {
    RpcStatus {
        code,
        message: message.to_owned(),
    }
    .encode_to_vec()
}

/// Returns the body of a failed HTTP request in JSON, as [`status_protobuf`].
#[must_use]
pub fn status_json(code: i32, message: &str) -> String {
    serde_json::json!({ "code": code, "message": message }).to_string()
}

/// Parses the body of a success: the number of rejected spans, and the reason. [`None`] when it is
/// malformed.
#[must_use]
pub fn read_export_protobuf(body: &[u8]) -> Option<(u64, String)> {
    let partial = ExportTraceServiceResponse::decode(body)
        .ok()?
        .partial_success
        .unwrap_or_default();
    Some((
        // A negative count is malformed; the request was accepted all the same.
        u64::try_from(partial.rejected_spans).unwrap_or_default(),
        partial.error_message,
    ))
}

/// Parses the message of a failure. [`None`] when it is malformed.
#[must_use]
pub fn read_status_protobuf(body: &[u8]) -> Option<String> {
    Some(RpcStatus::decode(body).ok()?.message)
}

/// `google/rpc/status.proto`, without the details.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_responses_are_read_back() {
        assert_eq!(
            read_export_protobuf(&export_protobuf(&RejectedSpans::default())),
            Some((0, String::new()))
        );
        let partial = ExportTracePartialSuccess {
            rejected_spans: 3,
            error_message: "why".to_owned(),
        };
        let response = ExportTraceServiceResponse {
            partial_success: Some(partial),
        }
        .encode_to_vec();
        assert_eq!(read_export_protobuf(&response), Some((3, "why".to_owned())));
        assert_eq!(
            read_status_protobuf(&status_protobuf(3, "malformed")),
            Some("malformed".to_owned())
        );
    }

    #[test]
    fn malformed_responses_are_rejected_and_negative_counts_are_zero() {
        assert_eq!(read_export_protobuf(&[0xff]), None);
        assert_eq!(read_status_protobuf(&[0xff]), None);
        let partial = ExportTracePartialSuccess {
            rejected_spans: -1,
            error_message: String::new(),
        };
        let response = ExportTraceServiceResponse {
            partial_success: Some(partial),
        }
        .encode_to_vec();
        assert_eq!(read_export_protobuf(&response), Some((0, String::new())));
    }
}
