//! Arrays of a body, read element by element.

use std::marker::PhantomData;

use super::reader::{Decode, WireReader};
use super::{Error, MAX_ARRAY_ELEMENTS};

/// An array whose elements have been validated once and are decoded again on iteration. A null
/// array is empty.
#[derive(Debug)]
pub struct WireArray<'a, T> {
    first: WireReader<'a>,
    count: u32,
    element: PhantomData<fn() -> T>,
}

/// The elements of a [`WireArray`].
#[derive(Debug)]
pub struct WireArrayIter<'a, T> {
    next: WireReader<'a>,
    remaining: u32,
    element: PhantomData<fn() -> T>,
}

// === impl WireReader ===

impl<'a> WireReader<'a> {
    /// Reads the number of elements of an array, 0 for null.
    ///
    /// # Errors
    /// When it has more than [`MAX_ARRAY_ELEMENTS`].
    pub(crate) fn array_length(&mut self) -> Result<u32, Error> {
        let begin = self.at;
        // A compact array has its length plus one; 0 there and -1 here are null.
        let count = if self.flexible {
            i64::from(self.unsigned_varint()?) - 1
        } else {
            i64::from(self.i32()?)
        };
        let error = Error {
            at: begin,
            expected: "at most a million elements",
        };
        let count = u32::try_from(count.max(0)).map_err(|_| error)?;
        if count > MAX_ARRAY_ELEMENTS {
            return Err(error);
        }
        Ok(count)
    }

    /// Reads and validates an array in the encoding of the version.
    ///
    /// # Errors
    /// When it has more than [`MAX_ARRAY_ELEMENTS`], or an element is not well-formed.
    pub fn array<T: Decode<'a>>(&mut self) -> Result<WireArray<'a, T>, Error> {
        let count = self.array_length()?;
        let first = *self;
        // Nothing is allocated for the elements: a count from the wire must not size memory.
        for _ in 0..count {
            T::decode(self)?;
        }
        Ok(WireArray {
            first,
            count,
            element: PhantomData,
        })
    }
}

// === impl WireArray ===

impl<'a, T: Decode<'a>> WireArray<'a, T> {
    /// Returns the number of elements.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.count
    }

    /// Returns whether the array is empty or null.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the elements, in order.
    #[must_use]
    pub const fn iter(&self) -> WireArrayIter<'a, T> {
        WireArrayIter {
            next: self.first,
            remaining: self.count,
            element: PhantomData,
        }
    }
}

impl<T> Clone for WireArray<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for WireArray<'_, T> {}

impl<T> Default for WireArray<'_, T> {
    fn default() -> Self {
        WireArray {
            first: WireReader::new(&[], 0, false),
            count: 0,
            element: PhantomData,
        }
    }
}

impl<'a, T: Decode<'a>> IntoIterator for WireArray<'a, T> {
    type Item = T;
    type IntoIter = WireArrayIter<'a, T>;

    fn into_iter(self) -> WireArrayIter<'a, T> {
        self.iter()
    }
}

impl<'a, T: Decode<'a>> IntoIterator for &WireArray<'a, T> {
    type Item = T;
    type IntoIter = WireArrayIter<'a, T>;

    fn into_iter(self) -> WireArrayIter<'a, T> {
        self.iter()
    }
}

// === impl WireArrayIter ===

impl<'a, T: Decode<'a>> Iterator for WireArrayIter<'a, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.remaining = self.remaining.checked_sub(1)?;
        // Decoding cannot fail: `WireReader::array` has decoded every element once.
        T::decode(&mut self.next).ok()
    }
}
