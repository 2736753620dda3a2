//! The two ends of the log that collectors share: entries of this one, and those of others.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;

use throughline_store::InsertError;
use tokio::sync::mpsc;

use super::decision_log::DecisionLog;
use super::shared_entry::SharedEntry;
use crate::metrics::{CounterKey, Metrics};

/// Entries that were read and wait for the task.
const MAX_QUEUED_ENTRIES: usize = 1024;

/// Takes the entries that others wrote.
#[derive(Debug)]
pub(super) struct DecisionIntake {
    queue: mpsc::Sender<SharedEntry>,
    metrics: Arc<Metrics>,
    member: String,
}

/// Appends entries of this collector.
#[derive(Debug)]
pub(super) struct DecisionPublisher {
    log: Arc<dyn DecisionLog>,
    metrics: Arc<Metrics>,
    member: String,
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
    pub(super) fn publish(&self, entry: &SharedEntry) {
        let appended = self.log.append(entry.key(), entry.encode(&self.member));
        let outcome = if appended { "written" } else { "dropped" };
        if self.metrics.add(CounterKey::Decisions(outcome), 1) && !appended {
            tracing::warn!("decisions are not shared, because too many wait to be written");
        }
    }

    pub(super) fn flush(&self) -> Result<(), InsertError> {
        self.log.flush()
    }

    pub(super) const fn log(&self) -> &Arc<dyn DecisionLog> {
        &self.log
    }
}
