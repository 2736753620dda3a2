//! The time of spans: anchored once to the system's clock, monotonic from there.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A clock that never steps back, whatever happens to the system's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
    /// Nanoseconds since the Unix epoch at `start`.
    epoch: u64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            start: Instant::now(),
            epoch: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    /// Nanoseconds since the Unix epoch.
    pub(crate) fn now(&self) -> u64 {
        self.at(Instant::now())
    }

    /// What this moment is in nanoseconds since the Unix epoch.
    pub(crate) fn at(&self, moment: Instant) -> u64 {
        let since = moment.saturating_duration_since(self.start);
        self.epoch
            .saturating_add(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }
}
