//! The bounded queue between those who make spans and the one task that sends them.
//!
//! Making a span costs its maker one short lock and never waits: a queue that is full drops and counts.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use throughline_model::{SinkFull, Span};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::config::Batching;
use crate::counts::{Counters, Counts, add};
use crate::weight;

/// Spans that wait, and what has become of those before them.
#[derive(Debug)]
pub(crate) struct Queue {
    limits: Batching,
    state: Mutex<State>,
    /// Wakes the sending task: a first span, a full batch, somebody in a hurry, the end.
    wake: Notify,
    /// How many of the spans that were let in have been sent or dropped. First in, first settled.
    settled: watch::Sender<u64>,
    pub(crate) counters: Counters,
}

#[derive(Debug, Default)]
struct State {
    spans: VecDeque<(Span, usize)>,
    bytes: usize,
    /// How many spans were let in.
    admitted: u64,
    /// Spans up to this one are waited for.
    awaited: u64,
    /// How often somebody was in a hurry.
    hurries: u64,
    closed: bool,
}

/// What the sending task finds in the queue.
enum Look {
    Batch(Vec<Span>),
    /// Spans that wait for others until then.
    Wait(Instant),
    Nothing,
    /// Nothing, and nothing more will come.
    End,
}

// === impl Queue ===

impl Queue {
    pub(crate) fn new(limits: Batching) -> Self {
        let (settled, _) = watch::channel(0);
        Self {
            limits,
            state: Mutex::default(),
            wake: Notify::new(),
            settled,
            counters: Counters::default(),
        }
    }

    /// Lets a span in, or drops and counts it.
    pub(crate) fn push(&self, span: Span) -> Result<(), SinkFull> {
        let bytes = weight::of(&span);
        let mut state = self.state();
        if state.closed {
            add(&self.counters.shutdown, 1);
            return Err(SinkFull);
        }
        if state.spans.len() >= self.limits.queue_spans
            || state.bytes.saturating_add(bytes) > self.limits.queue_bytes
        {
            add(&self.counters.queue_full, 1);
            return Err(SinkFull);
        }
        state.spans.push_back((span, bytes));
        state.bytes += bytes;
        state.admitted += 1;
        let waiting = state.spans.len();
        drop(state);
        if waiting == 1 || waiting == self.limits.batch_spans {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Waits until a batch should go: it is full, its first span has waited long enough, or somebody is in a hurry. [`None`]
    /// when the queue is closed and empty.
    pub(crate) async fn next_batch(&self) -> Option<Vec<Span>> {
        let mut due = None;
        loop {
            match self.look(&mut due) {
                Look::Batch(batch) => return Some(batch),
                Look::End => return None,
                Look::Nothing => self.wake.notified().await,
                Look::Wait(due) => tokio::select! {
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep_until(due) => {}
                },
            }
        }
    }

    /// What there is to do now. `due` is when the first span has waited long enough; it is set when there is one.
    fn look(&self, due: &mut Option<Instant>) -> Look {
        let mut state = self.state();
        if state.spans.is_empty() {
            return if state.closed {
                Look::End
            } else {
                Look::Nothing
            };
        }
        let now = Instant::now();
        let due = *due.get_or_insert(now + self.limits.delay);
        let hurried = state.closed || *self.settled.borrow() < state.awaited;
        if hurried || state.spans.len() >= self.limits.batch_spans || due <= now {
            return Look::Batch(self.take(&mut state));
        }
        Look::Wait(due)
    }

    fn take(&self, state: &mut State) -> Vec<Span> {
        let mut batch = Vec::with_capacity(state.spans.len().min(self.limits.batch_spans));
        let mut batch_bytes = 0;
        while batch.len() < self.limits.batch_spans {
            let Some((_, bytes)) = state.spans.front() else {
                break;
            };
            // One span always goes, however large it is.
            if !batch.is_empty() && batch_bytes + bytes > Batching::BATCH_BYTES {
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

    /// Notes that so many spans, which were taken, have been sent or dropped.
    pub(crate) fn settle(&self, spans: u64) {
        self.settled.send_modify(|settled| *settled += spans);
    }

    /// Waits, unless somebody is in a hurry.
    pub(crate) async fn pause(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let hurries = self.state().hurries;
        while self.state().hurries == hurries {
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep_until(until) => return,
            }
        }
    }

    /// Waits until everything that is in now has been sent or dropped.
    pub(crate) async fn flushed(&self) {
        let admitted = {
            let mut state = self.state();
            state.awaited = state.admitted;
            state.hurries += 1;
            state.admitted
        };
        self.wake.notify_one();
        // The sender lives as long as the queue, so this waits for nothing but the condition.
        drop(
            self.settled
                .subscribe()
                .wait_for(|settled| *settled >= admitted)
                .await,
        );
    }

    /// Lets no more spans in.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.hurries += 1;
        drop(state);
        self.wake.notify_one();
    }

    /// Drops everything that is still here, or taken and not settled. Only for when nobody sends any more.
    pub(crate) fn abandon(&self) {
        let mut state = self.state();
        state.spans = VecDeque::new();
        state.bytes = 0;
        let lost = state.admitted.saturating_sub(*self.settled.borrow());
        drop(state);
        add(&self.counters.shutdown, lost);
        self.settle(lost);
    }

    pub(crate) fn counts(&self) -> Counts {
        let state = self.state();
        let (admitted, bytes) = (state.admitted, state.bytes);
        drop(state);
        Counts {
            queued: admitted.saturating_sub(*self.settled.borrow()),
            queued_bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
            sent: self
                .counters
                .sent
                .load(std::sync::atomic::Ordering::Relaxed),
            dropped: self.counters.dropped(),
            retries: self
                .counters
                .retries
                .load(std::sync::atomic::Ordering::Relaxed),
        }
    }

    /// A maker of spans that panicked elsewhere leaves the queue as it was.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
