//! The traced producer.

use std::fmt;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Instant;

use futures_util::FutureExt as _;
use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt as _;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Message as _, OwnedHeaders, ToBytes};
use rdkafka::producer::future_producer::OwnedDeliveryResult;
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryFuture, DeliveryResult, FutureProducer, FutureRecord,
    Partitioner, ProducerContext, ThreadedProducer,
};
use rdkafka::statistics::Statistics;
use rdkafka::util::{AsyncRuntime, Timeout};

use super::kafka_tracing::KafkaTracing;
use super::operation::{KafkaOperation, RecordMetadata};
use super::settings::Settings;
use super::span_error::SpanError;

/// A producer of rdkafka that starts a span for every record and injects its context. All other
/// methods are those of the inner producer, through `Deref`.
///
/// The parent of a record is the context in its headers, else the one passed to `send_with_parent`,
/// else the active span. One exception: while a [`Delivery`](super::Delivery) is handled, a record
/// that still carries the headers of the delivery is being forwarded, and becomes a child of the
/// handling.
///
/// A record that exceeds the size limit only because of its context is sent without it. With the
/// client's limit (`message.max.bytes`) that applies to all records, with the topic's limit to
/// those whose sending is awaited.
///
/// ```compile_fail,E0277
/// # use rdkafka::{config::ClientConfig, producer::BaseProducer};
/// # use throughline::kafka::{Producer, Settings};
/// // Acknowledgements would be lost: `Producer` needs a `BaseProducer<AckContext<_>>`.
/// let inner: BaseProducer = ClientConfig::new().create().unwrap();
/// Producer::new(inner, Settings::default());
/// ```
#[derive(Clone)]
pub struct Producer<P> {
    inner: P,
    tracing: Arc<KafkaTracing>,
}

/// The span of a record in flight. It ends when it is dropped; without a result, as cancelled.
struct ProducerSpan {
    context: Context,
    /// The topic, when metrics are recorded.
    topic: Option<String>,
    /// The partition that the caller chose.
    partition: Option<i32>,
    tracing: Arc<KafkaTracing>,
    started: Instant,
    ack: AckState,
}

/// Whether the result of a record is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AckState {
    /// Nobody waits for it: the record is sent and forgotten.
    Unawaited,
    Awaited,
    Recorded,
}

/// The future acknowledgement of a record, from [`Producer::send_result`]. Dropping it ends the
/// span, because the acknowledgement will not be seen; once it was polled, as cancelled.
pub struct PendingAck {
    delivery: DeliveryFuture,
    span: ProducerSpan,
}

/// The client context of a traced [`BaseProducer`] or [`ThreadedProducer`]. It ends the span of a
/// record at its acknowledgement, and runs the application's delivery callback with that span
/// active.
#[derive(Debug, Clone, Default)]
pub struct AckContext<C>(C);

/// The clients of rdkafka that a [`Producer`] can trace, because they report acknowledgements to
/// it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not report acknowledgements",
    note = "create a `BaseProducer` or `ThreadedProducer` with the context `AckContext::new(..)`"
)]
pub trait TraceableProducer {}

/// The application's opaque value of a record, together with the span of the record.
pub struct TracedOpaque<D> {
    opaque: D,
    span: ProducerSpan,
}

// === impl TraceableProducer ===

impl<C: ClientContext + 'static, R: AsyncRuntime> TraceableProducer for FutureProducer<C, R> {}
impl<C: ProducerContext<Part>, Part: Partitioner> TraceableProducer
    for BaseProducer<AckContext<C>, Part>
{
}
impl<C: ProducerContext<Part>, Part: Partitioner> TraceableProducer
    for ThreadedProducer<AckContext<C>, Part>
{
}

// === impl Producer ===

impl<P: TraceableProducer> Producer<P> {
    /// Wraps `inner`.
    #[must_use]
    pub fn new(inner: P, settings: Settings) -> Self {
        Self {
            inner,
            tracing: KafkaTracing::new(settings),
        }
    }
}

impl<P> Producer<P> {
    /// Returns the inner producer.
    #[must_use]
    pub fn into_inner(self) -> P {
        self.inner
    }
}

