//! The header of a whole frame: request header v1 and v2, response header v0 and v1.

use super::LENGTH_PREFIX_BYTES;
use crate::api::ApiKey;
use crate::types::CorrelationId;
use crate::wire::{Error, LengthPrefix, WireField, WireReader};

/// The header of a request. Its client id is never compact, not even in v2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHeader<'a> {
    pub api_key: ApiKey,
    pub version: i16,
    pub correlation_id: CorrelationId,
    pub client_id: Option<WireField<'a>>,
    /// Where the body begins, from the beginning of the frame; [`None`] when the key is unknown and it cannot be told.
    pub body_start: Option<usize>,
}

/// The header of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseHeader {
    pub correlation_id: CorrelationId,
    /// Where the body begins, from the beginning of the frame; [`None`] when the key is unknown and it cannot be told.
    pub body_start: Option<usize>,
}

// === impl RequestHeader ===

impl<'a> RequestHeader<'a> {
    /// Reads the header of `frame`, which begins with its length.
    ///
    /// # Errors
    /// When the frame ends within its header.
    pub fn parse(frame: &'a [u8]) -> Result<Self, Error> {
        let mut reader = WireReader::new(frame, 0, true);
        reader.take(LENGTH_PREFIX_BYTES, "the length of a frame")?;
        let (api, version) = (ApiKey(reader.i16()?), reader.i16()?);
        let correlation_id = CorrelationId(reader.i32()?);
        let client_id = reader.length_prefixed(LengthPrefix::Int16)?;
        let body_start = match api.is_flexible(version) {
            None => None,
            Some(false) => Some(reader.position()),
            Some(true) => {
                reader.tagged_fields()?;
                Some(reader.position())
            }
        };
        Ok(Self {
            api_key: api,
            version,
            correlation_id,
            client_id,
            body_start,
        })
    }
}

// === impl ResponseHeader ===

impl ResponseHeader {
    /// Reads the header of `frame`, the answer to a request of this key and version.
    ///
    /// # Errors
    /// When the frame ends within its header.
    pub fn parse(frame: &[u8], api: ApiKey, version: i16) -> Result<Self, Error> {
        let mut reader = WireReader::new(frame, 0, true);
        reader.take(LENGTH_PREFIX_BYTES, "the length of a frame")?;
        let correlation_id = CorrelationId(reader.i32()?);
        // A client that does not know yet what the broker speaks must be able to read this one: always v0 (KIP-511).
        let flexible = api
            .is_flexible(version)
            .map(|flexible| flexible && api != ApiKey::API_VERSIONS);
        let body_start = match flexible {
            None => None,
            Some(false) => Some(reader.position()),
            Some(true) => {
                reader.tagged_fields()?;
                Some(reader.position())
            }
        };
        Ok(Self {
            correlation_id,
            body_start,
        })
    }
}
