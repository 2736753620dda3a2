//! The outcome of entries that were sent to the brokers. One that they refuse, such as for want of
//! a right, is kept and sent again: librdkafka itself repeats only what fails on the way.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::ProducerContext;

use crate::client_events::{ClientEvents, log_line};

/// An entry as it is sent.
#[derive(Debug)]
pub(super) struct DecisionEntry {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
}

/// The context of both clients. Clones share it.
#[derive(Clone, Default)]
pub(super) struct DecisionClient {
    events: ClientEvents,
    outcomes: Arc<EntryOutcomes>,
}

#[derive(Debug, Default)]
struct EntryOutcomes {
    written: AtomicU64,
    refused: Mutex<RefusedEntries>,
}

/// Entries that were refused, at most as many as the producer's queue holds: nothing is appended
/// while there are some.
#[derive(Debug, Default)]
struct RefusedEntries {
    entries: VecDeque<DecisionEntry>,
    /// The reason of the latest refusal, until an entry is written and none is left.
    reason: Option<String>,
}

// === impl DecisionClient ===

impl DecisionClient {
    pub(super) const fn events(&self) -> &ClientEvents {
        &self.events
    }

    /// Returns the number of entries that all in-sync replicas have.
    pub(super) fn written(&self) -> u64 {
        self.outcomes.written.load(Ordering::Relaxed)
    }

    /// Returns the reason for which entries are refused, if they are.
    pub(super) fn refusal(&self) -> Option<String> {
        self.refused().reason.clone()
    }

    /// Takes the entries that were refused. They count as such until one is written.
    pub(super) fn take_refused(&self) -> VecDeque<DecisionEntry> {
        std::mem::take(&mut self.refused().entries)
    }

    /// Puts entries back that cannot be sent now.
    pub(super) fn refuse_again(&self, mut entries: VecDeque<DecisionEntry>, error: &KafkaError) {
        let mut refused = self.refused();
        entries.append(&mut refused.entries);
        refused.entries = entries;
        refused.reason = Some(error.to_string());
    }

    fn refused(&self) -> MutexGuard<'_, RefusedEntries> {
        let refused = self.outcomes.refused.lock();
        refused.unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for DecisionClient {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(facility, line);
    }

    fn error(&self, _error: KafkaError, reason: &str) {
        self.events.note_error(reason);
    }
}

impl ConsumerContext for DecisionClient {}

impl ProducerContext for DecisionClient {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut refused = self.refused();
        match result {
            Ok(_) => {
                self.outcomes.written.fetch_add(1, Ordering::Relaxed);
                if refused.entries.is_empty() {
                    refused.reason = None;
                }
                drop(refused);
                self.events.note_success();
            }
            Err((error, message)) => {
                let reason = error.to_string();
                refused.entries.push_back(DecisionEntry {
                    key: message.key().unwrap_or_default().to_vec(),
                    value: message.payload().unwrap_or_default().to_vec(),
                });
                refused.reason = Some(reason.clone());
                drop(refused);
                self.events.note_error(&reason);
            }
        }
    }
}
