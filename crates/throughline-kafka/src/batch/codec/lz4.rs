//! lz4 frames. Kafka's Java clients read independent blocks only, and write blocks of 64 KiB.

use std::io::Write;

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::{BatchError, read_capped};

/// The compressor; its output is lent to it for as long as it writes.
pub(super) struct Lz4 {
    encoder: FrameEncoder<Vec<u8>>,
}

pub(super) fn inflate(bytes: &[u8], max: usize, out: &mut Vec<u8>) -> Result<(), BatchError> {
    read_capped(FrameDecoder::new(bytes), max, out)
}

// === impl Lz4 ===

impl Lz4 {
    pub(super) fn deflate(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), BatchError> {
        std::mem::swap(self.encoder.get_mut(), out);
        let written = self.encoder.write_all(bytes).is_ok() && self.encoder.try_finish().is_ok();
        std::mem::swap(self.encoder.get_mut(), out);
        if written {
            Ok(())
        } else {
            Err(BatchError::CorruptCompression)
        }
    }
}

impl Default for Lz4 {
    fn default() -> Self {
        let info = FrameInfo::new()
            .block_mode(BlockMode::Independent)
            .block_size(BlockSize::Max64KB);
        Self {
            encoder: FrameEncoder::with_frame_info(info, Vec::new()),
        }
    }
}
