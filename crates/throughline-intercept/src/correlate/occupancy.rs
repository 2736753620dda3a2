//! Occupancy: how much of its time a process has nothing in flight, and how much exactly one
//! request or record.

use super::decaying_counter::{DecayingCounter, LongCounter, seconds};
use crate::Timestamp;

/// Seconds by number of activities in flight, decaying.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Occupancy {
    total: OccupiedSeconds,
    long_idle: LongCounter,
    long_single: LongCounter,
    /// Only the time within the linger time after the end of an activity.
    after_end: OccupiedSeconds,
    changed_at: Option<Timestamp>,
    lingers_until: Timestamp,
    in_flight: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct OccupiedSeconds {
    idle: DecayingCounter,
    single: DecayingCounter,
}

// === impl Occupancy ===

impl Occupancy {
    /// Accounts for the time since the last change and sets the number of activities in flight.
    pub(super) fn set_in_flight(&mut self, now: Timestamp, in_flight: usize) {
        let changed_at = self.changed_at.unwrap_or(now);
        let elapsed_ns = now.saturating_sub(changed_at);
        // The part of the elapsed time that lies within the linger time.
        let lingering_ns = self.lingers_until.min(now).saturating_sub(changed_at);
        self.total.add(now, elapsed_ns, self.in_flight);
        match self.in_flight {
            0 => self.long_idle.add(now, seconds(elapsed_ns)),
            1 => self.long_single.add(now, seconds(elapsed_ns)),
            _ => {}
        }
        self.after_end.add(now, lingering_ns, self.in_flight);
        self.changed_at = Some(now);
        self.in_flight = in_flight;
    }

    /// Records that an activity has ended, and until when its handler may linger.
    pub(super) fn record_end(&mut self, lingers_until: Timestamp) {
        self.lingers_until = self.lingers_until.max(lingers_until);
    }

    /// Returns the seconds with nothing in flight.
    pub(super) fn idle_seconds(&self, now: Timestamp) -> f64 {
        self.total.idle.value_at(now)
    }

    /// Returns the seconds with exactly one activity in flight per second with none.
    pub(super) fn single_per_idle(&self, now: Timestamp) -> f64 {
        self.total.single_per_idle(now)
    }

    /// Returns the same ratio over a long time.
    pub(super) fn long_single_per_idle(&self, now: Timestamp) -> f64 {
        ratio(self.long_single.value_at(now), self.long_idle.value_at(now))
    }

    /// Returns the same ratio for the time within the linger time after an end.
    pub(super) fn single_per_idle_after_end(&self, now: Timestamp) -> f64 {
        self.after_end.single_per_idle(now)
    }
}

// === impl OccupiedSeconds ===

impl OccupiedSeconds {
    fn add(&mut self, now: Timestamp, elapsed_ns: u64, in_flight: usize) {
        match in_flight {
            0 => self.idle.add(now, seconds(elapsed_ns)),
            1 => self.single.add(now, seconds(elapsed_ns)),
            _ => {}
        }
    }

    fn single_per_idle(&self, now: Timestamp) -> f64 {
        ratio(self.single.value_at(now), self.idle.value_at(now))
    }
}

fn ratio(single: f64, idle: f64) -> f64 {
    if idle > 0.0 {
        single / idle
    } else {
        // Without idle time nothing was measured: no doubt is then small enough.
        f64::INFINITY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn time_is_counted_by_number_in_flight() {
        let mut occupancy = Occupancy::default();
        assert!(
            occupancy.single_per_idle(0).is_infinite(),
            "nothing is known yet"
        );
        occupancy.set_in_flight(SECOND, 0);
        occupancy.set_in_flight(5 * SECOND, 1);
        occupancy.set_in_flight(6 * SECOND, 2);
        occupancy.set_in_flight(9 * SECOND, 1);
        occupancy.set_in_flight(10 * SECOND, 1);
        assert!((occupancy.single_per_idle(10 * SECOND) - 0.5).abs() < 0.01);
    }

    #[test]
    fn time_after_an_end_is_counted_separately() {
        let mut occupancy = Occupancy::default();
        occupancy.set_in_flight(0, 1);
        occupancy.set_in_flight(5 * SECOND, 0);
        occupancy.record_end(8 * SECOND);
        occupancy.set_in_flight(7 * SECOND, 1);
        occupancy.set_in_flight(17 * SECOND, 0);
        let ratio = occupancy.single_per_idle_after_end(17 * SECOND);
        assert!(
            (ratio - 0.5).abs() < 0.02,
            "two idle seconds, one with a single activity: {ratio}"
        );
    }
}
