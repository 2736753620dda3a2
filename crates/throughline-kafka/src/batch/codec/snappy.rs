//! snappy, in the two forms that Kafka's clients write: one raw block (librdkafka, Go), or the
//! framing of the Java library snappy-java, known as xerial.

use snap::raw;

use crate::batch::BatchError;

/// The magic number of the xerial framing.
const XERIAL_MAGIC: [u8; 8] = *b"\x82SNAPPY\0";

/// The version of the writer and the oldest compatible version, both 1.
const XERIAL_VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];

/// The number of uncompressed bytes that snappy-java puts into a block.
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;

/// The maximum ratio of decompressed to compressed size: three bytes produce at most 64.
const MAX_RATIO: usize = 22;

/// The framing of snappy blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnappyFraming {
    /// A single block.
    Raw,
    /// A magic number and two versions, then blocks prefixed with their length in four bytes.
    Xerial,
}

/// The compressor and the decompressor of one block.
pub(super) struct SnappyCodec {
    encoder: raw::Encoder,
    decoder: raw::Decoder,
}

// === impl SnappyCodec ===

impl SnappyCodec {
    pub(super) fn decompress(
        &mut self,
        bytes: &[u8],
        max: usize,
        out: &mut Vec<u8>,
    ) -> Result<SnappyFraming, BatchError> {
        let corrupt = BatchError::CorruptCompression;
        let Some(mut rest) = bytes.strip_prefix(XERIAL_MAGIC.as_slice()) else {
            self.decompress_block(bytes, max, out)?;
            return Ok(SnappyFraming::Raw);
        };
        rest = rest.get(XERIAL_VERSIONS.len()..).ok_or(corrupt)?;
        while !rest.is_empty() {
            let (length, after) = rest.split_first_chunk().ok_or(corrupt)?;
            let length = i32::from_be_bytes(*length);
            let length = usize::try_from(length).map_err(|_| corrupt)?;
            let (block, after) = after.split_at_checked(length).ok_or(corrupt)?;
            self.decompress_block(block, max, out)?;
            rest = after;
        }
        Ok(SnappyFraming::Xerial)
    }

    fn decompress_block(
        &mut self,
        block: &[u8],
        max: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), BatchError> {
        let begin = out.len();
        let length = raw::decompress_len(block).map_err(|_| BatchError::CorruptCompression)?;
        // A block states its decompressed size. It is allocated only if the block can produce it.
        if length > block.len().saturating_mul(MAX_RATIO) {
            return Err(BatchError::CorruptCompression);
        }
        let end = begin
            .checked_add(length)
            .filter(|end| *end <= max)
            .ok_or(BatchError::InflatedTooLarge { max })?;
        out.resize(end, 0);
        let target = out.get_mut(begin..).unwrap_or_default();
        self.decoder
            .decompress(block, target)
            .map_err(|_| BatchError::CorruptCompression)?;
        Ok(())
    }

    pub(super) fn compress(
        &mut self,
        framing: SnappyFraming,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), BatchError> {
        if framing == SnappyFraming::Raw {
            return self.compress_block(bytes, out);
        }
        out.extend_from_slice(&XERIAL_MAGIC);
        out.extend_from_slice(&XERIAL_VERSIONS);
        for block in bytes.chunks(XERIAL_BLOCK_BYTES) {
            let at = out.len();
            // The length is filled in when the block has been compressed behind it.
            out.extend_from_slice(&[0; 4]);
            self.compress_block(block, out)?;
            let length =
                u32::try_from(out.len() - at - 4).map_err(|_| BatchError::CorruptCompression)?;
            if let Some(target) = out.get_mut(at..at + 4) {
                target.copy_from_slice(&length.to_be_bytes());
            }
        }
        Ok(())
    }

    fn compress_block(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), BatchError> {
        let begin = out.len();
        out.resize(begin + raw::max_compress_len(bytes.len()), 0);
        let target = out.get_mut(begin..).unwrap_or_default();
        let length = self
            .encoder
            .compress(bytes, target)
            .map_err(|_| BatchError::CorruptCompression)?;
        out.truncate(begin + length);
        Ok(())
    }
}

impl Default for SnappyCodec {
    fn default() -> Self {
        Self {
            encoder: raw::Encoder::new(),
            decoder: raw::Decoder::new(),
        }
    }
}
