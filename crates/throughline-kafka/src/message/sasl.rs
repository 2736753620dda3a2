//! SaslHandshake and SaslAuthenticate: whether what follows still has frames. Secrets are never looked at.

use std::ops::RangeInclusive;

use super::Message;
use crate::api::ApiKey;
use crate::wire::{Array, Error, Field, Read, Reader};

/// `SaslHandshakeRequest`. After version 0 the client's tokens have no headers; after version 1 they come in
/// SaslAuthenticate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandshakeRequest<'a> {
    pub mechanism: Field<'a>,
}

/// `SaslHandshakeResponse`.
#[derive(Debug, Clone, Copy)]
pub struct HandshakeResponse<'a> {
    pub error_code: i16,
    pub mechanisms: Array<'a, Option<Field<'a>>>,
}

/// `SaslAuthenticateResponse`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthenticateResponse {
    pub error_code: i16,
    /// When the client has to authenticate anew (KIP-368), 0 for never or before version 1.
    pub session_lifetime_ms: i64,
}

// === impl Message ===

impl<'a> Message<'a> for HandshakeRequest<'a> {
    const API: ApiKey = ApiKey::SASL_HANDSHAKE;
    const VERSIONS: RangeInclusive<i16> = 0..=1;
}

impl<'a> Message<'a> for HandshakeResponse<'a> {
    const API: ApiKey = ApiKey::SASL_HANDSHAKE;
    const VERSIONS: RangeInclusive<i16> = 0..=1;
}

impl<'a> Message<'a> for AuthenticateResponse {
    const API: ApiKey = ApiKey::SASL_AUTHENTICATE;
    const VERSIONS: RangeInclusive<i16> = 0..=2;
}

// === impl Read ===

impl<'a> Read<'a> for HandshakeRequest<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        Ok(Self {
            mechanism: reader.required()?,
        })
    }
}

impl<'a> Read<'a> for HandshakeResponse<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        Ok(Self {
            error_code: reader.i16()?,
            mechanisms: reader.array()?,
        })
    }
}

impl<'a> Read<'a> for AuthenticateResponse {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let error_code = reader.i16()?;
        // error_message, auth_bytes
        reader.string()?;
        reader.blob()?;
        let session_lifetime_ms = if reader.version() >= 1 {
            reader.i64()?
        } else {
            0
        };
        reader.tags()?;
        Ok(Self {
            error_code,
            session_lifetime_ms,
        })
    }
}
