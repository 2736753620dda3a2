//! A received record and its span.

use std::fmt;
use std::ops::Deref;

use opentelemetry::Context;
use rdkafka::message::{BorrowedMessage, OwnedMessage};

use super::consumer_span::ConsumerSpan;

/// A received record with its open span. The span ends when the handler of [`Delivery::handle`] or
/// [`Delivery::run`] returns, fails or panics. A delivery that is dropped without a handler, or
/// whose handler was cancelled, ends its span with `error.type=cancelled`.
///
/// A delivery borrows from the consumer; [`Delivery::detach`] makes it independent, for another
/// task or thread.
#[must_use = "dropping a delivery ends its span"]
pub struct Delivery<M> {
    message: M,
    span: ConsumerSpan,
}

// === impl Delivery ===

impl Delivery<BorrowedMessage<'_>> {
    /// Copies the record, for handling in a spawned task or on another thread:
    ///
    /// ```no_run
    /// # use rdkafka::consumer::StreamConsumer;
    /// # use throughline::kafka::Consumer;
    /// # use rdkafka::error::KafkaError;
    /// # async fn example(consumer: Consumer<StreamConsumer>) -> Result<(), KafkaError> {
    /// let delivery = consumer.recv().await?.detach();
    /// tokio::task::spawn(async move {
    ///     delivery.handle(async { Ok::<_, std::io::Error>(()) }).await
    /// });
    /// # Ok(())
    /// # }
    /// ```
    pub fn detach(self) -> Delivery<OwnedMessage> {
        Delivery {
            message: self.message.detach(),
            span: self.span,
        }
    }
}

impl<M> Delivery<M> {
    pub(crate) fn new(message: M, span: ConsumerSpan) -> Self {
        Self { message, span }
    }

    /// Returns the record, as `Deref` does.
    #[must_use]
    pub fn message(&self) -> &M {
        &self.message
    }

    /// Returns the context that holds the span, for work that is traced below it elsewhere.
    #[must_use]
    pub fn context(&self) -> &Context {
        self.span.context()
    }

    /// Awaits `work` with the span active, then ends the span. An error is recorded and returned; a
    /// panic is recorded and propagated. The future may borrow from the delivery.
    #[expect(
        clippy::future_not_send,
        reason = "the future is Send when record and work are"
    )]
    pub async fn handle<T, E>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, E>
    where
        E: fmt::Display + fmt::Debug,
    {
        self.span.handle(work).await
    }

    /// Runs `work` with the span active, then ends the span, like [`Delivery::handle`].
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

impl<M> Deref for Delivery<M> {
    type Target = M;

    fn deref(&self) -> &Self::Target {
        &self.message
    }
}

impl<M: fmt::Debug> fmt::Debug for Delivery<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("message", &self.message)
            .field("context", self.span.context())
            .finish()
    }
}
