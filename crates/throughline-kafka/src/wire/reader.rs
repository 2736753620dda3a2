//! The cursor over a body, and the sequences it finds there.

use std::marker::PhantomData;
use std::ops::Range;

use super::{Error, Field, MAX_ELEMENTS, MAX_TAGS, Prefix, varint};

/// A place in a body of a certain version. Copied freely: a copy reads on from the same place.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    version: i16,
    flexible: bool,
}

/// What can be read at a place.
pub trait Read<'a>: Sized {
    /// Reads one and stands behind it.
    ///
    /// # Errors
    /// Where the bytes are not what they should be.
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error>;
}

/// Elements that have been walked once and are read again as they are asked for. A null array has none.
#[derive(Debug)]
pub struct Array<'a, T> {
    first: Reader<'a>,
    count: u32,
    element: PhantomData<fn() -> T>,
}

/// The elements of an [`Array`].
#[derive(Debug)]
pub struct Elements<'a, T> {
    next: Reader<'a>,
    left: u32,
    element: PhantomData<fn() -> T>,
}

/// The tagged fields of a structure, walked once.
#[derive(Debug, Clone, Copy)]
pub struct Tags<'a> {
    first: Reader<'a>,
    count: u32,
}

/// One tagged field.
#[derive(Debug, Clone)]
pub struct Tag<'a> {
    /// Its number.
    pub number: u32,
    /// Where its size stands, an unsigned varint of its contents' length.
    pub size: Range<usize>,
    /// Where its contents stand.
    pub contents: Range<usize>,
    /// Reads the contents, and nothing behind them.
    pub reader: Reader<'a>,
}

// === impl Reader ===

impl<'a> Reader<'a> {
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
    pub const fn at(&self) -> usize {
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
    pub fn uvarint(&mut self) -> Result<u32, Error> {
        let wrong = self.error("an unsigned varint");
        varint::read_u32(self.bytes, &mut self.at).ok_or(wrong)
    }

    /// A string of the version's kind, [`None`] when null.
    ///
    /// # Errors
    /// When its length is negative and not null's, or it is longer than the bytes.
    pub fn string(&mut self) -> Result<Option<Field<'a>>, Error> {
        self.field(if self.flexible {
            Prefix::Compact
        } else {
            Prefix::Int16
        })
    }

    /// A string that may not be null.
    ///
    /// # Errors
    /// As [`Reader::string`], and when it is null.
    pub fn required(&mut self) -> Result<Field<'a>, Error> {
        let wrong = self.error("a string that is not null");
        self.string()?.ok_or(wrong)
    }

    /// Bytes or records of the version's kind, [`None`] when null.
    ///
    /// # Errors
    /// As [`Reader::string`].
    pub fn blob(&mut self) -> Result<Option<Field<'a>>, Error> {
        self.field(if self.flexible {
            Prefix::Compact
        } else {
            Prefix::Int32
        })
    }

    /// A field whose length is written so, [`None`] when null.
    ///
    /// # Errors
    /// As [`Reader::string`].
    pub fn field(&mut self, prefix: Prefix) -> Result<Option<Field<'a>>, Error> {
        let begin = self.at;
        let length = match prefix {
            Prefix::Int16 => i64::from(self.i16()?),
            Prefix::Int32 => i64::from(self.i32()?),
            Prefix::Compact => i64::from(self.uvarint()?) - 1,
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
        Ok(Some(Field {
            bytes,
            start,
            width,
            prefix,
        }))
    }

    /// Walks an array of the version's kind.
    ///
    /// # Errors
    /// When it has more than [`MAX_ELEMENTS`], or one of them is not well-formed.
    pub fn array<T: Read<'a>>(&mut self) -> Result<Array<'a, T>, Error> {
        let begin = self.at;
        let count = if self.flexible {
            i64::from(self.uvarint()?) - 1
        } else {
            i64::from(self.i32()?)
        };
        let wrong = Error {
            at: begin,
            expected: "at most a million elements",
        };
        let count = u32::try_from(count.max(0)).map_err(|_| wrong)?;
        if count > MAX_ELEMENTS {
            return Err(wrong);
        }
        let first = *self;
        for _ in 0..count {
            T::read(self)?;
        }
        Ok(Array {
            first,
            count,
            element: PhantomData,
        })
    }

    /// Walks the tagged fields that end a structure; there are none before the flexible versions.
    ///
    /// # Errors
    /// When there are more than [`MAX_TAGS`], or one is longer than the bytes.
    pub fn tags(&mut self) -> Result<Tags<'a>, Error> {
        let count = if self.flexible { self.uvarint()? } else { 0 };
        if count > MAX_TAGS {
            return Err(self.error("at most ten thousand tagged fields"));
        }
        let first = *self;
        for _ in 0..count {
            Tag::read(self)?;
        }
        Ok(Tags { first, count })
    }
}

// === impl Array ===

impl<'a, T: Read<'a>> Array<'a, T> {
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
    pub const fn iter(&self) -> Elements<'a, T> {
        Elements {
            next: self.first,
            left: self.count,
            element: PhantomData,
        }
    }
}

impl<T> Clone for Array<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Array<'_, T> {}

impl<T> Default for Array<'_, T> {
    fn default() -> Self {
        Array {
            first: Reader::new(&[], 0, false),
            count: 0,
            element: PhantomData,
        }
    }
}

impl<'a, T: Read<'a>> IntoIterator for Array<'a, T> {
    type Item = T;
    type IntoIter = Elements<'a, T>;

    fn into_iter(self) -> Elements<'a, T> {
        self.iter()
    }
}

impl<'a, T: Read<'a>> IntoIterator for &Array<'a, T> {
    type Item = T;
    type IntoIter = Elements<'a, T>;

    fn into_iter(self) -> Elements<'a, T> {
        self.iter()
    }
}

// === impl Elements ===

impl<'a, T: Read<'a>> Iterator for Elements<'a, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.left = self.left.checked_sub(1)?;
        // All of them have been read once, when the array was walked.
        T::read(&mut self.next).ok()
    }
}

// === impl Tags ===

impl<'a> Tags<'a> {
    /// The field of this number.
    #[must_use]
    pub fn find(&self, number: u32) -> Option<Tag<'a>> {
        let mut reader = self.first;
        (0..self.count)
            .map_while(|_| Tag::read(&mut reader).ok())
            .find(|tag| tag.number == number)
    }
}

// === impl Read ===

impl<'a> Read<'a> for Tag<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let number = reader.uvarint()?;
        let before = reader.at;
        let length = reader.uvarint()?;
        let (size, start) = (before..reader.at, reader.at);
        let length = usize::try_from(length).map_err(|_| reader.error("a tagged field"))?;
        reader.take(length, "the contents of a tagged field")?;
        let contents = start..reader.at;
        let bytes = reader.bytes.get(..reader.at).unwrap_or_default();
        Ok(Self {
            number,
            size,
            contents,
            reader: Reader {
                bytes,
                at: start,
                ..*reader
            },
        })
    }
}

impl<'a> Read<'a> for i8 {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        reader.i8()
    }
}

impl<'a> Read<'a> for i32 {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        reader.i32()
    }
}

impl<'a> Read<'a> for Option<Field<'a>> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        reader.string()
    }
}
