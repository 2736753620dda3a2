//! The compression of a batch's records: which, and through one door that is capped.
//!
//! What is inflated grows with what really comes out, never by what the input says of itself, and ends at a limit: a
//! small input that inflates without end is refused after that many bytes. What is compressed again is what Kafka's Java
//! clients read: gzip members, xerial or raw snappy as it came, lz4 frames of independent 64 KiB blocks, zstd frames.

mod gzip;
mod lz4;
mod snappy;
#[cfg(feature = "compression-zstd")]
mod zstd;

use std::io::Read;

pub use snappy::SnappyFraming;

use super::BatchError;

/// How the records of a batch are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompressionCodec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
    /// A number without a meaning yet.
    Unknown(u8),
}

/// Compressors and decompressors that are used again from batch to batch.
#[derive(Default)]
pub struct CodecPool {
    gzip: gzip::Gzip,
    snappy: snappy::Blocks,
    lz4: lz4::Lz4,
    #[cfg(feature = "compression-zstd")]
    zstd: zstd::Zstd,
}

// === impl CompressionCodec ===

impl CompressionCodec {
    pub(super) fn of(attributes: i16) -> Self {
        match Self::number(attributes) {
            0 => Self::None,
            1 => Self::Gzip,
            2 => Self::Snappy,
            3 => Self::Lz4,
            4 => Self::Zstd,
            other => Self::Unknown(other),
        }
    }

    pub(super) fn number(attributes: i16) -> u8 {
        u8::try_from(attributes & 0x07).unwrap_or(0)
    }
}

// === impl CodecPool ===

impl CodecPool {
    /// Inflates `bytes` into `out`, which is emptied first. Tells how snappy was framed, to be compressed again the same.
    ///
    /// # Errors
    /// When it is not well-formed, when there would be more than `max` bytes, or when the codec is not known.
    pub fn decompress(
        &mut self,
        codec: CompressionCodec,
        bytes: &[u8],
        max: usize,
        out: &mut Vec<u8>,
    ) -> Result<SnappyFraming, BatchError> {
        out.clear();
        match codec {
            CompressionCodec::None if bytes.len() > max => {
                return Err(BatchError::InflatedTooLarge { max });
            }
            CompressionCodec::None => out.extend_from_slice(bytes),
            CompressionCodec::Gzip => gzip::inflate(bytes, max, out)?,
            CompressionCodec::Snappy => return self.snappy.inflate(bytes, max, out),
            CompressionCodec::Lz4 => lz4::inflate(bytes, max, out)?,
            #[cfg(feature = "compression-zstd")]
            CompressionCodec::Zstd => self.zstd.inflate(bytes, max, out)?,
            #[cfg(not(feature = "compression-zstd"))]
            CompressionCodec::Zstd => return Err(BatchError::UnknownCodec(4)),
            CompressionCodec::Unknown(codec) => return Err(BatchError::UnknownCodec(codec)),
        }
        Ok(SnappyFraming::Raw)
    }

    /// Compresses `bytes` behind what is in `out`.
    ///
    /// # Errors
    /// When the codec is not known, or its library gives up.
    pub fn compress(
        &mut self,
        codec: CompressionCodec,
        snappy: SnappyFraming,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), BatchError> {
        match codec {
            CompressionCodec::None => {
                out.extend_from_slice(bytes);
                Ok(())
            }
            CompressionCodec::Gzip => self.gzip.deflate(bytes, out),
            CompressionCodec::Snappy => self.snappy.deflate(snappy, bytes, out),
            CompressionCodec::Lz4 => self.lz4.deflate(bytes, out),
            #[cfg(feature = "compression-zstd")]
            CompressionCodec::Zstd => self.zstd.deflate(bytes, out),
            #[cfg(not(feature = "compression-zstd"))]
            CompressionCodec::Zstd => Err(BatchError::UnknownCodec(4)),
            CompressionCodec::Unknown(codec) => Err(BatchError::UnknownCodec(codec)),
        }
    }

    /// Gives back memory above so many bytes of each buffer.
    pub fn shrink_to(&mut self, bytes: usize) {
        #[cfg(feature = "compression-zstd")]
        self.zstd.shrink_to(bytes);
        #[cfg(not(feature = "compression-zstd"))]
        let _ = (self, bytes);
    }
}

impl std::fmt::Debug for CodecPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CodecPool").finish_non_exhaustive()
    }
}

/// Reads all of `from`, but no more than `max` bytes: the one door for everything that inflates as a stream.
fn read_capped(from: impl Read, max: usize, out: &mut Vec<u8>) -> Result<(), BatchError> {
    let one_more = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    from.take(one_more)
        .read_to_end(out)
        .map_err(|_| BatchError::CorruptCompression)?;
    if out.len() > max {
        Err(BatchError::InflatedTooLarge { max })
    } else {
        Ok(())
    }
}
