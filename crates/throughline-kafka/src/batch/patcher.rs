//! Overwrites header values in place: lengths stay, only the checksum is updated. The records of a
//! compressed batch are compressed again.

use super::crc::crc32c;
use super::record_batch::{CRC_AT, CRC_COVERAGE_START, LENGTH_AT};
use super::{
    BatchError, BatchOutcome, CodecPool, CompressionCodec, RECORD_BATCH_OVERHEAD, Record,
    RecordBatch, RecordHeader, RecordIter,
};
use crate::wire::Error;

/// Overwrites header values of fetched batches. Keeps its buffers from batch to batch.
#[derive(Debug, Default)]
pub struct HeaderPatcher {
    patches: HeaderPatches,
    codecs: CodecPool,
    decompressed: Vec<u8>,
}

/// The bytes to overwrite in one batch.
#[derive(Debug, Default)]
pub struct HeaderPatches {
    /// The position of each patch in the batch, and the number of its bytes in `bytes`.
    targets: Vec<(usize, usize)>,
    bytes: Vec<u8>,
}

/// Part of its size by which a compressed batch may grow: clients limit what they fetch.
const MAX_GROWTH_PART: usize = 8;

/// Bytes by which any compressed batch may grow.
const MIN_GROWTH: usize = 1024;

// === impl HeaderPatcher ===

