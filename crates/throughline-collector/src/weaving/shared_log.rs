//! The two ends of the log that collectors share: entries of this one, and those of others.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use throughline_store::InsertError;
use tokio::sync::mpsc;

use super::decision_log::DecisionLog;
use super::shared_entry::SharedEntry;
use crate::metrics::{CounterKey, Metrics};

/// Entries that were read and wait for the task.
const MAX_QUEUED_ENTRIES: usize = 1024;

/// Maximum size of an entry: its key and value. The names of a record are from outside.
const MAX_ENTRY_BYTES: usize = 16_384;

/// Maximum size of the entries that wait for room in the log.
const MAX_WAITING_BYTES: usize = 32 << 20;

/// Takes the entries that others wrote.
#[derive(Debug)]
pub(super) struct DecisionIntake {
    queue: mpsc::Sender<SharedEntry>,
    metrics: Arc<Metrics>,
    member: String,
}

/// Appends entries of this collector. Those that the log has no room for wait here, in order.
#[derive(Debug)]
pub(super) struct DecisionPublisher {
    log: Arc<dyn DecisionLog>,
    metrics: Arc<Metrics>,
    member: String,
    waiting: Mutex<WaitingEntries>,
}

/// Keys and values of entries, and their size.
#[derive(Debug, Default)]
struct WaitingEntries {
    entries: VecDeque<(String, Vec<u8>)>,
    bytes: usize,
}

/// Both ends for a log, and the queue of the entries that are read.
pub(super) fn share(
    log: Arc<dyn DecisionLog>,
    metrics: &Arc<Metrics>,
) -> (
    DecisionPublisher,
    DecisionIntake,
    mpsc::Receiver<SharedEntry>,
) {
    // Keyed at random by the standard library.
    let member = format!("{:016x}", RandomState::new().build_hasher().finish());
    let (queue, entries) = mpsc::channel(MAX_QUEUED_ENTRIES);
    let intake = DecisionIntake {
        queue,
        metrics: Arc::clone(metrics),
        member: member.clone(),
    };
    let publisher = DecisionPublisher {
        log,
        metrics: Arc::clone(metrics),
        member,
        waiting: Mutex::default(),
    };
    (publisher, intake, entries)
}

// === impl DecisionIntake ===

impl DecisionIntake {
    /// Takes the value of an entry; waits while the weaver is busy. One that is not understood is
    /// counted; the reason of the first is returned.
    pub(super) fn take(&self, value: Option<&[u8]>) -> Option<String> {
        let decoded = match value {
            Some(value) => SharedEntry::decode(value, &self.member),
            None => Err("the record has no value".to_owned()),
        };
        match decoded {
            Ok(entry) => {
                self.metrics.add(CounterKey::Decisions("read"), 1);
                // Without a receiver the collector stops.
                if let Some(entry) = entry {
                    self.queue.blocking_send(entry).unwrap_or_default();
                }
                None
            }
            Err(reason) => {
                let is_first = self.metrics.add(CounterKey::Decisions("poisoned"), 1);
                is_first.then_some(reason)
            }
        }
    }
}

// === impl DecisionPublisher ===

impl DecisionPublisher {
    /// Shares an entry. It is dropped where too many wait: nothing repeats it.
    pub(super) fn publish(&self, entry: &SharedEntry) {
        self.append(entry, MAX_WAITING_BYTES);
    }

    /// Shares an entry from a record of a topic, however many wait: its offset waits for
    /// [`Self::flush`], and no more records are read without [`Self::has_room`].
    pub(super) fn publish_read(&self, entry: &SharedEntry) {
        self.append(entry, usize::MAX);
    }

    /// Returns whether no entries wait, after another attempt to append them.
    pub(super) fn has_room(&self) -> bool {
        self.append_waiting(&mut self.waiting())
    }

    /// Waits until all entries are kept that were shared and not dropped.
    pub(super) fn flush(&self) -> Result<(), InsertError> {
        let are_appended = self.has_room();
        self.log.flush()?;
        if are_appended {
            Ok(())
        } else {
            let reason = "decisions: some wait for room among those that are written";
            Err(InsertError::Forward(reason.to_owned()))
        }
    }

    /// Copies the number of entries that are kept.
    pub(super) fn count_written(&self) {
        let key = CounterKey::Decisions("written");
        self.metrics.set(key, self.log.written());
    }

    pub(super) const fn log(&self) -> &Arc<dyn DecisionLog> {
        &self.log
    }
    fn append(&self, entry: &SharedEntry, max_waiting_bytes: usize) {
        let (key, value) = (entry.key(), entry.encode(&self.member));
        let bytes = key.len() + value.len();
        let mut waiting = self.waiting();
        if bytes > MAX_ENTRY_BYTES {
            return self.drop_entry("it is longer than 16 KiB");
        }
        // Behind the others: of two entries with one key the later one counts.
        if self.append_waiting(&mut waiting) && self.log.append(&key, &value) {
            return;
        }
        if waiting.bytes + bytes > max_waiting_bytes {
            return self.drop_entry("too many wait to be written");
        }
        waiting.bytes += bytes;
        waiting.entries.push_back((key, value));
    }

    fn append_waiting(&self, waiting: &mut WaitingEntries) -> bool {
        while let Some((key, value)) = waiting.entries.front() {
            if !self.log.append(key, value) {
                return false;
            }
            waiting.bytes -= key.len() + value.len();
            waiting.entries.pop_front();
        }
        true
    }

    fn drop_entry(&self, reason: &str) {
        if self.metrics.add(CounterKey::Decisions("dropped"), 1) {
            tracing::warn!(
                reason,
                "decision not shared; further ones are only counted, see /metrics"
            );
        }
    }

    fn waiting(&self) -> MutexGuard<'_, WaitingEntries> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
