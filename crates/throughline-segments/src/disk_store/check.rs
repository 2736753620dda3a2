//! Reads all of a store, and reports what is damaged.

use std::path::Path;

use super::folder::{StoreFolder, StoreOpenError};
use crate::request_log::LogRecords;
use crate::segment::SegmentReader;

/// The content of a store's folder.
#[derive(Debug, Default)]
pub struct FolderCheck {
    /// Number of readable segments.
    pub segments: usize,
    /// Number of spans in them.
    pub spans: usize,
    /// Number of logs.
    pub logs: usize,
    /// Number of requests in them.
    pub requests: usize,
    /// Damages, each with its file.
    pub problems: Vec<String>,
}

/// Reads every log and segment of a store that no process has open.
///
/// # Errors
/// The folder is in use or cannot be used.
pub fn check_folder(root: &Path) -> Result<FolderCheck, StoreOpenError> {
    let folder = StoreFolder::open(root)?;
    let unusable = |source| StoreOpenError::Unusable {
        path: root.to_path_buf(),
        source,
    };
    let mut check = FolderCheck::default();
    for (_, path) in folder.segments().map_err(unusable)? {
        let mut spans = 0;
        let read = SegmentReader::open(&path);
        let read = read.and_then(|reader| reader.read_all(|_| spans += 1));
        check.spans += spans;
        match read {
            Ok(()) => check.segments += 1,
            Err(error) => check.problems.push(format!("{}: {error}", path.display())),
        }
    }
    for (_, path) in folder.logs().map_err(unusable)? {
        let bytes = std::fs::read(&path).map_err(unusable)?;
        let read = LogRecords::read(&bytes);
        check.logs += 1;
        check.requests += read.records.len();
        let torn = bytes.len() - read.intact_bytes;
        if torn > 0 {
            let path = path.display();
            check
                .problems
                .push(format!("{path}: the last {torn} bytes are torn"));
        }
    }
    Ok(check)
}
