//! Several received records, handled together under one span.

use std::fmt;
use std::ops::Deref;

use opentelemetry::Context;
use rdkafka::message::BorrowedMessage;

use super::open::Open;

/// The most records in one batch. A span keeps a limited number of links; [`crate::init`] sets the limit to what this
/// needs, and OpenTelemetry's own default of 128 drops the rest (`OTEL_SPAN_LINK_COUNT_LIMIT`).
pub const MOST_RECORDS: usize = 1024;

/// Received records with one open span that links to the sender of each. Partition and offset of a record stand on its
/// link. The span ends as that of a [`Delivery`](super::Delivery) does.
#[must_use = "a batch that is not handled ends its span at once"]
pub struct Batch<'c> {
    messages: Vec<BorrowedMessage<'c>>,
    open: Open,
}

// === impl Batch ===

impl<'c> Batch<'c> {
    pub(crate) fn new(messages: Vec<BorrowedMessage<'c>>, open: Open) -> Self {
        Self { messages, open }
    }

    /// The context that holds the batch's span.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.open.context
    }

    /// Awaits `work` with the batch's span active, then ends the span; errors and panics are recorded.
    pub async fn handle<T, E>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, E>
    where
        E: fmt::Display + fmt::Debug,
    {
        self.open.handle(work).await
    }

    /// Runs `work` with the batch's span active, then ends the span.
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

impl<'c> Deref for Batch<'c> {
    type Target = [BorrowedMessage<'c>];

    fn deref(&self) -> &Self::Target {
        &self.messages
    }
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("records", &self.messages.len())
            .field("context", &self.open.context)
            .finish()
    }
}
