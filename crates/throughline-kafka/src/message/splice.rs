//! Changes to a body, and the one place where the lengths around them are redone.

use std::ops::Range;

use bytes::Bytes;

use crate::frame::LENGTH_PREFIX_BYTES;
use crate::wire::{Error, LengthPrefix, TaggedField, WireField, varint};

/// Changes to one body, in order: ranges, and what stands there instead. Used again from body to body.
#[derive(Debug, Default)]
pub struct BodySplice {
    /// All that is new, one after the other.
    pool: Vec<u8>,
    edits: Vec<Edit>,
}

/// A stretch of a body as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyPiece<'a> {
    /// This range of the old body.
    Kept(Range<usize>),
    /// These bytes.
    New(&'a [u8]),
}

#[derive(Debug)]
struct Edit {
    old: Range<usize>,
    /// In the pool.
    new: Range<usize>,
}

// === impl BodySplice ===

impl BodySplice {
    /// Forgets all changes.
    pub fn clear(&mut self) {
        self.pool.clear();
        self.edits.clear();
    }

    /// Forgets all changes, and gives back memory above so many bytes.
    pub fn shrink_to(&mut self, bytes: usize) {
        self.clear();
        self.pool.shrink_to(bytes);
        self.edits.shrink_to(bytes / size_of::<Edit>());
    }

    /// Whether nothing is to be changed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// Puts `bytes` in the place of `range`.
    ///
    /// # Errors
    /// When `range` begins before the end of the change before it.
    pub fn replace(&mut self, range: Range<usize>, bytes: &[u8]) -> Result<(), Error> {
        self.in_order(&range)?;
        let begin = self.pool.len();
        self.pool.extend_from_slice(bytes);
        self.edits.push(Edit {
            old: range,
            new: begin..self.pool.len(),
        });
        Ok(())
    }

    /// Puts what `write` appends in the place of the field's contents, and its length in front. When `write` gives
    /// [`None`] the field stays.
    ///
    /// # Errors
    /// As [`BodySplice::replace`], and when the contents are longer than the field can say.
    pub fn replace_field<T>(
        &mut self,
        field: &WireField<'_>,
        write: impl FnOnce(&mut Vec<u8>) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let old = field.range_with_length();
        self.in_order(&old)?;
        let begin = self.pool.len();
        // The length goes in front of contents that are not known yet, as far back as it needs.
        let contents = begin + varint::MAX_U32;
        self.pool.resize(contents, 0);
        let Some(written) = write(&mut self.pool).filter(|_| self.pool.len() >= contents) else {
            self.pool.truncate(begin);
            return Ok(None);
        };
        let mut prefix = Vec::with_capacity(varint::MAX_U32);
        let too_long = Error {
            at: old.start,
            expected: "contents that the field can hold",
        };
        let length = i32::try_from(self.pool.len() - contents).map_err(|_| too_long)?;
        match field.prefix() {
            LengthPrefix::Int16 => {
                prefix.extend(i16::try_from(length).map_err(|_| too_long)?.to_be_bytes());
            }
            LengthPrefix::Int32 => prefix.extend(length.to_be_bytes()),
            LengthPrefix::Compact => varint::write_u32(length.cast_unsigned() + 1, &mut prefix),
        }
        let start = contents - prefix.len();
        if let Some(place) = self.pool.get_mut(start..contents) {
            place.copy_from_slice(&prefix);
        }
        self.edits.push(Edit {
            old,
            new: start..self.pool.len(),
        });
        Ok(Some(written))
    }

    /// Redoes the size of a tagged field, after all changes within it.
    ///
    /// # Errors
    /// When the size itself was changed, or is more than 32 bits can say.
    pub fn resize_tag(&mut self, tag: &TaggedField<'_>) -> Result<(), Error> {
        let at = self
            .edits
            .partition_point(|edit| edit.old.end <= tag.size.start);
        let inside = self.edits.get(at..).unwrap_or_default();
        let wrong = Error {
            at: tag.size.start,
            expected: "changes within the tagged field only",
        };
        if inside
            .iter()
            .any(|edit| edit.old.start < tag.contents.start || edit.old.end > tag.contents.end)
        {
            return Err(wrong);
        }
        let size = resized(tag.contents.len(), inside)
            .and_then(|size| u32::try_from(size).ok())
            .ok_or(wrong)?;
        let begin = self.pool.len();
        varint::write_u32(size, &mut self.pool);
        self.edits.insert(
            at,
            Edit {
                old: tag.size.clone(),
                new: begin..self.pool.len(),
            },
        );
        Ok(())
    }