impl<C, R> Producer<FutureProducer<C, R>>
where
    C: ClientContext + 'static,
    R: AsyncRuntime,
{
    /// Sends a record and awaits the broker's acknowledgement, like [`FutureProducer::send`].
    ///
    /// # Errors
    /// The error of [`FutureProducer::send`], which is recorded on the span too.
    #[expect(
        clippy::future_not_send,
        reason = "the future is Send when key and value are Sync"
    )]
    pub async fn send<K, V>(
        &self,
        record: FutureRecord<'_, K, V>,
        queue_timeout: impl Into<Timeout>,
    ) -> OwnedDeliveryResult
    where
        K: ToBytes + ?Sized,
        V: ToBytes + ?Sized,
    {
        self.send_traced(record, queue_timeout.into(), None).await
    }

    /// Sends a record like [`Producer::send`], with this parent in place of the active span.
    ///
    /// # Errors
    /// The error of [`FutureProducer::send`], which is recorded on the span too.
    #[expect(
        clippy::future_not_send,
        reason = "the future is Send when key and value are Sync"
    )]
    pub async fn send_with_parent<K, V>(
        &self,
        record: FutureRecord<'_, K, V>,
        queue_timeout: impl Into<Timeout>,
        parent: &Context,
    ) -> OwnedDeliveryResult
    where
        K: ToBytes + ?Sized,
        V: ToBytes + ?Sized,
    {
        self.send_traced(record, queue_timeout.into(), Some(parent))
            .await
    }

    /// Queues a record, and returns a future of its acknowledgement.
    ///
    /// # Errors
    /// The error of [`FutureProducer::send_result`], with the record in its original form.
    #[expect(clippy::result_large_err, reason = "rdkafka has this signature")]
    pub fn send_result<'a, K, V>(
        &self,
        mut record: FutureRecord<'a, K, V>,
    ) -> Result<PendingAck, (KafkaError, FutureRecord<'a, K, V>)>
    where
        K: ToBytes + ?Sized,
        V: ToBytes + ?Sized,
    {
        let context = self
            .tracing
            .start_send(&metadata_of(&record), record.headers.as_ref(), None);
        let original = self.tracing.original_headers(record.headers.as_ref());
        record.headers = self.tracing.inject(&context, record.headers.take());
        let mut span = ProducerSpan::new(&self.tracing, context, record.topic, record.partition);
        let result = self
            .inner
            .send_result(record)
            .or_else(|(error, mut record)| {
                if !is_too_large(&error) {
                    return Err((error, record));
                }
                // Perhaps only the context makes it too large: the record matters more than its
                // trace.
                record.headers = self.tracing.restore(record.headers.take(), &original);
                self.inner.send_result(record)
            });
        match result {
            Ok(delivery) => Ok(PendingAck { delivery, span }),
            Err((error, mut record)) => {
                span.record_result(Err(&error));
                record.headers = self.tracing.restore(record.headers.take(), &original);
                Err((error, record))
            }
        }
    }

    #[expect(
        clippy::future_not_send,
        reason = "the future is Send when key and value are Sync"
    )]
    async fn send_traced<K, V>(
        &self,
        mut record: FutureRecord<'_, K, V>,
        queue_timeout: Timeout,
        parent: Option<&Context>,
    ) -> OwnedDeliveryResult
    where
        K: ToBytes + ?Sized,
        V: ToBytes + ?Sized,
    {
        let context =
            self.tracing
                .start_send(&metadata_of(&record), record.headers.as_ref(), parent);
        let original = self.tracing.original_headers(record.headers.as_ref());
        record.headers = self.tracing.inject(&context, record.headers.take());
        let (topic, partition) = (record.topic, record.partition);
        let mut span = ProducerSpan::new(&self.tracing, context, topic, partition);
        span.ack = AckState::Awaited;
        let result = match self.inner.send(record, queue_timeout).await {
            Err((error, mut unsent)) if is_too_large(&error) => {
                let headers = self.tracing.restore(unsent.detach_headers(), &original);
                // rdkafka returns an owned message, from which the record is built again.
                let (key, payload, timestamp) = (
                    unsent.key(),
                    unsent.payload(),
                    unsent.timestamp().to_millis(),
                );
                let without_context = FutureRecord::<[u8], [u8]> {
                    topic,
                    partition,
                    payload,
                    key,
                    timestamp,
                    headers,
                };
                self.inner.send(without_context, queue_timeout).await
            }
            result => result,
        };
        span.record_result(
            result
                .as_ref()
                .map(|sent| (sent.partition, sent.offset))
                .map_err(|(error, _)| error),
        );
        result
    }
}

