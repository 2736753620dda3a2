//! Record batches (magic 2): reading them in place, and rewriting them with more headers.
//!
//! A record set is a sequence of [`RecordBatches`]; a [`RecordBatch`] has a header of 61 bytes and
//! records. [`HeaderInjector`] adds headers to records, [`HeaderPatcher`] overwrites header values
//! in place. A batch that they skip must be forwarded unmodified; [`BatchError`] is the reason. The
//! format is described in <https://kafka.apache.org/documentation/#recordbatch> and in Kafka's
//! `DefaultRecordBatch.java`.

mod codec;
mod crc;
mod header_writer;
mod injector;
mod patcher;
mod record;
mod record_batch;
mod splice;

pub use codec::{CodecPool, CompressionCodec, SnappyFraming};
pub use header_writer::HeaderWriter;
pub use injector::{DecompressedRecords, HeaderInjector, InjectionLimits};
pub use patcher::{HeaderPatcher, HeaderPatches};
pub use record::{Record, RecordHeader, RecordHeaderIter, RecordIter};
pub use record_batch::{
    RECORD_BATCH_OVERHEAD, RecordBatch, RecordBatches, RecordSetEntry, TruncatedBatch,
};

use crate::wire;

/// The outcome of rewriting a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a batch that was not changed must be forwarded unmodified"]
pub enum BatchOutcome {
    /// This many records (or, for patches, header values) have changed.
    Changed(u32),
    /// No record was selected, so the batch must be forwarded unmodified.
    Unchanged,
    /// The batch cannot be rewritten and must be forwarded unmodified.
    Skipped(BatchError),
}

/// The reason why a batch cannot be read or rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// The batch has markers of the broker: the ends of transactions.
    #[error("a control batch")]
    ControlBatch,
    /// Compaction has removed all records and kept the offsets.
    #[error("no records")]
    NoRecords,
    /// The batch was damaged before it arrived. Its checksum must stay wrong, so that the receiver
    /// notices.
    #[error("the checksum is wrong")]
    ChecksumMismatch,
    /// The codec is not supported.
    #[error("compression codec {0} is not known")]
    UnknownCodec(u8),
    /// The compressed records are damaged.
    #[error("the compressed records are not well-formed")]
    CorruptCompression,
    /// The decompressed records exceed the limit.
    #[error("the records inflate to more than {max} bytes")]
    InflatedTooLarge {
        /// The limit, in bytes.
        max: usize,
    },
    /// The rewritten batch would exceed the limit.
    #[error("the batch would be larger than {max} bytes")]
    BatchTooLarge {
        /// The limit, in bytes.
        max: usize,
    },
    /// The records contradict the header or the format.
    #[error("malformed records")]
    MalformedRecords(#[source] wire::Error),
}
