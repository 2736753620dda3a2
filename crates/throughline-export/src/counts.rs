//! Counters of exported and dropped spans, for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};

/// The counters of an exporter since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExportCounts {
    /// Spans that are queued or being sent.
    pub queued: u64,
    /// Memory of the queued spans, in bytes.
    pub queued_bytes: u64,
    /// Spans that a collector accepted.
    pub sent: u64,
    /// Spans that were lost.
    pub dropped: DroppedSpans,
    /// Requests that were sent again.
    pub retries: u64,
}

/// Lost spans, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DroppedSpans {
    /// The queue was full.
    pub queue_full: u64,
    /// The collector rejected them for good.
    pub refused: u64,
    /// The retries of their batch ran out of time.
    pub unreachable: u64,
    /// The exporter was shut down before they were sent, or before they were queued.
    pub shutdown: u64,
}

/// The live counters.
#[derive(Debug, Default)]
pub(crate) struct ExportCounters {
    pub(crate) sent: AtomicU64,
    pub(crate) queue_full: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) unreachable: AtomicU64,
    pub(crate) shutdown: AtomicU64,
    pub(crate) retries: AtomicU64,
}

// === impl DroppedSpans ===

impl DroppedSpans {
    /// Returns each reason, in the form of a metric label, and its number of spans.
    #[must_use]
    pub const fn by_reason(&self) -> [(&'static str, u64); 4] {
        [
            ("queue_full", self.queue_full),
            ("refused", self.refused),
            ("unreachable", self.unreachable),
            ("shutdown", self.shutdown),
        ]
    }

    /// Returns the number of lost spans.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_reason().iter().map(|(_, spans)| spans).sum()
    }
}

// === impl ExportCounters ===

impl ExportCounters {
    pub(crate) fn dropped(&self) -> DroppedSpans {
        DroppedSpans {
            queue_full: self.queue_full.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            unreachable: self.unreachable.load(Ordering::Relaxed),
            shutdown: self.shutdown.load(Ordering::Relaxed),
        }
    }
}

/// Adds to a counter. Relaxed, because no other memory depends on it.
pub(crate) fn add(counter: &AtomicU64, spans: u64) {
    counter.fetch_add(spans, Ordering::Relaxed);
}
