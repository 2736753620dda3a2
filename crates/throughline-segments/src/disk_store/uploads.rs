//! Uploads of a store whose segments are objects.
//!
//! A segment is sealed into the local folder and uploaded from there, its index first; until then
//! the folder has the only copy.

use std::io;
use std::path::PathBuf;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::inner::DiskStoreInner;
use crate::objects::ObjectCache;

/// Time between two looks for what is to be uploaded.
const TICK: Duration = Duration::from_millis(200);

/// Time between two uploads of decisions.
const DECISION_INTERVAL: Duration = Duration::from_secs(5);

/// Time until a failed upload is repeated; it doubles from the one to the other.
const MIN_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(30);

// === impl DiskStoreInner ===

impl DiskStoreInner {
    /// Uploads what is sealed and decided until the store is closed.
    pub(super) fn upload_all(&self, objects: &ObjectCache) {
        let mut wait = Duration::ZERO;
        let mut tried = Instant::now();
        let mut decided = Instant::now();
        while !self.worker.pause(TICK) {
            if tried.elapsed() < wait {
                continue;
            }
            let uploaded = self.upload_segments(objects).and_then(|()| {
                if decided.elapsed() >= DECISION_INTERVAL {
                    self.upload_decisions(objects)?;
                    decided = Instant::now();
                }
                Ok(())
            });
            tried = Instant::now();
            match uploaded {
                Ok(()) => {
                    if !wait.is_zero() {
                        tracing::info!(url = objects.url(), "segments are uploaded again");
                    }
                    wait = Duration::ZERO;
                }
                Err(error) => {
                    if wait.is_zero() {
                        let url = objects.url();
                        tracing::error!(url, %error, "segments cannot be uploaded; they wait");
                    }
                    wait = (wait * 2).clamp(MIN_BACKOFF, MAX_BACKOFF);
                }
            }
        }
    }

    fn upload_segments(&self, objects: &ObjectCache) -> io::Result<()> {
        for path in objects.waiting() {
            if self.worker.pause(Duration::ZERO) {
                break;
            }
            objects.upload(&path)?;
        }
        Ok(())
    }

    fn upload_decisions(&self, objects: &ObjectCache) -> io::Result<()> {
        let mut uploads = self
            .decisions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some((start, length)) = self.woven.log_range() else {
            return Ok(());
        };
        while let Some(mut part) = uploads.next_part(start, length) {
            let content = self.woven.read_log(part.start, part.end)?;
            part.end = part.start + content.len() as u64;
            let path = self.folder.decisions(part.numbers);
            objects.upload_content(&path, content)?;
            let replaced = uploads.finish(part).into_iter();
            let replaced: Vec<PathBuf> = replaced.map(|it| self.folder.decisions(it)).collect();
            self.discard_later(replaced);
            if part.start == part.end {
                break;
            }
        }
        Ok(())
    }
}