    /// The body as it is to be, piece by piece; `length` is its length as it is.
    pub fn pieces(&self, length: usize) -> impl Iterator<Item = BodyPiece<'_>> {
        let starts = std::iter::once(0).chain(self.edits.iter().map(|edit| edit.old.end));
        let ends = self
            .edits
            .iter()
            .map(|edit| edit.old.start)
            .chain(std::iter::once(length));
        let news = self
            .edits
            .iter()
            .map(|edit| self.pool.get(edit.new.clone()).unwrap_or_default());
        let kept = starts
            .zip(ends)
            .map(|(start, end)| BodyPiece::Kept(start..end));
        kept.zip(news.chain(std::iter::once(&[][..])))
            .flat_map(|(kept, new)| [kept, BodyPiece::New(new)])
            .filter(|piece| !piece.is_empty())
    }

    /// Writes `frame`, whose body begins at `body`, behind `out`, changed and with its length redone.
    ///
    /// # Errors
    /// When a change is past the end, or the frame would be longer than 2 GiB; then nothing has been written.
    pub fn reseal(&self, frame: &[u8], body: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        let old = self.reseal_head(frame, body, out)?;
        for piece in self.pieces(old.len()) {
            match piece {
                BodyPiece::Kept(range) => out.extend_from_slice(old.get(range).unwrap_or_default()),
                BodyPiece::New(bytes) => out.extend_from_slice(bytes),
            }
        }
        Ok(())
    }

    /// How many bytes the frame will have, with its length.
    #[must_use]
    pub fn resealed_size(&self, frame: &[u8]) -> Option<usize> {
        resized(frame.len(), &self.edits)
    }

    /// Writes what is in front of the body, its length redone. Gives the body.
    fn reseal_head<'f>(
        &self,
        frame: &'f [u8],
        body: usize,
        out: &mut Vec<u8>,
    ) -> Result<&'f [u8], Error> {
        let wrong = Error {
            at: body,
            expected: "a body around all the changes",
        };
        let old = frame.get(body..).ok_or(wrong)?;
        if self
            .edits
            .last()
            .is_some_and(|edit| edit.old.end > old.len())
            || body < LENGTH_PREFIX_BYTES
        {
            return Err(wrong);
        }
        let length = resized(frame.len() - LENGTH_PREFIX_BYTES, &self.edits)
            .and_then(|length| i32::try_from(length).ok());
        let length = length.ok_or(Error {
            at: 0,
            expected: "a frame of less than 2 GiB",
        })?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(frame.get(LENGTH_PREFIX_BYTES..body).unwrap_or_default());
        Ok(old)
    }

    /// As [`BodySplice::reseal`], piece by piece: what is kept of the frame is shared with it, what is new is given away, and nothing
    /// long is copied. Forgets all changes.
    ///
    /// # Errors
    /// As [`BodySplice::reseal`]; then there has been no piece.
    pub fn reseal_pieces(
        &mut self,
        frame: &Bytes,
        body: usize,
        mut each: impl FnMut(Bytes),
    ) -> Result<(), Error> {
        let mut joined = Vec::with_capacity(body + SHORT);
        self.reseal_head(frame, body, &mut joined)?;
        let pool = Bytes::from(std::mem::take(&mut self.pool));
        let mut emit = |piece: Bytes| {
            if piece.len() > SHORT {
                if !joined.is_empty() {
                    each(Bytes::from(std::mem::take(&mut joined)));
                }
                each(piece);
            } else {
                joined.extend_from_slice(&piece);
            }
        };
        let mut at = body;
        for Edit { old, new } in self.edits.drain(..) {
            emit(frame.slice(at..body + old.start));
            emit(pool.slice(new));
            at = body + old.end;
        }
        emit(frame.slice(at..));
        if !joined.is_empty() {
            each(joined.into());
        }
        Ok(())
    }

    fn in_order(&self, range: &Range<usize>) -> Result<(), Error> {
        let before = self.edits.last().map_or(0, |edit| edit.old.end);
        if before <= range.start && range.start <= range.end {
            return Ok(());
        }
        Err(Error {
            at: range.start,
            expected: "a change behind the one before it",
        })
    }
}

/// Pieces up to this length are copied into one: each costs its writer more than a copy of so few bytes.
const SHORT: usize = 1024;

/// What becomes of a length when these edits are made within.
fn resized(length: usize, edits: &[Edit]) -> Option<usize> {
    edits.iter().try_fold(length, |length, edit| {
        length
            .checked_add(edit.new.len())?
            .checked_sub(edit.old.len())
    })
}

// === impl BodyPiece ===

impl BodyPiece<'_> {
    fn is_empty(&self) -> bool {
        match self {
            Self::Kept(range) => range.is_empty(),
            Self::New(bytes) => bytes.is_empty(),
        }
    }
}
