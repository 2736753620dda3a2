//! Files of other stores that could not be read, and when they are tried again.

use std::collections::HashMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Time until a file is tried again; it doubles from the one to the other.
const MIN_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// Files that could not be read.
#[derive(Debug, Default)]
pub(super) struct UnopenedFiles(HashMap<PathBuf, UnopenedFile>);

#[derive(Debug)]
struct UnopenedFile {
    tried: Instant,
    backoff: Duration,
    /// Whether it is there, as far as is known.
    is_failure: bool,
}

// === impl UnopenedFiles ===

impl UnopenedFiles {
    /// Forgets files that are not listed any more.
    pub(super) fn retain(&mut self, is_listed: impl Fn(&Path) -> bool) {
        self.0.retain(|path, _| is_listed(path));
    }

    pub(super) fn forget(&mut self, path: &Path) {
        self.0.remove(path);
    }

    pub(super) fn contains(&self, path: &Path) -> bool {
        self.0.contains_key(path)
    }

    /// Returns whether it is too early to try a file again.
    pub(super) fn is_waiting(&self, path: &Path) -> bool {
        let file = self.0.get(path);
        file.is_some_and(|it| it.tried.elapsed() < it.backoff)
    }

    /// Returns whether files are left out that are there.
    pub(super) fn has_failures(&self) -> bool {
        self.0.values().any(|it| it.is_failure)
    }

    /// Takes note of a file that is there and cannot be read.
    pub(super) fn note_failure(&mut self, path: &Path, error: &dyn Display) {
        if self.note(path, true) {
            let path = path.display();
            tracing::error!(%path, %error, "a file of a store is left out until it can be read");
        }
    }

    /// Takes note of a file that is gone, or that another version wrote; returns whether it was not
    /// known.
    pub(super) fn note(&mut self, path: &Path, is_failure: bool) -> bool {
        let former = self.0.get(path).map(|it| it.backoff * 2);
        let file = UnopenedFile {
            tried: Instant::now(),
            backoff: former.unwrap_or(MIN_BACKOFF).min(MAX_BACKOFF),
            is_failure,
        };
        self.0.insert(path.to_path_buf(), file);
        former.is_none()
    }
}
