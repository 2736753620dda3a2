//! lz4 frames. Kafka's Java clients read independent blocks only, and write blocks of 64 KiB.

use std::io::Write;

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::capped::read_capped;
use crate::batch::BatchError;

/// The compressor.
pub(super) struct Lz4Codec {
    encoder: FrameEncoder<Vec<u8>>,
}

pub(super) fn decompress(bytes: &[u8], max: usize, out: &mut Vec<u8>) -> Result<(), BatchError> {
    read_capped(FrameDecoder::new(bytes), max, out)
}

// === impl Lz4Codec ===

impl Lz4Codec {
    pub(super) fn compress(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), BatchError> {
        // The encoder owns its output, so `out` is swapped in for the duration of the call.
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

impl Default for Lz4Codec {
    fn default() -> Self {
        let info = FrameInfo::new()
            .block_mode(BlockMode::Independent)
            .block_size(BlockSize::Max64KB);
        Self {
            encoder: FrameEncoder::with_frame_info(info, Vec::new()),
        }
    }
}
