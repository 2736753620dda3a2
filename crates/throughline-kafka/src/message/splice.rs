//! Edits to a body. All lengths around an edit are updated here and nowhere else.

use std::ops::Range;

use bytes::Bytes;

use crate::frame::LENGTH_PREFIX_BYTES;
use crate::wire::{Error, LengthPrefix, TaggedField, WireField, varint};

/// Pieces up to this length are joined by copying: each piece costs its writer more than a copy of
/// so few bytes.
const MAX_JOINED_BYTES: usize = 1024;

/// A list of edits to one body, in order: ranges and their new contents. Reused from body to body.
#[derive(Debug, Default)]
pub struct BodySplice {
    /// All new contents, concatenated.
    pool: Vec<u8>,
    edits: Vec<BodyEdit>,
}

/// A part of an edited body.
#[derive(Debug, Clone, PartialEq, Eq)]
enum BodyPiece<'a> {
    /// This range of the old body.
    Kept(Range<usize>),
    /// These new bytes.
    New(&'a [u8]),
}

#[derive(Debug)]
struct BodyEdit {
    /// The replaced range of the body.
    old: Range<usize>,
    /// The range of the new contents in the pool.
    new: Range<usize>,
}

// === impl BodySplice ===

impl BodySplice {
    /// Removes all edits.
    pub fn clear(&mut self) {
        self.pool.clear();
        self.edits.clear();
    }

