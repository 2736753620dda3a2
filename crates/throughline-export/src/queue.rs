//! The bounded queue between the producers of spans and the task that sends them.
//!
//! A handful of spans costs their producer one short lock and no wait: a full queue drops and
//! counts what does not fit.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use throughline_model::Span;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::config::BatchSettings;
use crate::counts::{ExportCounters, ExportCounts, add};
use crate::span_size;

/// The most spans that are queued under one lock.
const PUSH_CHUNK: usize = 64;

/// The queued spans, and the counters of those before them.
#[derive(Debug)]
pub(crate) struct SpanQueue {
    settings: BatchSettings,
    state: Mutex<State>,
    /// Wakes the sending task: for a full batch, a flush, the end, or a first span after a pause.
    wake: Notify,
    /// Number of admitted spans that were sent or dropped since. Spans complete in their order.
    completed: watch::Sender<u64>,
    pub(crate) counters: ExportCounters,
}

#[derive(Debug, Default)]
struct State {
    spans: VecDeque<(Span, usize)>,
    bytes: usize,
    /// Number of spans that were ever queued.
    admitted: u64,
    /// A flush waits for the spans up to this number.
    flush_until: u64,
    /// Number of flushes, the closing of the queue included.
    flush_requests: u64,
    is_closed: bool,
    /// The sending task waits for a first span without a timer.
    is_task_idle: bool,
}

/// The state of the queue for the sending task.
enum BatchReadiness {
    /// A batch is due, and taken.
    Ready(Vec<Span>),
    /// The spans that are queued by this time are due then.
    WaitUntil(Instant),
    /// Empty for a whole delay: the next span wakes the task.
    Idle,
    /// Empty and closed.
    Finished,
}

// === impl State ===

impl State {
    /// Returns whether another span of this size fits. Both limits count: many small spans cost
    /// bookkeeping, few large ones memory.
    fn has_room(&self, bytes: usize, settings: &BatchSettings) -> bool {
        self.spans.len() < settings.max_queue_spans
            && self.bytes.saturating_add(bytes) <= settings.max_queue_bytes
    }
}

// === impl SpanQueue ===

impl SpanQueue {
    pub(crate) fn new(settings: BatchSettings) -> Self {
        let (completed, _) = watch::channel(0);
        Self {
            settings,
            state: Mutex::default(),
            wake: Notify::new(),
            completed,
            counters: ExportCounters::default(),
        }
    }

    /// Queues spans, and drops and counts those that do not fit. Returns their number. The lock is
    /// held while a handful of spans is taken from the iterator.
    pub(crate) fn push_all(&self, spans: &mut dyn Iterator<Item = Span>) -> usize {
        let mut spans = spans.peekable();
        let mut dropped = 0;
        while spans.peek().is_some() {
            dropped += self.push_chunk(&mut spans.by_ref().take(PUSH_CHUNK));
        }
        dropped
    }

    fn push_chunk(&self, spans: &mut impl Iterator<Item = Span>) -> usize {
        let full = self.settings.max_batch_spans;
        let mut rejected = Vec::new();
        let mut state = self.state();
        let was_filled = state.spans.len() >= full;
        for span in spans {
            let bytes = span_size::bytes_of(&span);
            if state.is_closed || !state.has_room(bytes, &self.settings) {
                // Freed behind the lock.
                rejected.push(span);
                continue;
            }
            state.spans.push_back((span, bytes));
            state.bytes += bytes;
            state.admitted += 1;
        }
        // Waking the task is a system call on the thread that makes spans. Between two batches the
        // task comes by itself, after the delay.
        let is_filled = !was_filled && state.spans.len() >= full;
        let is_awaited = state.is_task_idle && !state.spans.is_empty();
        if is_awaited {
            state.is_task_idle = false;
        }
        let counter = if state.is_closed {
            &self.counters.shutdown
        } else {
            &self.counters.queue_full
        };
        drop(state);
        if is_filled || is_awaited {
            self.wake.notify_one();
        }
        add(counter, u64::try_from(rejected.len()).unwrap_or(u64::MAX));
        rejected.len()
    }

