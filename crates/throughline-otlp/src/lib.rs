//! OTLP to spans and back: the only crate that knows the protobuf.
//!
//! Source: opentelemetry-proto 1.x, `docs/specification.md`. Pure: bytes in, values out, no socket and no clock.
//!
//! * [`decode_protobuf`] and [`decode_json`] read an `ExportTraceServiceRequest`. Spans that cannot be kept are counted in
//!   [`Decoded::rejected`], so that the answer can be a partial success; only a body that is no request at all is an [`Error`].
//! * [`encode_protobuf`] and [`spans_to_json`] write spans, grouped by resource and scope again.
//! * [`response`] has the answers in both encodings.
#![forbid(unsafe_code)]

mod decode;
mod encode;
mod json;
mod limit;
mod protobuf;
pub mod response;

pub use decode::{Decoded, Rejected, Rejection};
pub use encode::{encode_protobuf, resource_spans_to_json as spans_to_json};
pub use json::ResourceSpansJson;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;

use crate::limit::{BRACKETS_MAX, MESSAGES_MAX};

/// Why a body is no export request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are not the protobuf of a request.
    #[error("not an OTLP trace export request in protobuf: {0}")]
    Protobuf(#[from] prost::DecodeError),
    /// The text is not the JSON of a request.
    #[error("not an OTLP trace export request in JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// It holds so many spans, attributes, events and links that decoding it would take too much memory.
    #[error("too many spans, attributes, events and links in one request; send fewer at a time")]
    TooMany,
}

/// Refuses JSON that unfolds to too much memory, of spans in OTLP's or another's format, before it is read.
///
/// # Errors
///
/// [`Error::TooMany`].
pub fn check_json(body: &[u8]) -> Result<(), Error> {
    limit::check_json(body, BRACKETS_MAX)
}

/// Reads an export request in protobuf.
///
/// # Errors
///
/// [`Error::Protobuf`] and [`Error::TooMany`].
pub fn decode_protobuf(body: &[u8]) -> Result<Decoded, Error> {
    limit::check_protobuf(body, MESSAGES_MAX)?;
    Ok(decode::decode(ExportTraceServiceRequest::decode(body)?))
}

/// Reads an export request in OTLP's JSON: ids in hex, lowerCamelCase names, 64-bit numbers as text or numbers, enums as
/// numbers or names, unknown fields ignored, `null` for what is not there.
///
/// # Errors
///
/// [`Error::Json`] and [`Error::TooMany`].
pub fn decode_json(body: &[u8]) -> Result<Decoded, Error> {
    check_json(body)?;
    // serde would take a list for an object, its items for the fields in order.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(Error::Json(serde::de::Error::custom("expected an object")));
    }
    let request: json::RequestJson = serde_json::from_slice(body)?;
    Ok(decode::decode(request.into()))
}
