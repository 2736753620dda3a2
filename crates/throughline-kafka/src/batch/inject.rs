//! HeaderWriter put into the records of a batch.

use super::splice::{Bound, Running, splice};
use super::view::{CHECKED, CHECKSUM, LENGTH};
use super::{
    BatchError, BatchOutcome, CodecPool, CompressionCodec, HeaderWriter, RECORD_BATCH_OVERHEAD,
    Record, RecordBatch, RecordIter, checksum,
};

/// Writes batches anew with more headers in their records. Holds what is used again from batch to batch.
#[derive(Debug, Default)]
pub struct HeaderInjector {
    codecs: CodecPool,
    headers: HeaderWriter,
    plain: Vec<u8>,
    spliced: Vec<u8>,
}

/// How large a batch may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InjectionLimits {
    /// Most bytes of the batch as the broker gets it: the topic's `max.message.bytes`.
    pub max_batch_bytes: usize,
    /// Most bytes of its records inflated, before and after.
    pub max_inflated_bytes: usize,
}

// === impl HeaderInjector ===

impl HeaderInjector {
    /// Writes `batch` behind what is in `out`, each record with the headers that `choose` gives it; lengths and checksum
    /// are redone, all else is as it was. Nothing is written unless the outcome is [`BatchOutcome::Changed`].
    pub fn inject(
        &mut self,
        batch: RecordBatch<'_>,
        limits: &InjectionLimits,
        out: &mut Vec<u8>,
        mut choose: impl FnMut(&Record<'_>, &mut HeaderWriter),
    ) -> BatchOutcome {
        let begin = out.len();
        let written = match batch.codec() {
            _ if batch.is_control() => Err(BatchError::ControlBatch),
            _ if batch.record_count() <= 0 => Err(BatchError::NoRecords),
            CompressionCodec::Unknown(codec) => Err(BatchError::UnknownCodec(codec)),
            CompressionCodec::None => self.inject_plain(batch, limits, out, &mut choose),
            codec @ (CompressionCodec::Gzip
            | CompressionCodec::Snappy
            | CompressionCodec::Lz4
            | CompressionCodec::Zstd) => {
                self.inject_compressed(batch, codec, limits, out, &mut choose)
            }
        };
        match written {
            Ok(changed) if changed > 0 => BatchOutcome::Changed(changed),
            Ok(_) => {
                out.truncate(begin);
                BatchOutcome::Unchanged
            }
            Err(reason) => {
                out.truncate(begin);
                BatchOutcome::Skipped(reason)
            }
        }
    }

    /// Gives back memory above so many bytes of each buffer.
    pub fn shrink_to(&mut self, bytes: usize) {
        self.plain.clear();
        self.plain.shrink_to(bytes);
        self.spliced.clear();
        self.spliced.shrink_to(bytes);
        self.codecs.shrink_to(bytes);
    }

    fn inject_plain(
        &mut self,
        batch: RecordBatch<'_>,
        limits: &InjectionLimits,
        out: &mut Vec<u8>,
        choose: &mut impl FnMut(&Record<'_>, &mut HeaderWriter),
    ) -> Result<u32, BatchError> {
        let begin = out.len();
        let old = batch.bytes();
        out.extend_from_slice(old.get(..RECORD_BATCH_OVERHEAD).unwrap_or_default());
        let (mut theirs, mut ours) = (Running::new(CHECKED), Running::new(begin + CHECKED));
        let records = RecordIter::new(batch.payload(), batch.record_count());
        let reason = BatchError::BatchTooLarge {
            max: limits.max_batch_bytes,
        };
        let bound = Bound {
            end: begin.saturating_add(limits.max_batch_bytes),
            reason,
        };
        let changed = splice(
            records,
            &mut self.headers,
            bound,
            out,
            choose,
            |read, out| {
                theirs.advance(old, RECORD_BATCH_OVERHEAD + read);
                ours.advance(out, out.len());
            },
        )?;
        if changed == 0 {
            return Ok(0);
        }
        theirs.advance(old, old.len());
        if theirs.value() != batch.crc() {
            return Err(BatchError::ChecksumMismatch);
        }
        ours.advance(out, out.len());
        seal(out, begin, ours.value(), limits)?;
        Ok(changed)
    }

    fn inject_compressed(
        &mut self,
        batch: RecordBatch<'_>,
        codec: CompressionCodec,
        limits: &InjectionLimits,
        out: &mut Vec<u8>,
        choose: &mut impl FnMut(&Record<'_>, &mut HeaderWriter),
    ) -> Result<u32, BatchError> {
        if !batch.has_valid_checksum() {
            return Err(BatchError::ChecksumMismatch);
        }
        let Self {
            codecs,
            headers,
            plain,
            spliced,
        } = self;
        let max = limits.max_inflated_bytes;
        let snappy = codecs.decompress(codec, batch.payload(), max, plain)?;
        spliced.clear();
        let records = RecordIter::new(plain, batch.record_count());
        let bound = Bound {
            end: max,
            reason: BatchError::InflatedTooLarge { max },
        };
        let changed = splice(records, headers, bound, spliced, choose, |_, _| {})?;
        if changed == 0 {
            return Ok(0);
        }
        let begin = out.len();
        out.extend_from_slice(
            batch
                .bytes()
                .get(..RECORD_BATCH_OVERHEAD)
                .unwrap_or_default(),
        );
        codecs.compress(codec, snappy, spliced, out)?;
        let crc = checksum(out.get(begin + CHECKED..).unwrap_or_default());
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
    let length = i32::try_from(batch.len() - LENGTH - 4).map_err(|_| too_large)?;
    super::patch::overwrite(batch, LENGTH, &length.to_be_bytes());
    super::patch::overwrite(batch, CHECKSUM, &crc.to_be_bytes());
    Ok(())
}