impl<C, Part> Producer<BaseProducer<AckContext<C>, Part>>
where
    C: ProducerContext<Part>,
    Part: Partitioner,
{
    /// Queues a record, like [`BaseProducer::send`]. Its span ends when the acknowledgement is
    /// polled.
    ///
    /// # Errors
    /// The error of [`BaseProducer::send`], with the record in its original form.
    #[expect(clippy::result_large_err, reason = "rdkafka has this signature")]
    pub fn send<'a, K, V>(
        &self,
        record: BaseRecord<'a, K, V, C::DeliveryOpaque>,
        parent: Option<&Context>,
    ) -> Result<(), (KafkaError, BaseRecord<'a, K, V, C::DeliveryOpaque>)>
    where
        K: ToBytes + ?Sized,
        V: ToBytes + ?Sized,
    {
        queue_traced(&self.tracing, record, parent, |record| {
            self.inner.send(record)
        })
    }
}

impl<C, Part> Producer<ThreadedProducer<AckContext<C>, Part>>
where
    C: ProducerContext<Part>,
    Part: Partitioner,
{
    /// Queues a record, like [`ThreadedProducer::send`]. Its span ends at the acknowledgement.
    ///
    /// # Errors
    /// The error of [`ThreadedProducer::send`], with the record in its original form.
    #[expect(clippy::result_large_err, reason = "rdkafka has this signature")]
    pub fn send<'a, K, V>(
        &self,
        record: BaseRecord<'a, K, V, C::DeliveryOpaque>,
        parent: Option<&Context>,
    ) -> Result<(), (KafkaError, BaseRecord<'a, K, V, C::DeliveryOpaque>)>
    where
        K: ToBytes + ?Sized,
        V: ToBytes + ?Sized,
    {
        queue_traced(&self.tracing, record, parent, |record| {
            self.inner.send(record)
        })
    }
}

impl<P> Deref for Producer<P> {
    type Target = P;

    fn deref(&self) -> &P {
        &self.inner
    }
}

impl<P> fmt::Debug for Producer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("tracing", &self.tracing)
            .finish_non_exhaustive()
    }
}

type DeliveryOpaque<D> = Box<TracedOpaque<D>>;

/// Queues a record with `send`, and keeps its span in the delivery opaque until the
/// acknowledgement.
#[expect(clippy::result_large_err, reason = "rdkafka has this signature")]
fn queue_traced<'a, K, V, D>(
    tracing: &Arc<KafkaTracing>,
    record: BaseRecord<'a, K, V, D>,
    parent: Option<&Context>,
    send: impl Fn(
        BaseRecord<'a, K, V, DeliveryOpaque<D>>,
    ) -> Result<(), (KafkaError, BaseRecord<'a, K, V, DeliveryOpaque<D>>)>,
) -> Result<(), (KafkaError, BaseRecord<'a, K, V, D>)>
where
    K: ToBytes + ?Sized,
    V: ToBytes + ?Sized,
    D: rdkafka::util::IntoOpaque,
{
    let metadata = RecordMetadata {
        topic: record.topic,
        partition: record.partition,
        offset: None,
        key: record.key.map(ToBytes::to_bytes),
        payload: record.payload.map(ToBytes::to_bytes),
        timestamp_ms: record.timestamp,
        tombstone: record.payload.is_none(),
        headers: record.headers.as_ref().map(OwnedHeaders::as_borrowed),
    };
    let context = tracing.start_send(&metadata, record.headers.as_ref(), parent);
    let original = tracing.original_headers(record.headers.as_ref());
    let headers = tracing.inject(&context, record.headers);
    let mut span = ProducerSpan::new(tracing, context, record.topic, record.partition);
    // The client reports every result, unless it is dropped before.
    span.ack = AckState::Awaited;
    let traced = BaseRecord {
        topic: record.topic,
        partition: record.partition,
        payload: record.payload,
        key: record.key,
        timestamp: record.timestamp,
        headers,
        delivery_opaque: Box::new(TracedOpaque {
            opaque: record.delivery_opaque,
            span,
        }),
    };
    let result = send(traced).or_else(|(error, mut traced)| {
        if !is_too_large(&error) {
            return Err((error, traced));
        }
        traced.headers = tracing.restore(traced.headers, &original);
        send(traced)
    });
    result.map_err(|(error, traced)| {
        let TracedOpaque { opaque, mut span } = *traced.delivery_opaque;
        span.record_result(Err(&error));
        let record = BaseRecord {
            topic: traced.topic,
            partition: traced.partition,
            payload: traced.payload,
            key: traced.key,
            timestamp: traced.timestamp,
            headers: tracing.restore(traced.headers, &original),
            delivery_opaque: opaque,
        };
        (error, record)
    })
}

/// Returns whether the record exceeds the size limit of the client or the topic.
fn is_too_large(error: &KafkaError) -> bool {
    *error == KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge)
}

