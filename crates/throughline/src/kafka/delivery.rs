//! One received record and its span.

use std::fmt;
use std::ops::Deref;

use opentelemetry::Context;
use rdkafka::message::{BorrowedMessage, OwnedMessage};

use super::open::Open;

/// A received record with its open span. The span ends when the handler given to [`Delivery::handle`] or
/// [`Delivery::run`] is done, fails or panics; if neither is called, when the delivery is dropped.
///
/// As received it borrows from the consumer; [`Delivery::detach`] makes one that can go to another task or thread.
#[must_use = "a delivery that is not handled ends its span at once"]
pub struct Delivery<M> {
    message: M,
    open: Open,
}

// === impl Delivery ===

impl Delivery<BorrowedMessage<'_>> {
    /// The same delivery with a record of its own, for handling in a spawned task or on another thread:
    ///
    /// ```no_run
    /// # use rdkafka::consumer::StreamConsumer;
    /// # use throughline::kafka::Consumer;
    /// # async fn example(consumer: Consumer<StreamConsumer>) -> Result<(), rdkafka::error::KafkaError> {
    /// let delivery = consumer.recv().await?.detach();
    /// tokio::task::spawn(async move { delivery.handle(async { Ok::<_, std::io::Error>(()) }).await });
    /// # Ok(())
    /// # }
    /// ```
    pub fn detach(self) -> Delivery<OwnedMessage> {
        Delivery {
            message: self.message.detach(),
            open: self.open,
        }
    }
}

impl<M> Delivery<M> {
    pub(crate) fn new(message: M, open: Open) -> Self {
        Self { message, open }
    }

    /// The record, also to be had through `Deref`.
    #[must_use]
    pub fn message(&self) -> &M {
        &self.message
    }

    /// The context that holds the record's span, for work that must be traced below it elsewhere.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.open.context
    }

    /// Awaits `work` with the record's span active, then ends the span. An error is recorded on the span and returned; a
    /// panic is recorded and goes on. The future may borrow from the delivery.
    #[expect(
        clippy::future_not_send,
        reason = "it is, for records and work that can be sent"
    )]
    pub async fn handle<T, E>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, E>
    where
        E: fmt::Display + fmt::Debug,
    {
        self.open.handle(work).await
    }

    /// Runs `work` with the record's span active, then ends the span, as [`Delivery::handle`] does.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn run<T, E>(&self, work: impl FnOnce() -> Result<T, E>) -> Result<T, E>
    where
        E: fmt::Display + fmt::Debug,
    {
        self.open.run(work)
    }

    pub(crate) fn open(&self) -> &Open {
        &self.open
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
            .field("context", &self.open.context)
            .finish()
    }
}
