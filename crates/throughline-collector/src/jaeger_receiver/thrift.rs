//! A reader of Thrift's binary and compact protocols (apache/thrift, `doc/specs`).
//!
//! It reads from a slice, allocates nothing by an announced length or count, and bounds the
//! nesting and the number of structs. Values of an unexpected type are skipped, as the code that
//! Thrift generates does.

/// Maximum nesting of skipped values; Jaeger's own messages nest five deep.
const MAX_DEPTH: usize = 32;

/// Maximum number of structs in one message. At some 300 bytes each in memory, the worst message
/// takes about a gigabyte, as for the other formats.
const MAX_STRUCTS: usize = 4_000_000;

/// The longest varint of 64 bits.
const MAX_VARINT_BYTES: u32 = 10;

/// First byte of a message in the compact protocol.
const COMPACT_PROTOCOL_ID: u8 = 0x82;

/// First byte of a message in the binary protocol, in its strict form.
const BINARY_STRICT_VERSION: u8 = 0x80;

/// The encodings of Thrift.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ThriftProtocol {
    Binary,
    Compact,
}

/// The types of values. Enums are [`ThriftType::I32`], texts are [`ThriftType::Bytes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ThriftType {
    Bool,
    Byte,
    I16,
    I32,
    I64,
    Double,
    Bytes,
    Struct,
    Map,
    Set,
    List,
    Uuid,
}

/// The header of a field.
#[derive(Debug, Clone, Copy)]
pub(super) struct ThriftField {
    pub(super) id: i16,
    kind: ThriftType,
    /// The value of a boolean in the compact protocol, which has it in the header.
    boolean: Option<bool>,
}

/// The reason why a message cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum ThriftError {
    #[error("the message is cut off")]
    Truncated,
    #[error("unknown type {0}")]
    UnknownType(u8),
    #[error("a varint is too long")]
    Varint,
    #[error("a length is negative")]
    NegativeLength,
    #[error("values are nested more than {MAX_DEPTH} deep")]
    TooDeep,
    #[error("there are more than {MAX_STRUCTS} structs")]
    TooMany,
}

/// A position in a message.
#[derive(Debug)]
pub(super) struct ThriftReader<'a> {
    bytes: &'a [u8],
    protocol: ThriftProtocol,
    structs_left: usize,
}

type ThriftResult<T> = Result<T, ThriftError>;

impl<'a> ThriftReader<'a> {
    pub(super) const fn new(bytes: &'a [u8], protocol: ThriftProtocol) -> Self {
        Self {
            bytes,
            protocol,
            structs_left: MAX_STRUCTS,
        }
    }

    /// Reads the envelope of a call and returns the reader of its arguments and the name of the
    /// method. The first byte shows which protocol it is, so a port accepts either.
    pub(super) fn call(bytes: &'a [u8]) -> ThriftResult<(Self, &'a [u8])> {
        let first = *bytes.first().ok_or(ThriftError::Truncated)?;
        if first == COMPACT_PROTOCOL_ID {
            let mut reader = Self::new(bytes, ThriftProtocol::Compact);
            // Protocol id, then version and message type; neither changes what follows.
            reader.take(2)?;
            reader.varint()?;
            let name = reader.bytes()?;
            return Ok((reader, name));
        }
        let mut reader = Self::new(bytes, ThriftProtocol::Binary);
        if first == BINARY_STRICT_VERSION {
            reader.take(4)?;
            let name = reader.bytes()?;
            reader.take(4)?;
            Ok((reader, name))
        } else {
            // The older form has no version: name, message type, sequence number.
            let name = reader.bytes()?;
            reader.take(5)?;
            Ok((reader, name))
        }
    }

    /// Reads a struct; `read_field` consumes the value of each field.
    pub(super) fn read_struct(
        &mut self,
        mut read_field: impl FnMut(&mut Self, ThriftField) -> ThriftResult<()>,
    ) -> ThriftResult<()> {
        self.structs_left = self
            .structs_left
            .checked_sub(1)
            .ok_or(ThriftError::TooMany)?;
        let mut previous_id = 0;
        while let Some(field) = self.field(previous_id)? {
            previous_id = field.id;
            read_field(self, field)?;
        }
        Ok(())
    }

    /// Reads a list of structs with `read_item`; skips a value of another type.
    pub(super) fn structs(
        &mut self,
        field: ThriftField,
        mut read_item: impl FnMut(&mut Self) -> ThriftResult<()>,
    ) -> ThriftResult<()> {
        if field.kind != ThriftType::List && field.kind != ThriftType::Set {
            return self.skip(field);
        }
        let (kind, count) = self.list_header()?;
        for _ in 0..count {
            if kind == ThriftType::Struct {
                read_item(self)?;
            } else {
                self.skip_value(kind, 1)?;
            }
        }
        Ok(())
    }

