//! Counters that decay exponentially.

use std::time::Duration;

use crate::Timestamp;

/// Half-life in seconds of what describes the present: long enough to know a service with a request
/// every few minutes, short enough to notice that it has become busy.
const HALF_LIFE_SECONDS: u32 = 300;
/// Half-life in seconds of what must not be forgotten between two runs of an hourly or daily job.
const LONG_HALF_LIFE_SECONDS: u32 = 7 * 24 * 3600;

/// A count that halves every `HALF_LIFE` seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct DecayingCounter<const HALF_LIFE: u32 = HALF_LIFE_SECONDS> {
    count: f64,
    updated_at: Timestamp,
}

/// A count that remembers a week.
pub(super) type LongCounter = DecayingCounter<LONG_HALF_LIFE_SECONDS>;

// === impl DecayingCounter ===

impl<const HALF_LIFE: u32> DecayingCounter<HALF_LIFE> {
    /// Returns the count at a time.
    pub(super) fn value_at(&self, now: Timestamp) -> f64 {
        let age = seconds(now.saturating_sub(self.updated_at));
        self.count * (-age / f64::from(HALF_LIFE)).exp2()
    }

    pub(super) fn add(&mut self, now: Timestamp, amount: f64) {
        self.count = self.value_at(now) + amount;
        // Callers may be slightly out of order; stepping back would decay the same time twice.
        self.updated_at = self.updated_at.max(now);
    }

    /// Adds one if the condition holds.
    pub(super) fn add_if(&mut self, now: Timestamp, condition: bool) {
        self.add(now, f64::from(u8::from(condition)));
    }
}

/// Converts nanoseconds to seconds.
pub(super) fn seconds(nanoseconds: u64) -> f64 {
    Duration::from_nanos(nanoseconds).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn count_halves_every_half_life() {
        let mut counter: DecayingCounter = DecayingCounter::default();
        counter.add(0, 8.0);
        assert!((counter.value_at(600 * SECOND) - 2.0).abs() < 1e-9);
        counter.add(600 * SECOND, 1.0);
        assert!((counter.value_at(600 * SECOND) - 3.0).abs() < 1e-9);
    }
}
