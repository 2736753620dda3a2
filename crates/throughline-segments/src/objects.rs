//! Objects: files of a store that are kept in an object store, and copies of them in a folder.
//!
//! A folder without an object store needs none of this: its files are opened where they are.

mod bucket;
mod cache;
mod download_failures;
mod stored_file;

pub use self::bucket::{ObjectBucket, ObjectEntry};
pub(crate) use self::cache::{ObjectCache, is_incomplete};
pub(crate) use self::stored_file::StoredFile;
