//! The compression of a batch's records. All decompression is limited in size.
//!
//! Output buffers grow with the bytes that are really decompressed, not with the sizes that the
//! input states, and stop at the limit: a small input that would expand without end is rejected
//! after that many bytes. Compressed output is what Kafka's Java clients can read: gzip members,
//! snappy raw or framed as it arrived, lz4 frames of independent 64 KiB blocks, zstd frames.

mod capped;
mod gzip;
mod lz4;
mod snappy;
#[cfg(feature = "compression-zstd")]
mod zstd;

use std::fmt;

pub use snappy::SnappyFraming;

use self::gzip::GzipCodec;
use self::lz4::Lz4Codec;
use self::snappy::SnappyCodec;
#[cfg(feature = "compression-zstd")]
use self::zstd::ZstdCodec;
use super::BatchError;

/// The bits of a batch's attributes that hold the codec.
const CODEC_MASK: i16 = 0x07;

/// The codec number of zstd, for builds without it.
#[cfg(not(feature = "compression-zstd"))]
const ZSTD: u8 = 4;

/// The compression of a batch's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompressionCodec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
    /// A number that the format does not define.
    Unknown(u8),
}

/// Compressors and decompressors, reused from batch to batch.
#[derive(Default)]
pub struct CodecPool {
    gzip: GzipCodec,
    snappy: SnappyCodec,
    lz4: Lz4Codec,
    #[cfg(feature = "compression-zstd")]
    zstd: ZstdCodec,
}

// === impl CompressionCodec ===

impl CompressionCodec {
    pub(super) fn from_attributes(attributes: i16) -> Self {
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
        u8::try_from(attributes & CODEC_MASK).unwrap_or(0)
    }
}

// === impl CodecPool ===

impl CodecPool {
    /// Decompresses `bytes` into `out`, which is cleared first. Returns the snappy framing, which
    /// [`CodecPool::compress`] needs to produce the same form.
    ///
    /// # Errors
    /// When the input is damaged, the output would exceed `max` bytes, or the codec is unknown.
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
            CompressionCodec::Gzip => gzip::decompress(bytes, max, out)?,
            // Only snappy has two forms; the other codecs ignore the returned framing.
            CompressionCodec::Snappy => return self.snappy.decompress(bytes, max, out),
            CompressionCodec::Lz4 => lz4::decompress(bytes, max, out)?,
            #[cfg(feature = "compression-zstd")]
            CompressionCodec::Zstd => self.zstd.decompress(bytes, max, out)?,
            #[cfg(not(feature = "compression-zstd"))]
            CompressionCodec::Zstd => return Err(BatchError::UnknownCodec(ZSTD)),
            CompressionCodec::Unknown(codec) => return Err(BatchError::UnknownCodec(codec)),
        }
        Ok(SnappyFraming::Raw)
    }

    /// Compresses `bytes` and appends them to `out`.
    ///
    /// # Errors
    /// When the codec is unknown or its library fails.
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
            CompressionCodec::Gzip => self.gzip.compress(bytes, out),
            CompressionCodec::Snappy => self.snappy.compress(snappy, bytes, out),
            CompressionCodec::Lz4 => self.lz4.compress(bytes, out),
            #[cfg(feature = "compression-zstd")]
            CompressionCodec::Zstd => self.zstd.compress(bytes, out),
            #[cfg(not(feature = "compression-zstd"))]
            CompressionCodec::Zstd => Err(BatchError::UnknownCodec(ZSTD)),
            CompressionCodec::Unknown(codec) => Err(BatchError::UnknownCodec(codec)),
        }
    }

    /// Releases the memory of each buffer beyond `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        #[cfg(feature = "compression-zstd")]
        self.zstd.shrink_to(bytes);
        #[cfg(not(feature = "compression-zstd"))]
        let _ = (self, bytes);
    }
}

impl fmt::Debug for CodecPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodecPool").finish_non_exhaustive()
    }
}
