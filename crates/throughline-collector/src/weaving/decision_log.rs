//! The log of entries that collectors share, as an interface.

use std::fmt;

use throughline_store::InsertError;
use tokio_util::sync::CancellationToken;

/// A log that all collectors of an installation append to and read, such as a compacted topic.
pub trait DecisionLog: fmt::Debug + Send + Sync {
    /// Appends an entry, and does not wait until it is kept; returns false without room for it, and
    /// while earlier entries are refused. An entry that was appended stays in the log's hands until
    /// it is kept.
    fn append(&self, key: &str, value: &[u8]) -> bool;

    /// Waits until all appended entries are kept.
    ///
    /// # Errors
    /// [`InsertError`]: some are not kept yet.
    fn flush(&self) -> Result<(), InsertError>;

    /// Returns the number of entries that were kept since the start.
    fn written(&self) -> u64;

    /// Reads all entries, from the oldest on, until `stopping` is cancelled; blocks its thread.
    /// `take` takes the value of an entry, if it has one, and may wait. It returns the reason of
    /// the first entry that is not understood, for the log; further ones are counted.
    fn read(&self, take: &dyn Fn(Option<&[u8]>) -> Option<String>, stopping: &CancellationToken);
}