    /// Returns whether the field holds a struct; skips a value of another type.
    pub(super) fn is_struct(&mut self, field: ThriftField) -> ThriftResult<bool> {
        if field.kind == ThriftType::Struct {
            return Ok(true);
        }
        self.skip(field)?;
        Ok(false)
    }

    /// Reads an integer of any width; `None` for another type.
    pub(super) fn integer(&mut self, field: ThriftField) -> ThriftResult<Option<i64>> {
        match field.kind {
            ThriftType::Byte | ThriftType::I16 | ThriftType::I32 | ThriftType::I64 => {
                self.integer_value(field.kind).map(Some)
            }
            ThriftType::Bool
            | ThriftType::Double
            | ThriftType::Bytes
            | ThriftType::Struct
            | ThriftType::Map
            | ThriftType::Set
            | ThriftType::List
            | ThriftType::Uuid => self.skip(field).map(|()| None),
        }
    }

    /// Reads a text, with U+FFFD for bytes that are not UTF-8; `None` for another type.
    pub(super) fn text(&mut self, field: ThriftField) -> ThriftResult<Option<String>> {
        let bytes = self.byte_string(field)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
    }

    /// Reads bytes; `None` for another type.
    pub(super) fn byte_string(&mut self, field: ThriftField) -> ThriftResult<Option<&'a [u8]>> {
        if field.kind == ThriftType::Bytes {
            return self.bytes().map(Some);
        }
        self.skip(field)?;
        Ok(None)
    }

    /// Reads a floating-point number; `None` for another type.
    pub(super) fn double(&mut self, field: ThriftField) -> ThriftResult<Option<f64>> {
        if field.kind != ThriftType::Double {
            self.skip(field)?;
            return Ok(None);
        }
        let bytes = self.array()?;
        // The compact protocol has the bytes of doubles, and of nothing else, in reverse.
        Ok(Some(match self.protocol {
            ThriftProtocol::Binary => f64::from_be_bytes(bytes),
            ThriftProtocol::Compact => f64::from_le_bytes(bytes),
        }))
    }

    /// Reads a boolean; `None` for another type.
    pub(super) fn boolean(&mut self, field: ThriftField) -> ThriftResult<Option<bool>> {
        if field.kind != ThriftType::Bool {
            self.skip(field)?;
            return Ok(None);
        }
        match field.boolean {
            Some(value) => Ok(Some(value)),
            None => Ok(Some(self.byte()? == 1)),
        }
    }

    /// Skips the value of a field.
    pub(super) fn skip(&mut self, field: ThriftField) -> ThriftResult<()> {
        if field.boolean.is_some() {
            return Ok(());
        }
        self.skip_value(field.kind, 0)
    }

    fn skip_value(&mut self, kind: ThriftType, depth: usize) -> ThriftResult<()> {
        if depth > MAX_DEPTH {
            return Err(ThriftError::TooDeep);
        }
        match kind {
            ThriftType::Bool => self.take(1).map(drop),
            ThriftType::Byte | ThriftType::I16 | ThriftType::I32 | ThriftType::I64 => {
                self.integer_value(kind).map(drop)
            }
            ThriftType::Double => self.take(8).map(drop),
            ThriftType::Uuid => self.take(16).map(drop),
            ThriftType::Bytes => self.bytes().map(drop),
            ThriftType::Struct => self.read_struct(|reader, field| {
                if field.boolean.is_some() {
                    return Ok(());
                }
                reader.skip_value(field.kind, depth + 1)
            }),
            ThriftType::List | ThriftType::Set => {
                let (kind, count) = self.list_header()?;
                // Every element takes a byte at least, so the bytes bound the loop.
                (0..count).try_for_each(|_| self.skip_value(kind, depth + 1))
            }
            ThriftType::Map => {
                let Some((key, value, count)) = self.map_header()? else {
                    return Ok(());
                };
                (0..count).try_for_each(|_| {
                    self.skip_value(key, depth + 1)?;
                    self.skip_value(value, depth + 1)
                })
            }
        }
    }

    /// Reads the header of the next field; `None` at the end of the struct.
    fn field(&mut self, previous_id: i16) -> ThriftResult<Option<ThriftField>> {
        let header = self.byte()?;
        if header == 0 {
            return Ok(None);
        }
        if self.protocol == ThriftProtocol::Binary {
            return Ok(Some(ThriftField {
                kind: ThriftType::from_binary(header)?,
                id: i16::from_be_bytes(self.array()?),
                boolean: None,
            }));
        }
        // The upper half is the distance to the previous id, or zero before an id in full.
        let id = match header >> 4 {
            0 => truncate_i16(self.zigzag()?),
            distance => previous_id.wrapping_add(i16::from(distance)),
        };
        let code = header & 0x0f;
        let kind = ThriftType::from_compact(code)?;
        let boolean = (kind == ThriftType::Bool).then_some(code == 1);
        Ok(Some(ThriftField { id, kind, boolean }))
    }

    fn list_header(&mut self) -> ThriftResult<(ThriftType, u64)> {
        let header = self.byte()?;
        if self.protocol == ThriftProtocol::Binary {
            return Ok((ThriftType::from_binary(header)?, self.binary_length()?));
        }
        let count = match header >> 4 {
            // Fifteen elements or more: the count follows.
            15 => self.varint()?,
            count => u64::from(count),
        };
        Ok((ThriftType::from_compact(header & 0x0f)?, count))
    }

    /// Reads the header of a map; `None` for an empty one.
    fn map_header(&mut self) -> ThriftResult<Option<(ThriftType, ThriftType, u64)>> {
        if self.protocol == ThriftProtocol::Binary {
            let (key, value) = (self.byte()?, self.byte()?);
            let count = self.binary_length()?;
            if count == 0 {
                return Ok(None);
            }
            let (key, value) = (
                ThriftType::from_binary(key)?,
                ThriftType::from_binary(value)?,
            );
            return Ok(Some((key, value, count)));
        }
        let count = self.varint()?;
        if count == 0 {
            return Ok(None);
        }
        let types = self.byte()?;
        let (key, value) = (types >> 4, types & 0x0f);
        let (key, value) = (
            ThriftType::from_compact(key)?,
            ThriftType::from_compact(value)?,
        );
        Ok(Some((key, value, count)))
    }

    fn integer_value(&mut self, kind: ThriftType) -> ThriftResult<i64> {
        if kind == ThriftType::Byte {
            return self.byte().map(|byte| i64::from(byte.cast_signed()));
        }
        if self.protocol == ThriftProtocol::Compact {
            return self.zigzag();
        }
        Ok(match kind {
            ThriftType::I16 => i64::from(i16::from_be_bytes(self.array()?)),
            ThriftType::I32 => i64::from(i32::from_be_bytes(self.array()?)),
            ThriftType::I64
            | ThriftType::Bool
            | ThriftType::Byte
            | ThriftType::Double
            | ThriftType::Bytes
            | ThriftType::Struct
            | ThriftType::Map
            | ThriftType::Set
            | ThriftType::List
            | ThriftType::Uuid => i64::from_be_bytes(self.array()?),
        })
    }

    fn bytes(&mut self) -> ThriftResult<&'a [u8]> {
        let length = match self.protocol {
            ThriftProtocol::Binary => self.binary_length()?,
            ThriftProtocol::Compact => self.varint()?,
        };
        self.take(usize::try_from(length).map_err(|_| ThriftError::Truncated)?)
    }

    fn binary_length(&mut self) -> ThriftResult<u64> {
        let length = i32::from_be_bytes(self.array()?);
        u64::try_from(length).map_err(|_| ThriftError::NegativeLength)
    }

    fn zigzag(&mut self) -> ThriftResult<i64> {
        let number = self.varint()?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    fn varint(&mut self) -> ThriftResult<u64> {
        let mut number = 0;
        for index in 0..MAX_VARINT_BYTES {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(ThriftError::Varint)
    }

    fn byte(&mut self) -> ThriftResult<u8> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    fn array<const N: usize>(&mut self) -> ThriftResult<[u8; N]> {
        let (head, rest) = self
            .bytes
            .split_first_chunk()
            .ok_or(ThriftError::Truncated)?;
        self.bytes = rest;
        Ok(*head)
    }

    fn take(&mut self, length: usize) -> ThriftResult<&'a [u8]> {
        let (head, rest) = self
            .bytes
            .split_at_checked(length)
            .ok_or(ThriftError::Truncated)?;
        self.bytes = rest;
        Ok(head)
    }
}

