//! Export requests in both encodings.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;

use crate::decode::{DecodedSpans, decode};
use crate::error::Error;
use crate::json::{JsonReader, read_json};
use crate::limit::{MAX_MESSAGES, check_protobuf};
use crate::protobuf_repair::ProtobufRepair;

/// Decodes an export request in protobuf. Texts that are not UTF-8 are replaced; malformed spans
/// are rejected alone.
///
/// # Errors
///
/// [`Error::Protobuf`] and [`Error::TooMany`].
pub fn decode_protobuf(body: &[u8]) -> Result<DecodedSpans, Error> {
    // Before decoding, which allocates.
    check_protobuf(body, MAX_MESSAGES)?;
    let error = match ExportTraceServiceRequest::decode(body) {
        Ok(request) => return Ok(decode(request, DecodedSpans::default())),
        Err(error) => error,
    };
    let mut repair = ProtobufRepair::default();
    let Some(repaired) = repair.request(body) else {
        return Err(Error::Protobuf(error));
    };
    let request = ExportTraceServiceRequest::decode(repaired.as_slice())?;
    let decoded = DecodedSpans {
        rejected: repair.rejected,
        repairs: repair.repairs,
        ..DecodedSpans::default()
    };
    Ok(decode(request, decoded))
}

/// Decodes an export request in OTLP's JSON: ids in hex, names in lowerCamelCase or as in the
/// protocol file, 64-bit numbers as text or numbers, enums as numbers or names, unknown fields
/// ignored, `null` for absent values. A body may hold several requests, in a list or one after
/// another.
///
/// # Errors
///
/// [`Error::Json`] and [`Error::TooMany`].
pub fn decode_json(body: &[u8]) -> Result<DecodedSpans, Error> {
    let mut reader = JsonReader::default();
    let documents = read_json(body, &mut reader.repairs)?;
    let mut request = ExportTraceServiceRequest::default();
    for document in documents {
        let more = reader.request(document)?;
        request.resource_spans.extend(more.resource_spans);
    }
    let decoded = DecodedSpans {
        rejected: reader.rejected,
        repairs: reader.repairs,
        ..DecodedSpans::default()
    };
    Ok(decode(request, decoded))
}
