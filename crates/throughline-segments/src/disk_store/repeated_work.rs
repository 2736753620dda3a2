//! Work that is tried again after an error, later each time.

use std::time::{Duration, Instant};

/// Time until failed work is repeated; it doubles from the one to the other.
const MIN_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// Work that is repeated after an interval, and later after an error.
#[derive(Debug)]
pub(super) struct RepeatedWork {
    interval: Duration,
    /// Beyond the interval; zero after success.
    backoff: Duration,
    done: Option<Instant>,
}

impl Default for RepeatedWork {
    fn default() -> Self {
        Self::every(Duration::ZERO)
    }
}

// === impl RepeatedWork ===

impl RepeatedWork {
    pub(super) const fn every(interval: Duration) -> Self {
        Self {
            interval,
            backoff: Duration::ZERO,
            done: None,
        }
    }

    /// Returns whether it is time for the next attempt.
    pub(super) fn is_due(&self) -> bool {
        let wait = self.interval.max(self.backoff);
        self.done.is_none_or(|done| done.elapsed() >= wait)
    }

    /// Takes note of an attempt; returns whether the one before had another outcome.
    pub(super) fn note<T, E>(&mut self, outcome: &Result<T, E>) -> bool {
        let has_changed = outcome.is_err() == self.backoff.is_zero();
        self.backoff = match outcome {
            Ok(_) => Duration::ZERO,
            Err(_) => (self.backoff * 2).clamp(MIN_BACKOFF, MAX_BACKOFF),
        };
        self.done = Some(Instant::now());
        has_changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_fails_is_done_later_and_a_change_is_noted_once() {
        let mut work = RepeatedWork::default();
        assert!(work.is_due());
        assert!(!work.note(&Ok::<(), ()>(())) && work.is_due());
        assert!(work.note(&Err::<(), ()>(())));
        for _ in 0..8 {
            assert!(!work.is_due() && !work.note(&Err::<(), ()>(())));
        }
        assert_eq!(work.backoff, MAX_BACKOFF);
        assert!(work.note(&Ok::<(), ()>(())) && work.is_due());
    }
}
