//! What producers and consumers share: making spans, carrying contexts, counting.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{Link, SpanBuilder, SpanContext, SpanKind, TraceContextExt as _};
use opentelemetry::{Context, KeyValue};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _, OwnedHeaders};
use throughline_model::context::{Carrier as _, CarrierMut as _, PropagatedContext};
use throughline_model::convention::{
    ERROR_TYPE, MESSAGING_BATCH_MESSAGE_COUNT, MESSAGING_CONSUMER_GROUP_NAME,
    MESSAGING_DESTINATION_NAME, MESSAGING_OPERATION_NAME, MESSAGING_SYSTEM, OPENTRACING_REF_TYPE,
};

use super::headers::{Outgoing, Received, SecondSpan};
use super::naming::{Failure, Naming, Operation, Record, place};
use super::open::Open;
use super::opentracing::OpenTracing;
use super::settings::{Handling, Relation, Settings, Values};
use crate::Telemetry;
use crate::propagation::{receive, span_context};

/// The tracing half of a producer or consumer.
#[derive(Debug)]
pub(crate) struct Instrument {
    telemetry: Telemetry,
    values: Arc<Values>,
}

/// The headers that the application gave with a record.
pub(crate) enum Given {
    Nothing,
    /// Such as an injected context does not touch.
    Others,
    /// A context, or what is in its place: the headers as they were.
    Context(OwnedHeaders),
}

/// In the context of a handler: the span that sent the record being handled. A record that still carries this context
/// is being forwarded, and is a child of the handling, not of the first sender.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sender(SpanContext);

// === impl Instrument ===

impl Instrument {
    pub(crate) fn new(settings: Settings) -> Arc<Self> {
        let telemetry = settings
            .0
            .telemetry
            .clone()
            .unwrap_or_else(Telemetry::global);
        Arc::new(Self {
            telemetry,
            values: settings.0,
        })
    }

    pub(crate) fn naming(&self) -> &Naming {
        &self.values.naming
    }

    // --- producing ---

    /// Starts the span of a record to be sent. Its parent is the context already in the record's headers, else `given`,
    /// else the active span: the order of opentracing-kafka-client.
    pub(crate) fn send(
        &self,
        record: &Record<'_>,
        headers: Option<&OwnedHeaders>,
        given: Option<&Context>,
    ) -> Context {
        let ambient = given.cloned().unwrap_or_else(Context::current);
        let parent = match headers.map(|headers| {
            self.telemetry
                .propagation()
                .read(&Received(headers.as_borrowed()))
        }) {
            None => ambient,
            Some(found) => {
                let forwarded = ambient
                    .get::<Sender>()
                    .is_some_and(|sender| span_context(&found).as_ref() == Some(&sender.0));
                if forwarded {
                    ambient
                } else {
                    receive(&ambient, &found)
                }
            }
        };
        self.start(
            Operation::Send,
            SpanKind::Producer,
            record,
            Vec::new(),
            &parent,
        )
    }

    /// The application's headers with the span's context in them; everything else in them stays as it is.
    pub(crate) fn inject(
        &self,
        cx: &Context,
        headers: Option<OwnedHeaders>,
    ) -> Option<OwnedHeaders> {
        if !cx.span().span_context().is_valid() {
            return headers;
        }
        let propagation = self.telemetry.propagation();
        let mut outgoing = Outgoing::new(headers, propagation.field_count());
        propagation.inject(cx, &mut outgoing);
        Some(outgoing.into_inner())
    }

    /// What [`Instrument::withdraw`] will need to know of headers into which a context is put.
    pub(crate) fn given(&self, headers: Option<&OwnedHeaders>) -> Given {
        let Some(headers) = headers else {
            return Given::Nothing;
        };
        let mut replaced = false;
        Received(headers.as_borrowed()).each(&mut |key, _| {
            replaced |= self
                .telemetry
                .propagation()
                .fields()
                .any(|name| key.eq_ignore_ascii_case(name.as_bytes()));
        });
        if replaced {
            Given::Context(headers.clone())
        } else {
            Given::Others
        }
    }

    /// Takes a context out of headers again, for a record that goes back to the application or out without.
    pub(crate) fn withdraw(
        &self,
        headers: Option<OwnedHeaders>,
        given: &Given,
    ) -> Option<OwnedHeaders> {
        match given {
            Given::Nothing => None,
            Given::Context(before) => Some(before.clone()),
            Given::Others => {
                let mut outgoing = Outgoing::new(Some(headers?), 0);
                self.telemetry
                    .propagation()
                    .fields()
                    .for_each(|name| outgoing.remove(name));
                Some(outgoing.into_inner())
            }
        }
    }

