//! The bounded queue between the producers of spans and the task that sends them.
//!
//! A handful of spans costs their producer one short lock and no wait: a full queue drops and
//! counts what does not fit.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use throughline_model::{Span, SpanGroup};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::config::BatchSettings;
use crate::counts::{ExportCounters, ExportCounts, add};
use crate::queued::QueuedSpans;

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
    entries: VecDeque<QueuedSpans>,
    /// Number of spans in all entries.
    spans: usize,
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

/// Spans of one request.
#[derive(Debug, Default)]
pub(crate) struct SpanBatch {
    pub(crate) entries: Vec<QueuedSpans>,
    /// Number of spans in all entries.
    pub(crate) spans: usize,
    pub(crate) bytes: usize,
}

/// The state of the queue for the sending task.
enum BatchReadiness {
    /// A batch is due, and taken.
    Ready(SpanBatch),
    /// The spans that are queued by this time are due then.
    WaitUntil(Instant),
    /// Empty for a whole delay: the next span wakes the task.
    Idle,
    /// Empty and closed.
    Finished,
}

// === impl SpanBatch ===

impl SpanBatch {
    fn extend(&mut self, entry: Option<QueuedSpans>) {
        let Some(entry) = entry else { return };
        self.spans += entry.len();
        self.bytes += entry.bytes;
        self.entries.push(entry);
    }
}

// === impl State ===

impl State {
    /// Returns whether another span of this size fits. Both limits count: many small spans cost
    /// bookkeeping, few large ones memory.
    const fn has_room(&self, bytes: usize, settings: &BatchSettings) -> bool {
        !self.is_closed
            && self.spans < settings.max_queue_spans
            && self.bytes.saturating_add(bytes) <= settings.max_queue_bytes
    }

    fn push(&mut self, entry: QueuedSpans) {
        self.spans += entry.len();
        self.bytes += entry.bytes;
        self.admitted += u64::try_from(entry.len()).unwrap_or(u64::MAX);
        self.entries.push_back(entry);
    }

    /// Puts back what did not fit into a batch.
    fn put_back(&mut self, entry: QueuedSpans) {
        self.spans += entry.len();
        self.bytes += entry.bytes;
        self.entries.push_front(entry);
    }

    fn pop(&mut self) -> Option<QueuedSpans> {
        let entry = self.entries.pop_front()?;
        self.spans = self.spans.saturating_sub(entry.len());
        self.bytes = self.bytes.saturating_sub(entry.bytes);
        Some(entry)
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
        self.admit(|state, rejected| {
            for span in spans {
                let entry = QueuedSpans::single(span);
                if state.has_room(entry.bytes, &self.settings) {
                    state.push(entry);
                } else {
                    rejected.push(entry);
                }
            }
        })
    }

    /// Queues the spans of a group, and drops and counts those that do not fit. Returns their
    /// number.
    pub(crate) fn push_group(&self, group: SpanGroup) -> usize {
        if group.is_empty() {
            return 0;
        }
        // Measured before the lock is taken.
        let entry = QueuedSpans::group(group);
        self.admit(|state, rejected| {
            let room = self.settings.max_queue_spans.saturating_sub(state.spans);
            let (first, others) = entry.split(room);
            rejected.extend(others);
            match first {
                Some(first) if state.has_room(first.bytes, &self.settings) => state.push(first),
                first => rejected.extend(first),
            }
        })
    }

    /// Lets `push` queue spans under the lock, and reject others. Wakes the sending task if that is
    /// due. Returns the number of rejected spans.
    fn admit(&self, push: impl FnOnce(&mut State, &mut Vec<QueuedSpans>)) -> usize {
        let full = self.settings.max_batch_spans;
        let mut rejected = Vec::new();
        let mut state = self.state();
        let was_filled = state.spans >= full;
        push(&mut state, &mut rejected);
        // Waking the task is a system call on the thread that makes spans. Between two batches the
        // task comes by itself, after the delay.
        let is_filled = !was_filled && state.spans >= full;
        let is_awaited = state.is_task_idle && state.spans > 0;
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
        // Freed behind the lock, as they are here.
        let rejected = rejected.iter().map(QueuedSpans::len).sum();
        add(counter, u64::try_from(rejected).unwrap_or(u64::MAX));
        rejected
    }

    /// Waits until a batch is due: it is full, its first span has waited for the delay, or a flush
    /// was requested. Returns [`None`] when the queue is closed and empty.
    ///
    /// The queue is looked at once per delay, as long as there are spans: the producers need not
    /// wake the task then.
    pub(crate) async fn next_batch(&self) -> Option<SpanBatch> {
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
        if state.spans == 0 {
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
        if is_flushing || state.spans >= self.settings.max_batch_spans || due <= now {
            return BatchReadiness::Ready(self.take(&mut state));
        }
        BatchReadiness::WaitUntil(due)
    }

    fn take(&self, state: &mut State) -> SpanBatch {
        let mut batch = SpanBatch::default();
        while batch.spans < self.settings.max_batch_spans
            && let Some(entry) = state.pop()
        {
            let bytes = BatchSettings::MAX_BATCH_BYTES.saturating_sub(batch.bytes);
            let room = self.settings.max_batch_spans - batch.spans;
            // A single span is sent whatever its size, or it would block the queue for good.
            let least = usize::from(batch.spans == 0);
            let fitting = entry.fitting(bytes).min(room).max(least);
            let (first, others) = entry.split(fitting);
            batch.extend(first);
            // The others wait for the next batch.
            if let Some(others) = others {
                state.put_back(others);
                break;
            }
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
        state.entries = VecDeque::new();
        (state.spans, state.bytes) = (0, 0);
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
