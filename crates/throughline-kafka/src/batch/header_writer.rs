//! Writes the new headers of a record after a copy of it.

use std::ops::Range;

use super::Record;
use crate::wire::varint;

/// The largest header count that a varint of one byte holds.
const MAX_ONE_BYTE_COUNT: u32 = 0x3f;

/// Collects the headers to add to one record.
///
/// They are written directly to the output, after a copy of the original record. The fields before
/// them, the record's length and its number of headers, are updated when all headers are known.
#[derive(Debug, Default)]
pub struct HeaderWriter {
    /// The output, swapped in while a batch is written.
    pub(super) out: Vec<u8>,
    /// The position of the record in the output.
    record_start: usize,
    /// The position of the new headers in the output.
    headers_start: usize,
    count: u32,
    /// The keys, as ranges of the new headers, whose original headers are removed.
    replaced_keys: Vec<Range<usize>>,
    /// The keys whose original headers are removed without another in their place.
    removed_keys: Vec<Vec<u8>>,
    overflow: bool,
    /// A copy of the new headers while the bytes before them are rewritten.
    stash: Vec<u8>,
}

/// A length or count exceeds the format's 32 bits.
#[derive(Debug)]
pub(super) struct LengthOverflow;

// === impl HeaderWriter ===

impl HeaderWriter {
    /// Adds a header after those of the record.
    #[inline]
    pub fn append(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.write_bytes(key);
        match value {
            Some(value) => self.write_bytes(value),
            None => varint::write_i32(-1, &mut self.out),
        }
        self.count = self.count.saturating_add(1);
    }

    /// Adds a header and removes all headers of the record with the same key.
    pub fn replace(&mut self, key: &[u8], value: Option<&[u8]>) {
        let start = self.out.len() - self.headers_start;
        self.append(key, value);
        let prefix = i32::try_from(key.len()).map_or(0, varint::length_i32);
        let key_start = start + prefix;
        self.replaced_keys.push(key_start..key_start + key.len());
    }

    /// Removes all headers of the record with this key, if any other header is added.
    pub fn remove(&mut self, key: &[u8]) {
        self.removed_keys.push(key.to_vec());
    }

    /// Returns whether no header has been added.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    #[inline]
    fn write_bytes(&mut self, bytes: &[u8]) {
        let Ok(length) = i32::try_from(bytes.len()) else {
            // Reported by `finish_record`, so that adding a header cannot fail.
            self.overflow = true;
            return;
        };
        varint::write_i32(length, &mut self.out);
        self.out.extend_from_slice(bytes);
    }

    /// Begins a record without copying it: neither it nor any earlier record is in the output yet.
    #[inline]
    pub(super) fn begin_lazy(&mut self) {
        self.headers_start = self.out.len();
        self.replaced_keys.clear();
        self.removed_keys.clear();
        (self.count, self.overflow) = (0, false);
    }

    /// Begins a record with a copy of the original.
    #[inline]
    pub(super) fn begin_record(&mut self, record: &Record<'_>) {
        self.record_start = self.out.len();
        self.out.extend_from_slice(record.bytes);
        self.begin_lazy();
    }

    /// Inserts `record` and all earlier records of `records` before the headers that were begun
    /// with [`HeaderWriter::begin_lazy`], and reserves memory for the later ones.
    #[cold]
    pub(super) fn backfill(&mut self, records: &[u8], record: &Record<'_>) {
        self.stash_headers();
        self.out.truncate(self.headers_start);
        self.out.reserve(records.len() + records.len() / 8);
        self.out
            .extend_from_slice(records.get(..record.position).unwrap_or_default());
        self.record_start = self.out.len();
        self.out.extend_from_slice(record.bytes);
        self.headers_start = self.out.len();
        self.out.extend_from_slice(&self.stash);
    }

    fn stash_headers(&mut self) {
        self.stash.clear();
        self.stash
            .extend_from_slice(self.out.get(self.headers_start..).unwrap_or_default());
    }

    /// Updates the length and the header count of the record, so that the new headers belong to it.
    ///
    /// # Errors
    /// When the record would be longer than the format allows.
    #[inline]
    pub(super) fn finish_record(&mut self, record: &Record<'_>) -> Result<(), LengthOverflow> {
        let length = self.out.len() - self.record_start - record.body_start;
        let length = i32::try_from(length).map_err(|_| LengthOverflow)?;
        let count = record.header_count.saturating_add(self.count);
        // The fast path patches the copy: the count still fits its one byte, as nearly always, and
        // the length needs no fewer bytes than before.
        let keeps_width =
            count <= MAX_ONE_BYTE_COUNT && record.headers_start - record.count_start == 1;
        let (Some(growth), Ok(count), true) = (
            varint::length_i32(length).checked_sub(record.body_start),
            u8::try_from(count << 1),
            keeps_width,
        ) else {
            return self.rewrite_record(record);
        };
        if self.overflow || !self.replaced_keys.is_empty() || !self.removed_keys.is_empty() {
            return self.rewrite_record(record);
        }
        self.widen_length(growth, record.body_start);
        let bytes = self.out.get_mut(self.record_start..).unwrap_or_default();
        varint::overwrite_i32(length, bytes);
        if let Some(target) = bytes.get_mut(record.count_start + growth) {
            *target = count;
        }
        Ok(())
    }

    /// Inserts `growth` bytes after the `width` bytes of the record's length.
    #[inline]
    fn widen_length(&mut self, growth: usize, width: usize) {
        if growth > 0 {
            let (from, end) = (self.record_start + width, self.out.len());
            self.out.resize(end + growth, 0);
            self.out.copy_within(from..end, from + growth);
        }
    }

    /// Writes the record field by field, without the replaced headers.
    #[cold]
    fn rewrite_record(&mut self, record: &Record<'_>) -> Result<(), LengthOverflow> {
        if self.overflow {
            return Err(LengthOverflow);
        }
        self.stash_headers();
        self.out.truncate(self.record_start);
        let (replaced_keys, new_headers) = (&self.replaced_keys, self.stash.as_slice());
        let removed_keys = &self.removed_keys;
        let is_kept = |key: &[u8]| {
            !removed_keys.iter().any(|removed| removed == key)
                && !replaced_keys
                    .iter()
                    .any(|range| new_headers.get(range.clone()) == Some(key))
        };
        let kept = || record.headers().filter(|header| is_kept(header.key));
        let (kept_count, kept_length) = kept().fold((0u64, 0usize), |(count, length), header| {
            (count + 1, length + header.end - header.start)
        });
        let count =
            i32::try_from(kept_count + u64::from(self.count)).map_err(|_| LengthOverflow)?;
        let before_count = record
            .bytes
            .get(record.body_start..record.count_start)
            .unwrap_or_default();
        let length =
            before_count.len() + varint::length_i32(count) + kept_length + new_headers.len();
        let length = i32::try_from(length).map_err(|_| LengthOverflow)?;
        varint::write_i32(length, &mut self.out);
        self.out.extend_from_slice(before_count);
        varint::write_i32(count, &mut self.out);
        for header in kept() {
            let bytes = record.bytes.get(header.start..header.end);
            self.out.extend_from_slice(bytes.unwrap_or_default());
        }
        self.out.extend_from_slice(new_headers);
        Ok(())
    }
}