    /// Removes all edits and releases memory beyond `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        self.clear();
        self.pool.shrink_to(bytes);
        self.edits.shrink_to(bytes / size_of::<BodyEdit>());
    }

    /// Returns whether there are no edits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// Replaces `range` by `bytes`.
    ///
    /// # Errors
    /// When `range` begins before the end of the previous edit.
    pub fn replace(&mut self, range: Range<usize>, bytes: &[u8]) -> Result<(), Error> {
        self.check_order(&range)?;
        let begin = self.pool.len();
        self.pool.extend_from_slice(bytes);
        self.edits.push(BodyEdit {
            old: range,
            new: begin..self.pool.len(),
        });
        Ok(())
    }

    /// Replaces the contents of a field by the bytes that `write` appends, and updates its length.
    /// The field is kept when `write` returns [`None`].
    ///
    /// # Errors
    /// As [`BodySplice::replace`], and when the length prefix cannot hold the new length.
    pub fn replace_field<T>(
        &mut self,
        field: &WireField<'_>,
        write: impl FnOnce(&mut Vec<u8>) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let old = field.range_with_length();
        self.check_order(&old)?;
        let begin = self.pool.len();
        // The length is known only after the contents, so room for the widest prefix is reserved
        // and the prefix is written right before the contents.
        let contents = begin + varint::MAX_U32_BYTES;
        self.pool.resize(contents, 0);
        let Some(written) = write(&mut self.pool).filter(|_| self.pool.len() >= contents) else {
            self.pool.truncate(begin);
            return Ok(None);
        };
        let mut prefix = Vec::with_capacity(varint::MAX_U32_BYTES);
        let too_long = Error {
            at: old.start,
            expected: "contents that the field can hold",
        };
        let length = i32::try_from(self.pool.len() - contents).map_err(|_| too_long)?;
        match field.prefix() {
            LengthPrefix::Int16 => {
                let length = i16::try_from(length).map_err(|_| too_long)?;
                prefix.extend(length.to_be_bytes());
            }
            LengthPrefix::Int32 => prefix.extend(length.to_be_bytes()),
            LengthPrefix::Compact => varint::write_u32(length.cast_unsigned() + 1, &mut prefix),
        }
        let start = contents - prefix.len();
        if let Some(target) = self.pool.get_mut(start..contents) {
            target.copy_from_slice(&prefix);
        }
        self.edits.push(BodyEdit {
            old,
            new: start..self.pool.len(),
        });
        Ok(Some(written))
    }

    /// Updates the size of a tagged field, after all edits within it.
    ///
    /// # Errors
    /// When the size itself was edited or exceeds 32 bits.
    pub fn resize_tagged_field(&mut self, tag: &TaggedField<'_>) -> Result<(), Error> {
        let at = self
            .edits
            .partition_point(|edit| edit.old.end <= tag.size.start);
        let inside = self.edits.get(at..).unwrap_or_default();
        let error = Error {
            at: tag.size.start,
            expected: "changes within the tagged field only",
        };
        if inside
            .iter()
            .any(|edit| edit.old.start < tag.contents.start || edit.old.end > tag.contents.end)
        {
            return Err(error);
        }
        let size = edited_length(tag.contents.len(), inside)
            .and_then(|size| u32::try_from(size).ok())
            .ok_or(error)?;
        let begin = self.pool.len();
        varint::write_u32(size, &mut self.pool);
        // The size precedes the contents, so its edit goes before theirs to keep the order.
        self.edits.insert(
            at,
            BodyEdit {
                old: tag.size.clone(),
                new: begin..self.pool.len(),
            },
        );
        Ok(())
    }

    /// Returns the size of the edited frame, its length prefix included.
    #[must_use]
    pub fn resealed_size(&self, frame: &[u8]) -> Option<usize> {
        edited_length(frame.len(), &self.edits)
    }

    /// Appends the edited frame to `out`, with its length updated. The body starts at `body` in
    /// `frame`.
    ///
    /// # Errors
    /// When an edit is past the end, or the frame would exceed 2 GiB; then nothing has been
    /// written.
    pub fn reseal(&self, frame: &[u8], body: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        let old = self.reseal_header(frame, body, out)?;
        for piece in self.pieces(old.len()) {
            match piece {
                BodyPiece::Kept(range) => {
                    out.extend_from_slice(old.get(range).unwrap_or_default());
                }
                BodyPiece::New(bytes) => out.extend_from_slice(bytes),
            }
        }
        Ok(())
    }

    /// Passes the edited frame to `emit` in pieces and removes all edits. Kept pieces share the
    /// memory of `frame`, new ones own theirs; only short pieces are copied.
    ///
    /// # Errors
    /// As [`BodySplice::reseal`]; then no piece has been emitted.
    pub fn reseal_pieces(
        &mut self,
        frame: &Bytes,
        body: usize,
        mut emit: impl FnMut(Bytes),
    ) -> Result<(), Error> {
        let mut joined = Vec::with_capacity(body + MAX_JOINED_BYTES);
        self.reseal_header(frame, body, &mut joined)?;
        // The pool is given away: the emitted pieces refer to it after this call.
        let pool = Bytes::from(std::mem::take(&mut self.pool));
        let mut add = |piece: Bytes| {
            if piece.len() > MAX_JOINED_BYTES {
                if !joined.is_empty() {
                    emit(Bytes::from(std::mem::take(&mut joined)));
                }
                emit(piece);
            } else {
                joined.extend_from_slice(&piece);
            }
        };
        let mut at = body;
        for BodyEdit { old, new } in self.edits.drain(..) {
            add(frame.slice(at..body + old.start));
            add(pool.slice(new));
            at = body + old.end;
        }
        add(frame.slice(at..));
        if !joined.is_empty() {
            emit(joined.into());
        }
        Ok(())
    }

    /// Returns the edited body, piece by piece; `length` is the length of the old body.
    fn pieces(&self, length: usize) -> impl Iterator<Item = BodyPiece<'_>> {
        let starts = std::iter::once(0).chain(self.edits.iter().map(|edit| edit.old.end));
        let ends = self
            .edits
            .iter()
            .map(|edit| edit.old.start)
            .chain(std::iter::once(length));
        let kept = starts
            .zip(ends)
            .map(|(start, end)| BodyPiece::Kept(start..end));
        let new = self
            .edits
            .iter()
            .map(|edit| self.pool.get(edit.new.clone()).unwrap_or_default());
        kept.zip(new.chain(std::iter::once(&[][..])))
            .flat_map(|(kept, new)| [kept, BodyPiece::New(new)])
            .filter(|piece| !piece.is_empty())
    }

    /// Appends the bytes before the body, with the frame's length updated, and returns the old
    /// body.
    fn reseal_header<'f>(
        &self,
        frame: &'f [u8],
        body: usize,
        out: &mut Vec<u8>,
    ) -> Result<&'f [u8], Error> {
        let error = Error {
            at: body,
            expected: "a body around all the changes",
        };
        let old = frame.get(body..).ok_or(error)?;
        let end = self.edits.last().map_or(0, |edit| edit.old.end);
        if end > old.len() || body < LENGTH_PREFIX_BYTES {
            return Err(error);
        }
        let length = edited_length(frame.len() - LENGTH_PREFIX_BYTES, &self.edits)
            .and_then(|length| i32::try_from(length).ok());
        let length = length.ok_or(Error {
            at: 0,
            expected: "a frame of less than 2 GiB",
        })?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(frame.get(LENGTH_PREFIX_BYTES..body).unwrap_or_default());
        Ok(old)
    }

    /// Checks that an edit of `range` comes after the previous one.
    fn check_order(&self, range: &Range<usize>) -> Result<(), Error> {
        let previous_end = self.edits.last().map_or(0, |edit| edit.old.end);
        if previous_end <= range.start && range.start <= range.end {
            return Ok(());
        }
        Err(Error {
            at: range.start,
            expected: "a change behind the one before it",
        })
    }
}

/// Returns the length that `length` bytes have after these edits.
fn edited_length(length: usize, edits: &[BodyEdit]) -> Option<usize> {
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
