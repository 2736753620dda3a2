//! Woven traces into a topic, delivered before the offsets of their records are committed.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use throughline_collector::{SpanDelivery, SpanForwarder as _, TraceSinkCounts, WovenTraceSink};
use throughline_model::Span;
use tokio::runtime::Handle;

use crate::settings::SpanTopicSettings;
use crate::topic_lookup::TopicError;
use crate::writer::TopicWriter;

/// Spans on their way; more are taken when some have arrived.
const MAX_IN_FLIGHT: u64 = 50_000;

/// Spans that are offered together: each record has those of one process.
const MIN_OFFERED: usize = 512;

/// Time that a flush waits.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Pause before spans are offered again that librdkafka had no room for.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// A record is sent until it arrives: its spans are nowhere else.
const UNTIL_DELIVERED: (&str, &str) = ("message.timeout.ms", "0");

/// A topic that gets woven traces. It is used on threads of a runtime that may block.
pub struct TraceTopic {
    writer: TopicWriter,
    state: Mutex<TraceTopicState>,
}

#[derive(Default)]
struct TraceTopicState {
    /// Spans that were not offered to librdkafka, or that it had no room for.
    unsent: Vec<Span>,
    in_flight: Vec<(u64, SpanDelivery)>,
    sent: u64,
    too_large: u64,
    retries: u64,
}

// === impl TraceTopic ===

impl TraceTopic {
    /// Finds the topic, and prepares to write to it.
    ///
    /// # Errors
    /// [`TopicError`].
    pub fn open(settings: &SpanTopicSettings) -> Result<Self, TopicError> {
        let mut settings = settings.clone();
        // The user's own setting comes later, and counts.
        let (name, value) = UNTIL_DELIVERED;
        let own = (name.to_owned(), value.to_owned());
        settings.properties.insert(0, own);
        Ok(Self {
            writer: TopicWriter::open(&settings)?,
            state: Mutex::default(),
        })
    }

    /// Offers spans to librdkafka; keeps them when it has no room.
    fn offer(&self, state: &mut TraceTopicState) {
        let spans = std::mem::take(&mut state.unsent);
        if spans.is_empty() {
            return;
        }
        match self.writer.forward(&spans, None, false) {
            Ok(forwarded) => {
                state.too_large += forwarded.too_large;
                state.in_flight.push((forwarded.sent, forwarded.delivery));
            }
            Err(_) => {
                state.retries += 1;
                state.unsent = spans;
            }
        }
    }

    /// Waits for everything that is in flight; returns whether all of it has arrived.
    async fn delivered(&self, state: &mut TraceTopicState) -> bool {
        while let Some((spans, mut delivery)) = state.in_flight.pop() {
            // Waited for again the next time.
            let arrived = tokio::time::timeout(FLUSH_TIMEOUT, &mut delivery).await;
            match arrived {
                Ok(Ok(())) => state.sent += spans,
                // The user has set a time limit of their own.
                Ok(Err(error)) => {
                    tracing::warn!(%error, spans, "spans were not written");
                    state.too_large += spans;
                }
                Err(_) => {
                    state.in_flight.push((spans, delivery));
                    return false;
                }
            }
        }
        true
    }

    fn state(&self) -> MutexGuard<'_, TraceTopicState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WovenTraceSink for TraceTopic {
    fn send(&self, spans: Vec<Span>) {
        let mut state = self.state();
        state.unsent.extend(spans);
        if state.unsent.len() >= MIN_OFFERED {
            self.offer(&mut state);
        }
    }

    fn has_room(&self) -> bool {
        self.state().queued() < MAX_IN_FLIGHT
    }

    fn flush(&self) -> bool {
        let mut state = self.state();
        self.offer(&mut state);
        Handle::current().block_on(async {
            let is_delivered = self.delivered(&mut state).await;
            if !state.unsent.is_empty() {
                tokio::time::sleep(RETRY_PAUSE).await;
                return false;
            }
            is_delivered
        })
    }

    fn counts(&self) -> TraceSinkCounts {
        let state = self.state();
        TraceSinkCounts {
            queued: state.queued(),
            sent: state.sent,
            dropped: vec![("refused", state.too_large)],
            retries: state.retries,
        }
    }
}

// === impl TraceTopicState ===

impl TraceTopicState {
    /// Returns the number of spans that have not arrived.
    fn queued(&self) -> u64 {
        let in_flight = self.in_flight.iter().map(|(spans, _)| spans);
        self.unsent.len() as u64 + in_flight.sum::<u64>()
    }
}

impl fmt::Debug for TraceTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceTopic").finish_non_exhaustive()
    }
}
