//! OTLP to spans and back. No other crate of the workspace knows the protobuf messages.
//!
//! Source: opentelemetry-proto 1.x, `docs/specification.md`. Pure: bytes in, values out, no socket
//! and no clock.
//!
//! * [`RepairCounts`] count the single values that were replaced or left out.
//! * [`decode_protobuf`] and [`decode_json`] read an `ExportTraceServiceRequest`. Invalid spans are
//!   counted in [`DecodedSpans::rejected`], so that the response can be a partial success; only a
//!   body that is not a request at all is an [`Error`].
//! * [`encode_protobuf`] and [`spans_to_json`] write spans, grouped by resource and scope.
//! * [`response`] holds the responses in both encodings.
#![forbid(unsafe_code)]

mod decode;
mod encode;
mod error;
mod json;
mod limit;
mod protobuf;
mod protobuf_repair;
mod repair;
mod request;
pub mod response;
mod scan;

pub use decode::{DecodedSpans, RejectedSpans, RejectionReason};
pub use encode::{SpanRef, encode_protobuf, encode_protobuf_into, spans_to_json};
pub use error::Error;
pub use json::{OtlpResourceSpansJson, read_json};
pub use repair::{RepairCounts, RepairKind};
pub use request::{decode_json, decode_protobuf};
pub use scan::{
    ByteRange, NestedScope, ScannedOrigin, ScannedRequest, ScannedSpan, ScannedStatus,
    decode_key_value, decode_resource, decode_scope, decode_span, text_key_value,
};
