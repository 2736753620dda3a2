//! The tracing shared by producers and consumers: spans, contexts in headers, metrics.

use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::trace::{Link, SpanBuilder, SpanContext, SpanKind, TraceContextExt as _};
use opentelemetry::{Context, KeyValue};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _, OwnedHeaders};
use throughline_model::context::{Carrier as _, CarrierMut as _, HeaderList};
use throughline_model::convention::{
    ERROR_TYPE, FOLLOWS_FROM, MESSAGING_BATCH_MESSAGE_COUNT, MESSAGING_CONSUMER_GROUP_NAME,
    MESSAGING_DESTINATION_NAME, MESSAGING_OPERATION_NAME, MESSAGING_SYSTEM, OPENTRACING_REF_TYPE,
};

use super::headers::{RecordHeaders, RecordHeadersMut, SecondSpanHeaders};
use super::naming::{Naming, push_position};
use super::opentracing::OpenTracing;
use super::operation::{KafkaOperation, RecordMetadata};
use super::settings::{ClientSettings, Handling, HeaderInjection, SenderRelation, Settings};
use super::span_error::SpanError;
use crate::Telemetry;
use crate::bridge;
use crate::propagation::ReceivedTraceContext;
use crate::telemetry::ResolvedTelemetry;

/// The tracing of one producer or consumer.
#[derive(Debug)]
pub(crate) struct KafkaTracing {
    telemetry: Telemetry,
    settings: Arc<ClientSettings>,
}

/// A span that has started for received records.
#[derive(Debug)]
pub(crate) struct StartedSpan {
    /// The context that holds the span.
    pub(crate) context: Context,
    /// The span of `tracing` that stands for it in the handler.
    pub(crate) scope: tracing::Span,
    /// Whether the span is active while the handler runs.
    pub(crate) is_active: bool,
    /// The topic, when there is only one.
    pub(crate) topic: Option<String>,
}

/// The headers of a record before injection.
pub(crate) enum OriginalHeaders {
    Missing,
    /// Headers that an injection leaves alone.
    WithoutContext,
    /// Headers under the names of a context: a copy, because an injection replaces them.
    WithContext(OwnedHeaders),
}

/// The sender of the record being handled, in the context of its handler. A record that still
/// carries this context is being forwarded, and becomes a child of the handling, not of the first
/// sender.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SenderContext(SpanContext);

// === impl KafkaTracing ===

impl KafkaTracing {
    pub(crate) fn new(settings: Settings) -> Arc<Self> {
        let telemetry = settings
            .0
            .telemetry
            .clone()
            .unwrap_or_else(Telemetry::global);
        Arc::new(Self {
            telemetry,
            settings: settings.0,
        })
    }

    pub(crate) fn naming(&self) -> &Naming {
        &self.settings.naming
    }

    // --- producing ---

    /// Starts the span of a record to send. Its parent is the context in the record's headers, else
    /// `parent`, else the active span: the order of opentracing-kafka-client.
    pub(crate) fn start_send(
        &self,
        record: &RecordMetadata<'_>,
        headers: Option<&OwnedHeaders>,
        parent: Option<&Context>,
    ) -> Context {
        let ambient = parent.cloned().unwrap_or_else(Context::current);
        let telemetry = self.telemetry.resolve();
        let parent = match headers.map(|headers| {
            telemetry
                .propagation()
                .read(&RecordHeaders(headers.as_borrowed()))
        }) {
            None => ambient,
            Some(found) => {
                let is_forwarded = ambient
                    .get::<SenderContext>()
                    .is_some_and(|sender| found.span().as_ref() == Some(&sender.0));
                // By its headers the record would become a sibling of its handling, not a child.
                if is_forwarded {
                    ambient
                } else {
                    found.join(&ambient)
                }
            }
        };
        self.start(
            &telemetry,
            KafkaOperation::Send,
            SpanKind::Producer,
            record,
            Vec::new(),
            &parent,
        )
    }

