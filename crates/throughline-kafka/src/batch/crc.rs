//! The checksum of a batch: CRC-32C (Castagnoli).

use crc_fast::{CrcAlgorithm, Digest};

/// Returns the checksum of `bytes`.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// A checksum that follows a growing buffer.
pub(super) struct RunningCrc {
    digest: Digest,
    /// The end of the bytes that the digest covers.
    end: usize,
}

// === impl RunningCrc ===

impl RunningCrc {
    /// Creates a checksum of the bytes from `start` on.
    pub(super) fn new(start: usize) -> Self {
        Self {
            digest: Digest::new(CrcAlgorithm::Crc32Iscsi),
            end: start,
        }
    }

    /// Extends the checksum to the bytes before `end`.
    pub(super) fn advance(&mut self, bytes: &[u8], end: usize) {
        if let Some(new) = bytes.get(self.end..end) {
            self.digest.update(new);
            self.end = end;
        }
    }

    /// Returns the checksum of the covered bytes.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the digest of a 32-bit checksum is returned as 64 bits"
    )]
    pub(super) fn value(&self) -> u32 {
        self.digest.finalize() as u32
    }
}
