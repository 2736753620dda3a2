//! A consumer span that is open while records are handled, and ends exactly once: when the handler is done, when it
//! fails, when it panics, or when the record is dropped unhandled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use opentelemetry::Context;
use opentelemetry::trace::{FutureExt as _, TraceContextExt as _};

use super::instrument::Instrument;
use super::naming::Failure;

/// The span of one received record or batch.
pub(crate) struct Open {
    /// Holds the span.
    pub(crate) context: Context,
    /// Whether the span is active while the handler runs.
    pub(crate) active: bool,
    /// The topic, when there is only one.
    pub(crate) topic: Option<String>,
    pub(crate) instrument: Arc<Instrument>,
    started: Instant,
    ended: AtomicBool,
}

/// Ends the span as failed when it is dropped by a panic on its way up.
struct OnUnwind<'a>(&'a Open);

// === impl Open ===

impl Open {
    pub(crate) fn new(
        context: Context,
        active: bool,
        topic: Option<String>,
        instrument: Arc<Instrument>,
    ) -> Self {
        Self {
            context,
            active,
            topic,
            instrument,
            started: Instant::now(),
            ended: AtomicBool::new(false),
        }
    }

    /// Awaits the handler with the span active.
    pub(crate) async fn handle<T, E>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E>
    where
        E: std::fmt::Display + std::fmt::Debug,
    {
        let unwind = OnUnwind(self);
        let result = if self.active {
            work.with_context(self.context.clone()).await
        } else {
            work.await
        };
        self.end(result.as_ref().err().map(Failure::of).as_ref());
        drop(unwind);
        result
    }

    /// Runs the handler with the span active.
    pub(crate) fn run<T, E>(&self, work: impl FnOnce() -> Result<T, E>) -> Result<T, E>
    where
        E: std::fmt::Display + std::fmt::Debug,
    {
        let unwind = OnUnwind(self);
        let attached = self.active.then(|| self.context.clone().attach());
        let result = work();
        drop(attached);
        self.end(result.as_ref().err().map(Failure::of).as_ref());
        drop(unwind);
        result
    }

    fn end(&self, failure: Option<&Failure>) {
        if self.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        let span = self.context.span();
        if let Some(failure) = failure {
            self.instrument.naming().fail(failure, &span);
        }
        span.end();
        self.instrument
            .processed(self.topic.as_deref(), self.started.elapsed(), failure);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.end(std::thread::panicking().then(Failure::panic).as_ref());
    }
}

// === impl OnUnwind ===

impl Drop for OnUnwind<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end(Some(&Failure::panic()));
        }
    }
}