    /// Writes the span's context into the application's headers; other headers are unchanged.
    pub(crate) fn inject(
        &self,
        cx: &Context,
        headers: Option<OwnedHeaders>,
    ) -> Option<OwnedHeaders> {
        // Without a pipeline the context is invalid, and the record is sent as it is.
        let is_off = self.settings.injection == HeaderInjection::Off;
        if is_off || !cx.span().span_context().is_valid() {
            return headers;
        }
        let telemetry = self.telemetry.resolve();
        let propagation = telemetry.propagation();
        // Allocated once, for all headers that are written.
        let mut record_headers = RecordHeadersMut::new(headers, propagation.field_count());
        propagation.inject(cx, &mut record_headers);
        Some(record_headers.into_inner())
    }

    /// Returns the data that [`KafkaTracing::restore`] needs to undo an injection.
    pub(crate) fn original_headers(&self, headers: Option<&OwnedHeaders>) -> OriginalHeaders {
        let Some(headers) = headers else {
            return OriginalHeaders::Missing;
        };
        let mut has_context = false;
        let telemetry = self.telemetry.resolve();
        RecordHeaders(headers.as_borrowed()).each(&mut |key, _| {
            telemetry.propagation().each_field(&mut |name| {
                has_context |= key.eq_ignore_ascii_case(name.as_bytes());
            });
        });
        if has_context {
            OriginalHeaders::WithContext(headers.clone())
        } else {
            OriginalHeaders::WithoutContext
        }
    }

    /// Undoes an injection, for a record that returns to the application or is sent without a
    /// context.
    pub(crate) fn restore(
        &self,
        headers: Option<OwnedHeaders>,
        original: &OriginalHeaders,
    ) -> Option<OwnedHeaders> {
        match original {
            OriginalHeaders::Missing => None,
            OriginalHeaders::WithContext(headers) => Some(headers.clone()),
            OriginalHeaders::WithoutContext => {
                let mut record_headers = RecordHeadersMut::new(Some(headers?), 0);
                self.telemetry
                    .resolve()
                    .propagation()
                    .each_field(&mut |name| record_headers.remove(name));
                Some(record_headers.into_inner())
            }
        }
    }

    /// Records partition and offset of a sent record, or its error. `partition` is the one that the
    /// caller chose, which is on the span already; `topic` comes from
    /// [`KafkaTracing::metric_topic`].
    pub(crate) fn record_send(
        &self,
        cx: &Context,
        topic: Option<&str>,
        partition: Option<i32>,
        result: Result<(i32, i64), &SpanError<'_>>,
    ) {
        let span = cx.span();
        match (result, &self.settings.naming) {
            (Err(error), naming) => naming.record_error(error, &span),
            (Ok((sent_partition, offset)), Naming::OpenTelemetry) if span.is_recording() => {
                let mut attributes = Vec::with_capacity(2);
                let sent_partition = partition.is_none().then_some(sent_partition);
                // With acks=0 the broker returns no offset.
                let offset = Some(offset).filter(|offset| *offset >= 0);
                push_position(&mut attributes, sent_partition, offset);
                span.set_attributes(attributes);
            }
            (Ok(_), _) => {}
        }
        if let Some(instruments) = self.telemetry.resolve().instruments() {
            let error = result.err();
            instruments.sent_messages.add(
                1,
                &self.metric_attributes(KafkaOperation::Send, topic, error),
            );
        }
    }

    /// Records the duration of a call to the brokers.
    pub(crate) fn record_operation(
        &self,
        operation: KafkaOperation,
        topic: Option<&str>,
        duration: Duration,
        error: Option<&SpanError<'_>>,
    ) {
        if let Some(instruments) = self.telemetry.resolve().instruments() {
            let attributes = self.metric_attributes(operation, topic, error);
            instruments
                .operation_duration
                .record(duration.as_secs_f64(), &attributes);
        }
    }

    /// Returns the topic for [`KafkaTracing::record_send`], if metrics are recorded.
    pub(crate) fn metric_topic(&self, topic: &str) -> Option<String> {
        self.telemetry
            .resolve()
            .instruments()
            .map(|_| topic.to_owned())
    }

    // --- consuming ---

