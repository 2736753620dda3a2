//! A record where it lies: its key, its value, its headers, all as bytes and in their order.

use crate::wire::{Error, varint};

/// The records of a batch, inflated, in order. Ends behind the first that is not well-formed.
#[derive(Debug, Clone)]
pub struct RecordIter<'a> {
    bytes: &'a [u8],
    at: usize,
    left: i32,
}

/// A record. Its headers have been walked.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// All of it, with its length in front.
    pub(super) bytes: &'a [u8],
    /// Where it begins among the records.
    pub(super) at: usize,
    /// Where its own bytes begin, behind its length.
    pub(super) body: usize,
    /// Where the number of headers stands, and where the headers begin.
    pub(super) count_at: usize,
    pub(super) headers_at: usize,
    pub(super) count: u32,
    /// Milliseconds after the batch's base timestamp.
    pub timestamp_delta: i64,
    /// Offset after the batch's base offset.
    pub offset_delta: i32,
    /// The key, [`None`] when null.
    pub key: Option<&'a [u8]>,
    /// The value, [`None`] when null: a tombstone.
    pub value: Option<&'a [u8]>,
}

/// A header: any bytes, any number of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader<'a> {
    pub key: &'a [u8],
    /// [`None`] when null.
    pub value: Option<&'a [u8]>,
    /// Where the header begins, where its value does, and where it ends, in the record.
    pub(super) start: usize,
    pub(super) value_at: usize,
    pub(super) end: usize,
}

/// The headers of a record, in order.
#[derive(Debug, Clone)]
pub struct RecordHeaderIter<'a> {
    /// The record, and where the next one begins in it.
    bytes: &'a [u8],
    at: usize,
    left: u32,
}

// === impl RecordIter ===

impl<'a> RecordIter<'a> {
    /// `count` records that lie in `bytes`, which are not compressed.
    #[must_use]
    pub const fn new(bytes: &'a [u8], count: i32) -> Self {
        Self {
            bytes,
            at: 0,
            left: count,
        }
    }

    /// The bytes behind the records that have been given out.
    #[must_use]
    pub fn remaining_bytes(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// How many bytes the records have that have been given out.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    // By force, here and below: else each record goes through memory between the three, and a scan takes 12 ns a record
    // instead of 8.
    #[inline(always)]
    fn read(&mut self) -> Option<Record<'a>> {
        let rest = self.bytes.get(self.at..)?;
        let mut body = 0;
        let length = usize::try_from(varint::read_i32(rest, &mut body)?).ok()?;
        let record = Record::read(rest.get(..body.checked_add(length)?)?, self.at, body)?;
        self.at += record.bytes.len();
        Some(record)
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, Error>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left <= 0 {
            return None;
        }
        self.left -= 1;
        let Some(record) = self.read() else {
            self.left = 0;
            return Some(Err(Error {
                at: self.at,
                expected: "a well-formed record",
            }));
        };
        Some(Ok(record))
    }
}

// === impl Record ===

impl<'a> Record<'a> {
    #[inline(always)]
    fn read(bytes: &'a [u8], at: usize, body: usize) -> Option<Self> {
        // The first byte has attributes, none of which are in use.
        let mut place = body + 1;
        let timestamp_delta = varint::read_i64(bytes, &mut place)?;
        let offset_delta = varint::read_i32(bytes, &mut place)?;
        let key = field(bytes, &mut place)?;
        let value = field(bytes, &mut place)?;
        let count_at = place;
        let count = u32::try_from(varint::read_i32(bytes, &mut place)?).ok()?;
        let headers_at = place;
        for _ in 0..count {
            // A header's key is never null.
            let key = usize::try_from(varint::read_i32(bytes, &mut place)?).ok()?;
            place = place.checked_add(key)?;
            let value = varint::read_i32(bytes, &mut place)?;
            place = place.checked_add(usize::try_from(value).unwrap_or(0))?;
        }
        let record = Self {
            bytes,
            at,
            body,
            count_at,
            headers_at,
            count,
            timestamp_delta,
            offset_delta,
            key,
            value,
        };
        (place == bytes.len()).then_some(record)
    }

    /// All of it, with its length in front.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// How many headers it has.
    #[must_use]
    pub const fn header_count(&self) -> u32 {
        self.count
    }

    /// The headers, in order, those of one key as often as they are there.
    #[must_use]
    #[inline]
    pub const fn headers(&self) -> RecordHeaderIter<'a> {
        RecordHeaderIter {
            bytes: self.bytes,
            at: self.headers_at,
            left: self.count,
        }
    }

    /// The last header of this key, which is the one that counts.
    #[must_use]
    #[inline(always)]
    pub fn last_header(&self, key: &[u8]) -> Option<RecordHeader<'a>> {
        let [found] = self.last_headers([key]);
        found
    }

    /// The last header of each of these keys, all in one walk.
    #[must_use]
    #[inline(always)]
    pub fn last_headers<const N: usize>(&self, keys: [&[u8]; N]) -> [Option<RecordHeader<'a>>; N] {
        let mut found = [None; N];
        for header in self.headers() {
            for (key, found) in keys.iter().zip(&mut found) {
                if is_same(header.key, key) {
                    *found = Some(header);
                }
            }
        }
        found
    }
}

/// Whether two keys are the same. Most that are not differ in length or at the beginning, which needs no call.
#[inline]
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.first() == other.first() && one == other
}

// === impl RecordHeaderIter ===

impl<'a> Iterator for RecordHeaderIter<'a> {
    type Item = RecordHeader<'a>;

    #[inline(always)]
    fn next(&mut self) -> Option<RecordHeader<'a>> {
        self.left = self.left.checked_sub(1)?;
        let start = self.at;
        let key = field(self.bytes, &mut self.at)??;
        let value = field(self.bytes, &mut self.at)?;
        let end = self.at;
        Some(RecordHeader {
            key,
            value,
            start,
            value_at: end - value.map_or(0, <[u8]>::len),
            end,
        })
    }
}

/// Reads bytes behind their length; any negative length is null, as Java has it.
#[inline(always)]
#[expect(
    clippy::option_option,
    reason = "the outer one: there is nothing well-formed; the inner one: null"
)]
fn field<'a>(bytes: &'a [u8], place: &mut usize) -> Option<Option<&'a [u8]>> {
    let Ok(length) = usize::try_from(varint::read_i32(bytes, place)?) else {
        return Some(None);
    };
    let start = *place;
    *place = start.checked_add(length)?;
    Some(Some(bytes.get(start..*place)?))
}
