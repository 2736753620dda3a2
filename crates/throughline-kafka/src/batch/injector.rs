//! Adds headers to the records of a batch.

use super::crc::{RunningCrc, crc32c};
use super::patcher::overwrite;
use super::record_batch::{CRC_AT, CRC_COVERAGE_START, LENGTH_AT};
use super::splice::{SizeBound, splice};
use super::{
    BatchError, BatchOutcome, CodecPool, CompressionCodec, HeaderWriter, RECORD_BATCH_OVERHEAD,
    Record, RecordBatch, RecordIter, SnappyFraming,
};

/// Rewrites batches with more headers in their records. Keeps buffers and codecs from batch to
/// batch.
#[derive(Debug, Default)]
pub struct HeaderInjector {
    codecs: CodecPool,
    writer: HeaderWriter,
    decompressed: Vec<u8>,
    spliced: Vec<u8>,
    uncompressed_bytes: usize,
}

/// The limits of a rewritten batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InjectionLimits {
    /// The maximum size of the batch as sent, the topic's `max.message.bytes`.
    pub max_batch_bytes: usize,
    /// The maximum size that the rewritten batch would have without compression: brokers may
    /// compress it differently.
    pub max_uncompressed_bytes: usize,
    /// The maximum size of the decompressed records, before and after.
    pub max_inflated_bytes: usize,
}

/// The records of a compressed batch, decompressed by the caller.
#[derive(Debug, Clone, Copy)]
pub struct DecompressedRecords<'a> {
    /// The records as they are before compression.
    pub bytes: &'a [u8],
    /// The framing that [`CodecPool::decompress`] returned for them.
    pub snappy: SnappyFraming,
}

// === impl HeaderInjector ===

