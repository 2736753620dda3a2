//! Log lines that would repeat: the first at once, later ones at most once a minute, with the number of those left out.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Decides whether a line of one kind is written now.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    left_out: u64,
}

impl Seldom {
    /// `Some` when the line is to be written, with how many like it were left out since the last one.
    pub(crate) fn now(&self) -> Option<u64> {
        self.at(Instant::now())
    }

    fn at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < PAUSE)
        {
            state.left_out += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.left_out))
    }
}

const PAUSE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_written_and_those_after_it_are_counted() {
        let (seldom, begin) = (Seldom::default(), Instant::now());
        assert_eq!(seldom.at(begin), Some(0));
        assert_eq!(seldom.at(begin), None);
        assert_eq!(seldom.at(begin + PAUSE / 2), None);
        assert_eq!(seldom.at(begin + PAUSE), Some(2));
        assert_eq!(seldom.at(begin + PAUSE * 2), Some(0));
    }
}
