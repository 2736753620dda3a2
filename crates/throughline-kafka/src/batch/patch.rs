//! Bytes of headers overwritten where they are: no length changes, only the checksum.

use super::view::{CHECKED, CHECKSUM};
use super::{
    BatchError, BatchOutcome, CompressionCodec, RECORD_BATCH_OVERHEAD, Record, RecordBatch,
    RecordHeader, checksum,
};

/// Overwrites bytes in fetched batches. Holds what is used again from batch to batch.
#[derive(Debug, Default)]
pub struct HeaderPatcher {
    patches: HeaderPatches,
}

/// What is to be overwritten in one batch.
#[derive(Debug, Default)]
pub struct HeaderPatches {
    /// Where, from the beginning of the batch, and how many bytes of `bytes`.
    places: Vec<(usize, usize)>,
    bytes: Vec<u8>,
}

// === impl HeaderPatcher ===

impl HeaderPatcher {
    /// Overwrites in `batch`, one whole batch that is not compressed, what `choose` says of its records. Nothing is
    /// changed unless the outcome is [`BatchOutcome::Changed`], which counts the places.
    pub fn patch(
        &mut self,
        batch: &mut [u8],
        mut choose: impl FnMut(&Record<'_>, &mut HeaderPatches),
    ) -> BatchOutcome {
        self.patches.clear();
        match self.gather(batch, &mut choose) {
            Ok(0) => BatchOutcome::Unchanged,
            Ok(places) => {
                self.patches.apply(batch);
                BatchOutcome::Changed(places)
            }
            Err(reason) => BatchOutcome::Skipped(reason),
        }
    }

    fn gather(
        &mut self,
        bytes: &[u8],
        choose: &mut impl FnMut(&Record<'_>, &mut HeaderPatches),
    ) -> Result<u32, BatchError> {
        let malformed = crate::wire::Error {
            at: 0,
            expected: "one whole batch",
        };
        let batch = RecordBatch::new(bytes).ok_or(BatchError::MalformedRecords(malformed))?;
        if batch.is_control() {
            return Err(BatchError::ControlBatch);
        }
        let Some(records) = batch.records() else {
            return Err(BatchError::UnknownCodec(CompressionCodec::number(
                batch.attributes(),
            )));
        };
        for record in records {
            choose(
                &record.map_err(BatchError::MalformedRecords)?,
                &mut self.patches,
            );
        }
        if !self.patches.places.is_empty() && !batch.has_valid_checksum() {
            return Err(BatchError::ChecksumMismatch);
        }
        Ok(u32::try_from(self.patches.places.len()).unwrap_or(u32::MAX))
    }
}

// === impl HeaderPatches ===

impl HeaderPatches {
    /// Overwrites the bytes of the header's value from `at` on. False, and nothing is done, when the value does not reach
    /// so far.
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
            self.places.push((
                RECORD_BATCH_OVERHEAD + record.at + header.value_at + at,
                bytes.len(),
            ));
            self.bytes.extend_from_slice(bytes);
        }
        fits
    }

    fn clear(&mut self) {
        self.places.clear();
        self.bytes.clear();
    }

    fn apply(&self, batch: &mut [u8]) {
        let mut rest = self.bytes.as_slice();
        for (at, length) in &self.places {
            let Some((bytes, behind)) = rest.split_at_checked(*length) else {
                return;
            };
            overwrite(batch, *at, bytes);
            rest = behind;
        }
        let crc = checksum(batch.get(CHECKED..).unwrap_or_default());
        overwrite(batch, CHECKSUM, &crc.to_be_bytes());
    }
}

/// Overwrites bytes that are there; if they are not, does nothing.
pub(super) fn overwrite(target: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = target
        .get_mut(at..)
        .and_then(|rest| rest.get_mut(..bytes.len()))
    {
        place.copy_from_slice(bytes);
    }
}
