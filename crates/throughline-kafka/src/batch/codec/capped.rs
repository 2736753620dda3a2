//! The size limit of every streaming decompressor.

use std::io::Read;

use crate::batch::BatchError;

/// Reads all of `source` into `out`, up to `max` bytes.
pub(super) fn read_capped(
    source: impl Read,
    max: usize,
    out: &mut Vec<u8>,
) -> Result<(), BatchError> {
    // One byte beyond the limit distinguishes an output of exactly `max` bytes from a larger one.
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    source
        .take(limit)
        .read_to_end(out)
        .map_err(|_| BatchError::CorruptCompression)?;
    if out.len() > max {
        Err(BatchError::InflatedTooLarge { max })
    } else {
        Ok(())
    }
}