    /// Records where the broker put the record, or why it did not. `partition` is the one that the caller chose, which is
    /// on the span already; `topic` is what [`Instrument::counted_topic`] said.
    pub(crate) fn sent(
        &self,
        cx: &Context,
        topic: Option<&str>,
        partition: Option<i32>,
        result: Result<(i32, i64), &KafkaError>,
    ) {
        let span = cx.span();
        let failure = result.err().map(Failure::kafka);
        match (result, &failure, &self.values.naming) {
            (_, Some(failure), naming) => naming.fail(failure, &span),
            (Ok((at, offset)), None, Naming::OpenTelemetry) if span.is_recording() => {
                let mut attributes = Vec::with_capacity(2);
                let (at, offset) = (
                    partition.is_none().then_some(at),
                    Some(offset).filter(|offset| *offset >= 0),
                );
                place(&mut attributes, at, offset);
                span.set_attributes(attributes);
            }
            _ => {}
        }
        if let Some(instruments) = self.telemetry.instruments() {
            instruments
                .sent
                .add(1, &self.measured(Operation::Send, topic, failure.as_ref()));
        }
    }

    /// The topic for [`Instrument::sent`], if it is wanted there.
    pub(crate) fn counted_topic(&self, topic: &str) -> Option<String> {
        self.telemetry.instruments().map(|_| topic.to_owned())
    }

    // --- consuming ---

    /// Starts the span of one received record.
    pub(crate) fn receive(self: &Arc<Self>, message: &BorrowedMessage<'_>) -> Open {
        let record = record_of(message);
        let ambient = Context::current();
        let mut found = self.sender(message);
        let sender = span_context(&found);
        let relation = self.values.relation_of(record.topic);
        if relation == Relation::LinksOnly {
            // Baggage and the like still come along.
            found.context = None;
        }
        let parent = receive(&ambient, &found);
        let links = self.links_of(&ambient, sender.as_ref(), relation);
        let mut context = self.handling_span(&record, &ambient, &parent, links);
        if let Some(sender) = sender {
            context = context.with_value(Sender(sender));
        }
        self.received(1, Some(record.topic));
        let active = self.values.handling != Handling::Interceptor;
        if !active {
            context.span().end();
        }
        Open::new(
            context,
            active,
            Some(record.topic.to_owned()),
            Arc::clone(self),
        )
    }