impl HeaderPatcher {
    /// Applies the patches that `select` adds for each record of `batch`, one complete uncompressed
    /// batch. Nothing changes unless the outcome is [`BatchOutcome::Changed`] with the number of
    /// patches.
    pub fn patch(
        &mut self,
        batch: &mut [u8],
        mut select: impl FnMut(&Record<'_>, &mut HeaderPatches),
    ) -> BatchOutcome {
        self.patches.clear();
        // All patches are collected before the first is applied: a batch with a malformed record
        // stays as it is.
        match self.collect(batch, &mut select) {
            Ok(0) => BatchOutcome::Unchanged,
            Ok(count) => {
                self.patches.apply(batch);
                BatchOutcome::Changed(count)
            }
            Err(error) => BatchOutcome::Skipped(error),
        }
    }

    /// Appends a compressed batch to `out`, with the patches that `select` adds for each record.
    /// Nothing is written unless the outcome is [`BatchOutcome::Changed`].
    ///
    /// The batch is skipped when its records decompress to more than `max_inflated_bytes`, or when
    /// it would grow by more than twice the patches and an eighth: the broker may have compressed
    /// it better.
    pub fn patch_compressed(
        &mut self,
        batch: RecordBatch<'_>,
        max_inflated_bytes: usize,
        out: &mut Vec<u8>,
        mut select: impl FnMut(&Record<'_>, &mut HeaderPatches),
    ) -> BatchOutcome {
        let begin = out.len();
        self.patches.clear();
        match self.rewrite(batch, max_inflated_bytes, out, &mut select) {
            Ok(count) if count > 0 => BatchOutcome::Changed(count),
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

    /// Releases the memory of each buffer beyond `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        self.decompressed.clear();
        self.decompressed.shrink_to(bytes);
        self.codecs.shrink_to(bytes);
    }

    fn rewrite(
        &mut self,
        batch: RecordBatch<'_>,
        max_inflated_bytes: usize,
        out: &mut Vec<u8>,
        select: &mut impl FnMut(&Record<'_>, &mut HeaderPatches),
    ) -> Result<u32, BatchError> {
        if batch.is_control() {
            return Err(BatchError::ControlBatch);
        }
        if !batch.has_valid_checksum() {
            return Err(BatchError::ChecksumMismatch);
        }
        let codec = batch.codec();
        let Self {
            patches,
            codecs,
            decompressed,
        } = self;
        let framing =
            codecs.decompress(codec, batch.payload(), max_inflated_bytes, decompressed)?;
        for record in RecordIter::new(decompressed, batch.record_count()) {
            select(&record.map_err(BatchError::MalformedRecords)?, patches);
        }
        if patches.targets.is_empty() {
            return Ok(0);
        }
        patches.overwrite_all(decompressed, RECORD_BATCH_OVERHEAD);
        let begin = out.len();
        let old = batch.bytes();
        out.extend_from_slice(old.get(..RECORD_BATCH_OVERHEAD).unwrap_or_default());
        codecs.compress(codec, framing, decompressed, out)?;
        // Equal contexts compress to nothing, different ones hardly; each splits a copy in two.
        let patched = 2 * patches.bytes.len();
        let max = old.len() + old.len() / MAX_GROWTH_PART + patched + MIN_GROWTH;
        let too_large = BatchError::BatchTooLarge { max };
        let new = out.get_mut(begin..).ok_or(too_large)?;
        if new.len() > max {
            return Err(too_large);
        }
        let length = i32::try_from(new.len() - LENGTH_AT - 4).map_err(|_| too_large)?;
        overwrite(new, LENGTH_AT, &length.to_be_bytes());
        let crc = crc32c(new.get(CRC_COVERAGE_START..).unwrap_or_default());
        overwrite(new, CRC_AT, &crc.to_be_bytes());
        Ok(u32::try_from(patches.targets.len()).unwrap_or(u32::MAX))
    }

    fn collect(
        &mut self,
        bytes: &[u8],
        select: &mut impl FnMut(&Record<'_>, &mut HeaderPatches),
    ) -> Result<u32, BatchError> {
        let malformed = Error {
            at: 0,
            expected: "one whole batch",
        };
        let batch = RecordBatch::new(bytes).ok_or(BatchError::MalformedRecords(malformed))?;
        if batch.is_control() {
            return Err(BatchError::ControlBatch);
        }
        let Some(records) = batch.records() else {
            let codec = CompressionCodec::number(batch.attributes());
            return Err(BatchError::UnknownCodec(codec));
        };
        for record in records {
            select(
                &record.map_err(BatchError::MalformedRecords)?,
                &mut self.patches,
            );
        }
        // The checksum costs a pass over the batch, so it is verified only if it will change.
        if !self.patches.targets.is_empty() && !batch.has_valid_checksum() {
            return Err(BatchError::ChecksumMismatch);
        }
        Ok(u32::try_from(self.patches.targets.len()).unwrap_or(u32::MAX))
    }
}

// === impl HeaderPatches ===

impl HeaderPatches {
    /// Overwrites the bytes of the header's value from `at` on. Returns false, and does nothing,
    /// when they exceed the value.
    pub fn overwrite(
        &mut self,
        record: &Record<'_>,
        header: &RecordHeader<'_>,
        at: usize,
        bytes: &[u8],
    ) -> bool {
        let length = header.value.map_or(0, <[u8]>::len);
        let fits = at.checked_add(bytes.len()).is_some_and(|end| end <= length);
        if fits {
            let target = RECORD_BATCH_OVERHEAD + record.position + header.value_start + at;
            self.targets.push((target, bytes.len()));
            self.bytes.extend_from_slice(bytes);
        }
        fits
    }

    fn clear(&mut self) {
        self.targets.clear();
        self.bytes.clear();
    }

    /// Applies the patches to bytes that begin at this position of the batch.
    fn overwrite_all(&self, target: &mut [u8], start: usize) {
        let mut rest = self.bytes.as_slice();
        for (position, length) in &self.targets {
            let Some((bytes, remaining)) = rest.split_at_checked(*length) else {
                return;
            };
            overwrite(target, position.saturating_sub(start), bytes);
            rest = remaining;
        }
    }

    fn apply(&self, batch: &mut [u8]) {
        self.overwrite_all(batch, 0);
        let crc = crc32c(batch.get(CRC_COVERAGE_START..).unwrap_or_default());
        overwrite(batch, CRC_AT, &crc.to_be_bytes());
    }
}

/// Overwrites bytes of `target`; does nothing when they are out of range.
pub(super) fn overwrite(target: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(range) = target
        .get_mut(at..)
        .and_then(|rest| rest.get_mut(..bytes.len()))
    {
        range.copy_from_slice(bytes);
    }
}
