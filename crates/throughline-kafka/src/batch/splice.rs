//! Copies records and adds headers to the selected ones.

use super::{BatchError, HeaderWriter, Record, RecordIter};
use crate::wire::Error;

/// The number of bytes between two calls of the progress callback. A checksum step over 32 KiB
/// finds its bytes still in the cache, and its fixed cost is small in comparison.
const PROGRESS_STEP_BYTES: usize = 32 * 1024;

/// The maximum size of an output buffer, and the error when it does not suffice.
#[derive(Clone, Copy)]
pub(super) struct SizeBound {
    pub(super) end: usize,
    pub(super) error: BatchError,
}

/// Appends `records` to `out`, each with the headers that `select` adds, and reports the progress
/// to `on_progress` as (bytes read, output). Returns the number of records that got headers; if
/// there is none, nothing is written.
///
/// # Errors
/// When a record is malformed, or `out` would exceed the bound.
pub(super) fn splice(
    mut records: RecordIter<'_>,
    writer: &mut HeaderWriter,
    bound: SizeBound,
    out: &mut Vec<u8>,
    select: &mut impl FnMut(&Record<'_>, &mut HeaderWriter),
    mut on_progress: impl FnMut(usize, &[u8]),
) -> Result<u32, BatchError> {
    // The writer owns the output while it writes, so that `select` needs one argument only.
    std::mem::swap(&mut writer.out, out);
    let changed = splice_records(&mut records, writer, bound, select, &mut on_progress);
    std::mem::swap(&mut writer.out, out);
    if changed.is_ok() && !records.remaining_bytes().is_empty() {
        return Err(BatchError::MalformedRecords(Error {
            at: records.position(),
            expected: "no bytes behind the last record",
        }));
    }
    changed
}

/// Does the work of [`splice`] with the output owned by `writer`.
#[inline]
fn splice_records(
    records: &mut RecordIter<'_>,
    writer: &mut HeaderWriter,
    bound: SizeBound,
    select: &mut impl FnMut(&Record<'_>, &mut HeaderWriter),
    on_progress: &mut impl FnMut(usize, &[u8]),
) -> Result<u32, BatchError> {
    let mut changed = 0;
    let (all, mut reported) = (records.remaining_bytes(), writer.out.len());
    for record in records {
        let record = record.map_err(BatchError::MalformedRecords)?;
        // Before the first record with new headers nothing is copied: a batch in which no record is
        // selected is only read.
        if changed == 0 {
            writer.begin_lazy();
        } else {
            writer.begin_record(&record);
        }
        select(&record, writer);
        if !writer.is_empty() {
            if changed == 0 {
                writer.backfill(all, &record);
            }
            changed += 1;
            writer.finish_record(&record).map_err(|_| bound.error)?;
        }
        let length = writer.out.len();
        if length > bound.end {
            return Err(bound.error);
        }
        if length - reported >= PROGRESS_STEP_BYTES {
            on_progress(record.position + record.bytes.len(), &writer.out);
            reported = length;
        }
    }
    Ok(changed)
}