// === impl ThriftType ===

impl ThriftType {
    const fn from_binary(code: u8) -> ThriftResult<Self> {
        Ok(match code {
            2 => Self::Bool,
            3 => Self::Byte,
            4 => Self::Double,
            6 => Self::I16,
            8 => Self::I32,
            10 => Self::I64,
            11 => Self::Bytes,
            12 => Self::Struct,
            13 => Self::Map,
            14 => Self::Set,
            15 => Self::List,
            16 => Self::Uuid,
            _ => return Err(ThriftError::UnknownType(code)),
        })
    }

    const fn from_compact(code: u8) -> ThriftResult<Self> {
        Ok(match code {
            // True and false in the header of a field; elements of lists use either.
            1 | 2 => Self::Bool,
            3 => Self::Byte,
            4 => Self::I16,
            5 => Self::I32,
            6 => Self::I64,
            7 => Self::Double,
            8 => Self::Bytes,
            9 => Self::List,
            10 => Self::Set,
            11 => Self::Map,
            12 => Self::Struct,
            13 => Self::Uuid,
            _ => return Err(ThriftError::UnknownType(code)),
        })
    }
}

/// Returns the lower 16 bits: a field id beyond them is one that no message has.
fn truncate_i16(number: i64) -> i16 {
    i16::try_from(number).unwrap_or(i16::MAX)
}
