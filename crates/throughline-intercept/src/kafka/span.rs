//! Spans as they are to look: names and attributes.

use std::sync::Arc;

use throughline_model::convention::{
    CLIENT_ADDRESS, ERROR_TYPE, KAFKA_BATCH_SIZE, KAFKA_DELIVERY_COUNT, KAFKA_HANDLED, KAFKA_LAG,
    KAFKA_NOT_INJECTED, KAFKA_QUEUE_TIME, KAFKA_QUEUE_TIME_SENT, KAFKA_REDELIVERED,
    MESSAGING_CLIENT_ID, MESSAGING_CONSUMER_GROUP_NAME, MESSAGING_DESTINATION_NAME,
    MESSAGING_DESTINATION_PARTITION_ID, MESSAGING_KAFKA_CLUSTER_ID, MESSAGING_KAFKA_MESSAGE_KEY,
    MESSAGING_KAFKA_MESSAGE_TOMBSTONE, MESSAGING_KAFKA_OFFSET, MESSAGING_OPERATION_NAME,
    MESSAGING_OPERATION_TYPE, MESSAGING_SYSTEM, PARENT_CONFIDENCE, PARENT_EVIDENCE, SERVER_ADDRESS,
    SERVER_PORT,
};
use throughline_model::{Event, KeyValue, Link, Span, SpanKind, Status, Value, flag};

use super::cause::Told;
use super::tracer::{Identity, Tracer};
use super::{Cluster, Naming, Reason, error};
use crate::Timestamp;

/// What a client does with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Send,
    Process,
    Commit,
}

/// Of which partition records are: what their spans have in common, made once for many of them.
#[derive(Debug)]
pub(super) struct Place {
    operation: Operation,
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    /// The partition as text.
    partition_id: Arc<str>,
    pub(super) group: Option<Arc<str>>,
    cluster_id: Option<Arc<str>>,
}

/// What is told of one record; what is [`None`] is not known.
#[derive(Debug, Default)]
pub(super) struct Details<'a> {
    pub(super) offset: Option<i64>,
    pub(super) key: Option<&'a str>,
    pub(super) tombstone: bool,
    pub(super) batch_size: Option<i32>,
    /// A context was read from the record.
    pub(super) by_header: bool,
    /// How else the parent was found, or not.
    pub(super) told: Option<Told>,
    pub(super) queue_time: Option<f64>,
    pub(super) queue_time_sent: Option<f64>,
    pub(super) lag: Option<i64>,
    pub(super) delivery_count: Option<i16>,
    /// The client has been given it before.
    pub(super) redelivered: bool,
    pub(super) handled: Option<f64>,
    pub(super) acknowledged: Option<&'static str>,
    pub(super) not_injected: Option<Reason>,
    /// Kafka's code; [`error::NONE`] when it went well.
    pub(super) error_code: i16,
}

/// Of nanoseconds.
pub(super) fn seconds(nanoseconds: u64) -> f64 {
    std::time::Duration::from_nanos(nanoseconds).as_secs_f64()
}

// === impl Place, Tracer ===

impl Place {
    pub(super) fn new(
        operation: Operation,
        (topic, partition): (Arc<str>, i32),
        group: Option<Arc<str>>,
        cluster_id: Option<Arc<str>>,
    ) -> Self {
        Self {
            operation,
            topic,
            partition,
            partition_id: partition.to_string().into(),
            group,
            cluster_id,
        }
    }
}

impl<C: Cluster> Tracer<C> {
    /// Makes a span and sends it on its way.
    pub(super) fn finish(
        &mut self,
        identity: Identity,
        times: (Timestamp, Timestamp),
        place: &Place,
        details: &Details<'_>,
        links: Vec<Link>,
    ) {
        let Identity {
            trace_id,
            span_id,
            parent,
            flags,
            trace_state,
        } = identity;
        // The parent of a commit is a span of ours, which was seen here; so is one that was found in the process.
        let is_remote =
            parent.is_some() && place.operation != Operation::Commit && details.told.is_none();
        let (attributes, name) = match self.settings.naming {
            Naming::OpenTelemetry => (
                self.conventional(place, details),
                place.operation.name(&place.topic),
            ),
            Naming::OpenTracing => (
                opentracing(place, details),
                place.operation.opentracing_name(&place.topic),
            ),
        };
        let span = Span {
            trace_id,
            span_id,
            parent_span_id: parent,
            flags: u32::from(flags)
                | flag::HAS_IS_REMOTE
                | if is_remote { flag::IS_REMOTE } else { 0 },
            trace_state: String::from(trace_state.as_str()),
            name,
            kind: place.operation.kind(),
            start: times.0,
            end: times.1.max(times.0),
            attributes: own(attributes, details),
            events: events(details, self.settings.naming, times.1),
            links,
            status: match details.error_code {
                error::NONE => Status::Unset,
                code => Status::Error(error::name(code).to_owned()),
            },
            dropped: 0,
            resource: Arc::clone(&self.resource),
            scope: Arc::clone(&self.settings.scope),
        };
        self.out.span(span);
    }

