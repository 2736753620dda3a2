//! The header of a complete frame: request header v1 and v2, response header v0 and v1.

use super::LENGTH_PREFIX_BYTES;
use crate::api::ApiKey;
use crate::types::CorrelationId;
use crate::wire::{Error, LengthPrefix, WireField, WireReader};

/// The header of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHeader<'a> {
    pub api_key: ApiKey,
    pub version: i16,
    pub correlation_id: CorrelationId,
    pub client_id: Option<WireField<'a>>,
    /// The position of the body in the frame; [`None`] for an unknown API.
    pub body_start: Option<usize>,
}

/// The header of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseHeader {
    pub correlation_id: CorrelationId,
    /// The position of the body in the frame; [`None`] for an unknown API.
    pub body_start: Option<usize>,
}

// === impl RequestHeader ===

impl<'a> RequestHeader<'a> {
    /// Parses the header of `frame`, which begins with its length.
    ///
    /// # Errors
    /// When the frame ends within its header.
    pub fn parse(frame: &'a [u8]) -> Result<Self, Error> {
        let mut reader = WireReader::new(frame, 0, true);
        reader.take(LENGTH_PREFIX_BYTES, "the length of a frame")?;
        let (api_key, version) = (ApiKey(reader.i16()?), reader.i16()?);
        let correlation_id = CorrelationId(reader.i32()?);
        // The client id is never compact, not even in the flexible header v2 (KIP-482).
        let client_id = reader.length_prefixed(LengthPrefix::Int16)?;
        let body_start = skip_tagged_fields(reader, api_key.is_flexible(version))?;
        Ok(Self {
            api_key,
            version,
            correlation_id,
            client_id,
            body_start,
        })
    }
}

// === impl ResponseHeader ===

impl ResponseHeader {
    /// Parses the header of `frame`, the response to a request of this API and version.
    ///
    /// # Errors
    /// When the frame ends within its header.
    pub fn parse(frame: &[u8], api_key: ApiKey, version: i16) -> Result<Self, Error> {
        let mut reader = WireReader::new(frame, 0, true);
        reader.take(LENGTH_PREFIX_BYTES, "the length of a frame")?;
        let correlation_id = CorrelationId(reader.i32()?);
        // ApiVersions always has header v0: its client does not know yet which versions the broker
        // supports (KIP-511).
        let flexible = api_key
            .is_flexible(version)
            .map(|flexible| flexible && api_key != ApiKey::API_VERSIONS);
        let body_start = skip_tagged_fields(reader, flexible)?;
        Ok(Self {
            correlation_id,
            body_start,
        })
    }
}

/// Skips the tagged fields of a flexible header and returns the position of the body. Without
/// knowing whether the header is flexible, the position is unknown.
fn skip_tagged_fields(
    mut reader: WireReader<'_>,
    flexible: Option<bool>,
) -> Result<Option<usize>, Error> {
    if flexible == Some(true) {
        reader.tagged_fields()?;
    }
    Ok(flexible.map(|_| reader.position()))
}