fn metadata_of<'a, K, V>(record: &'a FutureRecord<'a, K, V>) -> RecordMetadata<'a>
where
    K: ToBytes + ?Sized,
    V: ToBytes + ?Sized,
{
    RecordMetadata {
        topic: record.topic,
        partition: record.partition,
        offset: None,
        key: record.key.map(ToBytes::to_bytes),
        payload: record.payload.map(ToBytes::to_bytes),
        timestamp_ms: record.timestamp,
        tombstone: record.payload.is_none(),
        headers: record.headers.as_ref().map(OwnedHeaders::as_borrowed),
    }
}

// === impl ProducerSpan ===

impl ProducerSpan {
    fn new(
        tracing: &Arc<KafkaTracing>,
        context: Context,
        topic: &str,
        partition: Option<i32>,
    ) -> Self {
        Self {
            context,
            topic: tracing.metric_topic(topic),
            partition,
            tracing: Arc::clone(tracing),
            started: Instant::now(),
            ack: AckState::Unawaited,
        }
    }

    /// Records the result; the span ends when the value is dropped.
    fn record_result(&mut self, result: Result<(i32, i64), &KafkaError>) {
        match result {
            Ok(sent) => self.record_outcome(Ok(sent)),
            Err(error) => self.record_outcome(Err(&SpanError::kafka(error))),
        }
    }

    fn record_outcome(&mut self, outcome: Result<(i32, i64), &SpanError<'_>>) {
        self.ack = AckState::Recorded;
        let topic = self.topic.as_deref();
        self.tracing
            .record_send(&self.context, topic, self.partition, outcome);
        let duration = self.started.elapsed();
        self.tracing
            .record_operation(KafkaOperation::Send, topic, duration, outcome.err());
    }
}

impl Drop for ProducerSpan {
    fn drop(&mut self) {
        if self.ack == AckState::Awaited {
            self.record_outcome(Err(&SpanError::cancelled()));
        }
        self.context.span().end();
    }
}

// === impl PendingAck ===

impl Future for PendingAck {
    type Output = <DeliveryFuture as Future>::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        if self.span.ack == AckState::Unawaited {
            self.span.ack = AckState::Awaited;
        }
        let result = ready!(self.delivery.poll_unpin(cx));
        let outcome = match &result {
            Ok(Ok(sent)) => Ok((sent.partition, sent.offset)),
            Ok(Err((error, _))) => Err(error),
            // The producer was dropped before the acknowledgement arrived.
            Err(_) => Err(&KafkaError::Canceled),
        };
        self.span.record_result(outcome);
        // At the acknowledgement, and not when the future is dropped some time later.
        self.span.context.span().end();
        Poll::Ready(result)
    }
}

impl fmt::Debug for PendingAck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingAck")
            .field("context", &self.span.context)
            .finish_non_exhaustive()
    }
}

// === impl AckContext ===

impl<C> AckContext<C> {
    /// Wraps the application's context, whose callbacks are still called.
    pub const fn new(context: C) -> Self {
        Self(context)
    }

    /// Returns the application's context.
    pub const fn inner(&self) -> &C {
        &self.0
    }
}

impl<C: ClientContext> ClientContext for AckContext<C> {
    // All callbacks of the application's context are forwarded, or they would be lost in silence.
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = C::ENABLE_REFRESH_OAUTH_TOKEN;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn stats(&self, statistics: Statistics) {
        self.0.stats(statistics);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.0.stats_raw(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }

    fn generate_oauth_token(
        &self,
        config: Option<&str>,
    ) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.0.generate_oauth_token(config)
    }
}

impl<C, Part> ProducerContext<Part> for AckContext<C>
where
    C: ProducerContext<Part>,
    Part: Partitioner,
{
    type DeliveryOpaque = Box<TracedOpaque<C::DeliveryOpaque>>;

    fn delivery(&self, result: &DeliveryResult<'_>, traced: Self::DeliveryOpaque) {
        let TracedOpaque { opaque, mut span } = *traced;
        span.record_result(
            result
                .as_ref()
                .map(|sent| (sent.partition(), sent.offset()))
                .map_err(|(error, _)| error),
        );
        // The callback may send another record, which becomes a child of this one.
        let _active = span.context.clone().attach();
        self.0.delivery(result, opaque);
    }

    fn get_custom_partitioner(&self) -> Option<&Part> {
        self.0.get_custom_partitioner()
    }
}

// === impl TracedOpaque ===

impl<D> fmt::Debug for TracedOpaque<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TracedOpaque")
            .field("context", &self.span.context)
            .finish_non_exhaustive()
    }
}
