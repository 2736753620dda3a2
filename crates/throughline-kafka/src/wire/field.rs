//! Length-prefixed fields and their position in the input.

use std::ops::Range;

/// The encoding of a field's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LengthPrefix {
    /// `STRING`: two bytes.
    Int16,
    /// `BYTES`, `RECORDS`: four bytes.
    Int32,
    /// `COMPACT_STRING`, `COMPACT_BYTES`, `COMPACT_RECORDS`: an unsigned varint of the length plus
    /// one.
    Compact,
}

/// A string, byte array or record set in a body: its contents and their position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireField<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) start: usize,
    pub(super) prefix_width: usize,
    pub(super) prefix: LengthPrefix,
}

// === impl WireField ===

impl<'a> WireField<'a> {
    /// Returns the contents.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns the contents as text; [`None`] when they are not UTF-8.
    #[must_use]
    pub fn text(&self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes).ok()
    }

    /// Returns the position of the contents in the parsed bytes.
    #[must_use]
    pub const fn range(&self) -> Range<usize> {
        self.start..self.start + self.bytes.len()
    }

    /// Returns the position of the field, its length prefix included.
    #[must_use]
    pub const fn range_with_length(&self) -> Range<usize> {
        self.start - self.prefix_width..self.start + self.bytes.len()
    }

    /// Returns the encoding of the length.
    #[must_use]
    pub const fn prefix(&self) -> LengthPrefix {
        self.prefix
    }
}
