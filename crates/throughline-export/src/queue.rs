//! The bounded queue between the producers of spans and the task that sends them.
//!
//! A span costs its producer one short lock and no wait: a full queue drops it and counts it.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use throughline_model::{SinkFull, Span};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::config::BatchSettings;
use crate::counts::{ExportCounters, ExportCounts, add};
use crate::span_size;

/// The queued spans, and the counters of those before them.
#[derive(Debug)]
pub(crate) struct SpanQueue {
    settings: BatchSettings,
    state: Mutex<State>,
    /// Wakes the sending task: for a first span, a full batch, a flush, or the end.
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
}

/// The state of the queue for the sending task.
enum BatchReadiness {
    /// A batch is due, and taken.
    Ready(Vec<Span>),
    /// A batch that is not full is due at this time.
    WaitUntil(Instant),
    Empty,
    /// Empty and closed.
    Finished,
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

    /// Queues a span, or drops and counts it.
    pub(crate) fn push(&self, span: Span) -> Result<(), SinkFull> {
        let bytes = span_size::bytes_of(&span);
        let mut state = self.state();
        if state.is_closed {
            add(&self.counters.shutdown, 1);
            return Err(SinkFull);
        }
        // Both limits: many small spans cost bookkeeping, few large ones memory.
        if state.spans.len() >= self.settings.max_queue_spans
            || state.bytes.saturating_add(bytes) > self.settings.max_queue_bytes
        {
            add(&self.counters.queue_full, 1);
            return Err(SinkFull);
        }
        state.spans.push_back((span, bytes));
        state.bytes += bytes;
        state.admitted += 1;
        let waiting = state.spans.len();
        drop(state);
        // Only these two change the task's plan; waking it for every span would cost a switch each.
        if waiting == 1 || waiting == self.settings.max_batch_spans {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Waits until a batch is due: it is full, its first span has waited for the delay, or a flush
    /// was requested. Returns [`None`] when the queue is closed and empty.
    pub(crate) async fn next_batch(&self) -> Option<Vec<Span>> {
        let mut due = None;
        loop {
            match self.readiness(&mut due) {
                BatchReadiness::Ready(batch) => return Some(batch),
                BatchReadiness::Finished => return None,
                BatchReadiness::Empty => self.wake.notified().await,
                BatchReadiness::WaitUntil(due) => tokio::select! {
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep_until(due) => {}
                },
            }
        }
    }

    /// Returns whether a batch is due now. `due` is set when the first span is seen.
    fn readiness(&self, due: &mut Option<Instant>) -> BatchReadiness {
        let mut state = self.state();
        if state.spans.is_empty() {
            return if state.is_closed {
                BatchReadiness::Finished
            } else {
                BatchReadiness::Empty
            };
        }
        let now = Instant::now();
        // The delay of the first span in the batch decides, so that no span waits longer.
        let due = *due.get_or_insert(now + self.settings.delay);
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
