//! Keeps spans on disk.
//!
//! [`DiskStore`] implements [`Store`](throughline_store::Store) over three things: a write-ahead
//! log of the latest requests ([`LogRecords`]), Parquet files with all older spans
//! ([`SegmentReader`]), and an index beside each of them, which can be built again. The engine of
//! queries is that of the store in memory: the indexes name the traces that can match, and those
//! are read into one.
#![forbid(unsafe_code)]

mod columns;
mod disk_store;
mod index;
mod objects;
mod request_log;
mod segment;

pub use disk_store::{
    DiskSettings, DiskStore, Durability, FolderCheck, StoreOpenError, check_folder,
};
pub use objects::{ObjectBucket, ObjectEntry};
pub use request_log::{LogRecord, LogRecords, RecordKind};
pub use segment::{SegmentError, SegmentReader, SegmentSpan};
