//! snappy, in the two forms that Kafka's clients write: one raw block (librdkafka, Go), or the frames of the Java library
//! snappy-java, known as xerial.

use snap::raw;

use super::BatchError;

/// How the blocks are framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnappyFraming {
    /// One block.
    Raw,
    /// A magic number, two versions, then blocks behind their length in four bytes.
    Xerial,
}

/// Both directions of one block.
pub(super) struct Blocks {
    encoder: raw::Encoder,
    decoder: raw::Decoder,
}

// === impl Blocks ===

impl Blocks {
    pub(super) fn inflate(
        &mut self,
        bytes: &[u8],
        max: usize,
        out: &mut Vec<u8>,
    ) -> Result<SnappyFraming, BatchError> {
        let Some(mut rest) = bytes.strip_prefix(MAGIC.as_slice()) else {
            self.inflate_block(bytes, max, out)?;
            return Ok(SnappyFraming::Raw);
        };
        rest = rest
            .get(VERSIONS.len()..)
            .ok_or(BatchError::CorruptCompression)?;
        while !rest.is_empty() {
            let (length, behind) = rest
                .split_first_chunk()
                .ok_or(BatchError::CorruptCompression)?;
            let length = usize::try_from(i32::from_be_bytes(*length))
                .map_err(|_| BatchError::CorruptCompression)?;
            let (block, behind) = behind
                .split_at_checked(length)
                .ok_or(BatchError::CorruptCompression)?;
            self.inflate_block(block, max, out)?;
            rest = behind;
        }
        Ok(SnappyFraming::Xerial)
    }

    fn inflate_block(
        &mut self,
        block: &[u8],
        max: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), BatchError> {
        let begin = out.len();
        let length = raw::decompress_len(block).map_err(|_| BatchError::CorruptCompression)?;
        // What a block says of itself is believed as far as its own size bears it out.
        if length > block.len().saturating_mul(MOST_RATIO) {
            return Err(BatchError::CorruptCompression);
        }
        let end = begin
            .checked_add(length)
            .filter(|end| *end <= max)
            .ok_or(BatchError::InflatedTooLarge { max })?;
        out.resize(end, 0);
        let place = out.get_mut(begin..).unwrap_or_default();
        self.decoder
            .decompress(block, place)
            .map_err(|_| BatchError::CorruptCompression)?;
        Ok(())
    }

    pub(super) fn deflate(
        &mut self,
        form: SnappyFraming,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), BatchError> {
        if form == SnappyFraming::Raw {
            return self.deflate_block(bytes, out);
        }
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSIONS);
        for block in bytes.chunks(XERIAL_BLOCK) {
            let at = out.len();
            out.extend_from_slice(&[0; 4]);
            self.deflate_block(block, out)?;
            let length =
                u32::try_from(out.len() - at - 4).map_err(|_| BatchError::CorruptCompression)?;
            if let Some(place) = out.get_mut(at..at + 4) {
                place.copy_from_slice(&length.to_be_bytes());
            }
        }
        Ok(())
    }

    fn deflate_block(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), BatchError> {
        let begin = out.len();
        out.resize(begin + raw::max_compress_len(bytes.len()), 0);
        let place = out.get_mut(begin..).unwrap_or_default();
        let length = self
            .encoder
            .compress(bytes, place)
            .map_err(|_| BatchError::CorruptCompression)?;
        out.truncate(begin + length);
        Ok(())
    }
}

impl Default for Blocks {
    fn default() -> Self {
        Self {
            encoder: raw::Encoder::new(),
            decoder: raw::Decoder::new(),
        }
    }
}

/// What begins a stream of snappy-java.
const MAGIC: [u8; 8] = *b"\x82SNAPPY\0";

/// The version that wrote and the oldest that can read, both 1.
const VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];

/// Bytes that snappy-java puts into a block.
const XERIAL_BLOCK: usize = 32 * 1024;

/// A block's three bytes give 64 at most.
const MOST_RATIO: usize = 22;
