//! The headers that a record is to get.

use std::ops::Range;

use crate::wire::varint;

/// Headers to be put into one record, as they will stand there. Used again for every record.
#[derive(Debug, Default)]
pub struct Headers {
    bytes: Vec<u8>,
    count: u32,
    /// Keys, in `bytes`, of which the record's own headers are to go.
    replaced: Vec<Range<usize>>,
    overflow: bool,
}

// === impl Headers ===

impl Headers {
    /// Adds a header behind those that the record has.
    pub fn append(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.put(key);
        match value {
            Some(value) => self.put(value),
            None => varint::write_i32(-1, &mut self.bytes),
        }
        self.count = self.count.saturating_add(1);
    }

    /// Adds a header and removes those of its key that the record has.
    pub fn replace(&mut self, key: &[u8], value: Option<&[u8]>) {
        let start = self.bytes.len();
        self.append(key, value);
        let end = start + i32::try_from(key.len()).map_or(0, varint::length_i32) + key.len();
        self.replaced.push(end - key.len()..end);
    }

    /// Whether there is nothing to be done.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.replaced.clear();
        (self.count, self.overflow) = (0, false);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    /// Whether one was longer than a record can say.
    pub(super) const fn overflows(&self) -> bool {
        self.overflow
    }

    pub(super) const fn replaces_any(&self) -> bool {
        !self.replaced.is_empty()
    }

    pub(super) fn replaces(&self, key: &[u8]) -> bool {
        self.replaced.iter().any(|range| self.bytes.get(range.clone()) == Some(key))
    }

    fn put(&mut self, bytes: &[u8]) {
        let Ok(length) = i32::try_from(bytes.len()) else {
            self.overflow = true;
            return;
        };
        varint::write_i32(length, &mut self.bytes);
        self.bytes.extend_from_slice(bytes);
    }
}
