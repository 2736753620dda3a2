//! The traced consumer.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use futures_util::{StreamExt as _, pin_mut};
use opentelemetry::Context;
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::util::AsyncRuntime;
use rdkafka::{Offset, TopicPartitionList};

use super::batch::{DeliveryBatch, MAX_BATCH_RECORDS};
use super::consumer_span::ConsumerSpan;
use super::delivery::Delivery;
use super::kafka_tracing::{KafkaTracing, StartedSpan};
use super::operation::KafkaOperation;
use super::settings::Settings;
use super::span_error::SpanError;
use super::traceable_consumer::{TraceableConsumer, TraceablePoll, TraceableStream};

/// A consumer of rdkafka that starts a span for every record. All other methods are those of the
/// inner consumer, through `Deref`.
///
/// ```compile_fail,E0277
/// use throughline::kafka::{Consumer, Settings};
///
/// // Only a consumer can be traced.
/// Consumer::new(5, Settings::default());
/// ```
pub struct Consumer<C> {
    inner: C,
    tracing: Arc<KafkaTracing>,
    /// The error that ended the last batch; the next call returns it.
    pending_error: Mutex<Option<KafkaError>>,
}

// === impl Consumer ===

impl<C: TraceableConsumer> Consumer<C> {
    /// Wraps `inner`.
    #[must_use]
    pub fn new(inner: C, settings: Settings) -> Self {
        Self {
            inner,
            tracing: KafkaTracing::new(settings),
            pending_error: Mutex::default(),
        }
    }

    /// Commits a record inside a `commit` span, a child of the record's.
    ///
    /// # Errors
    /// The error of the commit.
    pub fn settle<M: Message>(&self, delivery: &Delivery<M>, mode: CommitMode) -> KafkaResult<()> {
        let commit = || {
            self.inner
                .client()
                .commit(&next_offsets([delivery.message()])?, mode)
        };
        self.tracing
            .trace_commit(delivery.context(), delivery.span().topic(), commit)
    }

    /// Commits a batch, in every partition of its records, inside a `commit` span, a child of the
    /// batch's.
    ///
    /// # Errors
    /// The error of the commit.
    pub fn settle_batch(&self, batch: &DeliveryBatch<'_>, mode: CommitMode) -> KafkaResult<()> {
        let commit = || {
            self.inner
                .client()
                .commit(&next_offsets(batch.iter())?, mode)
        };
        self.tracing
            .trace_commit(batch.context(), batch.span().topic(), commit)
    }

    /// Commits all received records inside a `commit` span, a child of the active one.
    ///
    /// # Errors
    /// The error of the commit.
    pub fn settle_all(&self, mode: CommitMode) -> KafkaResult<()> {
        self.tracing.trace_commit(&Context::current(), None, || {
            self.inner.client().commit_consumer_state(mode)
        })
    }
}

impl<C> Consumer<C> {
    /// Returns the inner consumer.
    #[must_use]
    pub fn into_inner(self) -> C {
        self.inner
    }

    /// Starts the span of a record from `stream()` or from a partition queue, which belong to the
    /// inner consumer and are not traced. Records from [`Consumer::recv`] and the like have a span
    /// already. Partition queues need an `Arc`:
    ///
    /// ```no_run
    /// use std::sync::Arc;
    /// use rdkafka::config::ClientConfig;
    /// use rdkafka::consumer::StreamConsumer;
    /// use rdkafka::error::KafkaError;
    /// use throughline::kafka::{Consumer, Settings};
    ///
    /// # async fn example(config: ClientConfig) -> Result<(), Box<dyn std::error::Error>> {
    /// let inner = Arc::new(config.create::<StreamConsumer>()?);
    /// let consumer = Consumer::new(inner, Settings::from(&config));
    /// let queue = consumer.split_partition_queue("orders", 0).ok_or(KafkaError::Canceled)?;
    /// let delivery = consumer.deliver(queue.recv().await?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn deliver<'c>(&self, message: BorrowedMessage<'c>) -> Delivery<BorrowedMessage<'c>> {
        let span = self.tracing.start_receive(&message);
        Delivery::new(message, self.open(span))
    }

    fn batch<'c>(&self, messages: Vec<BorrowedMessage<'c>>) -> DeliveryBatch<'c> {
        let span = self.tracing.start_receive_batch(&messages);
        DeliveryBatch::new(messages, self.open(span))
    }

    /// Records the duration of a call up to its first record or error. A call that finds neither
    /// is idle, and says nothing about the brokers.
    fn record_poll(&self, started: Instant, received: &KafkaResult<BorrowedMessage<'_>>) {
        let error = received.as_ref().err().map(SpanError::kafka);
        let topic = received.as_ref().ok().map(Message::topic);
        self.tracing.record_operation(
            KafkaOperation::Poll,
            topic,
            started.elapsed(),
            error.as_ref(),
        );
    }

    fn open(&self, span: StartedSpan) -> ConsumerSpan {
        ConsumerSpan::new(span, Arc::clone(&self.tracing))
    }

    fn defer_error(&self, error: KafkaError) {
        *self
            .pending_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// Returns the error that ended the last batch, once.
    fn take_pending_error(&self) -> KafkaResult<()> {
        self.pending_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            .map_or(Ok(()), Err)
    }
}

