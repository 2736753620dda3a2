//! Received records that are handled together, under one span.

use std::fmt;
use std::ops::Deref;

use opentelemetry::Context;
use rdkafka::message::BorrowedMessage;

use super::consumer_span::ConsumerSpan;

/// The maximum number of records in a batch. A span holds a limited number of links;
/// [`crate::init`] raises the limit to this number, while OpenTelemetry's default of 128 drops the
/// others (`OTEL_SPAN_LINK_COUNT_LIMIT`).
pub const MAX_BATCH_RECORDS: usize = 1024;

/// Received records with one open span that links to the sender of each. The link holds partition
/// and offset of its record. The span ends like that of a [`Delivery`](super::Delivery).
#[must_use = "dropping a batch ends its span"]
pub struct DeliveryBatch<'c> {
    messages: Vec<BorrowedMessage<'c>>,
    span: ConsumerSpan,
}

// === impl DeliveryBatch ===

impl<'c> DeliveryBatch<'c> {
    pub(crate) fn new(messages: Vec<BorrowedMessage<'c>>, span: ConsumerSpan) -> Self {
        Self { messages, span }
    }

    /// Returns the context that holds the span.
    #[must_use]
    pub fn context(&self) -> &Context {
        self.span.context()
    }

    /// Awaits `work` with the span active, then ends the span. Errors and panics are recorded.
    pub async fn handle<T, E>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, E>
    where
        E: fmt::Display + fmt::Debug,
    {
        self.span.handle(work).await
    }

    /// Runs `work` with the span active, then ends the span.
    ///
    /// # Errors
    /// The error of `work`.
    pub fn run<T, E>(&self, work: impl FnOnce() -> Result<T, E>) -> Result<T, E>
    where
        E: fmt::Display + fmt::Debug,
    {
        self.span.run(work)
    }

    pub(crate) const fn span(&self) -> &ConsumerSpan {
        &self.span
    }
}

impl<'c> Deref for DeliveryBatch<'c> {
    type Target = [BorrowedMessage<'c>];

    fn deref(&self) -> &Self::Target {
        &self.messages
    }
}

impl fmt::Debug for DeliveryBatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeliveryBatch")
            .field("records", &self.messages.len())
            .field("context", self.span.context())
            .finish()
    }
}
