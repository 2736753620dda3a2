//! A file of a store, which may have to be downloaded before it can be read.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cache::ObjectCache;

/// A file of a store.
#[derive(Debug, Clone, Default)]
pub(crate) struct StoredFile {
    path: PathBuf,
    /// `None` for a file that is always there.
    objects: Option<Arc<ObjectCache>>,
}

// === impl StoredFile ===

impl StoredFile {
    pub(crate) fn new(path: PathBuf, objects: Option<&Arc<ObjectCache>>) -> Self {
        Self {
            path,
            objects: objects.cloned(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the index beside a segment.
    pub(crate) fn index(&self) -> Self {
        Self::new(self.path.with_extension("index"), self.objects.as_ref())
    }

    /// Returns the size of the index beside a segment, where it is here.
    pub(crate) fn index_bytes(&self) -> u64 {
        let metadata = self.index().path.metadata();
        metadata.map_or(0, |metadata| metadata.len())
    }

    /// Opens the file. An open one can be read whatever becomes of its name.
    pub(crate) fn open(&self) -> io::Result<File> {
        match &self.objects {
            Some(objects) => objects.open(&self.path),
            None => File::open(&self.path),
        }
    }

    /// Returns whether the file is here, and need not be downloaded.
    pub(crate) fn is_local(&self) -> bool {
        let objects = self.objects.as_ref();
        objects.is_none_or(|objects| objects.is_local(&self.path))
    }

    /// Returns whether the file would have to be downloaded, and downloads failed just now.
    pub(crate) fn is_paused(&self) -> bool {
        let objects = self.objects.as_ref();
        objects.is_some_and(|objects| objects.is_paused(&self.path))
    }

    /// Takes note of a file that was written here; returns its size.
    pub(crate) fn note_written(&self) -> io::Result<u64> {
        let bytes = self.path.metadata()?.len();
        if let Some(objects) = &self.objects {
            objects.keep_written(&self.path, bytes);
        }
        Ok(bytes)
    }

    /// Returns whether the file is downloaded where it is missing.
    pub(crate) const fn is_downloaded(&self) -> bool {
        self.objects.is_some()
    }

    /// Removes a copy that cannot be used, so that the object is read again.
    pub(crate) fn discard_copy(&self) {
        if let Some(objects) = &self.objects {
            objects.discard(&self.path);
        }
    }
}

impl PartialEq for StoredFile {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}
