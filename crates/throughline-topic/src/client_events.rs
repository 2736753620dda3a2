//! The reports of a client of librdkafka: log lines at the level debug, and errors once per outage.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::statistics::Statistics;

/// The latest error of a client since it last succeeded. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClientEvents(Arc<Mutex<Option<String>>>);

// === impl ClientEvents ===

impl ClientEvents {
    /// Notes an error, and logs the first one of an outage.
    pub(crate) fn note_error(&self, reason: &str) {
        let former = self.state().replace(reason.to_owned());
        if former.is_none() {
            tracing::warn!(reason, "Kafka is not reached; trying again");
        }
    }

    /// Returns whether the client does not work since its latest error.
    pub(crate) fn is_failing(&self) -> bool {
        self.state().is_some()
    }

    /// Notes that the client works, and logs the end of an outage.
    pub(crate) fn note_success(&self) {
        let former = self.state().take();
        if former.is_some() {
            tracing::info!("Kafka is reached again");
        }
    }

    fn state(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a line of librdkafka to the log. It repeats most of them for as long as an outage lasts,
/// so they are for those who search for a cause.
pub(crate) fn log_line(facility: &str, line: &str) {
    tracing::debug!(target: "librdkafka", facility, "{line}");
}

/// A client without events of its own: that of a writer.
impl ClientContext for ClientEvents {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(facility, line);
    }

    fn error(&self, _error: KafkaError, reason: &str) {
        self.note_error(reason);
    }

    fn stats(&self, _statistics: Statistics) {}
}