    /// Starts the span of records handled together: one link per record that carries a context, and no remote parent.
    pub(crate) fn receive_batch(self: &Arc<Self>, messages: &[BorrowedMessage<'_>]) -> Open {
        let ambient = Context::current();
        let topic = only(messages.iter().map(|message| message.topic()));
        let partition =
            only(messages.iter().map(|message| message.partition())).filter(|_| topic.is_some());
        let record = Record {
            topic: topic.unwrap_or_default(),
            partition,
            offset: None,
            key: None,
            tombstone: false,
        };
        let links = messages.iter().filter_map(|message| {
            let sender = span_context(&self.sender(message))?;
            Some(Link::new(
                sender,
                link_attributes(&record_of(message), topic.is_none()),
                0,
            ))
        });
        let links = links.collect();
        let context = self.start(
            Operation::Process,
            SpanKind::Consumer,
            &record,
            links,
            &ambient,
        );
        if matches!(self.values.naming, Naming::OpenTelemetry) {
            let count = i64::try_from(messages.len()).unwrap_or(i64::MAX);
            context
                .span()
                .set_attribute(KeyValue::new(MESSAGING_BATCH_MESSAGE_COUNT, count));
        }
        self.received(messages.len(), topic);
        let active = self.values.handling != Handling::Interceptor;
        if !active {
            context.span().end();
        }
        Open::new(context, active, topic.map(str::to_owned), Arc::clone(self))
    }

    /// Runs a commit inside a span of its own. opentracing-kafka-client has none, so neither has its naming.
    pub(crate) fn settle(
        &self,
        parent: &Context,
        topic: Option<&str>,
        commit: impl FnOnce() -> Result<(), KafkaError>,
    ) -> Result<(), KafkaError> {
        if matches!(self.values.naming, Naming::OpenTracing(_)) {
            return commit();
        }
        let topic = topic.unwrap_or_default();
        let record = Record {
            topic,
            partition: None,
            offset: None,
            key: None,
            tombstone: false,
        };
        let cx = self.start(
            Operation::Commit,
            SpanKind::Client,
            &record,
            Vec::new(),
            parent,
        );
        let result = commit();
        if let Err(error) = &result {
            self.values.naming.fail(&Failure::kafka(error), &cx.span());
        }
        cx.span().end();
        result
    }

    /// Counts the time that a handler took.
    pub(crate) fn processed(&self, topic: Option<&str>, took: Duration, failure: Option<&Failure>) {
        if let Some(instruments) = self.telemetry.instruments() {
            instruments.process.record(
                took.as_secs_f64(),
                &self.measured(Operation::Process, topic, failure),
            );
        }
    }

    fn received(&self, records: usize, topic: Option<&str>) {
        if let Some(instruments) = self.telemetry.instruments() {
            let records = u64::try_from(records).unwrap_or(u64::MAX);
            instruments
                .consumed
                .add(records, &self.measured(Operation::Poll, topic, None));
        }
    }

    fn start(
        &self,
        operation: Operation,
        kind: SpanKind,
        record: &Record<'_>,
        links: Vec<Link>,
        parent: &Context,
    ) -> Context {
        let topic = Some(record.topic).filter(|topic| !topic.is_empty());
        let builder =
            SpanBuilder::from_name(self.values.naming.span_name(operation, topic)).with_kind(kind);
        let builder = if links.is_empty() {
            builder
        } else {
            builder.with_links(links)
        };
        self.telemetry.start(builder, parent, || {
            self.values
                .naming
                .attributes(operation, record, &self.values)
        })
    }

    /// What the record's headers say of its sender.
    fn sender(&self, message: &BorrowedMessage<'_>) -> PropagatedContext {
        let Some(headers) = message.headers().map(Received) else {
            return PropagatedContext::default();
        };
        let propagation = self.telemetry.propagation();
        let found = propagation.read(&headers);
        if found.context.is_none() && matches!(self.values.naming, Naming::OpenTracing(_)) {
            let second = propagation.read(&SecondSpan(&headers));
            return if second.context.is_some() {
                second
            } else {
                found
            };
        }
        found
    }

    /// The span that stands for the handling; before it, if so set, the one for the arrival.
    fn handling_span(
        &self,
        record: &Record<'_>,
        ambient: &Context,
        parent: &Context,
        links: Vec<Link>,
    ) -> Context {
        let process = |links| {
            self.start(
                Operation::Process,
                SpanKind::Consumer,
                record,
                links,
                parent,
            )
        };
        match (self.values.handling, &self.values.naming) {
            (Handling::Active | Handling::Interceptor, _) => process(links),
            (Handling::Listener, Naming::OpenTelemetry) => {
                self.start(
                    Operation::Poll,
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
                let link = follows_from(arrival.span().span_context().clone());
                let listener = SpanBuilder::from_name(OpenTracing::listener_name(record.topic));
                let listener = listener
                    .with_kind(SpanKind::Consumer)
                    .with_links(vec![link]);
                self.telemetry.start(listener, &arrival, Vec::new)
            }
        }
    }

    /// A link to the sender, and, where the sender took its place as the parent, one to the span that was active here; of
    /// the latter opentracing-kafka-client knows nothing.
    fn links_of(
        &self,
        ambient: &Context,
        sender: Option<&SpanContext>,
        relation: Relation,
    ) -> Vec<Link> {
        let Some(sender) = sender.filter(|_| relation != Relation::ChildOnly) else {
            return Vec::new();
        };
        let mut links = vec![follows_from(sender.clone())];
        let replaces = relation == Relation::ParentAndLink
            && matches!(self.values.naming, Naming::OpenTelemetry);
        let displaced = ambient.span().span_context().clone();
        if replaces && displaced.is_valid() && displaced.span_id() != sender.span_id() {
            links.push(Link::with_context(displaced));
        }
        links
    }

    /// Attributes of a measurement: few, and of few values.
    fn measured(
        &self,
        operation: Operation,
        topic: Option<&str>,
        failure: Option<&Failure>,
    ) -> Vec<KeyValue> {
        let mut attributes = Vec::with_capacity(5);
        attributes.push(KeyValue::new(MESSAGING_SYSTEM, "kafka"));
        attributes.push(KeyValue::new(MESSAGING_OPERATION_NAME, operation.name()));
        attributes
            .extend(topic.map(|topic| KeyValue::new(MESSAGING_DESTINATION_NAME, topic.to_owned())));
        if operation != Operation::Send {
            let group = self.values.group.clone();
            attributes
                .extend(group.map(|group| KeyValue::new(MESSAGING_CONSUMER_GROUP_NAME, group)));
        }
        attributes.extend(failure.map(|failure| KeyValue::new(ERROR_TYPE, failure.kind.clone())));
        attributes
    }
}

fn record_of<'a>(message: &'a BorrowedMessage<'_>) -> Record<'a> {
    Record {
        topic: message.topic(),
        partition: Some(message.partition()),
        offset: Some(message.offset()),
        key: message.key(),
        tombstone: message.payload().is_none(),
    }
}

fn follows_from(span: SpanContext) -> Link {
    Link::new(
        span,
        vec![KeyValue::new(OPENTRACING_REF_TYPE, "follows_from")],
        0,
    )
}

/// What differs from record to record goes on its link.
fn link_attributes(record: &Record<'_>, with_topic: bool) -> Vec<KeyValue> {
    let mut attributes = vec![KeyValue::new(OPENTRACING_REF_TYPE, "follows_from")];
    if with_topic {
        attributes.push(KeyValue::new(
            MESSAGING_DESTINATION_NAME,
            record.topic.to_owned(),
        ));
    }
    place(&mut attributes, record.partition, record.offset);
    attributes
}

/// The value that all have in common.
fn only<T: PartialEq>(mut values: impl Iterator<Item = T>) -> Option<T> {
    let first = values.next()?;
    values.all(|value| value == first).then_some(first)
}
