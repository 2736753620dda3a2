//! Polling for a condition with a deadline, and early return on an interrupt.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// Interrupt flag, which a signal handler may set: waits for something to start return early, waits
/// for something to end continue.
///
/// Tests never set it. A program sets it on Ctrl-C and then stops what it started in order.
pub static INTERRUPTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Returns whether [`INTERRUPTED`] is set.
pub fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Polls `condition` until it returns a value; returns [`None`] after `limit` or when
/// [`INTERRUPTED`].
pub fn until<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    until_uninterrupted(limit, || {
        if is_interrupted() {
            Some(None)
        } else {
            condition().map(Some)
        }
    })
    .flatten()
}

/// Polls `condition` until it returns a value; returns [`None`] after `limit`.
///
/// Polls at once, then after pauses that grow from 5 to 100 ms: fast events are noticed early and
/// slow ones cost little CPU. Polls once more after the deadline, so that a machine that was
/// suspended does not turn success into failure.
pub fn until_uninterrupted<T>(
    limit: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> Option<T> {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(5);
    loop {
        // Read before the condition is evaluated: a success during the evaluation must count.
        let last_time = Instant::now() >= deadline;
        if let Some(value) = condition() {
            return Some(value);
        }
        if last_time {
            return None;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that pauses between two polls of a condition"
        )]
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// Pauses between two polls of a condition that is expensive to evaluate.
pub fn pause() {
    std::thread::park_timeout(Duration::from_millis(200));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn until_returns_the_value_of_the_condition() {
        let mut polls = 0;
        let got = until(Duration::from_secs(10), || {
            polls += 1;
            (polls == 3).then_some("there")
        });
        assert_eq!(got, Some("there"));
    }

    #[test]
    fn until_returns_none_at_the_deadline() {
        let begin = Instant::now();
        assert_eq!(until(Duration::from_millis(30), || None::<()>), None);
        assert!(begin.elapsed() >= Duration::from_millis(30));
    }

    #[test]
    fn condition_is_polled_once_with_a_zero_limit() {
        assert_eq!(until(Duration::ZERO, || Some(1)), Some(1));
    }
}
