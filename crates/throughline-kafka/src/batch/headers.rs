//! The headers that a record is to get, written behind it as they come.

use std::ops::Range;

use super::Record;
use crate::wire::varint;

/// HeaderWriter to be put into one record.
///
/// They are written straight into the output, behind a copy of the record as it came. What stands in front of them, the
/// record's length and its number of headers, is mended when they are all there.
#[derive(Debug, Default)]
pub struct HeaderWriter {
    /// The output; lent for as long as a batch is written.
    pub(super) out: Vec<u8>,
    /// Where the record begins in it, and where the headers do.
    record: usize,
    start: usize,
    count: u32,
    /// Keys, among the headers, of which the record's own headers are to go.
    replaced: Vec<Range<usize>>,
    overflow: bool,
    /// Holds the headers while what belongs in front of them is written.
    aside: Vec<u8>,
}

/// A number that does not fit a record.
#[derive(Debug)]
pub(super) struct Overflow;

// === impl HeaderWriter ===

impl HeaderWriter {
    /// Adds a header behind those that the record has.
    #[inline]
    pub fn append(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.put(key);
        match value {
            Some(value) => self.put(value),
            None => varint::write_i32(-1, &mut self.out),
        }
        self.count = self.count.saturating_add(1);
    }

    /// Adds a header and removes those of its key that the record has.
    pub fn replace(&mut self, key: &[u8], value: Option<&[u8]>) {
        let start = self.out.len() - self.start;
        self.append(key, value);
        let end = start + i32::try_from(key.len()).map_or(0, varint::length_i32) + key.len();
        self.replaced.push(end - key.len()..end);
    }

    /// Whether there is nothing to be done.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        let Ok(length) = i32::try_from(bytes.len()) else {
            self.overflow = true;
            return;
        };
        varint::write_i32(length, &mut self.out);
        self.out.extend_from_slice(bytes);
    }

    /// Is ready for the headers of a record that is not written, like all records before it.
    #[inline]
    pub(super) fn open_alone(&mut self) {
        self.start = self.out.len();
        self.replaced.clear();
        (self.count, self.overflow) = (0, false);
    }

    /// Writes `record` as it came, and is ready for its headers.
    #[inline]
    pub(super) fn open(&mut self, record: &Record<'_>) {
        self.record = self.out.len();
        self.out.extend_from_slice(record.bytes);
        self.open_alone();
    }

    /// Writes `record` and all before it, of the records that these are, in front of its headers. Makes room for the rest.
    #[cold]
    pub(super) fn catch_up(&mut self, records: &[u8], record: &Record<'_>) {
        self.set_aside();
        self.out.truncate(self.start);
        self.out.reserve(records.len() + records.len() / 8);
        self.out
            .extend_from_slice(records.get(..record.at).unwrap_or_default());
        self.record = self.out.len();
        self.out.extend_from_slice(record.bytes);
        self.start = self.out.len();
        self.out.extend_from_slice(&self.aside);
    }

    fn set_aside(&mut self) {
        self.aside.clear();
        self.aside
            .extend_from_slice(self.out.get(self.start..).unwrap_or_default());
    }

    /// Makes the record and the headers that were written behind it one.
    ///
    /// # Errors
    /// When it would be longer than a record can be.
    #[inline]
    pub(super) fn close(&mut self, record: &Record<'_>) -> Result<(), Overflow> {
        let length =
            i32::try_from(self.out.len() - self.record - record.body).map_err(|_| Overflow)?;
        let count = record.count.saturating_add(self.count);
        // The number of headers stays one byte, as it nearly always does, and the length gets no shorter.
        let keeps_width = count <= 0x3f && record.headers_at - record.count_at == 1;
        let (Some(by), Ok(count), true) = (
            varint::length_i32(length).checked_sub(record.body),
            u8::try_from(count << 1),
            keeps_width,
        ) else {
            return self.rewrite(record);
        };
        if self.overflow || !self.replaced.is_empty() {
            return self.rewrite(record);
        }
        self.widen(by, record.body);
        let bytes = self.out.get_mut(self.record..).unwrap_or_default();
        varint::overwrite_i32(length, bytes);
        if let Some(place) = bytes.get_mut(record.count_at + by) {
            *place = count;
        }
        Ok(())
    }

    /// Makes more room for the record's length, which had `width` bytes.
    #[inline]
    fn widen(&mut self, by: usize, width: usize) {
        if by > 0 {
            let (from, end) = (self.record + width, self.out.len());
            self.out.resize(end + by, 0);
            self.out.copy_within(from..end, from + by);
        }
    }

    /// As above, piece by piece.
    #[cold]
    fn rewrite(&mut self, record: &Record<'_>) -> Result<(), Overflow> {
        if self.overflow {
            return Err(Overflow);
        }
        self.set_aside();
        self.out.truncate(self.record);
        let (replaced, aside) = (&self.replaced, self.aside.as_slice());
        let is_kept = |own: &[u8]| {
            !replaced
                .iter()
                .any(|range| aside.get(range.clone()) == Some(own))
        };
        let kept = || record.headers().filter(|header| is_kept(header.key));
        let (kept_count, kept_length) = kept().fold((0u64, 0usize), |(count, length), header| {
            (count + 1, length + header.end - header.start)
        });
        let front = record
            .bytes
            .get(record.body..record.count_at)
            .unwrap_or_default();
        let count = i32::try_from(kept_count + u64::from(self.count)).map_err(|_| Overflow)?;
        let length = front.len() + varint::length_i32(count) + kept_length + aside.len();
        varint::write_i32(i32::try_from(length).map_err(|_| Overflow)?, &mut self.out);
        self.out.extend_from_slice(front);
        varint::write_i32(count, &mut self.out);
        for header in kept() {
            self.out.extend_from_slice(
                record
                    .bytes
                    .get(header.start..header.end)
                    .unwrap_or_default(),
            );
        }
        self.out.extend_from_slice(aside);
        Ok(())
    }
}
