//! Activity of a downstream connection: requests in flight, idle time, the age of an incomplete
//! request head, and the end of the client's side.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

/// Tracks the activity of one connection, shared by all clones.
#[derive(Debug, Clone)]
pub(super) struct IdleTracker(Arc<IdleState>);

#[derive(Debug)]
struct IdleState {
    start: Instant,
    in_flight: AtomicUsize,
    /// Milliseconds from `start` to the end of the last request.
    idle_since_ms: AtomicU64,
    /// Milliseconds from `start` to the first byte of an incomplete request head, plus one; 0
    /// without such a head.
    head_since_ms: AtomicU64,
    /// Whether the connection closes with a reset.
    is_reset: AtomicBool,
    /// Whether the client has closed its side. It may still wait for a response.
    is_client_closed: AtomicBool,
    /// Wakes the upstream connection, which closes its own side then.
    upstream_task: Mutex<Option<Waker>>,
}

/// Counts a request as in flight until it is dropped.
#[derive(Debug)]
pub(super) struct RequestGuard(IdleTracker);

// === impl IdleTracker ===

impl IdleTracker {
    pub(super) fn new() -> Self {
        Self(Arc::new(IdleState {
            start: Instant::now(),
            in_flight: AtomicUsize::new(0),
            idle_since_ms: AtomicU64::new(0),
            head_since_ms: AtomicU64::new(0),
            is_reset: AtomicBool::new(false),
            is_client_closed: AtomicBool::new(false),
            upstream_task: Mutex::default(),
        }))
    }

    /// Records that a request head is complete.
    pub(super) fn begin_request(&self) -> RequestGuard {
        self.0.in_flight.fetch_add(1, Ordering::AcqRel);
        self.0.head_since_ms.store(0, Ordering::Release);
        RequestGuard(self.clone())
    }

    /// Returns the time since the first byte of an incomplete request head.
    pub(super) fn head_age(&self) -> Option<Duration> {
        match self.0.head_since_ms.load(Ordering::Acquire) {
            0 => None,
            since => Some(Duration::from_millis(
                self.elapsed_ms().saturating_sub(since - 1),
            )),
        }
    }

    /// Returns the time since the last request; [`None`] while one is in flight.
    pub(super) fn idle_time(&self) -> Option<Duration> {
        let is_idle = self.0.in_flight.load(Ordering::Acquire) == 0;
        let since = self.0.idle_since_ms.load(Ordering::Acquire);
        is_idle.then(|| Duration::from_millis(self.elapsed_ms().saturating_sub(since)))
    }

    /// Whether no request is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.0.in_flight.load(Ordering::Acquire) == 0
    }

    /// Records that bytes arrived. Without a request in flight they begin the next head.
    pub(super) fn record_read(&self) {
        let state = &self.0;
        if state.in_flight.load(Ordering::Acquire) == 0
            && state.head_since_ms.load(Ordering::Acquire) == 0
        {
            state
                .head_since_ms
                .store(self.elapsed_ms() + 1, Ordering::Release);
        }
    }

    /// Makes the connection close with a reset instead of an orderly end.
    pub(super) fn reset_on_close(&self) {
        self.0.is_reset.store(true, Ordering::Release);
    }

    pub(super) fn is_reset_on_close(&self) -> bool {
        self.0.is_reset.load(Ordering::Acquire)
    }

    /// Records that the client has closed its side.
    pub(super) fn close_client(&self) {
        let mut task = self
            .0
            .upstream_task
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.0.is_client_closed.store(true, Ordering::Release);
        task.take().into_iter().for_each(Waker::wake);
    }

    pub(super) fn is_client_closed(&self) -> bool {
        self.0.is_client_closed.load(Ordering::Acquire)
    }

    /// Waits until the client closes its side.
    pub(super) fn poll_client_closed(&self, context: &Context<'_>) -> Poll<()> {
        let mut task = self
            .0
            .upstream_task
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Checked under the lock: the end may come meanwhile.
        if self.is_client_closed() {
            return Poll::Ready(());
        }
        match &mut *task {
            Some(waker) => waker.clone_from(context.waker()),
            None => *task = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.0.start.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }
}

// === impl RequestGuard ===

impl RequestGuard {
    /// Returns the connection of the request.
    pub(super) const fn connection(&self) -> &IdleTracker {
        &self.0
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        let Self(tracker) = self;
        // The time is stored first, so that it is valid once no request is in flight.
        tracker
            .0
            .idle_since_ms
            .store(tracker.elapsed_ms(), Ordering::Release);
        tracker.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_age_and_idle_time_follow_reads_and_requests() {
        let tracker = IdleTracker::new();
        assert!(tracker.head_age().is_none() && tracker.idle_time().is_some());
        tracker.record_read();
        assert!(tracker.head_age().is_some());
        let guard = tracker.begin_request();
        assert!(tracker.head_age().is_none() && tracker.idle_time().is_none());
        drop(guard);
        assert!(tracker.idle_time().is_some());
    }
}