    /// Starts the span of one received record.
    pub(crate) fn start_receive(&self, message: &BorrowedMessage<'_>) -> StartedSpan {
        self.record_receive(1, Some(message.topic()));
        self.start_handling(message, &Context::current())
    }

    /// Starts the span of the handling of one record, whose receipt is counted already.
    pub(crate) fn start_handling(
        &self,
        message: &BorrowedMessage<'_>,
        ambient: &Context,
    ) -> StartedSpan {
        let telemetry = self.telemetry.resolve();
        let record = metadata_of(message);
        // Read before the span starts, because the sender may be its parent.
        let found = self.sender(&telemetry, message);
        let sender = found.span();
        let relation = self.settings.relation_of(record.topic);
        let parent = match relation {
            // The sender's decision and its baggage still apply.
            SenderRelation::LinksOnly => found.join_without_span(ambient),
            SenderRelation::ParentAndLink | SenderRelation::ChildOnly => found.join(ambient),
        };
        let links = self.links_of(ambient, sender.as_ref(), relation);
        let mut context = self.handling_span(&telemetry, &record, ambient, &parent, links);
        if let Some(sender) = sender {
            // For records that the handler forwards with their headers.
            context = context.with_value(SenderContext(sender));
        }
        self.started(context, Some(record.topic))
    }

