//! The traced producer.

use std::fmt;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};

use futures_util::FutureExt as _;
use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt as _;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Message as _, ToBytes};
use rdkafka::producer::future_producer::OwnedDeliveryResult;
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryFuture, DeliveryResult, FutureProducer, FutureRecord,
    Partitioner, ProducerContext, ThreadedProducer,
};
use rdkafka::statistics::Statistics;
use rdkafka::util::{AsyncRuntime, Timeout};

use super::instrument::Instrument;
use super::naming::Record;
use super::settings::Settings;

/// A producer of rdkafka that gives every record a span and the span's context. Everything that is not traced is the
/// inner producer's, through `Deref`.
///
/// A record's parent is the context already in its headers, else the one given to `send_with_parent`, else the active
/// span. The one exception: inside the handling of a [`Delivery`](super::Delivery), a record that still carries the
/// delivery's own headers is being forwarded, and is a child of the handling.
///
/// A record that is too large only with the context in it goes out without. Where the limit is the client's
/// (`message.max.bytes`), that holds for all; where it is the topic's, for those whose sending is awaited.
///
/// ```compile_fail,E0277
/// # use rdkafka::{config::ClientConfig, producer::BaseProducer};
/// # use throughline::kafka::{Producer, Settings};
/// let silent: BaseProducer = ClientConfig::new().create().unwrap(); // nothing would tell of its acknowledgements
/// Producer::new(silent, Settings::default()); // wants a `BaseProducer<AckContext<_>>`
/// ```
#[derive(Clone)]
pub struct Producer<P> {
    inner: P,
    instrument: Arc<Instrument>,
}

/// A record on its way. Its span ends when it is dropped.
struct Sending {
    context: Context,
    /// For counting, where that is wanted.
    topic: Option<String>,
    /// The partition that the caller chose.
    partition: Option<i32>,
    instrument: Arc<Instrument>,
}

/// The acknowledgement of a record given to [`Producer::send_result`]. When it is dropped early the span ends there, as
/// nobody will learn of the acknowledgement.
pub struct Pending {
    delivery: DeliveryFuture,
    sending: Sending,
}

/// The client context of a traced [`BaseProducer`] or [`ThreadedProducer`]: ends the span of a record when the broker
/// has acknowledged it, and runs the application's delivery callback with that span active.
#[derive(Debug, Clone, Default)]
pub struct AckContext<C>(C);

/// The clients of rdkafka that a [`Producer`] can trace: those that tell it of their acknowledgements.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not tell of its acknowledgements",
    note = "create a `BaseProducer` or `ThreadedProducer` with the context `AckContext::new(..)`"
)]
pub trait Traceable {}

/// The application's opaque value of a record together with the record's span.
pub struct Tagged<D> {
    opaque: D,
    sending: Sending,
}

// === impl Traceable ===

impl<C: ClientContext + 'static, R: AsyncRuntime> Traceable for FutureProducer<C, R> {}
impl<C: ProducerContext<Part>, Part: Partitioner> Traceable for BaseProducer<AckContext<C>, Part> {}
impl<C: ProducerContext<Part>, Part: Partitioner> Traceable
    for ThreadedProducer<AckContext<C>, Part>
{
}

// === impl Producer ===

impl<P: Traceable> Producer<P> {
    /// Traces what `inner` sends.
    #[must_use]
    pub fn new(inner: P, settings: Settings) -> Self {
        Self {
            inner,
            instrument: Instrument::new(settings),
        }
    }
}

