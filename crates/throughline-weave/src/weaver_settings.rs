//! Limits of the live engine, and the losses they cause.

use crate::event::Nanos;

/// Limits of a live engine.
#[derive(Debug, Clone, Copy)]
pub struct WeaverSettings {
    /// Resolution of the clock that stamps the events.
    pub clock_tick_ns: Nanos,
    /// Inbound events that are held at once; more are not considered, and counted.
    pub max_inbound: usize,
    /// Outbound events that are held at once; more are not considered, and counted.
    pub max_outbound: usize,
    /// Requests and partitions that are weighed together; with more in flight, decisions are open.
    pub max_competing: usize,
}

/// Events that a live engine could not consider.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WeaverLosses {
    pub inbound: u64,
    pub outbound: u64,
    /// Decisions with more competitors than are weighed.
    pub crowded: u64,
}

/// Decisions that were stated with 0.99 or more, and for which a proof came later.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LiveChecks {
    pub right: u64,
    pub wrong: u64,
}

// === impl WeaverSettings ===

impl Default for WeaverSettings {
    fn default() -> Self {
        Self {
            clock_tick_ns: 1_000,
            max_inbound: 4_096,
            max_outbound: 16_384,
            max_competing: 64,
        }
    }
}
