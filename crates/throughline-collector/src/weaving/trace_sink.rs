//! The interface to what woven traces are sent to: another back end, for instance.

use std::fmt;

use throughline_model::Span;

/// Receives woven spans, each once.
pub trait WovenTraceSink: fmt::Debug + Send + Sync {
    /// Takes spans of one woven trace, and does not wait for their delivery. The sink counts those
    /// that it drops.
    fn send(&self, spans: Vec<Span>);

    /// Returns whether it takes another trace without dropping any of it. Asked where spans are
    /// kept until they are delivered, and when the collector stops.
    fn has_room(&self) -> bool {
        true
    }

    /// Waits a second at most until all spans that it took are delivered, or given up; returns
    /// whether they are.
    fn flush(&self) -> bool {
        true
    }

    /// Returns its counters.
    fn counts(&self) -> TraceSinkCounts;
}

/// The counters of a [`WovenTraceSink`] since its start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceSinkCounts {
    /// Spans that are queued or being sent.
    pub queued: u64,
    /// Spans that the receiver has accepted.
    pub sent: u64,
    /// Spans that were lost, by reason.
    pub dropped: Vec<(&'static str, u64)>,
    /// Requests that were sent again.
    pub retries: u64,
}
