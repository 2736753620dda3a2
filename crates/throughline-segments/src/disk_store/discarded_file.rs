//! A file that waits for its deletion.

use std::path::PathBuf;
use std::time::Instant;

/// A file that is not needed any more: a segment with its index, or another one.
#[derive(Debug, Clone)]
pub(super) struct DiscardedFile {
    pub(super) since: Instant,
    pub(super) path: PathBuf,
    /// The file that has its content, and is uploaded first.
    pub(super) replacement: Option<PathBuf>,
}

// === impl DiscardedFile ===

impl DiscardedFile {
    pub(super) fn new(path: PathBuf, replacement: Option<PathBuf>) -> Self {
        Self {
            since: Instant::now(),
            path,
            replacement,
        }
    }
}
