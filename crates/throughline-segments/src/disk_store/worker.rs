//! The signals between the threads of a store.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::repeated_work::RepeatedWork;

/// The state that the threads of a store share.
#[derive(Debug, Default)]
pub(super) struct Worker {
    state: Mutex<WorkerState>,
    changed: Condvar,
    /// Held while a segment is written.
    pub(super) writing: Mutex<()>,
    /// Attempts to merge segments.
    pub(super) merging: Mutex<RepeatedWork>,
    /// Held while a generation is opened.
    pub(super) rotating: Mutex<()>,
}

#[derive(Debug, Default)]
struct WorkerState {
    is_stopping: bool,
    is_woken: bool,
}

// === impl Worker ===

impl Worker {
    pub(super) fn wake(&self) {
        self.state().is_woken = true;
        self.changed.notify_all();
    }

    pub(super) fn stop(&self) {
        self.state().is_stopping = true;
        self.changed.notify_all();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.state().is_stopping
    }

    /// Waits until there is room, at most until a deadline; returns whether there is.
    pub(super) fn wait_until_room(&self, deadline: Instant, has_room: impl Fn() -> bool) -> bool {
        while !has_room() {
            if Instant::now() >= deadline {
                return false;
            }
            self.wake();
            drop(self.wait(self.state(), Duration::from_millis(20)));
        }
        true
    }

    /// Waits for a tick, or until it is woken; returns whether the store is being closed.
    pub(super) fn next_tick(&self, tick: Duration) -> bool {
        let mut state = self.state();
        if !state.is_stopping && !state.is_woken {
            state = self.wait(state, tick);
        }
        state.is_woken = false;
        state.is_stopping
    }

    /// Waits for at most this time; returns whether the store is being closed.
    pub(super) fn pause(&self, time: Duration) -> bool {
        let state = self.state();
        state.is_stopping || self.wait(state, time).is_stopping
    }

    fn wait<'a>(
        &'a self,
        state: MutexGuard<'a, WorkerState>,
        time: Duration,
    ) -> MutexGuard<'a, WorkerState> {
        let waited = self.changed.wait_timeout(state, time);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn state(&self) -> MutexGuard<'_, WorkerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
