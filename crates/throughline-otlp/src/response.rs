//! The answers of an OTLP receiver: `ExportTraceServiceResponse` and, for HTTP, `google.rpc.Status`, in both encodings.

use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
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
    Status { code, message: message.to_owned() }.encode_to_vec()
}

/// The body of a failed HTTP request in JSON, as [`status_protobuf`].
#[must_use]
pub fn status_json(code: i32, message: &str) -> String {
    serde_json::json!({ "code": code, "message": message }).to_string()
}

/// `google/rpc/status.proto`, without the details.
#[derive(Clone, PartialEq, prost::Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}
