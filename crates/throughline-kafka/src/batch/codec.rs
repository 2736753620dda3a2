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

pub use snappy::Snappy;

use super::Reason;

/// How the records of a batch are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
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
pub struct Codecs {
    gzip: gzip::Gzip,
    snappy: snappy::Blocks,
    lz4: lz4::Lz4,
    #[cfg(feature = "compression-zstd")]
    zstd: zstd::Zstd,
}

// === impl Codec ===

impl Codec {
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

// === impl Codecs ===

impl Codecs {
    /// Inflates `bytes` into `out`, which is emptied first. Tells how snappy was framed, to be compressed again the same.
    ///
    /// # Errors
    /// When it is not well-formed, when there would be more than `max` bytes, or when the codec is not known.
    pub fn inflate(
        &mut self,
        codec: Codec,
        bytes: &[u8],
        max: usize,
        out: &mut Vec<u8>,
    ) -> Result<Snappy, Reason> {
        out.clear();
        match codec {
            Codec::None if bytes.len() > max => return Err(Reason::Inflated { max }),
            Codec::None => out.extend_from_slice(bytes),
            Codec::Gzip => gzip::inflate(bytes, max, out)?,
            Codec::Snappy => return self.snappy.inflate(bytes, max, out),
            Codec::Lz4 => lz4::inflate(bytes, max, out)?,
            #[cfg(feature = "compression-zstd")]
            Codec::Zstd => self.zstd.inflate(bytes, max, out)?,
            #[cfg(not(feature = "compression-zstd"))]
            Codec::Zstd => return Err(Reason::Codec(4)),
            Codec::Unknown(codec) => return Err(Reason::Codec(codec)),
        }
        Ok(Snappy::Raw)
    }

    /// Compresses `bytes` behind what is in `out`.
    ///
    /// # Errors
    /// When the codec is not known, or its library gives up.
    pub fn deflate(
        &mut self,
        codec: Codec,
        snappy: Snappy,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Reason> {
        match codec {
            Codec::None => {
                out.extend_from_slice(bytes);
                Ok(())
            }
            Codec::Gzip => self.gzip.deflate(bytes, out),
            Codec::Snappy => self.snappy.deflate(snappy, bytes, out),
            Codec::Lz4 => self.lz4.deflate(bytes, out),
            #[cfg(feature = "compression-zstd")]
            Codec::Zstd => self.zstd.deflate(bytes, out),
            #[cfg(not(feature = "compression-zstd"))]
            Codec::Zstd => Err(Reason::Codec(4)),
            Codec::Unknown(codec) => Err(Reason::Codec(codec)),
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

impl std::fmt::Debug for Codecs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Codecs").finish_non_exhaustive()
    }
}

/// Reads all of `from`, but no more than `max` bytes: the one door for everything that inflates as a stream.
fn read_capped(from: impl Read, max: usize, out: &mut Vec<u8>) -> Result<(), Reason> {
    let one_more = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    from.take(one_more)
        .read_to_end(out)
        .map_err(|_| Reason::Compressed)?;
    if out.len() > max {
        Err(Reason::Inflated { max })
    } else {
        Ok(())
    }
}
