//! The cursor over a body, and the sequences it finds there.

use std::marker::PhantomData;
use std::ops::Range;

use super::{Error, LengthPrefix, MAX_ARRAY_ELEMENTS, MAX_TAGGED_FIELDS, WireField, varint};

/// A place in a body of a certain version. Copied freely: a copy reads on from the same place.
#[derive(Debug, Clone, Copy)]
pub struct WireReader<'a> {
    bytes: &'a [u8],
    at: usize,
    version: i16,
    flexible: bool,
}

/// What can be read at a place.
pub trait Decode<'a>: Sized {
    /// Reads one and stands behind it.
    ///
    /// # Errors
    /// Where the bytes are not what they should be.
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error>;
}

/// WireArrayIter that have been walked once and are read again as they are asked for. A null array has none.
#[derive(Debug)]
pub struct WireArray<'a, T> {
    first: WireReader<'a>,
    count: u32,
    element: PhantomData<fn() -> T>,
}

/// The elements of an [`WireArray`].
#[derive(Debug)]
pub struct WireArrayIter<'a, T> {
    next: WireReader<'a>,
    left: u32,
    element: PhantomData<fn() -> T>,
}

/// The tagged fields of a structure, walked once.
#[derive(Debug, Clone, Copy)]
pub struct TaggedFields<'a> {
    first: WireReader<'a>,
    count: u32,
}

/// One tagged field.
#[derive(Debug, Clone)]
pub struct TaggedField<'a> {
    /// Its number.
    pub number: u32,
    /// Where its size stands, an unsigned varint of its contents' length.
    pub size: Range<usize>,
    /// Where its contents stand.
    pub contents: Range<usize>,
    /// Reads the contents, and nothing behind them.
    pub reader: WireReader<'a>,
}

// === impl WireReader ===

