//! Export requests in both encodings.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;

use crate::decode::{DecodedSpans, decode};
use crate::error::Error;
use crate::json::RequestInput;
use crate::limit::{MAX_MESSAGES, check_json, check_protobuf};

/// Decodes an export request in protobuf.
///
/// # Errors
///
/// [`Error::Protobuf`] and [`Error::TooMany`].
pub fn decode_protobuf(body: &[u8]) -> Result<DecodedSpans, Error> {
    // Before decoding, which allocates.
    check_protobuf(body, MAX_MESSAGES)?;
    Ok(decode(ExportTraceServiceRequest::decode(body)?))
}

/// Decodes an export request in OTLP's JSON: ids in hex, lowerCamelCase names, 64-bit numbers as
/// text or numbers, enums as numbers or names, unknown fields ignored, `null` for absent values.
///
/// # Errors
///
/// [`Error::Json`] and [`Error::TooMany`].
pub fn decode_json(body: &[u8]) -> Result<DecodedSpans, Error> {
    check_json(body)?;
    // serde accepts a list in place of an object, and takes its items for the fields in order.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(Error::Json(serde::de::Error::custom("expected an object")));
    }
    let request: RequestInput = serde_json::from_slice(body)?;
    Ok(decode(request.into()))
}
