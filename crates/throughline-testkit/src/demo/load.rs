//! Sends checkouts at a steady rate, whether or not earlier ones have been answered.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{park_timeout, scope};
use std::time::{Duration, Instant};

use super::reference::ReferenceTable;
use crate::http;

/// Rate and duration of a load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CheckoutLoad {
    /// Checkouts per second.
    pub rate: f64,
    pub duration: Duration,
    /// Whether each checkout waits for the answer to the one before it.
    pub in_turn: bool,
    /// Checkouts that are sent before, in turn, one a second, and do not count.
    pub warm_up: u32,
}

/// The checkouts of a load, from its sender's view.
#[derive(Debug, Clone, Default)]
pub(super) struct LoadResult {
    /// Checkouts that were sent.
    pub(super) sent: usize,
    /// Checkouts that were due while [`MAX_IN_FLIGHT`] had not been answered, and were not sent.
    pub(super) skipped: usize,
    /// Longest time between the moment that a checkout was due and the moment that it was sent.
    pub(super) latest: Duration,
    /// Duration of each successful checkout, by number.
    pub(super) answered: BTreeMap<usize, Duration>,
    pub(super) references: ReferenceTable,
}

const WARM_UP_RATE: f64 = 1.0;
const ANSWER_POLL_INTERVAL: Duration = Duration::from_millis(1);
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// Checkouts that wait for their answers at a time; each has a thread.
const MAX_IN_FLIGHT: usize = 500;

// === impl CheckoutLoad ===

impl CheckoutLoad {
    /// Returns the load that goes before this one, if there is any.
    pub(super) fn warm_up_load(&self) -> Option<Self> {
        (self.warm_up > 0).then(|| Self {
            rate: WARM_UP_RATE,
            duration: Duration::from_secs_f64(f64::from(self.warm_up) / WARM_UP_RATE),
            in_turn: true,
            warm_up: 0,
        })
    }

    /// Sends checkouts on schedule and waits until each has been answered.
    pub(super) fn run(
        &self,
        url: &str,
        references: ReferenceTable,
        progress: &mut dyn FnMut(&str),
    ) -> LoadResult {
        let begin = Instant::now();
        let mut result = LoadResult {
            references,
            ..LoadResult::default()
        };
        let replies = Mutex::new(CheckoutReplies::default());
        let (mut due, mut last_progress) = (0, begin);
        // In turn, a slow answer moves the rest of the schedule.
        let mut moved = Duration::ZERO;
        scope(|scope| {
            while let Some((left, late)) = self.until_next(due, begin + moved) {
                if !left.is_zero() {
                    // A parked thread may wake early, so the schedule is read again.
                    park_timeout(left);
                    continue;
                }
                if self.in_turn && lock(&replies).in_flight > 0 {
                    park_timeout(ANSWER_POLL_INTERVAL);
                    continue;
                }
                due += 1;
                if self.in_turn {
                    moved += late;
                } else {
                    result.latest = result.latest.max(late);
                }
                if lock(&replies).in_flight >= MAX_IN_FLIGHT {
                    result.skipped += 1;
                    continue;
                }
                result.sent += 1;
                result.references.add(due);
                let url = format!("{url}?reference={}", result.references.first(due));
                let (number, replies) = (due, &replies);
                lock(replies).in_flight += 1;
                // One thread per checkout: the load must not slow down with the responses.
                scope.spawn(move || record_reply(replies, send_checkout(&url), number));
                if last_progress.elapsed() > PROGRESS_INTERVAL {
                    last_progress = Instant::now();
                    let answered = lock(replies).answered.len();
                    progress(&format!(
                        "{} checkouts sent, {answered} answered",
                        result.sent
                    ));
                }
            }
        });
        let replies = replies.into_inner().unwrap_or_else(PoisonError::into_inner);
        result.answered = replies.answered;
        result
    }

    /// Returns the time until the next checkout and, if it is due, its delay; [`None`] at the end.
    fn until_next(&self, due: usize, begin: Instant) -> Option<(Duration, Duration)> {
        let at = Duration::from_secs_f64(number(due) / self.rate);
        // An interrupt ends the load; the report covers the checkouts sent so far.
        let continues = at < self.duration && !crate::wait::is_interrupted();
        // Zero if the schedule was moved beyond this moment.
        let now = Instant::now().saturating_duration_since(begin);
        continues.then(|| (at.saturating_sub(now), now.saturating_sub(at)))
    }
}

/// Checkouts that have been answered, and those that have not.
#[derive(Debug, Default)]
struct CheckoutReplies {
    answered: BTreeMap<usize, Duration>,
    in_flight: usize,
}

/// Sends one checkout; returns its duration if it succeeded.
fn send_checkout(url: &str) -> Option<Duration> {
    let begin = Instant::now();
    let reply = http::get(url, RESPONSE_TIMEOUT);
    reply
        .is_ok_and(|reply| reply.status == 200)
        .then(|| begin.elapsed())
}

/// Records the result of a checkout.
fn record_reply(replies: &Mutex<CheckoutReplies>, took: Option<Duration>, number: usize) {
    let mut replies = lock(replies);
    replies.in_flight -= 1;
    replies.answered.extend(took.map(|took| (number, took)));
}

fn lock(replies: &Mutex<CheckoutReplies>) -> MutexGuard<'_, CheckoutReplies> {
    replies.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns a count as a fraction for shares and rates.
#[expect(clippy::cast_precision_loss, reason = "counts of checkouts are small")]
pub(super) fn number(count: usize) -> f64 {
    count as f64
}
