//! A record where it lies: its key, its value, its headers, all as bytes and in their order.

use crate::wire::{Error, varint};

/// The records of a batch, inflated, in order. Ends behind the first that is not well-formed.
#[derive(Debug, Clone)]
pub struct Records<'a> {
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
pub struct Header<'a> {
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
pub struct HeaderIter<'a> {
    cursor: Cursor<'a>,
    left: u32,
}

/// A place in a record.
#[derive(Debug, Clone, Copy)]
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

// === impl Records ===

impl<'a> Records<'a> {
    /// `count` records that lie in `bytes`, which are not compressed.
    #[must_use]
    pub const fn new(bytes: &'a [u8], count: i32) -> Self {
        Self { bytes, at: 0, left: count }
    }

    /// The bytes behind the records that have been given out.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// How many bytes the records have that have been given out.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    #[inline]
    fn read(&mut self) -> Result<Record<'a>, Error> {
        let wrong = Error { at: self.at, expected: "a record" };
        let rest = self.rest();
        let (length, body) = varint::read_i32(rest).ok_or(wrong)?;
        let end = usize::try_from(length).map_err(|_| wrong)?.checked_add(body).ok_or(wrong)?;
        let bytes = rest.get(..end).ok_or(wrong)?;
        let record = Record::read(bytes, self.at, body).map_err(|error| Error { at: error.at + self.at, ..error })?;
        self.at += end;
        Ok(record)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Error>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left <= 0 {
            return None;
        }
        self.left -= 1;
        let record = self.read();
        if record.is_err() {
            self.left = 0;
        }
        Some(record)
    }
}

// === impl Record ===

impl<'a> Record<'a> {
    #[inline]
    fn read(bytes: &'a [u8], at: usize, body: usize) -> Result<Self, Error> {
        // The first byte has attributes, none of which are in use.
        let mut cursor = Cursor { bytes, at: body + 1 };
        let timestamp_delta = cursor.varlong()?;
        let offset_delta = cursor.varint()?;
        let key = cursor.bytes()?;
        let value = cursor.bytes()?;
        let count_at = cursor.at;
        let count = u32::try_from(cursor.varint()?).map_err(|_| cursor.error("a number of headers"))?;
        let headers_at = cursor.at;
        for _ in 0..count {
            cursor.header()?;
        }
        if cursor.at != bytes.len() {
            return Err(cursor.error("the end of the record"));
        }
        Ok(Self { bytes, at, body, count_at, headers_at, count, timestamp_delta, offset_delta, key, value })
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
    pub const fn headers(&self) -> HeaderIter<'a> {
        HeaderIter { cursor: Cursor { bytes: self.bytes, at: self.headers_at }, left: self.count }
    }

    /// The last header of this key, which is the one that counts.
    #[must_use]
    pub fn header(&self, key: &[u8]) -> Option<Header<'a>> {
        self.headers().filter(|header| header.key == key).last()
    }
}

// === impl HeaderIter ===

impl<'a> Iterator for HeaderIter<'a> {
    type Item = Header<'a>;

    #[inline]
    fn next(&mut self) -> Option<Header<'a>> {
        self.left = self.left.checked_sub(1)?;
        self.cursor.header().ok()
    }
}

// === impl Cursor ===

impl<'a> Cursor<'a> {
    const fn error(&self, expected: &'static str) -> Error {
        Error { at: self.at, expected }
    }

    #[inline]
    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    #[inline]
    fn varint(&mut self) -> Result<i32, Error> {
        let (value, width) = varint::read_i32(self.rest()).ok_or_else(|| self.error("a varint"))?;
        self.at += width;
        Ok(value)
    }

    #[inline]
    fn varlong(&mut self) -> Result<i64, Error> {
        let (value, width) = varint::read_i64(self.rest()).ok_or_else(|| self.error("a varlong"))?;
        self.at += width;
        Ok(value)
    }

    /// Bytes behind their length; any negative length is null, as Java has it.
    #[inline]
    fn bytes(&mut self) -> Result<Option<&'a [u8]>, Error> {
        let length = self.varint()?;
        let Ok(length) = usize::try_from(length) else { return Ok(None) };
        let bytes = self.rest().get(..length).ok_or_else(|| self.error("as many bytes as the length says"))?;
        self.at += length;
        Ok(Some(bytes))
    }

    #[inline]
    fn header(&mut self) -> Result<Header<'a>, Error> {
        let start = self.at;
        let key = self.bytes()?.ok_or_else(|| self.error("the key of a header"))?;
        let value = self.bytes()?;
        let value_at = self.at - value.map_or(0, <[u8]>::len);
        Ok(Header { key, value, start, value_at, end: self.at })
    }
}