impl<'a> WireReader<'a> {
    /// Stands at the beginning of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8], version: i16, flexible: bool) -> Self {
        Self {
            bytes,
            at: 0,
            version,
            flexible,
        }
    }

    /// The version of the message that is read.
    #[must_use]
    pub const fn version(&self) -> i16 {
        self.version
    }

    /// Whether strings and arrays are compact and structures end in tagged fields.
    #[must_use]
    pub const fn flexible(&self) -> bool {
        self.flexible
    }

    /// Reads on as version 0, which is not flexible.
    #[must_use]
    pub(crate) const fn downgraded(self) -> Self {
        Self {
            version: 0,
            flexible: false,
            ..self
        }
    }

    /// How far it has come.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.at
    }

    /// What is wrong here.
    #[must_use]
    pub const fn error(&self, expected: &'static str) -> Error {
        Error {
            at: self.at,
            expected,
        }
    }

    /// Steps over `length` bytes.
    ///
    /// # Errors
    /// When there are not so many.
    pub fn take(&mut self, length: usize, expected: &'static str) -> Result<&'a [u8], Error> {
        let end = self
            .at
            .checked_add(length)
            .ok_or_else(|| self.error(expected))?;
        let taken = self
            .bytes
            .get(self.at..end)
            .ok_or_else(|| self.error(expected))?;
        self.at = end;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self, expected: &'static str) -> Result<[u8; N], Error> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.first_chunk().ok_or_else(|| self.error(expected))?;
        self.at += N;
        Ok(*taken)
    }

    /// `BOOLEAN`.
    ///
    /// # Errors
    /// At the end of the bytes; so for all that follow.
    pub fn bool(&mut self) -> Result<bool, Error> {
        Ok(self.fixed::<1>("a boolean")? != [0])
    }

    /// `INT8`.
    ///
    /// # Errors
    /// At the end of the bytes.
    pub fn i8(&mut self) -> Result<i8, Error> {
        Ok(i8::from_be_bytes(self.fixed("an int8")?))
    }

    /// `INT16`.
    ///
    /// # Errors
    /// At the end of the bytes.
    pub fn i16(&mut self) -> Result<i16, Error> {
        Ok(i16::from_be_bytes(self.fixed("an int16")?))
    }

    /// `INT32`.
    ///
    /// # Errors
    /// At the end of the bytes.
    pub fn i32(&mut self) -> Result<i32, Error> {
        Ok(i32::from_be_bytes(self.fixed("an int32")?))
    }

    /// `INT64`.
    ///
    /// # Errors
    /// At the end of the bytes.
    pub fn i64(&mut self) -> Result<i64, Error> {
        Ok(i64::from_be_bytes(self.fixed("an int64")?))
    }

    /// `UUID`.
    ///
    /// # Errors
    /// At the end of the bytes.
    pub fn uuid(&mut self) -> Result<[u8; 16], Error> {
        self.fixed("a uuid")
    }

    /// `UNSIGNED_VARINT`.
    ///
    /// # Errors
    /// When it does not end within five bytes, or has more than 32 bits.
    pub fn unsigned_varint(&mut self) -> Result<u32, Error> {
        let wrong = self.error("an unsigned varint");
        varint::read_u32(self.bytes, &mut self.at).ok_or(wrong)
    }

    /// A string of the version's kind, [`None`] when null.
    ///
    /// # Errors
    /// When its length is negative and not null's, or it is longer than the bytes.
    pub fn nullable_string(&mut self) -> Result<Option<WireField<'a>>, Error> {
        self.length_prefixed(if self.flexible {
            LengthPrefix::Compact
        } else {
            LengthPrefix::Int16
        })
    }

    /// A string that may not be null.
    ///
    /// # Errors
    /// As [`WireReader::nullable_string`], and when it is null.
    pub fn string(&mut self) -> Result<WireField<'a>, Error> {
        let wrong = self.error("a string that is not null");
        self.nullable_string()?.ok_or(wrong)
    }

    /// Bytes or records of the version's kind, [`None`] when null.
    ///
    /// # Errors
    /// As [`WireReader::nullable_string`].
    pub fn nullable_bytes(&mut self) -> Result<Option<WireField<'a>>, Error> {
        self.length_prefixed(if self.flexible {
            LengthPrefix::Compact
        } else {
            LengthPrefix::Int32
        })
    }

    /// A field whose length is written so, [`None`] when null.
    ///
    /// # Errors
    /// As [`WireReader::nullable_string`].
    pub fn length_prefixed(
        &mut self,
        prefix: LengthPrefix,
    ) -> Result<Option<WireField<'a>>, Error> {
        let begin = self.at;
        let length = match prefix {
            LengthPrefix::Int16 => i64::from(self.i16()?),
            LengthPrefix::Int32 => i64::from(self.i32()?),
            LengthPrefix::Compact => i64::from(self.unsigned_varint()?) - 1,
        };
        if length == -1 {
            return Ok(None);
        }
        let wrong = Error {
            at: begin,
            expected: "a length that is not past the end",
        };
        let length = usize::try_from(length).map_err(|_| wrong)?;
        let (start, width) = (self.at, self.at - begin);
        let bytes = self.take(length, wrong.expected).map_err(|_| wrong)?;
        Ok(Some(WireField {
            bytes,
            start,
            width,
            prefix,
        }))
    }

    /// Reads one element of its type.
    ///
    /// # Errors
    /// When the bytes are not well-formed.
    pub fn decode<T: Decode<'a>>(&mut self) -> Result<T, Error> {
        T::decode(self)
    }

    /// Walks an array of the version's kind.
    ///
    /// # Errors
    /// When it has more than [`MAX_ARRAY_ELEMENTS`], or one of them is not well-formed.
    pub fn array<T: Decode<'a>>(&mut self) -> Result<WireArray<'a, T>, Error> {
        let begin = self.at;
        let count = if self.flexible {
            i64::from(self.unsigned_varint()?) - 1
        } else {
            i64::from(self.i32()?)
        };
        let wrong = Error {
            at: begin,
            expected: "at most a million elements",
        };
        let count = u32::try_from(count.max(0)).map_err(|_| wrong)?;
        if count > MAX_ARRAY_ELEMENTS {
            return Err(wrong);
        }
        let first = *self;
        for _ in 0..count {
            T::decode(self)?;
        }
        Ok(WireArray {
            first,
            count,
            element: PhantomData,
        })
    }

    /// Walks the tagged fields that end a structure; there are none before the flexible versions.
    ///
    /// # Errors
    /// When there are more than [`MAX_TAGGED_FIELDS`], or one is longer than the bytes.
    pub fn tagged_fields(&mut self) -> Result<TaggedFields<'a>, Error> {
        let count = if self.flexible {
            self.unsigned_varint()?
        } else {
            0
        };
        if count > MAX_TAGGED_FIELDS {
            return Err(self.error("at most ten thousand tagged fields"));
        }
        let first = *self;
        for _ in 0..count {
            TaggedField::decode(self)?;
        }
        Ok(TaggedFields { first, count })
    }
}

// === impl WireArray ===

impl<'a, T: Decode<'a>> WireArray<'a, T> {
    /// How many elements there are.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The elements, in order.
    #[must_use]
    pub const fn iter(&self) -> WireArrayIter<'a, T> {
        WireArrayIter {
            next: self.first,
            left: self.count,
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
        self.left = self.left.checked_sub(1)?;
        // All of them have been read once, when the array was walked.
        T::decode(&mut self.next).ok()
    }
}

// === impl TaggedFields ===

impl<'a> TaggedFields<'a> {
    /// The field of this number.
    #[must_use]
    pub fn find(&self, number: u32) -> Option<TaggedField<'a>> {
        let mut reader = self.first;
        (0..self.count)
            .map_while(|_| TaggedField::decode(&mut reader).ok())
            .find(|tag| tag.number == number)
    }
}

// === impl Decode ===

impl<'a> Decode<'a> for TaggedField<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let number = reader.unsigned_varint()?;
        let before = reader.at;
        let length = reader.unsigned_varint()?;
        let (size, start) = (before..reader.at, reader.at);
        let length = usize::try_from(length).map_err(|_| reader.error("a tagged field"))?;
        reader.take(length, "the contents of a tagged field")?;
        let contents = start..reader.at;
        let bytes = reader.bytes.get(..reader.at).unwrap_or_default();
        Ok(Self {
            number,
            size,
            contents,
            reader: WireReader {
                bytes,
                at: start,
                ..*reader
            },
        })
    }
}

impl<'a> Decode<'a> for i8 {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        reader.i8()
    }
}

impl<'a> Decode<'a> for i32 {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        reader.i32()
    }
}

impl<'a> Decode<'a> for Option<WireField<'a>> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        reader.nullable_string()
    }
}
