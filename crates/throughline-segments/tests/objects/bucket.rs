//! A bucket in memory that fails in all ways.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write as _};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use throughline_segments::{ObjectBucket, ObjectEntry};

/// A bucket in memory.
#[derive(Debug, Default)]
pub(crate) struct FaultyBucket {
    state: Mutex<BucketState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
pub(crate) struct BucketState {
    pub(crate) objects: BTreeMap<String, Vec<u8>>,
    /// Whether every call fails.
    is_away: bool,
    /// Uploads of keys with this ending fail, after they were done where the flag is set.
    pub(crate) failing: Option<(&'static str, bool)>,
    /// Objects with this ending cannot be downloaded; none when it is empty.
    unreadable: String,
    /// A list that is returned in place of the current one.
    pub(crate) stale: Option<Vec<ObjectEntry>>,
    pub(crate) deleted: BTreeSet<String>,
    /// Whether deletions are refused.
    pub(crate) keeps_all: bool,
    /// Whether calls wait until they are cancelled.
    pub(crate) is_hung: bool,
    /// Calls that wait.
    pub(crate) hung: usize,
}

// === impl FaultyBucket ===

impl FaultyBucket {
    pub(crate) fn state(&self) -> MutexGuard<'_, BucketState> {
        self.state.lock().unwrap()
    }

    /// Returns the state while the bucket is there.
    fn reached(&self) -> io::Result<MutexGuard<'_, BucketState>> {
        let mut state = self.state();
        state.hung += 1;
        while state.is_hung {
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        state.hung -= 1;
        if state.is_away {
            return Err(io::Error::other("the bucket is away"));
        }
        Ok(state)
    }

    pub(crate) fn set_away(&self, is_away: bool) {
        self.state().is_away = is_away;
    }

    pub(crate) fn set_unreadable(&self, ending: &str) {
        ending.clone_into(&mut self.state().unreadable);
    }

    /// Returns the keys of objects with this ending.
    pub(crate) fn keys(&self, ending: &str) -> Vec<String> {
        let state = self.state();
        let keys = state.objects.keys().filter(|key| key.ends_with(ending));
        keys.cloned().collect()
    }
}

impl ObjectBucket for FaultyBucket {
    fn url(&self) -> String {
        "s3://faulty".to_owned()
    }

    fn list(&self, prefix: &str) -> io::Result<Vec<ObjectEntry>> {
        let state = self.reached()?;
        if let Some(stale) = &state.stale {
            return Ok(stale.clone());
        }
        let objects = state.objects.iter();
        let objects = objects.filter(|(key, _)| key.starts_with(prefix));
        let entries = objects.map(|(key, content)| ObjectEntry {
            key: key.clone(),
            bytes: content.len() as u64,
        });
        Ok(entries.collect())
    }

    fn download(&self, key: &str, mut to: File, max_bytes: u64) -> io::Result<u64> {
        let state = self.reached()?;
        if !state.unreadable.is_empty() && key.ends_with(&state.unreadable) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let content = state.objects.get(key).ok_or(io::ErrorKind::NotFound)?;
        if content.len() as u64 > max_bytes {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        to.write_all(content)?;
        Ok(content.len() as u64)
    }

    fn upload(&self, key: &str, content: Vec<u8>) -> io::Result<()> {
        let mut state = self.reached()?;
        let failing = state.failing.filter(|(ending, _)| key.ends_with(ending));
        if failing.is_none_or(|(_, is_done)| is_done) {
            state.objects.insert(key.to_owned(), content);
        }
        match failing {
            Some(_) => Err(io::Error::other("the connection was closed")),
            None => Ok(()),
        }
    }

    fn cancel(&self) {
        let mut state = self.state();
        (state.is_hung, state.is_away) = (false, true);
        self.changed.notify_all();
    }

    fn delete(&self, key: &str) -> io::Result<()> {
        let mut state = self.reached()?;
        if state.keeps_all {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        state.objects.remove(key);
        state.deleted.insert(key.to_owned());
        Ok(())
    }
}
