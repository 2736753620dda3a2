//! Record batches (magic 2): read where they lie, and written anew with more headers in their records.
//!
//! A record set is a sequence of [`RecordBatches`]; a [`Batch`] has a header of 61 bytes and [`RecordIter`]. [`HeaderInjector`] puts headers
//! into records, [`HeaderPatcher`] overwrites bytes of headers in place. A batch that they decline to touch is to go on as it came;
//! the [`BatchError`] says why. Follows <https://kafka.apache.org/documentation/#recordbatch> and
//! `DefaultRecordBatch.java`.

mod codec;
mod headers;
mod inject;
mod patch;
mod record;
mod splice;
mod view;

pub use codec::{CodecPool, CompressionCodec, SnappyFraming};
pub use headers::HeaderWriter;
pub use inject::{HeaderInjector, InjectionLimits};
pub use patch::{HeaderPatcher, HeaderPatches};
pub use record::{Record, RecordHeader, RecordHeaderIter, RecordIter};
pub use view::{RECORD_BATCH_OVERHEAD, RecordBatch, RecordBatches, RecordSetEntry};

use crate::wire;

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a batch that was not changed must go on as it came"]
pub enum BatchOutcome {
    /// It was changed in so many records.
    Changed(u32),
    /// No record was chosen: it is to go on as it came.
    Unchanged,
    /// It was not touched: it is to go on as it came.
    Skipped(BatchError),
}

/// Why a batch is not touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// The broker's own records: the ends of transactions.
    #[error("a control batch")]
    ControlBatch,
    /// Compaction left nothing of it but its offsets.
    #[error("no records")]
    NoRecords,
    /// It was damaged before it came here, and must be seen to be.
    #[error("the checksum is wrong")]
    ChecksumMismatch,
    /// Nobody here can read it.
    #[error("compression codec {0} is not known")]
    UnknownCodec(u8),
    /// It does not inflate.
    #[error("the compressed records are not well-formed")]
    CorruptCompression,
    /// It inflates to more than is allowed.
    #[error("the records inflate to more than {max} bytes")]
    InflatedTooLarge {
        /// What is allowed.
        max: usize,
    },
    /// It would be larger than the broker takes.
    #[error("the batch would be larger than {max} bytes")]
    BatchTooLarge {
        /// What is allowed.
        max: usize,
    },
    /// The records are not what the header says.
    #[error("malformed records")]
    MalformedRecords(#[source] wire::Error),
}

/// The checksum of a batch: CRC-32C (Castagnoli).
fn checksum(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}