    fn conventional(&self, place: &Place, details: &Details<'_>) -> Vec<KeyValue> {
        let mut to = Vec::with_capacity(20);
        put(&mut to, MESSAGING_SYSTEM, "kafka");
        put(&mut to, MESSAGING_OPERATION_NAME, place.operation.verb());
        put(
            &mut to,
            MESSAGING_OPERATION_TYPE,
            place.operation.type_name(),
        );
        put(&mut to, MESSAGING_DESTINATION_NAME, &place.topic);
        put(
            &mut to,
            MESSAGING_DESTINATION_PARTITION_ID,
            &place.partition_id,
        );
        put_some(&mut to, MESSAGING_KAFKA_OFFSET, details.offset);
        put_some(
            &mut to,
            MESSAGING_KAFKA_MESSAGE_TOMBSTONE,
            details.tombstone.then_some(true),
        );
        put_some(
            &mut to,
            MESSAGING_KAFKA_MESSAGE_KEY,
            details.key.map(str::to_owned),
        );
        put_some(&mut to, MESSAGING_CONSUMER_GROUP_NAME, place.group.as_ref());
        put_some(&mut to, MESSAGING_CLIENT_ID, self.client.client_id.as_ref());
        put_some(
            &mut to,
            MESSAGING_KAFKA_CLUSTER_ID,
            place.cluster_id.as_ref(),
        );
        if let Some((host, port)) = &self.peer.broker {
            put(&mut to, SERVER_ADDRESS, host);
            put(&mut to, SERVER_PORT, i64::from(*port));
        }
        put_some(&mut to, CLIENT_ADDRESS, self.client_address.as_ref());
        if details.error_code != error::NONE {
            put(&mut to, ERROR_TYPE, error::name(details.error_code));
        }
        to
    }
}

/// The standard tags of opentracing-kafka-client, as far as a proxy can know.
fn opentracing(place: &Place, details: &Details<'_>) -> Vec<KeyValue> {
    let mut to = Vec::with_capacity(12);
    put_some(&mut to, "span.kind", place.operation.opentracing_kind());
    put(&mut to, "component", "java-kafka");
    put(&mut to, "peer.service", "kafka");
    put(&mut to, "message_bus.destination", &place.topic);
    put(&mut to, "partition", i64::from(place.partition));
    put_some(&mut to, "offset", details.offset);
    if details.error_code != error::NONE {
        put(&mut to, "error", true);
    }
    // That library has no name for it, and who wants it has said so.
    put_some(
        &mut to,
        MESSAGING_KAFKA_MESSAGE_KEY,
        details.key.map(str::to_owned),
    );
    to
}

/// What no convention has a name for.
fn own(mut to: Vec<KeyValue>, details: &Details<'_>) -> Vec<KeyValue> {
    put_some(
        &mut to,
        PARENT_EVIDENCE,
        details.by_header.then_some("header"),
    );
    put_some(
        &mut to,
        PARENT_EVIDENCE,
        details.told.map(|(evidence, _)| evidence.name()),
    );
    put_some(
        &mut to,
        PARENT_CONFIDENCE,
        details.told.and_then(|(_, confidence)| confidence),
    );
    put_some(&mut to, KAFKA_BATCH_SIZE, details.batch_size.map(i64::from));
    put_some(&mut to, KAFKA_QUEUE_TIME, details.queue_time);
    put_some(&mut to, KAFKA_QUEUE_TIME_SENT, details.queue_time_sent);
    put_some(&mut to, KAFKA_LAG, details.lag);
    put_some(
        &mut to,
        KAFKA_DELIVERY_COUNT,
        details.delivery_count.map(i64::from),
    );
    put_some(
        &mut to,
        KAFKA_REDELIVERED,
        details.redelivered.then_some(true),
    );
    put_some(&mut to, KAFKA_HANDLED, details.handled);
    put_some(
        &mut to,
        throughline_model::convention::KAFKA_ACKNOWLEDGED,
        details.acknowledged,
    );
    put_some(
        &mut to,
        KAFKA_NOT_INJECTED,
        details.not_injected.map(Reason::name),
    );
    to
}

/// An error's log, as opentracing-kafka-client writes it.
fn events(details: &Details<'_>, naming: Naming, time: Timestamp) -> Vec<Event> {
    if details.error_code == error::NONE || naming != Naming::OpenTracing {
        return Vec::new();
    }
    let mut attributes = Vec::new();
    put(&mut attributes, "event", "error");
    put(
        &mut attributes,
        "error.kind",
        error::name(details.error_code),
    );
    put(&mut attributes, "message", error::name(details.error_code));
    vec![Event {
        time,
        name: "error".to_owned(),
        attributes,
    }]
}

fn put(to: &mut Vec<KeyValue>, key: &'static str, value: impl Into<Value>) {
    to.push(KeyValue::new(key, value));
}

fn put_some(to: &mut Vec<KeyValue>, key: &'static str, value: Option<impl Into<Value>>) {
    to.extend(value.map(|value| KeyValue::new(key, value)));
}

// === impl Operation ===

impl Operation {
    const fn verb(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Process => "process",
            Self::Commit => "commit",
        }
    }

    const fn type_name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Process => "process",
            Self::Commit => "settle",
        }
    }

    const fn kind(self) -> SpanKind {
        match self {
            Self::Send => SpanKind::Producer,
            Self::Process => SpanKind::Consumer,
            Self::Commit => SpanKind::Client,
        }
    }

    /// The tag of that name, beside the kind that OTLP has.
    const fn opentracing_kind(self) -> Option<&'static str> {
        match self {
            Self::Send => Some("producer"),
            Self::Process => Some("consumer"),
            Self::Commit => None,
        }
    }

    fn name(self, topic: &str) -> String {
        [self.verb(), " ", topic].concat()
    }

    /// The last is no name of that library, which does not look at commits.
    fn opentracing_name(self, topic: &str) -> String {
        let prefix = match self {
            Self::Send => "To_",
            Self::Process => "From_",
            Self::Commit => "Commit_",
        };
        [prefix, topic].concat()
    }
}
