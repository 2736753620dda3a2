//! SaslHandshake and SaslAuthenticate: whether what follows still has frames. Secrets are never looked at.

use std::ops::RangeInclusive;

use super::ApiMessage;
use crate::api::ApiKey;
use crate::wire::{Decode, Error, WireArray, WireField, WireReader};

/// `SaslHandshakeRequest`. After version 0 the client's tokens have no headers; after version 1 they come in
/// SaslAuthenticate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaslHandshakeRequest<'a> {
    pub mechanism: WireField<'a>,
}

/// `SaslHandshakeResponse`.
#[derive(Debug, Clone, Copy)]
pub struct SaslHandshakeResponse<'a> {
    pub error_code: i16,
    pub mechanisms: WireArray<'a, Option<WireField<'a>>>,
}

/// `SaslAuthenticateResponse`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaslAuthenticateResponse {
    pub error_code: i16,
    /// When the client has to authenticate anew (KIP-368), 0 for never or before version 1.
    pub session_lifetime_ms: i64,
}

// === impl ApiMessage ===

impl<'a> ApiMessage<'a> for SaslHandshakeRequest<'a> {
    const API: ApiKey = ApiKey::SASL_HANDSHAKE;
    const VERSIONS: RangeInclusive<i16> = 0..=1;
}

impl<'a> ApiMessage<'a> for SaslHandshakeResponse<'a> {
    const API: ApiKey = ApiKey::SASL_HANDSHAKE;
    const VERSIONS: RangeInclusive<i16> = 0..=1;
}

impl<'a> ApiMessage<'a> for SaslAuthenticateResponse {
    const API: ApiKey = ApiKey::SASL_AUTHENTICATE;
    const VERSIONS: RangeInclusive<i16> = 0..=2;
}

// === impl Decode ===

impl<'a> Decode<'a> for SaslHandshakeRequest<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        Ok(Self {
            mechanism: reader.string()?,
        })
    }
}

impl<'a> Decode<'a> for SaslHandshakeResponse<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        Ok(Self {
            error_code: reader.i16()?,
            mechanisms: reader.array()?,
        })
    }
}

impl<'a> Decode<'a> for SaslAuthenticateResponse {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let error_code = reader.i16()?;
        // error_message, auth_bytes
        reader.nullable_string()?;
        reader.nullable_bytes()?;
        let session_lifetime_ms = if reader.version() >= 1 {
            reader.i64()?
        } else {
            0
        };
        reader.tagged_fields()?;
        Ok(Self {
            error_code,
            session_lifetime_ms,
        })
    }
}
