//! How much of its time a process has nothing to do, and how much exactly one thing; counts that fade.

use crate::Timestamp;

/// A count of which half is forgotten every [`HALF_LIFE`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fading {
    count: f64,
    at: Timestamp,
}

/// Where the time goes, in seconds, fading.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Load {
    always: Times,
    /// Only while something has ended not long ago.
    after: Times,
    since: Option<Timestamp>,
    /// Until then the last end was not long ago.
    recent: Timestamp,
    in_flight: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Times {
    idle: Fading,
    one: Fading,
}

/// Long enough to know a service that is asked once in a while, short enough to know that it is busy now.
const HALF_LIFE: f64 = 300.0;

// === impl Fading ===

impl Fading {
    pub(super) fn at(&self, now: Timestamp) -> f64 {
        self.count * (-seconds(now.saturating_sub(self.at)) / HALF_LIFE).exp2()
    }

    pub(super) fn add(&mut self, now: Timestamp, more: f64) {
        self.count = self.at(now) + more;
        self.at = self.at.max(now);
    }
}

// === impl Load ===

impl Load {
    /// From now on so many are in flight.
    pub(super) fn change(&mut self, now: Timestamp, in_flight: usize) {
        let since = self.since.unwrap_or(now);
        self.always
            .add(now, now.saturating_sub(since), self.in_flight);
        self.after.add(
            now,
            self.recent.min(now).saturating_sub(since),
            self.in_flight,
        );
        // Whoever waits for the driver's lock may have read the clock before who has just had it.
        self.since = Some(since.max(now));
        self.in_flight = in_flight;
    }

    /// Something has ended, which is not long ago until then.
    pub(super) fn end(&mut self, until: Timestamp) {
        self.recent = self.recent.max(until);
    }

    /// Seconds with none in flight.
    pub(super) fn idle(&self, now: Timestamp) -> f64 {
        self.always.idle.at(now)
    }

    /// Seconds with exactly one in flight for each second with none.
    pub(super) fn one_per_idle(&self, now: Timestamp) -> f64 {
        self.always.ratio(now)
    }

    /// The same, of the time not long after something has ended.
    pub(super) fn one_per_idle_after(&self, now: Timestamp) -> f64 {
        self.after.ratio(now)
    }
}

// === impl Times ===

impl Times {
    fn add(&mut self, now: Timestamp, passed: u64, in_flight: usize) {
        match in_flight {
            0 => self.idle.add(now, seconds(passed)),
            1 => self.one.add(now, seconds(passed)),
            _ => {}
        }
    }

    fn ratio(&self, now: Timestamp) -> f64 {
        let idle = self.idle.at(now);
        if idle > 0.0 {
            self.one.at(now) / idle
        } else {
            f64::INFINITY
        }
    }
}

/// Nanoseconds as seconds.
pub(super) fn seconds(nanoseconds: u64) -> f64 {
    std::time::Duration::from_nanos(nanoseconds).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn half_of_a_count_is_forgotten_every_half_life() {
        let mut count = Fading::default();
        count.add(0, 8.0);
        assert!((count.at(600 * SECOND) - 2.0).abs() < 1e-9);
        count.add(600 * SECOND, 1.0);
        assert!((count.at(600 * SECOND) - 3.0).abs() < 1e-9);
    }

    #[test]
    fn time_is_counted_by_what_is_in_flight() {
        let mut load = Load::default();
        assert!(load.one_per_idle(0).is_infinite(), "nothing is known");
        load.change(SECOND, 0);
        load.change(5 * SECOND, 1);
        load.change(6 * SECOND, 2);
        load.change(9 * SECOND, 1);
        load.change(10 * SECOND, 1);
        assert!((load.one_per_idle(10 * SECOND) - 0.5).abs() < 0.01);
    }

    #[test]
    fn time_after_an_end_is_counted_apart() {
        let mut load = Load::default();
        load.change(0, 1);
        load.change(5 * SECOND, 0);
        load.end(8 * SECOND);
        load.change(7 * SECOND, 1);
        load.change(17 * SECOND, 0);
        let ratio = load.one_per_idle_after(17 * SECOND);
        assert!(
            (ratio - 0.5).abs() < 0.02,
            "two seconds with none, one with one: {ratio}"
        );
    }
}
