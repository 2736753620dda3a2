//! The clock of spans: set once by the system's clock, monotonic from there.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A clock that never steps back, even when the system's clock does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpanClock {
    start: Instant,
    /// Nanoseconds since the Unix epoch at `start`.
    start_nanos: u64,
}

impl SpanClock {
    pub(crate) fn new() -> Self {
        // A clock before 1970 must not keep the proxy from starting.
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            start: Instant::now(),
            start_nanos: u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    /// Returns the current time in nanoseconds since the Unix epoch.
    pub(crate) fn now(&self) -> u64 {
        self.at(Instant::now())
    }

    /// Converts an instant to nanoseconds since the Unix epoch.
    pub(crate) fn at(&self, instant: Instant) -> u64 {
        // An instant that was read before the start counts as the start.
        let elapsed = instant.saturating_duration_since(self.start).as_nanos();
        self.start_nanos
            .saturating_add(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }
}
