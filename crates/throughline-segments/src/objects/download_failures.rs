//! Downloads that failed just now, which are not tried again for a moment.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Time without another download of an object that failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// Objects that fail in sequence before none is downloaded. One may be damaged or forbidden, and
/// the others are read all the same.
const OUTAGE_OBJECTS: usize = 2;

/// Time between two lines of the log about failures.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The downloads that failed within the last seconds.
#[derive(Debug, Default)]
pub(super) struct DownloadFailures {
    failed: HashMap<PathBuf, Instant>,
    /// When a download succeeded last.
    succeeded: Option<Instant>,
    logged: Option<Instant>,
}

// === impl DownloadFailures ===

impl DownloadFailures {
    /// Returns an error while an object is not to be downloaded: it failed, or the object store is
    /// away, and a query must not wait for each of its objects.
    pub(super) fn check(&self, path: &Path) -> io::Result<()> {
        let is_recent = |at: &&Instant| at.elapsed() < RETRY_INTERVAL;
        if self.failed.get(path).filter(is_recent).is_some() {
            return Err(io::Error::other("its download failed just now"));
        }
        let since = self.failed.values().filter(is_recent);
        let since = since.filter(|at| self.succeeded.is_none_or(|succeeded| **at > succeeded));
        if since.count() >= OUTAGE_OBJECTS {
            return Err(io::Error::other("the object store failed just now"));
        }
        Ok(())
    }

    pub(super) fn note_success(&mut self) {
        self.succeeded = Some(Instant::now());
    }

    pub(super) fn note(&mut self, path: &Path, error: &io::Error) {
        // Its owner may have removed it; others are there.
        if error.kind() == io::ErrorKind::NotFound {
            tracing::debug!(path = %path.display(), "an object is gone");
            return;
        }
        if self.logged.is_none_or(|it| it.elapsed() >= LOG_INTERVAL) {
            self.logged = Some(Instant::now());
            let path = path.display();
            tracing::error!(%path, %error, "an object cannot be downloaded; its traces lack");
        }
        self.failed.retain(|_, at| at.elapsed() < RETRY_INTERVAL);
        self.failed.insert(path.to_path_buf(), Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_object_that_fails_is_left_alone_and_two_are_an_outage() {
        let mut failures = DownloadFailures::default();
        let [a, b, c] = ["a", "b", "c"].map(Path::new);
        let error = io::Error::other("forbidden");
        for path in [a, a] {
            failures.note(path, &error);
        }
        failures.note(c, &io::ErrorKind::NotFound.into());
        assert!(failures.check(a).is_err());
        assert!(failures.check(b).is_ok() && failures.check(c).is_ok());
        failures.note(b, &error);
        assert!(failures.check(c).is_err());
        failures.note_success();
        assert!(failures.check(c).is_ok() && failures.check(a).is_err());
    }
}
