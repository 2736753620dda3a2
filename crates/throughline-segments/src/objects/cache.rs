//! Copies of objects in a folder: bounded by bytes, the least recently used go first.
//!
//! Files that are not uploaded yet are in the same folder, and stay until they are. A copy has the
//! path of its object's key. A copy that is removed while it is read stays readable, because it is
//! open.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use throughline_store::ObjectTotals;

use super::bucket::ObjectBucket;
use super::download_failures::DownloadFailures;

/// Objects that are downloaded at the same time, for all queries.
const MAX_DOWNLOADS: usize = 16;

/// Objects that are downloaded at the same time for one query.
const MAX_QUERY_DOWNLOADS: usize = 4;

/// Ending of the name of a file that is downloaded. It is not that of a file that is written here,
/// which may be the same one at the same time.
const INCOMPLETE: &str = "download";

/// A folder with copies of objects.
#[derive(Debug)]
pub(crate) struct ObjectCache {
    bucket: Arc<dyn ObjectBucket>,
    root: PathBuf,
    /// Part of a key before the path below the folder.
    prefix: String,
    max_bytes: u64,
    /// Whether files that are written here become objects.
    is_owner: bool,
    state: Mutex<CopyState>,
    /// A download has ended.
    downloaded: Condvar,
}

#[derive(Debug, Default)]
struct CopyState {
    files: HashMap<PathBuf, LocalFile>,
    downloading: HashSet<PathBuf>,
    /// Sizes of the objects, as far as they are known: no more is downloaded.
    sizes: HashMap<PathBuf, u64>,
    clock: u64,
    failures: DownloadFailures,
    /// Whether the last deletion failed.
    is_deletion_failing: bool,
    /// `bytes` is the size of all files, `waiting_bytes` of those that are not uploaded yet.
    totals: ObjectTotals,
}

#[derive(Debug, Clone, Copy)]
struct LocalFile {
    bytes: u64,
    written: u64,
    used: u64,
    /// Whether there is an object with its content.
    is_uploaded: bool,
}

// === impl ObjectCache ===

impl ObjectCache {
    pub(crate) fn new(
        root: PathBuf,
        prefix: String,
        bucket: Arc<dyn ObjectBucket>,
        max_bytes: u64,
        is_owner: bool,
    ) -> Self {
        Self {
            bucket,
            root,
            prefix,
            max_bytes,
            is_owner,
            state: Mutex::default(),
            downloaded: Condvar::new(),
        }
    }

    pub(crate) fn url(&self) -> String {
        self.bucket.url()
    }

    /// Returns the objects by the paths of their copies.
    pub(crate) fn list(&self) -> io::Result<HashMap<PathBuf, u64>> {
        let entries = self.bucket.list(&self.prefix)?.into_iter();
        let listed = entries.filter_map(|entry| {
            let path = Path::new(entry.key.strip_prefix(&self.prefix)?);
            let mut parts = path.components();
            // A key may be anything; no copy is written outside the folder.
            let is_below = parts.all(|part| matches!(part, Component::Normal(_)));
            is_below.then(|| (self.root.join(path), entry.bytes))
        });
        let listed: HashMap<PathBuf, u64> = listed.collect();
        self.state().sizes.clone_from(&listed);
        Ok(listed)
    }

    /// Opens the copy of an object, which is downloaded where it is missing.
    pub(crate) fn open(&self, path: &Path) -> io::Result<File> {
        let mut state = self.state();
        loop {
            // Under the lock, so that it is not removed before it is open.
            if let Some(file) = state.open(path) {
                return file;
            }
            state.failures.check(path)?;
            if state.downloading.len() < MAX_DOWNLOADS && !state.downloading.contains(path) {
                break;
            }
            let waited = self.downloaded.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        state.downloading.insert(path.to_path_buf());
        state.totals.misses += 1;
        let max_bytes = state.sizes.get(path).copied().unwrap_or(self.max_bytes);
        drop(state);
        let downloaded = self.download(path, max_bytes);
        let mut state = self.state();
        state.downloading.remove(path);
        self.downloaded.notify_all();
        let (file, bytes) = match downloaded {
            Ok(downloaded) => downloaded,
            Err(error) => {
                state.totals.download_failures += 1;
                state.failures.note(path, &error);
                return Err(error);
            }
        };
        state.failures.note_success();
        state.totals.downloaded_bytes += bytes;
        state.insert(path, bytes, true);
        state.evict(self.max_bytes, Some(path));
        Ok(file)
    }

    fn download(&self, path: &Path, max_bytes: u64) -> io::Result<(File, u64)> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let temporary = path.with_added_extension(INCOMPLETE);
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(true);
        let file = options.open(&temporary)?;
        let bytes = self
            .bucket
            .download(&self.key(path), file.try_clone()?, max_bytes);
        let bytes = bytes.and_then(|bytes| {
            // Before it gets its name: a copy that was cut off by a crash is never taken for whole.
            file.sync_data()?;
            std::fs::rename(&temporary, path)?;
            Ok(bytes)
        });
        if bytes.is_err() {
            std::fs::remove_file(&temporary).unwrap_or_default();
        }
        Ok((file, bytes?))
    }

