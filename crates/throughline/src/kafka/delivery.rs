//! One received record and its span.

use std::fmt;
use std::ops::Deref;

use opentelemetry::Context;
use rdkafka::message::BorrowedMessage;

use super::open::Open;

/// A received record with its open span. The span ends when the handler given to [`Delivery::handle`] or
/// [`Delivery::run`] is done, fails or panics; if neither is called, when the delivery is dropped.
#[must_use = "a delivery that is not handled ends its span at once"]
pub struct Delivery<'c> {
    message: BorrowedMessage<'c>,
    open: Open,
}

// === impl Delivery ===

impl<'c> Delivery<'c> {
    pub(crate) fn new(message: BorrowedMessage<'c>, open: Open) -> Self {
        Self { message, open }
    }

    /// The record, also to be had through `Deref`.
    #[must_use]
    pub fn message(&self) -> &BorrowedMessage<'c> {
        &self.message
    }

    /// The context that holds the record's span, for work that must be traced below it elsewhere.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.open.context
    }

    /// Awaits `work` with the record's span active, then ends the span. An error is recorded on the span and returned; a
    /// panic is recorded and goes on. The future may borrow from the delivery.
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

impl<'c> Deref for Delivery<'c> {
    type Target = BorrowedMessage<'c>;

    fn deref(&self) -> &Self::Target {
        &self.message
    }
}

impl fmt::Debug for Delivery<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").field("message", &self.message).field("context", &self.open.context).finish()
    }
}
