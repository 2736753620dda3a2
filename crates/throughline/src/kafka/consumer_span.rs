//! A consumer span that is open while records are handled. It ends exactly once: when the handler
//! returns, fails or panics, or, as cancelled, when the record is dropped unhandled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use opentelemetry::Context;
use opentelemetry::trace::{FutureExt as _, TraceContextExt as _};
use rdkafka::message::BorrowedMessage;
use tracing::Instrument as _;

use super::kafka_tracing::{KafkaTracing, StartedSpan};
use super::span_error::SpanError;

/// The span of one received record or batch.
pub(crate) struct ConsumerSpan {
    span: StartedSpan,
    tracing: Arc<KafkaTracing>,
    started: Instant,
    has_ended: AtomicBool,
    /// Whether the records of a batch have spans of their own.
    has_deliveries: AtomicBool,
}

/// A guard that ends the span as failed when a panic drops it.
struct ConsumerSpanGuard<'a>(&'a ConsumerSpan);

// === impl ConsumerSpan ===

impl ConsumerSpan {
    pub(crate) fn new(span: StartedSpan, tracing: Arc<KafkaTracing>) -> Self {
        Self {
            span,
            tracing,
            started: Instant::now(),
            has_ended: AtomicBool::new(false),
            has_deliveries: AtomicBool::new(false),
        }
    }

    /// Returns the context that holds the span.
    pub(crate) const fn context(&self) -> &Context {
        &self.span.context
    }

    /// Returns the topic, when there is only one.
    pub(crate) fn topic(&self) -> Option<&str> {
        self.span.topic.as_deref()
    }

    /// Starts the span of one record of this batch.
    pub(crate) fn start_delivery(&self, message: &BorrowedMessage<'_>) -> Self {
        self.has_deliveries.store(true, Ordering::Release);
        let span = self.tracing.start_handling(message, self.context());
        Self::new(span, Arc::clone(&self.tracing))
    }

    /// Awaits the handler with the span active.
    pub(crate) async fn handle<T, E>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E>
    where
        E: std::fmt::Display + std::fmt::Debug,
    {
        // Caught panics must end the span too, even where the record lives on.
        let guard = ConsumerSpanGuard(self);
        // An interceptor span has ended already, and must not become a parent.
        let result = if self.span.is_active {
            work.with_context(self.span.context.clone())
                .instrument(self.span.scope.clone())
                .await
        } else {
            work.await
        };
        self.end(result.as_ref().err().map(SpanError::of).as_ref());
        drop(guard);
        result
    }

    /// Runs the handler with the span active.
    pub(crate) fn run<T, E>(&self, work: impl FnOnce() -> Result<T, E>) -> Result<T, E>
    where
        E: std::fmt::Display + std::fmt::Debug,
    {
        let guard = ConsumerSpanGuard(self);
        let attached = self
            .span
            .is_active
            .then(|| self.span.context.clone().attach());
        let result = self.span.scope.in_scope(work);
        drop(attached);
        self.end(result.as_ref().err().map(SpanError::of).as_ref());
        drop(guard);
        result
    }

    fn end(&self, error: Option<&SpanError<'_>>) {
        // The handler, a panic and the drop may all get here.
        if self.has_ended.swap(true, Ordering::AcqRel) {
            return;
        }
        let span = self.span.context.span();
        if let Some(error) = error {
            self.tracing.naming().record_error(error, &span);
        }
        // Ended explicitly, because clones of the context may keep the span alive.
        span.end();
        // The handling of a batch record by record is measured record by record.
        if !self.has_deliveries.load(Ordering::Acquire) {
            self.tracing
                .record_processing(self.topic(), self.started.elapsed(), error);
        }
    }
}

impl Drop for ConsumerSpan {
    fn drop(&mut self) {
        // A handler that ran to its end has ended the span. This one was cancelled, or there was
        // none.
        let error = if std::thread::panicking() {
            Some(SpanError::panic())
        } else {
            // An interceptor's span covers the receipt only, and ended with it. A batch whose
            // records were handled one by one has no handler of its own.
            let is_handled = self.has_deliveries.load(Ordering::Acquire);
            (self.span.is_active && !is_handled).then(SpanError::cancelled)
        };
        self.end(error.as_ref());
    }
}

// === impl ConsumerSpanGuard ===

impl Drop for ConsumerSpanGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end(Some(&SpanError::panic()));
        }
    }
}