    /// Downloads what is missing of these objects, several at a time and no more than the cache
    /// holds. Errors are those of the later [`Self::open`].
    pub(crate) fn prefetch<'a>(&self, objects: impl Iterator<Item = &'a Path>) {
        let mut bytes = 0;
        let missing: Vec<&Path> = {
            let state = self.state();
            let missing = objects.filter(|path| !state.files.contains_key(*path));
            let missing = missing.take_while(|path| {
                bytes += state.sizes.get(*path).copied().unwrap_or_default();
                bytes <= self.max_bytes / 2
            });
            missing.collect()
        };
        if missing.len() < 2 {
            return;
        }
        let next = AtomicUsize::new(0);
        let fetch = || {
            while let Some(path) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                self.open(path).map(drop).unwrap_or_default();
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..missing.len().min(MAX_QUERY_DOWNLOADS) {
                scope.spawn(fetch);
            }
        });
    }

    /// Takes note of a file that is in the folder, as a former process left it.
    pub(crate) fn adopt(&self, path: &Path, bytes: u64, is_uploaded: bool) {
        let mut state = self.state();
        state.insert(path, bytes, is_uploaded);
        state.evict(self.max_bytes, None);
    }

    /// Takes note of the copies that a former process left, as `is_copy` recognizes them.
    /// Incomplete ones are removed; other files are not touched.
    pub(crate) fn adopt_all(&self, is_copy: impl Fn(&Path) -> bool) -> io::Result<()> {
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder)? {
                let entry = entry?;
                let path = entry.path();
                if entry.file_type()?.is_dir() {
                    folders.push(path);
                } else if is_incomplete(&path) && is_copy(&path.with_extension("")) {
                    std::fs::remove_file(path)?;
                } else if is_copy(&path) {
                    self.adopt(&path, entry.metadata()?.len(), true);
                }
            }
        }
        Ok(())
    }

    /// Takes note of a file that was written here, and stays until it is uploaded.
    pub(crate) fn keep_written(&self, path: &Path, bytes: u64) {
        self.adopt(path, bytes, !self.is_owner);
    }

    /// Returns the files that are not uploaded yet: the earliest segments first, and an index
    /// before its segment, so that whoever sees a segment sees its index too.
    pub(crate) fn waiting(&self) -> Vec<PathBuf> {
        let state = self.state();
        let waiting = state.files.iter().filter(|(_, file)| !file.is_uploaded);
        let mut waiting: Vec<PathBuf> = waiting.map(|(path, _)| path.clone()).collect();
        waiting.sort_unstable();
        waiting
    }

    pub(crate) fn is_local(&self, path: &Path) -> bool {
        // Someone may have removed it.
        self.state().files.contains_key(path) && path.exists()
    }

    /// Returns whether an object has no copy, and is not downloaded at the moment.
    pub(crate) fn is_paused(&self, path: &Path) -> bool {
        !self.is_local(path) && self.state().failures.check(path).is_err()
    }

    pub(crate) fn is_waiting(&self, path: &Path) -> bool {
        let state = self.state();
        state.files.get(path).is_some_and(|it| !it.is_uploaded)
    }

    /// Uploads a file of the folder, which is a copy from then on; returns whether it is there.
    pub(crate) fn upload(&self, path: &Path) -> io::Result<bool> {
        let Some(before) = self.state().files.get(path).copied() else {
            return Ok(false);
        };
        let content = match std::fs::read(path) {
            // Someone has removed it. The others are uploaded all the same.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tracing::error!(path = %path.display(), "a file is gone that was not uploaded");
                self.state().remove(path);
                return Ok(false);
            }
            other => other?,
        };
        self.upload_content(path, content)?;
        let mut state = self.state();
        if let Some(file) = state.files.get_mut(path)
            // Not if it was written again meanwhile.
            && file.written == before.written
        {
            file.is_uploaded = true;
            let bytes = file.bytes;
            state.totals.waiting_bytes -= bytes;
        }
        state.evict(self.max_bytes, None);
        Ok(true)
    }

    /// Uploads an object of which no copy is kept.
    pub(crate) fn upload_content(&self, path: &Path, content: Vec<u8>) -> io::Result<()> {
        let bytes = content.len() as u64;
        let uploaded = self.bucket.upload(&self.key(path), content);
        let mut state = self.state();
        match uploaded {
            Ok(()) => {
                state.totals.uploaded_bytes += bytes;
                state.sizes.insert(path.to_path_buf(), bytes);
            }
            Err(_) => state.totals.upload_failures += 1,
        }
        uploaded
    }

    /// Removes an object and its copy. The copy goes first: a file that has no object would be
    /// taken for one that is not uploaded yet.
    pub(crate) fn delete(&self, path: &Path) -> io::Result<()> {
        self.state().remove(path);
        let deleted = self.bucket.delete(&self.key(path));
        let mut state = self.state();
        state.sizes.remove(path);
        state.note_deletion(path, &deleted);
        deleted
    }

    /// Checks that objects can be written, read and deleted, before any has to be.
    ///
    /// # Errors
    /// Those of the first request that fails.
    pub(crate) fn probe(&self, path: &Path) -> io::Result<()> {
        let key = self.key(path);
        let content = b"Written, read and deleted when a collector starts.\n";
        self.bucket.upload(&key, content.to_vec())?;
        let copy = path.with_added_extension(INCOMPLETE);
        let max_bytes = content.len() as u64;
        let read = File::create(&copy);
        let read = read.and_then(|file| self.bucket.download(&key, file, max_bytes));
        std::fs::remove_file(&copy).unwrap_or_default();
        let bytes = read?;
        if bytes != max_bytes {
            return Err(io::Error::other(
                "an object has not the size that was written",
            ));
        }
        self.bucket.delete(&key)
    }

    /// Ends requests that wait for the object store.
    pub(crate) fn cancel(&self) {
        self.bucket.cancel();
    }

    /// Removes the copy of an object, unless it is not uploaded yet.
    pub(crate) fn discard(&self, path: &Path) {
        let mut state = self.state();
        if state.files.get(path).is_some_and(|it| it.is_uploaded) {
            state.remove(path);
        }
    }

    /// Removes all copies, so that others have room on the disk.
    pub(crate) fn discard_all(&self) {
        self.state().evict(0, None);
    }

    /// Returns the size of the files that are not uploaded yet.
    pub(crate) fn bytes_to_upload(&self) -> u64 {
        self.state().totals.waiting_bytes
    }

    pub(crate) fn totals(&self) -> ObjectTotals {
        self.state().totals
    }

    fn key(&self, path: &Path) -> String {
        let below = path.strip_prefix(&self.root).unwrap_or(path);
        format!("{}{}", self.prefix, below.display())
    }

    fn state(&self) -> MutexGuard<'_, CopyState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns whether a process ended while it wrote or downloaded this file.
