//! The beginning of a frame in each direction of a connection.

use bytes::Buf;

use super::LENGTH_PREFIX_BYTES;
use crate::api::ApiKey;
use crate::types::CorrelationId;

/// The content type of a TLS handshake record, the first byte of a client that speaks TLS.
const TLS_HANDSHAKE: u8 = 0x16;

/// The content type of a TLS alert record, the first byte of a broker that expects TLS.
const TLS_ALERT: u8 = 0x15;

/// The first bytes of a frame, from which its API is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameHeader {
    /// Of a request.
    Request {
        /// The size of the frame, its length prefix included.
        size: usize,
        api_key: ApiKey,
        version: i16,
        correlation_id: CorrelationId,
    },
    /// Of a response.
    Response {
        /// The size of the frame, its length prefix included.
        size: usize,
        correlation_id: CorrelationId,
    },
}

/// The reason why a stream cannot be split into frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// TLS: the handshake of a client on a plaintext port, or the alert of a broker that expects
    /// TLS.
    #[error("the stream begins with TLS")]
    Tls,
    /// A length that no frame can have.
    #[error("{0} cannot be the length of a frame")]
    InvalidLength(i32),
}

/// The direction of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameDirection {
    Requests,
    Responses,
}

// === impl FrameHeader ===

impl FrameHeader {
    /// Returns the size of the frame, its length prefix included.
    #[must_use]
    pub const fn size(&self) -> usize {
        match self {
            Self::Request { size, .. } | Self::Response { size, .. } => *size,
        }
    }

    /// Returns the correlation id.
    #[must_use]
    pub const fn correlation_id(&self) -> CorrelationId {
        match self {
            Self::Request { correlation_id, .. } | Self::Response { correlation_id, .. } => {
                *correlation_id
            }
        }
    }
}

// === impl FrameDirection ===

impl FrameDirection {
    /// Returns the number of bytes that [`FrameDirection::parse_header`] needs.
    pub(super) const fn header_size(self) -> usize {
        match self {
            Self::Requests => LENGTH_PREFIX_BYTES + 8,
            Self::Responses => LENGTH_PREFIX_BYTES + 4,
        }
    }

    /// Returns the first byte of a peer that speaks TLS. As the first byte of a frame it would mean
    /// a length of at least 352 MB.
    pub(super) const fn tls_content_type(self) -> u8 {
        match self {
            Self::Requests => TLS_HANDSHAKE,
            Self::Responses => TLS_ALERT,
        }
    }

    /// Parses the header at the start of `input`; [`None`] when more bytes are needed.
    pub(super) fn parse_header(
        self,
        mut input: &[u8],
    ) -> Result<Option<FrameHeader>, FramingError> {
        if input.len() < LENGTH_PREFIX_BYTES {
            return Ok(None);
        }
        let length = input.get_i32();
        let min_length = self.header_size() - LENGTH_PREFIX_BYTES;
        let size = usize::try_from(length)
            .ok()
            .filter(|length| *length >= min_length)
            .ok_or(FramingError::InvalidLength(length))?
            + LENGTH_PREFIX_BYTES;
        if input.len() < min_length {
            return Ok(None);
        }
        Ok(Some(match self {
            Self::Requests => FrameHeader::Request {
                size,
                api_key: ApiKey(input.get_i16()),
                version: input.get_i16(),
                correlation_id: CorrelationId(input.get_i32()),
            },
            Self::Responses => FrameHeader::Response {
                size,
                correlation_id: CorrelationId(input.get_i32()),
            },
        }))
    }
}
