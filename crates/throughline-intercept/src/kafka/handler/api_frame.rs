//! Messages that have arrived in whole, as handlers read them.

use bytes::Bytes;
use throughline_kafka::api::ApiKey;

use crate::Timestamp;

/// Request or response that has arrived in whole.
#[derive(Debug, Clone, Copy)]
pub(in crate::kafka) struct ApiFrame<'a> {
    /// The frame, with its length and header.
    pub(in crate::kafka) bytes: &'a Bytes,
    /// Position of the body in the frame.
    pub(in crate::kafka) body_start: usize,
    pub(in crate::kafka) api: ApiKey,
    pub(in crate::kafka) version: i16,
    /// Arrival of the first byte.
    pub(in crate::kafka) first_byte: Timestamp,
    /// Arrival of the last byte.
    pub(in crate::kafka) last_byte: Timestamp,
    /// Whether the frame can still be changed; false when it has been forwarded already.
    pub(in crate::kafka) is_buffered: bool,
}

// === impl ApiFrame ===

impl<'a> ApiFrame<'a> {
    /// Returns the body of the message.
    pub(in crate::kafka) fn body(&self) -> &'a [u8] {
        self.bytes.get(self.body_start..).unwrap_or_default()
    }
}