    /// Starts the span of records that are handled together. One sender is the parent, as that of a
    /// single record; of several each is linked, and none is the parent.
    pub(crate) fn start_receive_batch(&self, messages: &[BorrowedMessage<'_>]) -> StartedSpan {
        let telemetry = self.telemetry.resolve();
        let ambient = Context::current();
        let topic = common_value(messages.iter().map(|message| message.topic()));
        // A partition without its topic would be meaningless.
        let partition = common_value(messages.iter().map(|message| message.partition()))
            .filter(|_| topic.is_some());
        let record = RecordMetadata {
            partition,
            ..RecordMetadata::of_topic(topic.unwrap_or_default())
        };
        let mut senders = Vec::new();
        let mut links = Vec::new();
        for message in messages {
            let found = self.sender(&telemetry, message);
            // Records without a context have nothing to link to.
            let Some(sender) = found.span() else { continue };
            let attributes = link_attributes(&metadata_of(message), topic.is_none());
            links.push(Link::new(sender.clone(), attributes, 0));
            senders.push((sender, found));
        }
        let relation = self.settings.relation_of(record.topic);
        let single = senders
            .first()
            .filter(|(first, _)| senders.iter().all(|(other, _)| other == first));
        let parent = match (single, relation) {
            (Some((_, found)), SenderRelation::ParentAndLink) => found.join(&ambient),
            (Some((_, found)), SenderRelation::ChildOnly) => {
                links.clear();
                found.join(&ambient)
            }
            // Of several senders none is the parent.
            (Some(_), SenderRelation::LinksOnly) | (None, _) => ambient,
        };
        let context = self.start(
            &telemetry,
            KafkaOperation::Process,
            SpanKind::Consumer,
            &record,
            links,
            &parent,
        );
        if matches!(self.settings.naming, Naming::OpenTelemetry) {
            let count = i64::try_from(messages.len()).unwrap_or(i64::MAX);
            context
                .span()
                .set_attribute(KeyValue::new(MESSAGING_BATCH_MESSAGE_COUNT, count));
        }
        self.record_receive(messages.len(), topic);
        self.started(context, topic)
    }

    /// Returns a span that has started; an interceptor's ends here.
    fn started(&self, context: Context, topic: Option<&str>) -> StartedSpan {
        let is_active = self.settings.handling != Handling::Interceptor;
        let scope = if is_active {
            bridge::scope_of(&context)
        } else {
            context.span().end();
            tracing::Span::none()
        };
        StartedSpan {
            context,
            scope,
            is_active,
            topic: topic.map(str::to_owned),
        }
    }

    /// Runs a commit inside a span of its own.
    pub(crate) fn trace_commit(
        &self,
        parent: &Context,
        topic: Option<&str>,
        commit: impl FnOnce() -> Result<(), KafkaError>,
    ) -> Result<(), KafkaError> {
        // opentracing-kafka-client has no spans for commits.
        if matches!(self.settings.naming, Naming::OpenTracing(_)) {
            return commit();
        }
        let started = Instant::now();
        let record = RecordMetadata::of_topic(topic.unwrap_or_default());
        let cx = self.start(
            &self.telemetry.resolve(),
            KafkaOperation::Commit,
            SpanKind::Client,
            &record,
            Vec::new(),
            parent,
        );
        let result = commit();
        let error = result.as_ref().err().map(SpanError::kafka);
        if let Some(error) = &error {
            self.settings.naming.record_error(error, &cx.span());
        }
        cx.span().end();
        let operation = KafkaOperation::Commit;
        self.record_operation(operation, topic, started.elapsed(), error.as_ref());
        drop(error);
        result
    }

    /// Records the duration of a handler.
    pub(crate) fn record_processing(
        &self,
        topic: Option<&str>,
        duration: Duration,
        error: Option<&SpanError<'_>>,
    ) {
        if let Some(instruments) = self.telemetry.resolve().instruments() {
            instruments.process_duration.record(
                duration.as_secs_f64(),
                &self.metric_attributes(KafkaOperation::Process, topic, error),
            );
        }
    }

    fn record_receive(&self, records: usize, topic: Option<&str>) {
        if let Some(instruments) = self.telemetry.resolve().instruments() {
            let records = u64::try_from(records).unwrap_or(u64::MAX);
            instruments.consumed_messages.add(
                records,
                &self.metric_attributes(KafkaOperation::Poll, topic, None),
            );
        }
    }

    fn start(
        &self,
        telemetry: &ResolvedTelemetry,
        operation: KafkaOperation,
        kind: SpanKind,
        record: &RecordMetadata<'_>,
        links: Vec<Link>,
        parent: &Context,
    ) -> Context {
        let topic = Some(record.topic).filter(|topic| !topic.is_empty());
        let name = self
            .settings
            .hooks
            .name(operation, record)
            .unwrap_or_else(|| self.settings.naming.span_name(operation, topic));
        let builder = SpanBuilder::from_name(name).with_kind(kind);
        let builder = if links.is_empty() {
            builder
        } else {
            builder.with_links(links)
        };
        // Attributes cost most of the time of a span, so they are created only for recorded ones.
        telemetry.start(builder, parent, || {
            let settings = &self.settings;
            let mut attributes = settings
                .naming
                .attributes(operation, record, &settings.client);
            settings
                .hooks
                .push_attributes(operation, record, &mut attributes);
            attributes
        })
    }

    /// Reads the sender's context from the headers.
    fn sender(
        &self,
        telemetry: &ResolvedTelemetry,
        message: &BorrowedMessage<'_>,
    ) -> ReceivedTraceContext {
        let propagation = telemetry.propagation();
        let Some(headers) = message.headers().map(RecordHeaders) else {
            return propagation.read(&HeaderList::default());
        };
        let found = propagation.read(&headers);
        if found.span().is_none() && matches!(self.settings.naming, Naming::OpenTracing(_)) {
            // Where a message has no context, old versions of the Java client may have left
            // another.
            let second = propagation.read(&SecondSpanHeaders(&headers));
            return if second.span().is_some() {
                second
            } else {
                found
            };
        }
        found
    }

    /// Starts the span of the handling, and before it, for [`Handling::Listener`], that of the
    /// arrival.
    fn handling_span(
        &self,
        telemetry: &ResolvedTelemetry,
        record: &RecordMetadata<'_>,
        ambient: &Context,
        parent: &Context,
        links: Vec<Link>,
    ) -> Context {
        let process = |links| {
            self.start(
                telemetry,
                KafkaOperation::Process,
                SpanKind::Consumer,
                record,
                links,
                parent,
            )
        };
        match (self.settings.handling, &self.settings.naming) {
            (Handling::Active | Handling::Interceptor, _) => process(links),
            (Handling::Listener, Naming::OpenTelemetry) => {
                self.start(
                    telemetry,
                    KafkaOperation::Poll,
                    SpanKind::Client,
                    record,
                    links.clone(),
                    ambient,
                )
                .span()
                .end();
                process(links)
            }
            (Handling::Listener, Naming::OpenTracing(_)) => {
                let arrival = process(links);
                arrival.span().end();
                // opentracing-kafka-spring links the listener to the arrival as FOLLOWS_FROM.
                let link = follows_from(arrival.span().span_context().clone());
                let listener = SpanBuilder::from_name(OpenTracing::listener_name(record.topic));
                let listener = listener
                    .with_kind(SpanKind::Consumer)
                    .with_links(vec![link]);
                telemetry.start(listener, &arrival, Vec::new)
            }
        }
    }

    /// Returns a link to the sender. Where the sender replaced the active span as parent, that span
    /// is linked too; opentracing-kafka-client has no such link.
    fn links_of(
        &self,
        ambient: &Context,
        sender: Option<&SpanContext>,
        relation: SenderRelation,
    ) -> Vec<Link> {
        let Some(sender) = sender.filter(|_| relation != SenderRelation::ChildOnly) else {
            return Vec::new();
        };
        let mut links = vec![follows_from(sender.clone())];
        let has_displaced_parent = relation == SenderRelation::ParentAndLink
            && matches!(self.settings.naming, Naming::OpenTelemetry);
        // The active span is not lost from the trace view: it stays reachable through a link.
        let displaced = ambient.span().span_context().clone();
        if has_displaced_parent && displaced.is_valid() && displaced.span_id() != sender.span_id() {
            links.push(Link::with_context(displaced));
        }
        links
    }

    /// Returns the attributes of a metric, all of low cardinality.
    fn metric_attributes(
        &self,
        operation: KafkaOperation,
        topic: Option<&str>,
        error: Option<&SpanError<'_>>,
    ) -> Vec<KeyValue> {
        let mut attributes = Vec::with_capacity(5);
        attributes.push(KeyValue::new(MESSAGING_SYSTEM, "kafka"));
        // Required attributes of the metrics (messaging metrics, v1.44).
        attributes.push(KeyValue::new(MESSAGING_OPERATION_NAME, operation.name()));
        attributes
            .extend(topic.map(|topic| KeyValue::new(MESSAGING_DESTINATION_NAME, topic.to_owned())));
        if operation != KafkaOperation::Send {
            let group = self.settings.client.group.clone();
            attributes
                .extend(group.map(|group| KeyValue::new(MESSAGING_CONSUMER_GROUP_NAME, group)));
        }
        attributes.extend(error.map(|error| KeyValue::new(ERROR_TYPE, error.kind())));
        attributes
    }
}

fn metadata_of<'a>(message: &'a BorrowedMessage<'_>) -> RecordMetadata<'a> {
    RecordMetadata {
        topic: message.topic(),
        partition: Some(message.partition()),
        offset: Some(message.offset()),
        key: message.key(),
        payload: message.payload(),
        timestamp_ms: message.timestamp().to_millis(),
        tombstone: message.payload().is_none(),
        headers: message.headers(),
    }
}

/// Returns a link to a sender.
fn follows_from(span: SpanContext) -> Link {
    Link::new(
        span,
        vec![KeyValue::new(OPENTRACING_REF_TYPE, FOLLOWS_FROM)],
        0,
    )
}

/// Returns the attributes that differ between the records of a batch, for the link of each.
fn link_attributes(record: &RecordMetadata<'_>, with_topic: bool) -> Vec<KeyValue> {
    let mut attributes = vec![KeyValue::new(OPENTRACING_REF_TYPE, FOLLOWS_FROM)];
    if with_topic {
        attributes.push(KeyValue::new(
            MESSAGING_DESTINATION_NAME,
            record.topic.to_owned(),
        ));
    }
    push_position(&mut attributes, record.partition, record.offset);
    attributes
}

/// Returns the value that all have in common.
fn common_value<T: PartialEq>(mut values: impl Iterator<Item = T>) -> Option<T> {
    let first = values.next()?;
    values.all(|value| value == first).then_some(first)
}