impl HeaderInjector {
    /// Appends `batch` to `out`, with the headers that `select` adds to each record. Lengths and
    /// checksum are updated, all other bytes stay. Nothing is written unless the outcome is
    /// [`BatchOutcome::Changed`].
    pub fn inject(
        &mut self,
        batch: RecordBatch<'_>,
        limits: &InjectionLimits,
        out: &mut Vec<u8>,
        select: impl FnMut(&Record<'_>, &mut HeaderWriter),
    ) -> BatchOutcome {
        self.inject_inspected(batch, None, limits, out, select)
    }

    /// Does the same for a batch whose records the caller may have decompressed already.
    pub fn inject_inspected(
        &mut self,
        batch: RecordBatch<'_>,
        records: Option<DecompressedRecords<'_>>,
        limits: &InjectionLimits,
        out: &mut Vec<u8>,
        mut select: impl FnMut(&Record<'_>, &mut HeaderWriter),
    ) -> BatchOutcome {
        let begin = out.len();
        let changed = match batch.codec() {
            _ if batch.is_control() => Err(BatchError::ControlBatch),
            _ if batch.record_count() <= 0 => Err(BatchError::NoRecords),
            CompressionCodec::Unknown(codec) => Err(BatchError::UnknownCodec(codec)),
            CompressionCodec::None => self.inject_uncompressed(batch, limits, out, &mut select),
            CompressionCodec::Gzip
            | CompressionCodec::Snappy
            | CompressionCodec::Lz4
            | CompressionCodec::Zstd => {
                self.inject_compressed(batch, records, limits, out, &mut select)
            }
        };
        match changed {
            Ok(changed) if changed > 0 => BatchOutcome::Changed(changed),
            Ok(_) => {
                out.truncate(begin);
                BatchOutcome::Unchanged
            }
            Err(error) => {
                out.truncate(begin);
                BatchOutcome::Skipped(error)
            }
        }
    }

    /// Returns the size that the batch that was changed last has without compression.
    #[must_use]
    pub const fn uncompressed_bytes(&self) -> usize {
        self.uncompressed_bytes
    }

    /// Releases the memory of each buffer beyond `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        self.decompressed.clear();
        self.decompressed.shrink_to(bytes);
        self.spliced.clear();
        self.spliced.shrink_to(bytes);
        self.codecs.shrink_to(bytes);
    }

    fn inject_uncompressed(
        &mut self,
        batch: RecordBatch<'_>,
        limits: &InjectionLimits,
        out: &mut Vec<u8>,
        select: &mut impl FnMut(&Record<'_>, &mut HeaderWriter),
    ) -> Result<u32, BatchError> {
        let begin = out.len();
        let old = batch.bytes();
        out.extend_from_slice(old.get(..RECORD_BATCH_OVERHEAD).unwrap_or_default());
        let mut old_crc = RunningCrc::new(CRC_COVERAGE_START);
        let mut new_crc = RunningCrc::new(begin + CRC_COVERAGE_START);
        let records = RecordIter::new(batch.payload(), batch.record_count());
        let max_bytes = limits.max_batch_bytes.min(limits.max_uncompressed_bytes);
        let bound = SizeBound {
            end: begin.saturating_add(max_bytes),
            error: BatchError::BatchTooLarge { max: max_bytes },
        };
        // Both checksums advance with the copy, while the bytes are in the cache: a pass of its own
        // over a large batch would read it from memory again.
        let on_progress = |read: usize, out: &[u8]| {
            old_crc.advance(old, RECORD_BATCH_OVERHEAD + read);
            new_crc.advance(out, out.len());
        };
        let changed = splice(records, &mut self.writer, bound, out, select, on_progress)?;
        if changed == 0 {
            return Ok(0);
        }
        old_crc.advance(old, old.len());
        // A new checksum over damaged records would hide the damage from the broker.
        if old_crc.value() != batch.crc() {
            return Err(BatchError::ChecksumMismatch);
        }
        new_crc.advance(out, out.len());
        self.uncompressed_bytes = out.len() - begin;
        seal(out, begin, new_crc.value(), limits)?;
        Ok(changed)
    }

    fn inject_compressed(
        &mut self,
        batch: RecordBatch<'_>,
        records: Option<DecompressedRecords<'_>>,
        limits: &InjectionLimits,
        out: &mut Vec<u8>,
        select: &mut impl FnMut(&Record<'_>, &mut HeaderWriter),
    ) -> Result<u32, BatchError> {
        // Lengths first: with headers the batch only grows, and to inflate and deflate takes long.
        if batch.bytes().len() >= limits.max_batch_bytes {
            let max = limits.max_batch_bytes;
            return Err(BatchError::BatchTooLarge { max });
        }
        if !batch.has_valid_checksum() {
            return Err(BatchError::ChecksumMismatch);
        }
        let Self {
            codecs,
            writer,
            decompressed,
            spliced,
            uncompressed_bytes,
        } = self;
        let (codec, max) = (batch.codec(), limits.max_inflated_bytes);
        let DecompressedRecords { bytes, snappy } = match records {
            Some(records) => records,
            None => {
                let snappy = codecs.decompress(codec, batch.payload(), max, decompressed)?;
                DecompressedRecords {
                    bytes: decompressed,
                    snappy,
                }
            }
        };
        spliced.clear();
        let records = RecordIter::new(bytes, batch.record_count());
        let max_records_bytes = limits
            .max_uncompressed_bytes
            .saturating_sub(RECORD_BATCH_OVERHEAD);
        let bound = if max_records_bytes < max {
            SizeBound {
                end: max_records_bytes,
                error: BatchError::BatchTooLarge {
                    max: limits.max_uncompressed_bytes,
                },
            }
        } else {
            SizeBound {
                end: max,
                error: BatchError::InflatedTooLarge { max },
            }
        };
        let changed = splice(records, writer, bound, spliced, select, |_, _| {})?;
        if changed == 0 {
            return Ok(0);
        }
        *uncompressed_bytes = RECORD_BATCH_OVERHEAD + spliced.len();
        let begin = out.len();
        let header = batch.bytes().get(..RECORD_BATCH_OVERHEAD);
        out.extend_from_slice(header.unwrap_or_default());
        codecs.compress(codec, snappy, spliced, out)?;
        let crc = crc32c(out.get(begin + CRC_COVERAGE_START..).unwrap_or_default());
        seal(out, begin, crc, limits)?;
        Ok(changed)
    }
}

/// Writes the length and the checksum of the batch that begins at `begin`.
fn seal(
    out: &mut [u8],
    begin: usize,
    crc: u32,
    limits: &InjectionLimits,
) -> Result<(), BatchError> {
    let too_large = BatchError::BatchTooLarge {
        max: limits.max_batch_bytes,
    };
    let batch = out.get_mut(begin..).ok_or(too_large)?;
    if batch.len() > limits.max_batch_bytes {
        return Err(too_large);
    }
    let length = i32::try_from(batch.len() - LENGTH_AT - 4).map_err(|_| too_large)?;
    overwrite(batch, LENGTH_AT, &length.to_be_bytes());
    // The checksum does not cover the length, so the order of the two does not matter.
    overwrite(batch, CRC_AT, &crc.to_be_bytes());
    Ok(())
}
