//! Bytes of headers overwritten where they are: no length changes, only the checksum.

use super::view::{CHECKED, CHECKSUM};
use super::{Batch, Codec, Header, OVERHEAD, Outcome, Reason, Record, checksum};

/// Overwrites bytes in fetched batches. Holds what is used again from batch to batch.
#[derive(Debug, Default)]
pub struct Patcher {
    patches: Patches,
}

/// What is to be overwritten in one batch.
#[derive(Debug, Default)]
pub struct Patches {
    /// Where, from the beginning of the batch, and how many bytes of `bytes`.
    places: Vec<(usize, usize)>,
    bytes: Vec<u8>,
}

// === impl Patcher ===

impl Patcher {
    /// Overwrites in `batch`, one whole batch that is not compressed, what `choose` says of its records. Nothing is
    /// changed unless the outcome is [`Outcome::Changed`], which counts the places.
    pub fn patch(
        &mut self,
        batch: &mut [u8],
        mut choose: impl FnMut(&Record<'_>, &mut Patches),
    ) -> Outcome {
        self.patches.clear();
        match self.gather(batch, &mut choose) {
            Ok(0) => Outcome::Unchanged,
            Ok(places) => {
                self.patches.apply(batch);
                Outcome::Changed(places)
            }
            Err(reason) => Outcome::Passed(reason),
        }
    }

    fn gather(
        &mut self,
        bytes: &[u8],
        choose: &mut impl FnMut(&Record<'_>, &mut Patches),
    ) -> Result<u32, Reason> {
        let malformed = crate::wire::Error {
            at: 0,
            expected: "one whole batch",
        };
        let batch = Batch::new(bytes).ok_or(Reason::Malformed(malformed))?;
        if batch.is_control() {
            return Err(Reason::Control);
        }
        let Some(records) = batch.records() else {
            return Err(Reason::Codec(Codec::number(batch.attributes())));
        };
        for record in records {
            choose(&record.map_err(Reason::Malformed)?, &mut self.patches);
        }
        if !self.patches.places.is_empty() && !batch.is_intact() {
            return Err(Reason::Checksum);
        }
        Ok(u32::try_from(self.patches.places.len()).unwrap_or(u32::MAX))
    }
}

// === impl Patches ===

impl Patches {
    /// Overwrites the bytes of the header's value from `at` on. False, and nothing is done, when the value does not reach
    /// so far.
    pub fn overwrite(
        &mut self,
        record: &Record<'_>,
        header: &Header<'_>,
        at: usize,
        bytes: &[u8],
    ) -> bool {
        let length = header.value.map_or(0, <[u8]>::len);
        let fits = at.checked_add(bytes.len()).is_some_and(|end| end <= length);
        if fits {
            self.places
                .push((OVERHEAD + record.at + header.value_at + at, bytes.len()));
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
