//! The tagged fields at the end of a structure (KIP-482).

use std::ops::Range;

use super::reader::{Decode, WireReader};
use super::{Error, MAX_TAGGED_FIELDS};

/// The tagged fields of a structure, validated once.
#[derive(Debug, Clone, Copy)]
pub struct TaggedFields<'a> {
    first: WireReader<'a>,
    count: u32,
}

/// One tagged field.
#[derive(Debug, Clone)]
pub struct TaggedField<'a> {
    /// The number of the tag.
    pub number: u32,
    /// The position of its size, an unsigned varint.
    pub size: Range<usize>,
    /// The position of its contents.
    pub contents: Range<usize>,
    /// A reader of the contents that ends with them.
    pub reader: WireReader<'a>,
}

// === impl WireReader ===

impl<'a> WireReader<'a> {
    /// Reads the tagged fields that end a structure. Versions before the flexible ones have none.
    ///
    /// # Errors
    /// When there are more than [`MAX_TAGGED_FIELDS`], or one exceeds the input.
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

// === impl TaggedFields ===

impl<'a> TaggedFields<'a> {
    /// Returns the field with this number.
    #[must_use]
    pub fn find(&self, number: u32) -> Option<TaggedField<'a>> {
        let mut reader = self.first;
        (0..self.count)
            .map_while(|_| TaggedField::decode(&mut reader).ok())
            .find(|field| field.number == number)
    }
}

// === impl TaggedField ===

impl<'a> Decode<'a> for TaggedField<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let number = reader.unsigned_varint()?;
        let before = reader.at;
        let length = reader.unsigned_varint()?;
        let (size, start) = (before..reader.at, reader.at);
        let length = usize::try_from(length).map_err(|_| reader.error("a tagged field"))?;
        reader.take(length, "the contents of a tagged field")?;
        let contents = start..reader.at;
        // Positions stay those of the body, so that an edit within the field finds its place.
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
