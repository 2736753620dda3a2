//! RecordIter written anew with more headers, and both checksums, the old one's and the new one's, on the way.

use crc_fast::{CrcAlgorithm, Digest};

use super::{BatchError, HeaderWriter, Record, RecordIter};
use crate::wire::Error;

/// How much is written between two steps of a checksum: what was just copied is still in the cache, and starting a step
/// costs little beside it.
const STEP: usize = 32 * 1024;

/// A checksum that follows a growing buffer.
pub(super) struct Running {
    digest: Digest,
    done: usize,
}

/// How far a buffer may grow, and what is to be said when that is not enough.
#[derive(Clone, Copy)]
pub(super) struct Bound {
    pub(super) end: usize,
    pub(super) reason: BatchError,
}

/// Writes `records` behind `out`, each with the headers that `choose` gives it, and tells `watch` how far it has come:
/// (bytes read, bytes in `out`). Gives the number of records that got some; when none did, nothing is written.
///
/// # Errors
/// When a record is malformed, or `out` would be longer than the bound.
pub(super) fn splice(
    mut records: RecordIter<'_>,
    headers: &mut HeaderWriter,
    bound: Bound,
    out: &mut Vec<u8>,
    choose: &mut impl FnMut(&Record<'_>, &mut HeaderWriter),
    mut watch: impl FnMut(usize, &[u8]),
) -> Result<u32, BatchError> {
    std::mem::swap(&mut headers.out, out);
    let changed = splice_lent(&mut records, headers, bound, choose, &mut watch);
    std::mem::swap(&mut headers.out, out);
    if changed.is_ok() && !records.remaining_bytes().is_empty() {
        return Err(BatchError::MalformedRecords(Error {
            at: records.at(),
            expected: "no bytes behind the last record",
        }));
    }
    changed
}

/// As above, to the output that is lent to `headers`.
#[inline]
fn splice_lent(
    records: &mut RecordIter<'_>,
    headers: &mut HeaderWriter,
    bound: Bound,
    choose: &mut impl FnMut(&Record<'_>, &mut HeaderWriter),
    watch: &mut impl FnMut(usize, &[u8]),
) -> Result<u32, BatchError> {
    let mut changed = 0;
    let (all, mut watched) = (records.remaining_bytes(), headers.out.len());
    for record in records {
        let record = record.map_err(BatchError::MalformedRecords)?;
        // Nothing is written before the first record that gets headers: a batch in which none does is only read.
        if changed == 0 {
            headers.open_alone();
        } else {
            headers.open(&record);
        }
        choose(&record, headers);
        if !headers.is_empty() {
            if changed == 0 {
                headers.catch_up(all, &record);
            }
            changed += 1;
            headers.close(&record).map_err(|_| bound.reason)?;
        }
        let length = headers.out.len();
        if length > bound.end {
            return Err(bound.reason);
        }
        if length - watched >= STEP {
            watch(record.at + record.bytes.len(), &headers.out);
            watched = length;
        }
    }
    Ok(changed)
}

// === impl Running ===

impl Running {
    /// Covers what lies from `start` on.
    pub(super) fn new(start: usize) -> Self {
        Self {
            digest: Digest::new(CrcAlgorithm::Crc32Iscsi),
            done: start,
        }
    }

    /// Takes in `bytes` up to `end`, from where it left off.
    pub(super) fn advance(&mut self, bytes: &[u8], end: usize) {
        if let Some(new) = bytes.get(self.done..end) {
            self.digest.update(new);
            self.done = end;
        }
    }

    /// The checksum so far.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a checksum of 32 bits in a wider number"
    )]
    pub(super) fn value(&self) -> u32 {
        self.digest.finalize() as u32
    }
}
