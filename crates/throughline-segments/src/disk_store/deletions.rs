//! Files that are not needed any more. They are deleted after a delay, because queries that began
//! before still read them; an object moreover once another one has its spans.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::Duration;

use super::discarded_file::DiscardedFile;
use super::inner::DiskStoreInner;
use crate::objects::ObjectCache;

// === impl DiskStoreInner ===

impl DiskStoreInner {
    /// Deletes files once no query reads them any more, and the replacement is uploaded.
    pub(super) fn discard_later(
        &self,
        paths: impl IntoIterator<Item = PathBuf>,
        replacement: Option<&Path>,
    ) {
        let files = paths.into_iter();
        let files = files.map(|path| DiscardedFile::new(path, replacement.map(Path::to_path_buf)));
        self.put_back(files);
    }

    /// Deletes the files of segments that were merged at least this time ago.
    pub(super) fn delete_merged(&self, age: Duration) {
        for file in self.take_discarded(age, |_| true) {
            delete_segment(&file.path);
        }
    }

    /// Deletes objects that are due, up to the first that cannot be deleted.
    pub(super) fn delete_objects(&self, objects: &ObjectCache) -> io::Result<()> {
        let is_uploaded = |path: &Path| !objects.is_waiting(path);
        let due = self.take_discarded(self.settings.deletion_delay, is_uploaded);
        let mut due = due.into_iter();
        let mut deleted = Ok(());
        // Not under the lock: those who seal and query discard files too.
        while !self.worker.is_stopping() {
            let Some(file) = due.next() else { break };
            deleted = delete_object(objects, &file.path);
            if deleted.is_err() {
                self.put_back([file]);
                break;
            }
        }
        self.put_back(due);
        deleted
    }

    /// Keeps the files that this one replaces, because it is gone and was not uploaded.
    pub(super) fn keep_replaced_by(&self, path: &Path) {
        let mut discarded = self
            .discarded
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        discarded.retain(|it| it.replacement.as_deref() != Some(path));
    }

    fn take_discarded(
        &self,
        age: Duration,
        is_uploaded: impl Fn(&Path) -> bool,
    ) -> Vec<DiscardedFile> {
        let mut discarded = self
            .discarded
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_due = |file: &mut DiscardedFile| {
            file.since.elapsed() >= age && file.replacement.as_deref().is_none_or(&is_uploaded)
        };
        discarded.extract_if(.., is_due).collect()
    }

    fn put_back(&self, files: impl IntoIterator<Item = DiscardedFile>) {
        let mut discarded = self
            .discarded
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        discarded.extend(files);
    }
}

/// Deletes a segment with its index, or another object.
fn delete_object(objects: &ObjectCache, path: &Path) -> io::Result<()> {
    objects.delete(path)?;
    if path.extension().is_some_and(|own| own == "parquet") {
        objects.delete(&path.with_extension("index"))?;
    }
    Ok(())
}

/// Deletes the files of a segment.
pub(super) fn delete_segment(segment: &Path) {
    if let Err(error) = std::fs::remove_file(segment) {
        tracing::error!(path = %segment.display(), %error, "a segment cannot be removed");
    }
    std::fs::remove_file(segment.with_extension("index")).unwrap_or_default();
    // The folder of an hour goes with its last segment.
    if let Some(folder) = segment.parent() {
        std::fs::remove_dir(folder).unwrap_or_default();
    }
}
