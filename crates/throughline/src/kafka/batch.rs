//! Received records that are handled together, under one span.

use std::fmt;
use std::ops::Deref;

use opentelemetry::Context;
use rdkafka::message::BorrowedMessage;

use super::consumer_span::ConsumerSpan;
use super::delivery::Delivery;

/// The maximum number of records in a batch. A span holds a limited number of links;
/// [`crate::init`] raises the limit to this number, while OpenTelemetry's default of 128 drops the
/// others (`OTEL_SPAN_LINK_COUNT_LIMIT`).
pub const MAX_BATCH_RECORDS: usize = 1024;

/// Received records with one open span, which links to the sender of each. The link holds partition
/// and offset of its record. Where all senders are one, that is also the parent of the span. The
/// span ends like that of a [`Delivery`](super::Delivery).
///
/// [`DeliveryBatch::deliveries`] gives each record a span of its own, in the trace of its sender.
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

    /// Returns the records one by one, each with a span of its own: in the trace of its sender, and
    /// linked to the span of the batch. The span of a record starts when the iterator reaches it.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use rdkafka::consumer::{CommitMode, StreamConsumer};
    /// # use rdkafka::error::KafkaError;
    /// # use throughline::kafka::Consumer;
    /// # async fn example(consumer: Consumer<StreamConsumer>) -> Result<(), KafkaError> {
    /// let batch = consumer.recv_batch(500, Duration::from_millis(20)).await?;
    /// for delivery in batch.deliveries() {
    ///     delivery.handle(async { Ok::<_, std::io::Error>(()) }).await.ok();
    /// }
    /// consumer.settle_batch(&batch, CommitMode::Async)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn deliveries(&self) -> impl Iterator<Item = Delivery<&BorrowedMessage<'c>>> {
        self.messages
            .iter()
            .map(|message| Delivery::new(message, self.span.start_delivery(message)))
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
