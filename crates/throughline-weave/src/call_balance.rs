//! Whether requests make as many calls as those of quiet times have shown.
//!
//! An engine that gives the calls of one request to another can go on doing so: it learns from what
//! it believes, and its tables come to expect it. Processes whose requests wait for a worker are
//! prone to this, as the request that came last seems to begin at once, and the one that waits
//! never to begin. But each call has one cause, so that some requests then make a call too often,
//! and others not at all, which no request did while few were in flight.

use std::collections::HashMap;

use crate::life_table::{FAILURE, Step};

/// Requests of quiet times that must have been seen.
const MIN_SURE: u32 = 3;
/// Weight of one request in the moving shares.
const SHARE_STEP: f64 = 1.0 / 16.0;
/// Shares of requests that lack a call, and that make one too often, from which on both show that
/// calls were mixed up.
const MIN_LACKING: f64 = 0.15;
const MIN_EXCEEDING: f64 = 0.08;

/// Calls of requests, by operation.
#[derive(Debug, Default)]
pub(crate) struct CallBalance {
    operations: HashMap<u32, OperationBalance>,
}

#[derive(Debug, Default)]
struct OperationBalance {
    /// Requests of quiet times.
    sure: u32,
    /// Fewest and most calls of a kind that one of them has made.
    ranges: HashMap<Step, (u8, u8)>,
    lacking: f64,
    exceeding: f64,
}

// === impl CallBalance ===

impl CallBalance {
    /// Records the calls that a request has most likely made, by kind; `is_sure` if few others were
    /// in flight.
    pub(crate) fn observe(&mut self, operation: u32, calls: &[(Step, u8)], is_sure: bool) {
        let balance = self.operations.entry(operation).or_default();
        if is_sure {
            balance.widen(calls);
        } else {
            balance.compare(calls);
        }
    }

    /// Returns whether the calls of an operation's requests are mixed up.
    pub(crate) fn is_mixed_up(&self, operation: u32) -> bool {
        let balance = self.operations.get(&operation);
        balance.is_some_and(|it| it.lacking > MIN_LACKING && it.exceeding > MIN_EXCEEDING)
    }
}

// === impl OperationBalance ===

impl OperationBalance {
    fn widen(&mut self, calls: &[(Step, u8)]) {
        for (kind, count) in calls.iter().filter(|(kind, _)| *kind != FAILURE) {
            // A kind that those before did not make.
            let least = if self.sure == 0 { *count } else { 0 };
            let range = self.ranges.entry(*kind).or_insert((least, *count));
            *range = (range.0.min(*count), range.1.max(*count));
        }
        for (kind, range) in &mut self.ranges {
            if calls.iter().all(|(made, _)| made != kind) {
                range.0 = 0;
            }
        }
        self.sure = self.sure.saturating_add(1);
    }

    fn compare(&mut self, calls: &[(Step, u8)]) {
        if self.sure < MIN_SURE {
            return;
        }
        let made = |kind: Step| {
            let mut calls = calls.iter();
            calls
                .find(|(it, _)| *it == kind)
                .map_or(0, |(_, count)| *count)
        };
        let mut ranges = self.ranges.iter();
        let lacks = ranges.any(|(kind, range)| made(*kind) < range.0);
        let mut ranges = self.ranges.iter();
        let exceeds = ranges.any(|(kind, range)| made(*kind) > range.1);
        let next =
            |share: f64, shown: bool| share + SHARE_STEP * (f64::from(u8::from(shown)) - share);
        self.lacking = next(self.lacking, lacks);
        self.exceeding = next(self.exceeding, exceeds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPERATION: u32 = 1;

    fn balance(sure: &[&[(Step, u8)]]) -> CallBalance {
        let mut balance = CallBalance::default();
        for calls in sure {
            balance.observe(OPERATION, calls, true);
        }
        balance
    }

    #[test]
    fn calls_that_some_make_twice_and_others_never_are_mixed_up() {
        let mut balance = balance(&[[(0, 1), (1, 1)].as_slice(); 3]);
        for _ in 0..8 {
            balance.observe(OPERATION, &[(0, 1), (1, 1)], false);
            balance.observe(OPERATION, &[(0, 2), (1, 2)], false);
            assert!(!balance.is_mixed_up(OPERATION + 1));
            balance.observe(OPERATION, &[], false);
        }
        assert!(balance.is_mixed_up(OPERATION));
        (0..64).for_each(|_| balance.observe(OPERATION, &[(0, 1), (1, 1)], false));
        assert!(!balance.is_mixed_up(OPERATION));
    }

    #[test]
    fn cache_and_loop_are_no_mixture() {
        let mut cached = balance(&[[(0, 1), (1, 1)].as_slice(); 3]);
        (0..64).for_each(|_| cached.observe(OPERATION, &[(0, 1)], false));
        assert!(!cached.is_mixed_up(OPERATION));
        let mut looping = balance(&[[(0, 1)].as_slice(); 3]);
        (0..64).for_each(|_| looping.observe(OPERATION, &[(0, 3)], false));
        assert!(!looping.is_mixed_up(OPERATION));
    }

    #[test]
    fn calls_of_quiet_times_are_no_mixture() {
        let mut balance = balance(&[&[(0, 1), (1, 1)], &[(1, 2)], &[(0, 1), (1, 1)]]);
        for _ in 0..32 {
            balance.observe(OPERATION, &[(0, 1), (1, 2)], false);
            balance.observe(OPERATION, &[], false);
        }
        // None makes a call more often than one of those has.
        assert!(!balance.is_mixed_up(OPERATION));
        let mut unknown = CallBalance::default();
        for _ in 0..32 {
            unknown.observe(OPERATION, &[(0, 3)], false);
            unknown.observe(OPERATION, &[], false);
        }
        assert!(!unknown.is_mixed_up(OPERATION));
    }
}
