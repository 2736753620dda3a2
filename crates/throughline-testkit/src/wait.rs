//! Waiting for a condition, with a deadline; and giving up early when the person in front of it wants to end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// Set it (a signal handler may) and every wait for something to *begin* gives up; waits for something to *end* go on.
///
/// Never set in tests. A program that starts things sets it on Ctrl-C, then ends in an orderly way what it had started.
pub static INTERRUPTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Whether [`INTERRUPTED`] is set.
pub fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Asks `condition` until it gives a value; [`None`] when `limit` has passed or the wait was [`INTERRUPTED`].
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

/// Asks `condition` until it gives a value; [`None`] when `limit` has passed.
///
/// It is asked at once, then after pauses that grow from 5 to 100 ms: quick things are noticed quickly, slow ones are not hammered.
/// It is always asked once more when the time is up, so that a machine that stood still does not turn success into failure.
pub fn until_uninterrupted<T>(
    limit: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> Option<T> {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(5);
    loop {
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
            reason = "the one place that pauses between two looks at a condition"
        )]
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// Lets a moment pass between two looks at something that takes long to look at.
pub fn pause() {
    std::thread::park_timeout(Duration::from_millis(200));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_comes_true_ends_the_wait_with_its_value() {
        let mut looks = 0;
        let got = until(Duration::from_secs(10), || {
            looks += 1;
            (looks == 3).then_some("there")
        });
        assert_eq!(got, Some("there"));
    }

    #[test]
    fn a_condition_that_never_comes_true_ends_the_wait_at_the_deadline() {
        let begin = Instant::now();
        assert_eq!(until(Duration::from_millis(30), || None::<()>), None);
        assert!(begin.elapsed() >= Duration::from_millis(30));
    }

    #[test]
    fn a_condition_is_asked_even_when_there_is_no_time() {
        assert_eq!(until(Duration::ZERO, || Some(1)), Some(1));
    }
}
