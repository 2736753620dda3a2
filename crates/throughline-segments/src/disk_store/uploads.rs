//! The thread of a store that waits for the object store: it uploads and deletes, and reads the
//! segments that are merged. The one that seals never does.
//!
//! A segment is sealed into the local folder and uploaded from there, its index first; until then
//! the folder has the only copy.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::inner::DiskStoreInner;
use super::maintenance::RETENTION_INTERVAL;
use super::repeated_work::RepeatedWork;
use crate::objects::ObjectCache;

/// Time between two looks for what is to be uploaded.
const TICK: Duration = Duration::from_millis(200);

/// Time between two uploads of decisions.
const DECISION_INTERVAL: Duration = Duration::from_secs(5);

/// Uploads that fail before the others wait as well. A file that cannot be uploaded is not in the
/// way of those behind it.
const MAX_FAILED_UPLOADS: usize = 3;

// === impl DiskStoreInner ===

impl DiskStoreInner {
    /// Does all that waits for the object store until the store is closed.
    pub(super) fn work_on_objects(&self, objects: &ObjectCache) {
        let mut uploads = RepeatedWork::every(TICK);
        let mut decisions = RepeatedWork::every(DECISION_INTERVAL);
        let mut removals = RepeatedWork::every(RETENTION_INTERVAL);
        let mut failures = HashMap::new();
        decisions.note(&io::Result::Ok(()));
        while !self.worker.pause(TICK) {
            self.refresh_late_starts();
            if uploads.is_due() {
                let mut uploaded = self.upload_segments(objects, &mut failures);
                if uploaded.is_ok() && decisions.is_due() {
                    uploaded = self.upload_decisions(objects);
                    decisions.note(&uploaded);
                }
                log_uploads(objects, &uploaded, uploads.note(&uploaded));
            }
            if removals.is_due() {
                self.remove_earliest();
                if !self.worker.is_stopping() && !self.is_full.load(Ordering::Relaxed) {
                    self.compact_once(false);
                }
                // A failure was logged.
                removals.note(&self.delete_objects(objects));
            }
        }
    }

    /// Uploads the segments that wait; `failures` counts those of each file.
    fn upload_segments(
        &self,
        objects: &ObjectCache,
        failures: &mut HashMap<PathBuf, usize>,
    ) -> io::Result<()> {
        let mut waiting = objects.waiting();
        waiting.sort_by_key(|path| failures.get(path).copied());
        let mut outcome = Ok(());
        let mut failed = 0;
        for path in waiting {
            if failed == MAX_FAILED_UPLOADS || self.worker.is_stopping() {
                break;
            }
            // Nodes that see a segment see its index too.
            let index = path.with_extension("index");
            if index != path && objects.is_waiting(&index) {
                continue;
            }
            match objects.upload(&path) {
                Ok(is_there) => {
                    failures.remove(&path);
                    if !is_there {
                        self.keep_replaced_by(&path);
                    }
                }
                Err(error) => {
                    *failures.entry(path).or_default() += 1;
                    failed += 1;
                    outcome = outcome.and(Err(error));
                }
            }
        }
        outcome
    }

    fn upload_decisions(&self, objects: &ObjectCache) -> io::Result<()> {
        let mut uploads = self
            .decisions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.woven.shorten_log() {
            uploads.begin_again();
        }
        let Some((start, length)) = self.woven.log_range() else {
            return Ok(());
        };
        let end_of = |start, end| -> io::Result<u64> {
            Ok(start + self.woven.read_log(start, end)?.len() as u64)
        };
        while let Some(part) = uploads.next_part(start, length, end_of)? {
            let content = self.woven.read_log(part.start, part.end)?;
            let path = self.folder.decisions(part.numbers);
            objects.upload_content(&path, content)?;
            let replaced = uploads.finish(part).into_iter();
            let replaced: Vec<PathBuf> = replaced.map(|it| self.folder.decisions(it)).collect();
            self.discard_later(replaced, None);
            if part.start == part.end || self.worker.is_stopping() {
                break;
            }
        }
        Ok(())
    }
}

fn log_uploads(objects: &ObjectCache, uploaded: &io::Result<()>, has_changed: bool) {
    let url = objects.url();
    match uploaded {
        Err(error) if has_changed => {
            tracing::error!(url, %error, "segments cannot be uploaded; they wait");
        }
        Ok(()) if has_changed => tracing::info!(url, "segments are uploaded again"),
        _ => {}
    }
}
