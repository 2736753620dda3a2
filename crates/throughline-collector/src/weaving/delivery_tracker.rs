//! The records whose spans were read and are not delivered yet, where nothing else keeps them: an
//! offset is committed when all before it are delivered.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Memory of a record besides its value.
const RECORD_BYTES: usize = 256;

/// Records in the order in which they were read, by number.
#[derive(Debug)]
pub(crate) struct DeliveryTracker {
    state: Mutex<TrackerState>,
    has_finished: Condvar,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct TrackerState {
    next: u64,
    /// Records that are not delivered, with their sizes.
    open: VecDeque<(u64, usize)>,
    bytes: usize,
    /// All records below this number are delivered.
    completed: u64,
    is_stopping: bool,
    is_finished: bool,
}

// === impl DeliveryTracker ===

impl DeliveryTracker {
    /// Makes a tracker of records that have at most about this size together.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            state: Mutex::default(),
            has_finished: Condvar::new(),
            max_bytes,
        }
    }

    /// Returns whether another record may be read.
    pub(super) fn has_room(&self) -> bool {
        self.state().bytes < self.max_bytes
    }

    /// Returns whether there will soon be no room.
    pub(super) fn is_pressed(&self) -> bool {
        self.state().bytes > self.max_bytes / 2
    }

    /// Takes note of a record; returns its number.
    pub(super) fn begin(&self, value_bytes: usize) -> u64 {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        let bytes = value_bytes + RECORD_BYTES;
        state.open.push_back((number, bytes));
        state.bytes += bytes;
        number
    }

    /// Notes that all records below this number are delivered.
    pub(super) fn complete(&self, below: u64) {
        let mut state = self.state();
        while let Some((number, bytes)) = state.open.front().copied()
            && number < below
        {
            state.open.pop_front();
            state.bytes -= bytes;
        }
        state.completed = state.completed.max(below);
    }

    /// Notes that no more records come, and that what waits is about to be delivered.
    pub(crate) fn stop(&self) {
        self.state().is_stopping = true;
    }

    /// Notes that nothing more is delivered.
    pub(super) fn finish(&self) {
        self.state().is_finished = true;
        self.has_finished.notify_all();
    }

    /// Returns the number below which all records are delivered. At the end it waits for the last
    /// ones, for at most this time.
    pub(super) fn completed(&self, timeout: Duration) -> u64 {
        let state = self.state();
        let is_waiting = |state: &mut TrackerState| state.is_stopping && !state.is_finished;
        let waited = self
            .has_finished
            .wait_timeout_while(state, timeout, is_waiting);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.completed
    }

    fn state(&self) -> MutexGuard<'_, TrackerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn room_is_that_of_records_that_are_not_delivered() {
        let tracker = DeliveryTracker::new(2 * (100 + RECORD_BYTES));
        assert_eq!((tracker.begin(100), tracker.begin(100)), (0, 1));
        assert!(!tracker.has_room() && tracker.is_pressed());
        tracker.complete(1);
        assert!(tracker.has_room() && !tracker.is_pressed());
        assert_eq!(tracker.completed(Duration::ZERO), 1);
        // It never goes back.
        tracker.complete(0);
        assert_eq!(tracker.completed(Duration::ZERO), 1);
    }

    #[test]
    fn end_waits_for_the_last_records() {
        let tracker = Arc::new(DeliveryTracker::new(1 << 20));
        tracker.begin(1);
        tracker.stop();
        assert_eq!(tracker.completed(Duration::from_millis(1)), 0);
        let other = Arc::clone(&tracker);
        let thread = std::thread::spawn(move || other.completed(Duration::from_secs(60)));
        tracker.complete(1);
        tracker.finish();
        assert_eq!(thread.join().unwrap(), 1);
    }
}