    /// Waits until a batch is due: it is full, its first span has waited for the delay, or a flush
    /// was requested. Returns [`None`] when the queue is closed and empty.
    ///
    /// The queue is looked at once per delay, as long as there are spans: the producers need not
    /// wake the task then.
    pub(crate) async fn next_batch(&self) -> Option<Vec<Span>> {
        let mut due = Instant::now() + self.settings.delay;
        loop {
            match self.readiness(due) {
                BatchReadiness::Ready(batch) => return Some(batch),
                BatchReadiness::Finished => return None,
                BatchReadiness::Idle => {
                    self.wake.notified().await;
                    // The delay of the first span in the batch counts from here.
                    due = Instant::now() + self.settings.delay;
                }
                BatchReadiness::WaitUntil(due) => tokio::select! {
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep_until(due) => {}
                },
            }
        }
    }

    /// Returns whether a batch is due, at this time or before it.
    fn readiness(&self, due: Instant) -> BatchReadiness {
        let mut state = self.state();
        let now = Instant::now();
        if state.spans.is_empty() {
            if state.is_closed {
                return BatchReadiness::Finished;
            }
            if due > now {
                return BatchReadiness::WaitUntil(due);
            }
            state.is_task_idle = true;
            return BatchReadiness::Idle;
        }
        let is_flushing = state.is_closed || *self.completed.borrow() < state.flush_until;
        if is_flushing || state.spans.len() >= self.settings.max_batch_spans || due <= now {
            return BatchReadiness::Ready(self.take(&mut state));
        }
        BatchReadiness::WaitUntil(due)
    }

    fn take(&self, state: &mut State) -> Vec<Span> {
        let mut batch = Vec::with_capacity(state.spans.len().min(self.settings.max_batch_spans));
        let mut batch_bytes = 0;
        while batch.len() < self.settings.max_batch_spans {
            // Looked at before it is taken: a span beyond the size limit waits for the next batch.
            let Some((_, bytes)) = state.spans.front() else {
                break;
            };
            // A single span is sent whatever its size, or it would block the queue for good.
            if !batch.is_empty() && batch_bytes + bytes > BatchSettings::MAX_BATCH_BYTES {
                break;
            }
            let Some((span, bytes)) = state.spans.pop_front() else {
                break;
            };
            batch_bytes += bytes;
            state.bytes = state.bytes.saturating_sub(bytes);
            batch.push(span);
        }
        batch
    }

    /// Records that spans of a taken batch were sent or dropped.
    pub(crate) fn complete(&self, spans: u64) {
        self.completed.send_modify(|completed| *completed += spans);
    }

    /// Waits for the interval before a retry, or until a flush is requested.
    pub(crate) async fn wait_for_retry(&self, interval: Duration) {
        let until = Instant::now() + interval;
        let flush_requests = self.state().flush_requests;
        // New spans wake the task too, so the reason has to be checked.
        while self.state().flush_requests == flush_requests {
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep_until(until) => return,
            }
        }
    }

    /// Waits until all spans that are queued now were sent or dropped.
    pub(crate) async fn flushed(&self) {
        let admitted = {
            let mut state = self.state();
            state.flush_until = state.admitted;
            state.flush_requests += 1;
            state.admitted
        };
        self.wake.notify_one();
        // The sender of the channel lives as long as the queue, so this cannot fail.
        drop(
            self.completed
                .subscribe()
                .wait_for(|completed| *completed >= admitted)
                .await,
        );
    }

    /// Rejects further spans.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        state.flush_requests += 1;
        drop(state);
        self.wake.notify_one();
    }

    /// Drops and counts all spans that are queued, or taken and not completed. The sending task
    /// must have ended.
    pub(crate) fn abandon(&self) {
        let mut state = self.state();
        state.spans = VecDeque::new();
        state.bytes = 0;
        let lost = state.admitted.saturating_sub(*self.completed.borrow());
        drop(state);
        add(&self.counters.shutdown, lost);
        self.complete(lost);
    }

    pub(crate) fn counts(&self) -> ExportCounts {
        let state = self.state();
        let (admitted, bytes) = (state.admitted, state.bytes);
        drop(state);
        ExportCounts {
            queued: admitted.saturating_sub(*self.completed.borrow()),
            queued_bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
            sent: self.counters.sent.load(Ordering::Relaxed),
            dropped: self.counters.dropped(),
            retries: self.counters.retries.load(Ordering::Relaxed),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock and the state is inconsistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
