//! Doubt: the expected share of calls that were not caused by the only activity in flight.

use super::call_signature::CallSignature;
use super::call_stats::{CallStats, CallStatsTable};
use super::occupancy::Occupancy;
use super::settings::CorrelationLimits;
use crate::Timestamp;

/// Unattributed calls assumed for a signature without any, once the process has made others: the
/// Jeffreys prior of a Poisson rate.
const JEFFREYS_PRIOR: f64 = 0.5;
/// Unattributed calls assumed before the process has made any.
const UNSEEN_PRIOR: f64 = 0.1;
/// Unattributed calls after an end assumed before the process has made any.
const UNSEEN_AFTER_END_PRIOR: f64 = 0.05;
/// Weight of a single call in a quiescent time, where it cannot be late work of an ended activity.
const QUIESCENT_WEIGHT: f64 = 4.0;
/// Activities that must have made a call of a signature before it is taken for one of theirs.
const MIN_ACTIVITIES: u32 = 3;
/// Unattributed calls of a long time below which they are left to the recent ones.
const MIN_LONG_UNATTRIBUTED: f64 = 0.5;
/// Calls with a token from which on a signature is expected to carry one.
const MIN_CALLS_WITH_TOKEN: f64 = 0.5;

/// Measures how often the process makes calls that no activity in flight caused, and estimates from
/// it the doubt about a call while exactly one activity is.
#[derive(Debug)]
pub(super) struct DoubtEstimator {
    pub(super) occupancy: Occupancy,
    stats: CallStatsTable,
    /// Statistics over all signatures.
    all_calls: CallStats,
}

// === impl DoubtEstimator ===

impl DoubtEstimator {
    pub(super) fn new(limits: &CorrelationLimits, now: Timestamp) -> Self {
        let mut occupancy = Occupancy::default();
        occupancy.set_in_flight(now, 0);
        Self {
            occupancy,
            stats: CallStatsTable::new(limits.max_signatures),
            all_calls: CallStats::default(),
        }
    }

    /// Counts a call with the token of an inbound message.
    pub(super) fn record_with_token(&mut self, signature: CallSignature, now: Timestamp) {
        self.stats.entry(signature, now).with_token.add(now, 1.0);
    }

    /// Counts a call that no activity in flight can have caused.
    pub(super) fn record_unattributed(
        &mut self,
        signature: CallSignature,
        now: Timestamp,
        is_after_end: bool,
    ) {
        for stats in [self.stats.entry(signature, now), &mut self.all_calls] {
            stats.unattributed.add(now, 1.0);
            stats.long_unattributed.add(now, 1.0);
            stats.unattributed_after_end.add_if(now, is_after_end);
        }
    }

    /// Counts a call that exactly one activity can have caused; `is_first` for the first one of its
    /// signature by the activity.
    pub(super) fn record_single(
        &mut self,
        signature: CallSignature,
        now: Timestamp,
        is_after_end: bool,
        is_first: bool,
    ) {
        let stats = self.stats.entry(signature, now);
        stats.activities = stats.activities.saturating_add(u32::from(is_first));
        stats.long_single.add(now, 1.0);
        stats.single.add(now, 1.0);
        stats.single_quiescent.add_if(now, !is_after_end);
    }

    /// Returns whether several activities have made calls of this signature, apart from `counted`
    /// that do not count. Many calls beside one activity may be those of a job: they count as one
    /// observation.
    pub(super) fn is_shown(
        &mut self,
        signature: CallSignature,
        now: Timestamp,
        counted: u32,
    ) -> bool {
        self.stats.entry(signature, now).activities >= MIN_ACTIVITIES + counted
    }

    /// Returns whether calls of this signature usually carry a token.
    pub(super) fn expects_token(&mut self, signature: CallSignature, now: Timestamp) -> bool {
        self.stats.entry(signature, now).with_token.value_at(now) > MIN_CALLS_WITH_TOKEN
    }

    /// Estimates the share of calls of this signature, among those made while exactly one activity
    /// was in flight, that the activity did not cause.
    pub(super) fn estimate_doubt(
        &mut self,
        signature: CallSignature,
        now: Timestamp,
        is_after_end: bool,
    ) -> f64 {
        let stats = self.stats.entry(signature, now);
        let single = stats.single.value_at(now);
        let unseen = UNSEEN_PRIOR.max(
            self.all_calls
                .unattributed
                .value_at(now)
                .min(JEFFREYS_PRIOR),
        );
        let unattributed = stats.unattributed.value_at(now) + unseen;
        // Calls without a cause are as frequent in a second with one activity as in an idle second.
        let recent = unattributed * self.occupancy.single_per_idle(now) / (single + 1.0);
        // A job that runs once an hour is not among the recent calls.
        let long_unattributed = stats.long_unattributed.value_at(now);
        let long_single = stats.long_single.value_at(now);
        let long_term = if long_unattributed > MIN_LONG_UNATTRIBUTED {
            let ratio = self.occupancy.long_single_per_idle(now);
            long_unattributed * ratio / (long_single + 1.0)
        } else {
            0.0
        };
        let overall = recent.max(long_term);
        if !is_after_end {
            return overall;
        }
        // Work that outlives a response happens under load only, shortly after an end: idle hours
        // must not dilute it, so the time after ends is measured on its own.
        let quiescent = stats.single_quiescent.value_at(now);
        let weighted = QUIESCENT_WEIGHT * quiescent + (single - quiescent).max(0.0) + 1.0;
        let after_end = self.all_calls.unattributed_after_end.value_at(now);
        let unseen = UNSEEN_AFTER_END_PRIOR.max(after_end.min(JEFFREYS_PRIOR));
        let unattributed = stats.unattributed_after_end.value_at(now) + unseen;
        overall.max(unattributed * self.occupancy.single_per_idle_after_end(now) / weighted)
    }
}
