//! The cursor over a body, and the fields that it reads.

use super::field::{LengthPrefix, WireField};
use super::{Error, varint};

/// A position in a body of a certain version. A copy continues from the same position.
#[derive(Debug, Clone, Copy)]
pub struct WireReader<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
    pub(super) version: i16,
    pub(super) flexible: bool,
}

/// A type that can be read from a body.
pub trait Decode<'a>: Sized {
    /// Reads one value and advances past it.
    ///
    /// # Errors
    /// When the bytes are not well-formed.
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error>;
}

// === impl WireReader ===

impl<'a> WireReader<'a> {
    /// Creates a reader at the start of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8], version: i16, flexible: bool) -> Self {
        Self {
            bytes,
            at: 0,
            version,
            flexible,
        }
    }

    /// Returns the version of the message.
    #[must_use]
    pub const fn version(&self) -> i16 {
        self.version
    }

    /// Continues at the same position as version 0, which is not flexible.
    #[must_use]
    pub(crate) const fn as_version_0(self) -> Self {
        Self {
            version: 0,
            flexible: false,
            ..self
        }
    }

    /// Returns whether the version is flexible (KIP-482).
    #[must_use]
    pub(crate) const fn is_flexible(&self) -> bool {
        self.flexible
    }

    /// Returns the position, in bytes from the start.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.at
    }

    /// Creates an error at the current position.
    #[must_use]
    pub const fn error(&self, expected: &'static str) -> Error {
        Error {
            at: self.at,
            expected,
        }
    }

    /// Reads `length` bytes.
    ///
    /// # Errors
    /// When fewer bytes remain; the error names `expected`.
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

    /// Reads a `BOOLEAN`.
    ///
    /// # Errors
    /// At the end of the input; the same holds for the fixed-width types below.
    pub fn bool(&mut self) -> Result<bool, Error> {
        Ok(self.fixed::<1>("a boolean")? != [0])
    }

    /// Reads an `INT8`.
    ///
    /// # Errors
    /// At the end of the input.
    pub fn i8(&mut self) -> Result<i8, Error> {
        Ok(i8::from_be_bytes(self.fixed("an int8")?))
    }

    /// Reads an `INT16`.
    ///
    /// # Errors
    /// At the end of the input.
    pub fn i16(&mut self) -> Result<i16, Error> {
        Ok(i16::from_be_bytes(self.fixed("an int16")?))
    }

    /// Reads an `INT32`.
    ///
    /// # Errors
    /// At the end of the input.
    pub fn i32(&mut self) -> Result<i32, Error> {
        Ok(i32::from_be_bytes(self.fixed("an int32")?))
    }

    /// Reads an `INT64`.
    ///
    /// # Errors
    /// At the end of the input.
    pub fn i64(&mut self) -> Result<i64, Error> {
        Ok(i64::from_be_bytes(self.fixed("an int64")?))
    }

    /// Reads a `UUID`.
    ///
    /// # Errors
    /// At the end of the input.
    pub fn uuid(&mut self) -> Result<[u8; 16], Error> {
        self.fixed("a uuid")
    }

    /// Reads an `UNSIGNED_VARINT`.
    ///
    /// # Errors
    /// When it is longer than five bytes or has more than 32 bits.
    pub fn unsigned_varint(&mut self) -> Result<u32, Error> {
        let error = self.error("an unsigned varint");
        varint::read_u32(self.bytes, &mut self.at).ok_or(error)
    }

    /// Reads a string in the encoding of the version; [`None`] when null.
    ///
    /// # Errors
    /// When its length is negative but not that of null, or exceeds the input.
    pub fn nullable_string(&mut self) -> Result<Option<WireField<'a>>, Error> {
        self.length_prefixed(if self.flexible {
            LengthPrefix::Compact
        } else {
            LengthPrefix::Int16
        })
    }

    /// Reads a string that must not be null.
    ///
    /// # Errors
    /// As [`WireReader::nullable_string`], and when it is null.
    pub fn string(&mut self) -> Result<WireField<'a>, Error> {
        let error = self.error("a string that is not null");
        self.nullable_string()?.ok_or(error)
    }

    /// Reads bytes or records in the encoding of the version; [`None`] when null.
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

    /// Reads a field with this length prefix; [`None`] when null.
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
        // Null has length -1 in every encoding: compact lengths are stored plus one.
        if length == -1 {
            return Ok(None);
        }
        let error = Error {
            at: begin,
            expected: "a length that is not past the end",
        };
        let length = usize::try_from(length).map_err(|_| error)?;
        let (start, prefix_width) = (self.at, self.at - begin);
        let bytes = self.take(length, error.expected).map_err(|_| error)?;
        Ok(Some(WireField {
            bytes,
            start,
            prefix_width,
            prefix,
        }))
    }

    /// Reads one value of a type that implements [`Decode`].
    ///
    /// # Errors
    /// When the bytes are not well-formed.
    pub fn decode<T: Decode<'a>>(&mut self) -> Result<T, Error> {
        T::decode(self)
    }
}

// === impl Decode ===

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
