//! The header of a whole frame: request header v1 and v2, response header v0 and v1.

use super::LENGTH;
use crate::api::{ApiKey, CorrelationId};
use crate::wire::{Error, Field, Prefix, Reader};

/// The header of a request. Its client id is never compact, not even in v2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHeader<'a> {
    pub api: ApiKey,
    pub version: i16,
    pub correlation: CorrelationId,
    pub client_id: Option<Field<'a>>,
    /// Where the body begins, from the beginning of the frame; [`None`] when the key is unknown and it cannot be told.
    pub body: Option<usize>,
}

/// The header of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseHeader {
    pub correlation: CorrelationId,
    /// Where the body begins, from the beginning of the frame; [`None`] when the key is unknown and it cannot be told.
    pub body: Option<usize>,
}

// === impl RequestHeader ===

impl<'a> RequestHeader<'a> {
    /// Reads the header of `frame`, which begins with its length.
    ///
    /// # Errors
    /// When the frame ends within its header.
    pub fn read(frame: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(frame, 0, true);
        reader.take(LENGTH, "the length of a frame")?;
        let (api, version) = (ApiKey(reader.i16()?), reader.i16()?);
        let correlation = CorrelationId(reader.i32()?);
        let client_id = reader.field(Prefix::Int16)?;
        let body = match api.is_flexible(version) {
            None => None,
            Some(false) => Some(reader.at()),
            Some(true) => {
                reader.tags()?;
                Some(reader.at())
            }
        };
        Ok(Self {
            api,
            version,
            correlation,
            client_id,
            body,
        })
    }
}

// === impl ResponseHeader ===

impl ResponseHeader {
    /// Reads the header of `frame`, the answer to a request of this key and version.
    ///
    /// # Errors
    /// When the frame ends within its header.
    pub fn read(frame: &[u8], api: ApiKey, version: i16) -> Result<Self, Error> {
        let mut reader = Reader::new(frame, 0, true);
        reader.take(LENGTH, "the length of a frame")?;
        let correlation = CorrelationId(reader.i32()?);
        // A client that does not know yet what the broker speaks must be able to read this one: always v0 (KIP-511).
        let flexible = api
            .is_flexible(version)
            .map(|flexible| flexible && api != ApiKey::API_VERSIONS);
        let body = match flexible {
            None => None,
            Some(false) => Some(reader.at()),
            Some(true) => {
                reader.tags()?;
                Some(reader.at())
            }
        };
        Ok(Self { correlation, body })
    }
}