impl<P> Producer<P> {
    /// The producer within.
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
    /// Sends a record and awaits the broker's acknowledgement, as [`FutureProducer::send`] does.
    ///
    /// # Errors
    /// Those of [`FutureProducer::send`], also recorded on the span.
    #[expect(
        clippy::future_not_send,
        reason = "it is, for keys and values that are `Sync`"
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
        self.deliver(record, queue_timeout.into(), None).await
    }

    /// [`Producer::send`] with this parent in place of the active span.
    ///
    /// # Errors
    /// Those of [`FutureProducer::send`], also recorded on the span.
    #[expect(
        clippy::future_not_send,
        reason = "it is, for keys and values that are `Sync`"
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
        self.deliver(record, queue_timeout.into(), Some(parent))
            .await
    }

    /// Enqueues a record; the result is a future of the acknowledgement.
    ///
    /// # Errors
    /// Those of [`FutureProducer::send_result`]: the record comes back without the context that was put in it.
    #[expect(clippy::result_large_err, reason = "the signature of rdkafka")]
    pub fn send_result<'a, K, V>(
        &self,
        mut record: FutureRecord<'a, K, V>,
    ) -> Result<Pending, (KafkaError, FutureRecord<'a, K, V>)>
    where
        K: ToBytes + ?Sized,
        V: ToBytes + ?Sized,
    {
        let context = self
            .instrument
            .send(&view(&record), record.headers.as_ref(), None);
        let given = self.instrument.given(record.headers.as_ref());
        record.headers = self.instrument.inject(&context, record.headers.take());
        let sending = Sending::new(&self.instrument, context, record.topic, record.partition);
        let result = self
            .inner
            .send_result(record)
            .or_else(|(error, mut record)| {
                if !is_too_large(&error) {
                    return Err((error, record));
                }
                record.headers = self.instrument.withdraw(record.headers.take(), &given);
                self.inner.send_result(record)
            });
        match result {
            Ok(delivery) => Ok(Pending { delivery, sending }),
            Err((error, mut record)) => {
                sending.done(Err(&error));
                record.headers = self.instrument.withdraw(record.headers.take(), &given);
                Err((error, record))
            }
        }
    }

    #[expect(
        clippy::future_not_send,
        reason = "it is, for keys and values that are `Sync`"
    )]
    async fn deliver<K, V>(
        &self,
        mut record: FutureRecord<'_, K, V>,
        queue_timeout: Timeout,
        parent: Option<&Context>,
    ) -> OwnedDeliveryResult
    where
        K: ToBytes + ?Sized,
        V: ToBytes + ?Sized,
    {
        let context = self
            .instrument
            .send(&view(&record), record.headers.as_ref(), parent);
        let given = self.instrument.given(record.headers.as_ref());
        record.headers = self.instrument.inject(&context, record.headers.take());
        let (topic, partition) = (record.topic, record.partition);
        let sending = Sending::new(&self.instrument, context, topic, partition);
        let result = match self.inner.send(record, queue_timeout).await {
            Err((error, mut unsent)) if is_too_large(&error) => {
                let headers = self.instrument.withdraw(unsent.detach_headers(), &given);
                let (key, payload, timestamp) = (
                    unsent.key(),
                    unsent.payload(),
                    unsent.timestamp().to_millis(),
                );
                let bare = FutureRecord::<[u8], [u8]> {
                    topic,
                    partition,
                    payload,
                    key,
                    timestamp,
                    headers,
                };
                self.inner.send(bare, queue_timeout).await
            }
            result => result,
        };
        sending.done(
            result
                .as_ref()
                .map(|at| (at.partition, at.offset))
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
    /// Enqueues a record, as [`BaseProducer::send`] does. Its span ends when the acknowledgement is polled.
    ///
    /// # Errors
    /// Those of [`BaseProducer::send`]: the record comes back without the context that was put in it.
    #[expect(clippy::result_large_err, reason = "the signature of rdkafka")]
    pub fn send<'a, K, V>(
        &self,
        record: BaseRecord<'a, K, V, C::DeliveryOpaque>,
        parent: Option<&Context>,
    ) -> Result<(), (KafkaError, BaseRecord<'a, K, V, C::DeliveryOpaque>)>
    where
        K: ToBytes + ?Sized,
        V: ToBytes + ?Sized,
    {
        enqueue(&self.instrument, record, parent, |record| {
            self.inner.send(record)
        })
    }
}

impl<C, Part> Producer<ThreadedProducer<AckContext<C>, Part>>
where
    C: ProducerContext<Part>,
    Part: Partitioner,
{
    /// Enqueues a record, as [`ThreadedProducer::send`] does. Its span ends at the acknowledgement.
    ///
    /// # Errors
    /// Those of [`ThreadedProducer::send`]: the record comes back without the context that was put in it.
    #[expect(clippy::result_large_err, reason = "the signature of rdkafka")]
    pub fn send<'a, K, V>(
        &self,
        record: BaseRecord<'a, K, V, C::DeliveryOpaque>,
        parent: Option<&Context>,
    ) -> Result<(), (KafkaError, BaseRecord<'a, K, V, C::DeliveryOpaque>)>
    where
        K: ToBytes + ?Sized,
        V: ToBytes + ?Sized,
    {
        enqueue(&self.instrument, record, parent, |record| {
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
            .field("instrument", &self.instrument)
            .finish_non_exhaustive()
    }
}

type Opaque<D> = Box<Tagged<D>>;

#[expect(clippy::result_large_err, reason = "the signature of rdkafka")]
fn enqueue<'a, K, V, D>(
    instrument: &Arc<Instrument>,
    record: BaseRecord<'a, K, V, D>,
    parent: Option<&Context>,
    send: impl Fn(
        BaseRecord<'a, K, V, Opaque<D>>,
    ) -> Result<(), (KafkaError, BaseRecord<'a, K, V, Opaque<D>>)>,
) -> Result<(), (KafkaError, BaseRecord<'a, K, V, D>)>
where
    K: ToBytes + ?Sized,
    V: ToBytes + ?Sized,
    D: rdkafka::util::IntoOpaque,
{
    let seen = Record {
        topic: record.topic,
        partition: record.partition,
        offset: None,
        key: record.key.map(ToBytes::to_bytes),
        tombstone: record.payload.is_none(),
    };
    let context = instrument.send(&seen, record.headers.as_ref(), parent);
    let given = instrument.given(record.headers.as_ref());
    let headers = instrument.inject(&context, record.headers);
    let sending = Sending::new(instrument, context, record.topic, record.partition);
    let tagged = BaseRecord {
        topic: record.topic,
        partition: record.partition,
        payload: record.payload,
        key: record.key,
        timestamp: record.timestamp,
        headers,
        delivery_opaque: Box::new(Tagged {
            opaque: record.delivery_opaque,
            sending,
        }),
    };
    let result = send(tagged).or_else(|(error, mut tagged)| {
        if !is_too_large(&error) {
            return Err((error, tagged));
        }
        tagged.headers = instrument.withdraw(tagged.headers, &given);
        send(tagged)
    });
    result.map_err(|(error, tagged)| {
        let Tagged { opaque, sending } = *tagged.delivery_opaque;
        sending.done(Err(&error));
        let record = BaseRecord {
            topic: tagged.topic,
            partition: tagged.partition,
            payload: tagged.payload,
            key: tagged.key,
            timestamp: tagged.timestamp,
            headers: instrument.withdraw(tagged.headers, &given),
            delivery_opaque: opaque,
        };
        (error, record)
    })
}

/// Whether the record is larger than the client or the topic allows: perhaps by no more than its context.
fn is_too_large(error: &KafkaError) -> bool {
    *error == KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge)
}

fn view<'a, K, V>(record: &FutureRecord<'a, K, V>) -> Record<'a>
where
    K: ToBytes + ?Sized,
    V: ToBytes + ?Sized,
{
    Record {
        topic: record.topic,
        partition: record.partition,
        offset: None,
        key: record.key.map(ToBytes::to_bytes),
        tombstone: record.payload.is_none(),
    }
}

// === impl Sending ===

impl Sending {
    fn new(
        instrument: &Arc<Instrument>,
        context: Context,
        topic: &str,
        partition: Option<i32>,
    ) -> Self {
        Self {
            context,
            topic: instrument.counted_topic(topic),
            partition,
            instrument: Arc::clone(instrument),
        }
    }

    /// Records the result; the span ends when the value is dropped.
    fn done(&self, result: Result<(i32, i64), &KafkaError>) {
        self.instrument
            .sent(&self.context, self.topic.as_deref(), self.partition, result);
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.context.span().end();
    }
}

// === impl Pending ===

impl Future for Pending {
    type Output = <DeliveryFuture as Future>::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        let result = ready!(self.delivery.poll_unpin(cx));
        let outcome = match &result {
            Ok(Ok(at)) => Ok((at.partition, at.offset)),
            Ok(Err((error, _))) => Err(error),
            Err(_) => Err(&KafkaError::Canceled),
        };
        self.sending.done(outcome);
        self.sending.context.span().end();
        Poll::Ready(result)
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending")
            .field("context", &self.sending.context)
            .finish_non_exhaustive()
    }
}

// === impl AckContext ===

impl<C> AckContext<C> {
    /// Wraps the application's own context, whose callbacks keep being called.
    pub const fn new(context: C) -> Self {
        Self(context)
    }

    /// The application's own context.
    pub const fn inner(&self) -> &C {
        &self.0
    }
}

impl<C: ClientContext> ClientContext for AckContext<C> {
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
    type DeliveryOpaque = Box<Tagged<C::DeliveryOpaque>>;

    fn delivery(&self, result: &DeliveryResult<'_>, tagged: Self::DeliveryOpaque) {
        let Tagged { opaque, sending } = *tagged;
        sending.done(
            result
                .as_ref()
                .map(|at| (at.partition(), at.offset()))
                .map_err(|(error, _)| error),
        );
        let _active = sending.context.clone().attach();
        self.0.delivery(result, opaque);
    }

    fn get_custom_partitioner(&self) -> Option<&Part> {
        self.0.get_custom_partitioner()
    }
}

// === impl Tagged ===

impl<D> fmt::Debug for Tagged<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tagged")
            .field("context", &self.sending.context)
            .finish_non_exhaustive()
    }
}
