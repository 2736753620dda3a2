//! What has become of the spans, as numbers for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};

/// What has become of the spans so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Spans that wait or are being sent right now.
    pub queued: u64,
    /// The bytes of those that wait, as memory counts them.
    pub queued_bytes: u64,
    /// Spans that a collector has taken.
    pub sent: u64,
    /// Spans that no collector will see.
    pub dropped: Dropped,
    /// Requests that were sent again.
    pub retries: u64,
}

/// Spans that no collector will see, by the reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// The queue was full when they came.
    pub queue_full: u64,
    /// A collector said that it will not take them, now or later.
    pub refused: u64,
    /// They were tried until their time was over.
    pub unreachable: u64,
    /// The exporter was shut down before they were sent, or before they came.
    pub shutdown: u64,
}

/// The same, being counted.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) sent: AtomicU64,
    pub(crate) queue_full: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) unreachable: AtomicU64,
    pub(crate) shutdown: AtomicU64,
    pub(crate) retries: AtomicU64,
}

// === impl Dropped ===

impl Dropped {
    /// Each reason as a word for a metric's label, and its number.
    #[must_use]
    pub const fn by_reason(&self) -> [(&'static str, u64); 4] {
        [
            ("queue_full", self.queue_full),
            ("refused", self.refused),
            ("unreachable", self.unreachable),
            ("shutdown", self.shutdown),
        ]
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_reason().iter().map(|(_, spans)| spans).sum()
    }
}

// === impl Counters ===

impl Counters {
    pub(crate) fn dropped(&self) -> Dropped {
        Dropped {
            queue_full: self.queue_full.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            unreachable: self.unreachable.load(Ordering::Relaxed),
            shutdown: self.shutdown.load(Ordering::Relaxed),
        }
    }
}

/// Adds to a counter that nothing else depends on.
pub(crate) fn add(counter: &AtomicU64, spans: u64) {
    counter.fetch_add(spans, Ordering::Relaxed);
}
