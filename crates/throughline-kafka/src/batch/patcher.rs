//! Overwrites header values in place: lengths stay, only the checksum is updated.

use super::crc::crc32c;
use super::record_batch::{CRC_AT, CRC_COVERAGE_START};
use super::{
    BatchError, BatchOutcome, CompressionCodec, RECORD_BATCH_OVERHEAD, Record, RecordBatch,
    RecordHeader,
};
use crate::wire::Error;

/// Overwrites header values of fetched batches. Keeps its buffers from batch to batch.
#[derive(Debug, Default)]
pub struct HeaderPatcher {
    patches: HeaderPatches,
}

/// The bytes to overwrite in one batch.
#[derive(Debug, Default)]
pub struct HeaderPatches {
    /// The position of each patch in the batch, and the number of its bytes in `bytes`.
    targets: Vec<(usize, usize)>,
    bytes: Vec<u8>,
}

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

    fn apply(&self, batch: &mut [u8]) {
        let mut rest = self.bytes.as_slice();
        for (target, length) in &self.targets {
            let Some((bytes, remaining)) = rest.split_at_checked(*length) else {
                return;
            };
            overwrite(batch, *target, bytes);
            rest = remaining;
        }
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
