//! Throttling of repeated log lines: the first is written at once, later ones once a minute.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The least time between two lines of one kind.
const INTERVAL: Duration = Duration::from_secs(60);

/// Decides whether a log line of one kind is written now.
#[derive(Debug, Default)]
pub(crate) struct LogThrottle(Mutex<ThrottleState>);

#[derive(Debug, Default)]
struct ThrottleState {
    last: Option<Instant>,
    suppressed: u64,
}

impl LogThrottle {
    /// Returns `Some` if the line may be written, with the number of lines suppressed since the
    /// last one.
    pub(crate) fn permit(&self) -> Option<u64> {
        self.permit_at(Instant::now())
    }

    fn permit_at(&self, now: Instant) -> Option<u64> {
        // A panic under the lock leaves two plain values, which are usable as they are.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < INTERVAL)
        {
            state.suppressed += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_line_is_written_and_later_lines_are_counted() {
        let (throttle, begin) = (LogThrottle::default(), Instant::now());
        assert_eq!(throttle.permit_at(begin), Some(0));
        assert_eq!(throttle.permit_at(begin), None);
        assert_eq!(throttle.permit_at(begin + INTERVAL / 2), None);
        assert_eq!(throttle.permit_at(begin + INTERVAL), Some(2));
        assert_eq!(throttle.permit_at(begin + INTERVAL * 2), Some(0));
    }
}
