//! Records written anew with more headers, and both checksums, the old one's and the new one's, on the way.

use crc_fast::{CrcAlgorithm, Digest};

use super::{Headers, Reason, Record, Records};
use crate::wire::{Error, varint};

/// How much is written between two steps of a checksum: what was just copied is still in the cache.
const STEP: usize = 16 * 1024;

/// A checksum that follows a growing buffer.
pub(super) struct Running {
    digest: Digest,
    done: usize,
}

/// How far a buffer may grow, and what is to be said when that is not enough.
#[derive(Clone, Copy)]
pub(super) struct Bound {
    pub(super) end: usize,
    pub(super) reason: Reason,
}

/// Writes `records` behind `out`, each with the headers that `choose` gives it, and tells `watch` how far it has come:
/// (bytes read, bytes in `out`). Gives the number of records that got some.
///
/// # Errors
/// When a record is malformed, or `out` would be longer than the bound.
pub(super) fn splice(
    mut records: Records<'_>,
    headers: &mut Headers,
    bound: Bound,
    out: &mut Vec<u8>,
    choose: &mut impl FnMut(&Record<'_>, &mut Headers),
    mut watch: impl FnMut(usize, &[u8]),
) -> Result<u32, Reason> {
    let mut changed = 0;
    let mut watched = out.len();
    for record in records.by_ref() {
        let record = record.map_err(Reason::Malformed)?;
        headers.clear();
        choose(&record, headers);
        if headers.is_empty() {
            out.extend_from_slice(record.bytes);
        } else {
            changed += 1;
            write(&record, headers, out).map_err(|_| bound.reason)?;
        }
        if out.len() > bound.end {
            return Err(bound.reason);
        }
        if out.len() - watched >= STEP {
            watch(record.at + record.bytes.len(), out);
            watched = out.len();
        }
    }
    if !records.rest().is_empty() {
        return Err(Reason::Malformed(Error { at: records.at(), expected: "no bytes behind the last record" }));
    }
    Ok(changed)
}

/// A number that does not fit a record.
struct Overflow;

#[inline]
fn write(record: &Record<'_>, headers: &Headers, out: &mut Vec<u8>) -> Result<(), Overflow> {
    if headers.overflows() {
        return Err(Overflow);
    }
    let front = record.bytes.get(record.body..record.count_at).unwrap_or_default();
    let own = record.bytes.get(record.headers_at..).unwrap_or_default();
    if headers.replaces_any() {
        return write_replacing(record, headers, front, out);
    }
    let count = number(u64::from(record.count) + u64::from(headers.count()))?;
    let length = front.len() + varint::length_i32(count) + own.len() + headers.bytes().len();
    if let (1, Ok(one @ 0..=0x3f)) = (record.headers_at - record.count_at, u8::try_from(count)) {
        return write_patching(record, headers, length, one << 1, out);
    }
    out.reserve(length + varint::MAX_U32);
    varint::write_i32(i32::try_from(length).map_err(|_| Overflow)?, out);
    out.extend_from_slice(front);
    varint::write_i32(count, out);
    out.extend_from_slice(own);
    out.extend_from_slice(headers.bytes());
    Ok(())
}

/// As above, when the number of headers stays one byte, as it nearly always does: the record is copied in one piece.
#[inline]
fn write_patching(
    record: &Record<'_>,
    headers: &Headers,
    length: usize,
    count: u8,
    out: &mut Vec<u8>,
) -> Result<(), Overflow> {
    out.reserve(length + varint::MAX_U32);
    varint::write_i32(i32::try_from(length).map_err(|_| Overflow)?, out);
    let count_at = out.len() + record.count_at - record.body;
    out.extend_from_slice(record.bytes.get(record.body..).unwrap_or_default());
    if let Some(place) = out.get_mut(count_at) {
        *place = count;
    }
    out.extend_from_slice(headers.bytes());
    Ok(())
}

/// As above, without the record's own headers that are replaced.
fn write_replacing(record: &Record<'_>, headers: &Headers, front: &[u8], out: &mut Vec<u8>) -> Result<(), Overflow> {
    let kept = || record.headers().filter(|header| !headers.replaces(header.key));
    let (kept_count, kept_length) =
        kept().fold((0u64, 0usize), |(count, length), header| (count + 1, length + header.end - header.start));
    let count = number(kept_count + u64::from(headers.count()))?;
    let length = front.len() + varint::length_i32(count) + kept_length + headers.bytes().len();
    varint::write_i32(i32::try_from(length).map_err(|_| Overflow)?, out);
    out.extend_from_slice(front);
    varint::write_i32(count, out);
    for header in kept() {
        out.extend_from_slice(record.bytes.get(header.start..header.end).unwrap_or_default());
    }
    out.extend_from_slice(headers.bytes());
    Ok(())
}

fn number(count: u64) -> Result<i32, Overflow> {
    i32::try_from(count).map_err(|_| Overflow)
}

// === impl Running ===

impl Running {
    /// Covers what lies from `start` on.
    pub(super) fn new(start: usize) -> Self {
        Self { digest: Digest::new(CrcAlgorithm::Crc32Iscsi), done: start }
    }

    /// Takes in `bytes` up to `end`, from where it left off.
    pub(super) fn advance(&mut self, bytes: &[u8], end: usize) {
        if let Some(new) = bytes.get(self.done..end) {
            self.digest.update(new);
            self.done = end;
        }
    }

    /// The checksum so far.
    #[expect(clippy::cast_possible_truncation, reason = "a checksum of 32 bits in a wider number")]
    pub(super) fn value(&self) -> u32 {
        self.digest.finalize() as u32
    }
}