pub(crate) fn is_incomplete(path: &Path) -> bool {
    path.extension()
        .is_some_and(|own| own == "tmp" || own == INCOMPLETE)
}

// === impl LocalFile ===

impl LocalFile {
    const fn waiting_bytes(&self) -> u64 {
        if self.is_uploaded { 0 } else { self.bytes }
    }
}

// === impl CopyState ===

impl CopyState {
    /// Opens a file that is there.
    fn open(&mut self, path: &Path) -> Option<io::Result<File>> {
        self.clock += 1;
        let file = self.files.get_mut(path)?;
        file.used = self.clock;
        match File::open(path) {
            // Someone has removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.remove(path);
                None
            }
            opened => {
                self.totals.hits += 1;
                Some(opened)
            }
        }
    }

    fn note_deletion(&mut self, path: &Path, deleted: &io::Result<()>) {
        let was_failing = std::mem::replace(&mut self.is_deletion_failing, deleted.is_err());
        let Err(error) = deleted else { return };
        self.totals.delete_failures += 1;
        if !was_failing {
            let path = path.display();
            tracing::error!(%path, %error, "objects cannot be deleted; it is tried again");
        }
    }

    fn insert(&mut self, path: &Path, bytes: u64, is_uploaded: bool) {
        self.clock += 1;
        let file = LocalFile {
            bytes,
            written: self.clock,
            used: self.clock,
            is_uploaded,
        };
        let former = self.files.insert(path.to_path_buf(), file);
        self.totals.bytes += bytes;
        self.totals.waiting_bytes += file.waiting_bytes();
        self.subtract(former);
    }

    /// Takes a file out of the sums.
    fn subtract(&mut self, file: Option<LocalFile>) {
        if let Some(file) = file {
            self.totals.bytes -= file.bytes;
            self.totals.waiting_bytes -= file.waiting_bytes();
        }
    }

    fn remove(&mut self, path: &Path) {
        let removed = self.files.remove(path);
        self.subtract(removed);
        // Its folder stays: another file may be written into it at this moment.
        std::fs::remove_file(path).unwrap_or_default();
    }

    /// Removes copies until all files together have at most this size; not this one.
    fn evict(&mut self, max_bytes: u64, but: Option<&Path>) {
        if self.totals.bytes <= max_bytes {
            return;
        }
        let copies = self.files.iter();
        let copies = copies.filter(|(path, file)| file.is_uploaded && Some(path.as_path()) != but);
        let mut copies: Vec<(u64, PathBuf)> = copies
            .map(|(path, file)| (file.used, path.clone()))
            .collect();
        copies.sort_unstable();
        for (_, path) in copies {
            if self.totals.bytes <= max_bytes {
                return;
            }
            self.remove(&path);
            self.totals.evictions += 1;
        }
    }
}
