//! Cadence of commits: whether a consumer commits after its work or on a timer.
//!
//! Most clients commit on a timer (`auto.commit.interval.ms`), whenever the work was done. The time
//! from a delivery to such a commit says nothing about the handling. A commit follows the work if
//! it covers the records of one response only, and
//!
//! * the last commits came soon after the deliveries that they covered, as measured by their
//!   intervals; or
//! * their intervals are not multiples of the shortest, as those of a timer are.
//!
//! Until enough commits were seen, nothing is known.

use super::delivery_queue::PendingDelivery;
use crate::Timestamp;

/// Commits of one partition by one group.
#[derive(Debug, Default)]
pub(super) struct CommitCadence {
    /// The last commits, the latest at the end.
    commits: Vec<CommitTime>,
}

/// Time of a commit.
#[derive(Debug, Clone, Copy)]
struct CommitTime {
    sent_at: Timestamp,
    /// Time since the delivery of the records that it covered; [`None`] if it covered none, or
    /// those of several responses.
    delay: Option<u64>,
}

/// Number of commits by which a cadence is known.
const KNOWN_COMMITS: usize = 4;

/// Number of commits that are remembered.
const MAX_COMMITS: usize = 8;

/// Part of the shortest interval that intervals of a timer deviate from its multiples at most.
/// Clients look at their timer when they poll.
const TIMER_TOLERANCE: u64 = 5;

/// Part of the shortest interval within which a commit comes soon after a delivery. On a timer,
/// four of four commits do so with a probability of 1 in 256.
const SOON: u64 = 4;

// === impl CommitCadence ===

impl CommitCadence {
    /// Records a commit that covers these deliveries.
    pub(super) fn record(&mut self, sent_at: Timestamp, covered: &[PendingDelivery]) {
        let delivered_at = single_delivery(covered);
        if self.commits.len() >= MAX_COMMITS {
            self.commits.remove(0);
        }
        self.commits.push(CommitTime {
            sent_at,
            delay: delivered_at.map(|at| sent_at.saturating_sub(at)),
        });
    }

    /// Returns whether the last commit, which covers these deliveries, followed their handling.
    pub(super) fn is_after_work(&self, covered: &[PendingDelivery]) -> bool {
        if self.commits.len() < KNOWN_COMMITS || single_delivery(covered).is_none() {
            return false;
        }
        let intervals: Vec<u64> = self
            .commits
            .windows(2)
            .filter_map(|pair| match pair {
                [first, second] => Some(second.sent_at.saturating_sub(first.sent_at)),
                _ => None,
            })
            .collect();
        let shortest = intervals.iter().copied().min().unwrap_or_default();
        let is_soon = |it: &CommitTime| it.delay.is_some_and(|delay| delay < shortest / SOON);
        if self.commits.iter().rev().take(KNOWN_COMMITS).all(is_soon) {
            return true;
        }
        let is_multiple = |interval: u64| {
            let rest = interval.checked_rem(shortest).unwrap_or_default();
            rest.min(shortest - rest) <= shortest / TIMER_TOLERANCE
        };
        !intervals.into_iter().all(is_multiple)
    }
}

/// Returns the time of the response that brought all of these records.
fn single_delivery(covered: &[PendingDelivery]) -> Option<Timestamp> {
    let first = covered.first()?.at;
    covered.iter().all(|it| it.at == first).then_some(first)
}

#[cfg(test)]
mod tests {
    use throughline_kafka::types::Offset;
    use throughline_model::context::TraceState;
    use throughline_model::{SpanId, TraceId};

    use super::*;

    const MILLISECOND: u64 = 1_000_000;

    fn delivery(at: Timestamp) -> PendingDelivery {
        PendingDelivery {
            offset: Offset(0),
            trace_id: TraceId::from_hex("1").unwrap(),
            span_id: SpanId::from_hex("2").unwrap(),
            trace_state: TraceState::default(),
            flags: 1,
            at,
        }
    }

    /// Records commits as (time, times of the covered deliveries) in milliseconds. Returns for
    /// which of them the handling is known.
    fn known(commits: &[(u64, &[u64])]) -> Vec<bool> {
        let mut cadence = CommitCadence::default();
        let commit = |(sent_at, delivered): &(u64, &[u64])| {
            let covered: Vec<_> = delivered
                .iter()
                .map(|at| delivery(at * MILLISECOND))
                .collect();
            cadence.record(sent_at * MILLISECOND, &covered);
            cadence.is_after_work(&covered)
        };
        commits.iter().map(commit).collect()
    }

    #[test]
    fn commits_on_a_timer_are_not_taken_for_the_end_of_the_work() {
        // One record now and then, and a timer of five seconds that is read now and then.
        let sparse: [(u64, &[u64]); 6] = [
            (5_000, &[1_820]),
            (10_040, &[9_000]),
            (20_090, &[18_000]),
            (25_100, &[20_200]),
            (40_400, &[39_900]),
            (45_500, &[42_320]),
        ];
        assert_eq!(known(&sparse), [false; 6]);
        // A record a second: one commit covers several.
        let dense: Vec<Vec<u64>> = (0..6)
            .map(|n| (0..5).map(|record| n * 5_000 + record * 1_000).collect())
            .collect();
        let dense: Vec<(u64, &[u64])> = (1..)
            .map(|n| n * 5_000)
            .zip(dense.iter().map(|it| &it[..]))
            .collect();
        assert_eq!(known(&dense), [false; 6]);
    }

    #[test]
    fn commits_after_the_work_are_known_from_the_fourth_on() {
        let regular: [(u64, &[u64]); 5] = [
            (1_080, &[1_000]),
            (2_080, &[2_000]),
            (3_085, &[3_000]),
            (4_080, &[4_000]),
            (5_090, &[5_000]),
        ];
        assert_eq!(known(&regular), [false, false, false, true, true]);
        let irregular: [(u64, &[u64]); 5] = [
            (700, &[0]),
            (1_100, &[200]),
            (2_500, &[1_800]),
            (2_900, &[2_300]),
            (4_000, &[3_100]),
        ];
        assert_eq!(known(&irregular), [false, false, false, true, true]);
    }
}
