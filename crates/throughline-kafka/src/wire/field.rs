//! A length-prefixed field, and where it stands.

use std::ops::Range;

/// How a field says its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LengthPrefix {
    /// `STRING`: two bytes.
    Int16,
    /// `BYTES`, `RECORDS`: four bytes.
    Int32,
    /// `COMPACT_STRING`, `COMPACT_BYTES`, `COMPACT_RECORDS`: an unsigned varint of the length and one.
    Compact,
}

/// A string, bytes or record set in a body: its contents, and their place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireField<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) start: usize,
    pub(super) width: usize,
    pub(super) prefix: LengthPrefix,
}

// === impl WireField ===

impl<'a> WireField<'a> {
    /// The contents.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The contents as text; [`None`] when they are not UTF-8.
    #[must_use]
    pub fn text(&self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes).ok()
    }

    /// Where the contents are, in the bytes that were opened.
    #[must_use]
    pub const fn range(&self) -> Range<usize> {
        self.start..self.start + self.bytes.len()
    }

    /// Where the field is with its length in front.
    #[must_use]
    pub const fn range_with_length(&self) -> Range<usize> {
        self.start - self.width..self.start + self.bytes.len()
    }

    /// How the length is written.
    #[must_use]
    pub const fn prefix(&self) -> LengthPrefix {
        self.prefix
    }
}