#[expect(
    clippy::future_not_send,
    reason = "futures are Send where the consumer is Sync"
)]
impl<C: TraceableStream> Consumer<C> {
    /// Receives the next record. Its span starts at the arrival, not at the call. Cancel safe.
    ///
    /// # Errors
    /// The error of [`StreamConsumer::recv`](rdkafka::consumer::StreamConsumer::recv).
    pub async fn recv(&self) -> Result<Delivery<BorrowedMessage<'_>>, KafkaError> {
        self.take_pending_error()?;
        let started = Instant::now();
        let received = self.inner.stream_consumer().recv().await;
        self.record_poll(started, &received);
        Ok(self.deliver(received?))
    }

    /// Waits for a record, then receives more within `linger`, up to `max_records` (and at most
    /// [`MAX_BATCH_RECORDS`]).
    ///
    /// *Not* cancel safe after the first record: received records are lost with the future, and the
    /// consumer has moved past them. Bound the wait with `linger`, or await this in a separate
    /// task.
    ///
    /// # Errors
    /// The error of [`StreamConsumer::recv`](rdkafka::consumer::StreamConsumer::recv). An error
    /// after a record ends the batch, and the next call returns it.
    pub async fn recv_batch(
        &self,
        max_records: usize,
        linger: Duration,
    ) -> Result<DeliveryBatch<'_>, KafkaError> {
        self.take_pending_error()?;
        let max_records = max_records.clamp(1, MAX_BATCH_RECORDS);
        let started = Instant::now();
        let mut stream = self.inner.stream_consumer().stream();
        let first = stream.next().await.unwrap_or(Err(KafkaError::Canceled));
        self.record_poll(started, &first);
        let mut messages = vec![first?];
        // Starts after the first record: an idle topic must not end batches early.
        let timeout = C::Runtime::delay_for(linger);
        pin_mut!(timeout);
        while messages.len() < max_records {
            match select(stream.next(), timeout.as_mut()).await {
                Either::Left((Some(Ok(message)), _)) => messages.push(message),
                Either::Left((Some(Err(error)), _)) => {
                    self.defer_error(error);
                    break;
                }
                Either::Left((None, _)) | Either::Right(_) => break,
            }
        }
        Ok(self.batch(messages))
    }
}

impl<C: TraceablePoll> Consumer<C> {
    /// Receives the next record, if one arrives within `timeout`.
    pub fn poll(&self, timeout: Duration) -> Option<KafkaResult<Delivery<BorrowedMessage<'_>>>> {
        if let Err(error) = self.take_pending_error() {
            return Some(Err(error));
        }
        let started = Instant::now();
        let received = self.inner.base_consumer().poll(timeout)?;
        self.record_poll(started, &received);
        Some(received.map(|message| self.deliver(message)))
    }

    /// Receives records within `timeout`, up to `max_records` (and at most [`MAX_BATCH_RECORDS`]);
    /// `None` without any. An error after a record ends the batch, and the next call returns it.
    pub fn poll_batch(
        &self,
        max_records: usize,
        timeout: Duration,
    ) -> Option<KafkaResult<DeliveryBatch<'_>>> {
        if let Err(error) = self.take_pending_error() {
            return Some(Err(error));
        }
        let max_records = max_records.clamp(1, MAX_BATCH_RECORDS);
        let started = Instant::now();
        let deadline = started + timeout;
        let mut messages = Vec::new();
        while messages.len() < max_records {
            let rest = deadline.saturating_duration_since(Instant::now());
            let received = self.inner.base_consumer().poll(rest);
            if let Some(first) = received.as_ref().filter(|_| messages.is_empty()) {
                self.record_poll(started, first);
            }
            match received {
                Some(Ok(message)) => messages.push(message),
                // Without records no batch would be lost, so the error is returned at once.
                Some(Err(error)) if messages.is_empty() => return Some(Err(error)),
                Some(Err(error)) => {
                    self.defer_error(error);
                    break;
                }
                None => break,
            }
        }
        (!messages.is_empty()).then(|| Ok(self.batch(messages)))
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
            .field("tracing", &self.tracing)
            .finish_non_exhaustive()
    }
}

/// Returns the offsets to commit: in each partition, the one after the last of these records.
fn next_offsets<'m, M: Message + 'm>(
    messages: impl IntoIterator<Item = &'m M>,
) -> KafkaResult<TopicPartitionList> {
    let mut last: BTreeMap<(&str, i32), i64> = BTreeMap::new();
    for message in messages {
        let offset = last
            .entry((message.topic(), message.partition()))
            .or_default();
        // The highest offset counts, whatever the order of the records.
        *offset = message.offset().max(*offset);
    }
    let mut next = TopicPartitionList::with_capacity(last.len());
    for ((topic, partition), offset) in last {
        // Kafka commits the offset of the next record to read, not of the last one read.
        next.add_partition_offset(topic, partition, Offset::Offset(offset.saturating_add(1)))?;
    }
    Ok(next)
}
