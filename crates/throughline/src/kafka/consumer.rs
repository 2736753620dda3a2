//! The traced consumer.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use futures_util::{StreamExt as _, pin_mut};
use opentelemetry::Context;
use rdkafka::consumer::{BaseConsumer, CommitMode, ConsumerContext, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::util::AsyncRuntime;
use rdkafka::{Offset, TopicPartitionList};

use super::batch::{Batch, MOST_RECORDS};
use super::delivery::Delivery;
use super::instrument::Instrument;
use super::settings::Settings;

/// A consumer of rdkafka whose records come with a span. Everything that is not traced is the inner consumer's, through
/// `Deref`.
pub struct Consumer<C> {
    inner: C,
    instrument: Arc<Instrument>,
    /// The error that ended the last batch, for the next call to tell.
    held: Mutex<Option<KafkaError>>,
}

// === impl Consumer ===

impl<C> Consumer<C> {
    /// Traces what `inner` receives.
    #[must_use]
    pub fn new(inner: C, settings: Settings) -> Self {
        Self {
            inner,
            instrument: Instrument::new(settings),
            held: Mutex::default(),
        }
    }

    /// The consumer within.
    #[must_use]
    pub fn into_inner(self) -> C {
        self.inner
    }

    /// Starts the span of a record that was received past this wrapper: from `stream()` or from the queue of one partition,
    /// which are the inner consumer's and not traced. Received by [`Consumer::recv`] and the like, a record has its span.
    pub fn deliver<'c>(&self, message: BorrowedMessage<'c>) -> Delivery<BorrowedMessage<'c>> {
        let open = self.instrument.receive(&message);
        Delivery::new(message, open)
    }

    fn gather<'c>(&self, messages: Vec<BorrowedMessage<'c>>) -> Batch<'c> {
        let open = self.instrument.receive_batch(&messages);
        Batch::new(messages, open)
    }

    /// Commits a delivered record inside a `settle` span, a child of the record's.
    ///
    /// # Errors
    /// Those of the commit.
    pub fn settle<X, M>(&self, delivery: &Delivery<M>, mode: CommitMode) -> KafkaResult<()>
    where
        X: ConsumerContext,
        M: Message,
        C: rdkafka::consumer::Consumer<X>,
    {
        let commit = || {
            self.inner
                .commit(&next_offsets([delivery.message()])?, mode)
        };
        self.instrument
            .settle(delivery.context(), delivery.open().topic.as_deref(), commit)
    }

    /// Commits a batch, in every partition it has records of, inside a `settle` span, a child of the batch's.
    ///
    /// # Errors
    /// Those of the commit.
    pub fn settle_batch<X: ConsumerContext>(
        &self,
        batch: &Batch<'_>,
        mode: CommitMode,
    ) -> KafkaResult<()>
    where
        C: rdkafka::consumer::Consumer<X>,
    {
        let commit = || self.inner.commit(&next_offsets(batch.iter())?, mode);
        self.instrument
            .settle(batch.context(), batch.open().topic.as_deref(), commit)
    }

    /// Commits everything received so far inside a `settle` span, a child of the active one.
    ///
    /// # Errors
    /// Those of the commit.
    pub fn settle_all<X: ConsumerContext>(&self, mode: CommitMode) -> KafkaResult<()>
    where
        C: rdkafka::consumer::Consumer<X>,
    {
        self.instrument.settle(&Context::current(), None, || {
            self.inner.commit_consumer_state(mode)
        })
    }

    fn hold(&self, error: KafkaError) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    fn tell_held(&self) -> KafkaResult<()> {
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            .map_or(Ok(()), Err)
    }
}

impl<X, R> Consumer<StreamConsumer<X, R>>
where
    X: ConsumerContext + 'static,
    R: AsyncRuntime,
{
    /// The next record. Its span starts when it arrives, not when the waiting began. Safe to cancel.
    ///
    /// # Errors
    /// Those of [`StreamConsumer::recv`].
    pub async fn recv(&self) -> Result<Delivery<BorrowedMessage<'_>>, KafkaError> {
        self.tell_held()?;
        Ok(self.deliver(self.inner.recv().await?))
    }

    /// Waits for a record, then takes what else arrives within `linger`, up to `most` (at most [`MOST_RECORDS`]).
    ///
    /// *Not* safe to cancel once a record is there: the records taken so far go with the future, and the consumer has moved
    /// past them. Bound the waiting by `linger`, or await this in a task of its own.
    ///
    /// # Errors
    /// Those of [`StreamConsumer::recv`]. One that comes after a record ends the batch and is the result of the next call.
    pub async fn recv_batch(&self, most: usize, linger: Duration) -> Result<Batch<'_>, KafkaError> {
        self.tell_held()?;
        let most = most.clamp(1, MOST_RECORDS);
        let mut stream = self.inner.stream();
        let mut messages = vec![stream.next().await.unwrap_or(Err(KafkaError::Canceled))?];
        let late = R::delay_for(linger);
        pin_mut!(late);
        while messages.len() < most {
            match select(stream.next(), late.as_mut()).await {
                Either::Left((Some(Ok(message)), _)) => messages.push(message),
                Either::Left((Some(Err(error)), _)) => {
                    self.hold(error);
                    break;
                }
                Either::Left((None, _)) | Either::Right(_) => break,
            }
        }
        Ok(self.gather(messages))
    }
}

impl<X: ConsumerContext> Consumer<BaseConsumer<X>> {
    /// The next record, when one arrives within `timeout`.
    pub fn poll(&self, timeout: Duration) -> Option<KafkaResult<Delivery<BorrowedMessage<'_>>>> {
        if let Err(error) = self.tell_held() {
            return Some(Err(error));
        }
        Some(
            self.inner
                .poll(timeout)?
                .map(|message| self.deliver(message)),
        )
    }

    /// What arrives within `timeout`, up to `most` (at most [`MOST_RECORDS`]); `None` when nothing does. An error that comes
    /// after a record ends the batch and is the result of the next call.
    pub fn poll_batch(&self, most: usize, timeout: Duration) -> Option<KafkaResult<Batch<'_>>> {
        if let Err(error) = self.tell_held() {
            return Some(Err(error));
        }
        let most = most.clamp(1, MOST_RECORDS);
        let deadline = Instant::now() + timeout;
        let mut messages = Vec::new();
        while messages.len() < most {
            match self
                .inner
                .poll(deadline.saturating_duration_since(Instant::now()))
            {
                Some(Ok(message)) => messages.push(message),
                Some(Err(error)) if messages.is_empty() => return Some(Err(error)),
                Some(Err(error)) => {
                    self.hold(error);
                    break;
                }
                None => break,
            }
        }
        (!messages.is_empty()).then(|| Ok(self.gather(messages)))
    }
}

impl<C> Deref for Consumer<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.inner
    }
}

impl<C> fmt::Debug for Consumer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("instrument", &self.instrument)
            .finish_non_exhaustive()
    }
}

/// In each partition, the offset after the last of these records there: what to commit.
fn next_offsets<'m, M: Message + 'm>(
    messages: impl IntoIterator<Item = &'m M>,
) -> KafkaResult<TopicPartitionList> {
    let mut last: BTreeMap<(&str, i32), i64> = BTreeMap::new();
    for message in messages {
        let offset = last
            .entry((message.topic(), message.partition()))
            .or_default();
        *offset = message.offset().max(*offset);
    }
    let mut next = TopicPartitionList::with_capacity(last.len());
    for ((topic, partition), offset) in last {
        next.add_partition_offset(topic, partition, Offset::Offset(offset.saturating_add(1)))?;
    }
    Ok(next)
}
