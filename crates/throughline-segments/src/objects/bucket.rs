//! The few operations that are asked of an object store.

use std::fmt::Debug;
use std::fs::File;
use std::io;

/// An object as a list has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectEntry {
    /// Key below the prefix of the bucket, with `/` between its parts.
    pub key: String,
    /// Size in bytes.
    pub bytes: u64,
}

/// A part of an object store, below a prefix. Calls wait for their response, and may be made from
/// any thread.
///
/// An object is replaced as a whole: a reader sees all of it or none, as S3 promises.
pub trait ObjectBucket: Debug + Send + Sync {
    /// Returns the URL, for messages.
    fn url(&self) -> String;

    /// Returns the objects whose keys begin with a prefix.
    ///
    /// # Errors
    /// [`io::ErrorKind::FileTooLarge`] when there are more than a list may have,
    /// [`io::ErrorKind::InvalidData`] where the certificate of the server is not trusted,
    /// [`io::ErrorKind::NotFound`] without the bucket, [`io::ErrorKind::PermissionDenied`] for
    /// credentials that do not allow it, and others while there is no response.
    fn list(&self, prefix: &str) -> io::Result<Vec<ObjectEntry>>;

    /// Writes the content of an object into a file, and returns its size, which is at most
    /// `max_bytes`.
    ///
    /// # Errors
    /// As for [`Self::list`]; [`io::ErrorKind::NotFound`] without the object too, and
    /// [`io::ErrorKind::FileTooLarge`] for one that is larger.
    fn download(&self, key: &str, to: File, max_bytes: u64) -> io::Result<u64>;

    /// Creates or replaces an object.
    ///
    /// # Errors
    /// As for [`Self::list`]. The object may be there all the same.
    fn upload(&self, key: &str, content: Vec<u8>) -> io::Result<()>;

    /// Removes an object, which may be missing.
    ///
    /// # Errors
    /// As for [`Self::list`].
    fn delete(&self, key: &str) -> io::Result<()>;

    /// Ends the calls that are in progress with an error, because the process is about to end.
    /// Those that come later are not affected.
    fn cancel(&self) {}
}
