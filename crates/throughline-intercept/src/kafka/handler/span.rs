//! Spans of records: names and attributes under both naming conventions.

use std::sync::Arc;

use throughline_kafka::types::{Offset, PartitionIndex};
use throughline_model::convention::{
    CLIENT_ADDRESS, ERROR_TYPE, KAFKA_ACKNOWLEDGED, KAFKA_ATTEMPTS, KAFKA_BATCH_SIZE,
    KAFKA_DELIVERY_COUNT, KAFKA_HANDLED, KAFKA_LAG, KAFKA_NOT_INJECTED, KAFKA_QUEUE_TIME,
    KAFKA_QUEUE_TIME_SENT, KAFKA_REDELIVERED, MESSAGING_CLIENT_ID, MESSAGING_CONSUMER_GROUP_NAME,
    MESSAGING_DESTINATION_NAME, MESSAGING_DESTINATION_PARTITION_ID, MESSAGING_KAFKA_CLUSTER_ID,
    MESSAGING_KAFKA_MESSAGE_KEY, MESSAGING_KAFKA_MESSAGE_TOMBSTONE, MESSAGING_KAFKA_OFFSET,
    MESSAGING_OPERATION_NAME, MESSAGING_OPERATION_TYPE, MESSAGING_SYSTEM, SERVER_ADDRESS,
    SERVER_PORT,
};
use throughline_model::{DroppedCounts, Event, KeyValue, Link, Span, SpanKind, Status};

use super::client::ClientIdentity;
use crate::Timestamp;
use crate::correlate::Evidence;
use crate::kafka::cluster::{BatchAttempts, FailedAttempt};
use crate::kafka::{Settings, SkipReason, SpanNaming, error_code};
use crate::trace::{ParentEvidence, SpanIdentity, push, push_some};

/// Operation of a client on a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordOperation {
    Send,
    Process,
    Commit,
}

/// Span of a record, before its attributes are written out.
pub(super) struct RecordSpan<'a> {
    pub(super) identity: SpanIdentity,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    pub(super) partition: &'a PartitionAttributes,
    pub(super) record: RecordAttributes<'a>,
    pub(super) links: Vec<Link>,
}

/// Attributes that the spans of one partition share, made once for all of them.
#[derive(Debug)]
pub(super) struct PartitionAttributes {
    pub(super) operation: RecordOperation,
    pub(super) topic: Arc<str>,
    pub(super) index: PartitionIndex,
    /// The index as text.
    partition_id: Arc<str>,
    pub(super) group: Option<Arc<str>>,
    cluster_id: Option<Arc<str>>,
}

/// Attributes of one record; [`None`] where a value is unknown.
#[derive(Debug, Default)]
pub(super) struct RecordAttributes<'a> {
    pub(super) offset: Option<Offset>,
    pub(super) key: Option<&'a str>,
    pub(super) tombstone: bool,
    pub(super) batch_size: Option<i32>,
    pub(super) evidence: Option<ParentEvidence>,
    /// Seconds from the record's timestamp to its delivery.
    pub(super) queue_time: Option<f64>,
    /// Seconds from the end of the producer span to the delivery.
    pub(super) queue_time_sent: Option<f64>,
    pub(super) lag: Option<i64>,
    pub(super) delivery_count: Option<i16>,
    /// The record was delivered on this connection before.
    pub(super) redelivered: bool,
    /// Seconds from the delivery to the commit.
    pub(super) handled: Option<f64>,
    pub(super) acknowledged: Option<&'static str>,
    pub(super) not_injected: Option<SkipReason>,
    /// Attempts to send the record, if there was more than one.
    pub(super) attempts: Option<&'a BatchAttempts>,
    /// Kafka's error code; [`error_code::NONE`] for success.
    pub(super) error_code: i16,
}

/// Number of attributes that a consumer span commonly has.
const COMMON_ATTRIBUTES: usize = 20;
/// The same under the naming of opentracing-kafka-client.
const COMMON_TAGS: usize = 12;

// === impl RecordSpan ===

impl RecordSpan<'_> {
    /// Writes out the span.
    pub(super) fn build(self, settings: &Settings, client: &ClientIdentity) -> Span {
        let flags = self.identity.span_flags(self.is_parent_remote());
        let (attributes, name) = self.describe(settings.naming, client);
        let SpanIdentity {
            trace_id,
            span_id,
            parent,
            trace_state,
            ..
        } = self.identity;
        Span {
            trace_id,
            span_id,
            parent_span_id: parent,
            flags,
            trace_state: String::from(trace_state.as_str()),
            name,
            kind: self.partition.operation.kind(),
            start: self.start,
            // Spans must not end before they start, even if a driver's clock steps back.
            end: self.end.max(self.start),
            attributes,
            events: events(&self.record, settings.naming, self.end),
            links: self.links,
            status: match self.record.error_code {
                error_code::NONE => Status::Unset,
                code => Status::Error(error_code::name(code).to_owned()),
            },
            status_message: Box::default(),
            dropped: DroppedCounts::default(),
            resource: Arc::clone(&client.resource),
            scope: Arc::clone(&settings.scope),
        }
    }

    /// Returns whether the parent is a span of another process. The parent of a commit span, and a
    /// parent that was found by inference, was recorded here.
    fn is_parent_remote(&self) -> bool {
        let by_header = |it: ParentEvidence| it.evidence == Evidence::Header;
        self.partition.operation != RecordOperation::Commit
            && self.record.evidence.is_none_or(by_header)
    }

    fn describe(&self, naming: SpanNaming, client: &ClientIdentity) -> (Vec<KeyValue>, String) {
        let (operation, topic) = (self.partition.operation, &self.partition.topic);
        let (mut attributes, name) = match naming {
            SpanNaming::OpenTelemetry => (
                opentelemetry_attributes(self.partition, &self.record, client),
                operation.span_name(topic),
            ),
            SpanNaming::OpenTracing => (
                opentracing_tags(self.partition, &self.record),
                operation.opentracing_name(topic),
            ),
        };
        append_own_attributes(&mut attributes, &self.record);
        (attributes, name)
    }
}

// === impl PartitionAttributes ===

impl PartitionAttributes {
    pub(super) fn new(
        operation: RecordOperation,
        topic: Arc<str>,
        index: PartitionIndex,
        group: Option<Arc<str>>,
        cluster_id: Option<Arc<str>>,
    ) -> Self {
        Self {
            operation,
            topic,
            index,
            partition_id: index.to_string().into(),
            group,
            cluster_id,
        }
    }
}

/// Returns the attributes of OpenTelemetry's messaging conventions, v1.44.
fn opentelemetry_attributes(
    partition: &PartitionAttributes,
    record: &RecordAttributes<'_>,
    client: &ClientIdentity,
) -> Vec<KeyValue> {
    let mut to = Vec::with_capacity(COMMON_ATTRIBUTES);
    let operation = partition.operation;
    push(&mut to, MESSAGING_SYSTEM, "kafka");
    push(&mut to, MESSAGING_OPERATION_NAME, operation.verb());
    push(&mut to, MESSAGING_OPERATION_TYPE, operation.type_name());
    push(&mut to, MESSAGING_DESTINATION_NAME, &partition.topic);
    let partition_id = &partition.partition_id;
    push(&mut to, MESSAGING_DESTINATION_PARTITION_ID, partition_id);
    let offset = record.offset.map(|offset| offset.0);
    push_some(&mut to, MESSAGING_KAFKA_OFFSET, offset);
    let tombstone = record.tombstone.then_some(true);
    push_some(&mut to, MESSAGING_KAFKA_MESSAGE_TOMBSTONE, tombstone);
    let key = record.key.map(str::to_owned);
    push_some(&mut to, MESSAGING_KAFKA_MESSAGE_KEY, key);
    let group = partition.group.as_ref();
    push_some(&mut to, MESSAGING_CONSUMER_GROUP_NAME, group);
    let client_id = client.key.client_id.as_ref();
    push_some(&mut to, MESSAGING_CLIENT_ID, client_id);
    let cluster_id = partition.cluster_id.as_ref();
    push_some(&mut to, MESSAGING_KAFKA_CLUSTER_ID, cluster_id);
    if let Some((host, port)) = &client.endpoints.broker {
        push(&mut to, SERVER_ADDRESS, host);
        push(&mut to, SERVER_PORT, i64::from(*port));
    }
    push_some(&mut to, CLIENT_ADDRESS, client.address.as_ref());
    if record.error_code != error_code::NONE {
        push(&mut to, ERROR_TYPE, error_code::name(record.error_code));
    }
    to
}

/// Returns the standard tags of opentracing-kafka-client, as far as a proxy can know them.
fn opentracing_tags(
    partition: &PartitionAttributes,
    record: &RecordAttributes<'_>,
) -> Vec<KeyValue> {
    let mut to = Vec::with_capacity(COMMON_TAGS);
    let kind = partition.operation.opentracing_kind();
    push_some(&mut to, "span.kind", kind);
    push(&mut to, "component", "java-kafka");
    push(&mut to, "peer.service", "kafka");
    push(&mut to, "message_bus.destination", &partition.topic);
    push(&mut to, "partition", i64::from(partition.index.0));
    push_some(&mut to, "offset", record.offset.map(|offset| offset.0));
    if record.error_code != error_code::NONE {
        push(&mut to, "error", true);
    }
    // That library has no tag for the key; it is only present if the user enabled it.
    let key = record.key.map(str::to_owned);
    push_some(&mut to, MESSAGING_KAFKA_MESSAGE_KEY, key);
    to
}

/// Appends the attributes under `throughline.`, for which no convention has a name.
fn append_own_attributes(to: &mut Vec<KeyValue>, record: &RecordAttributes<'_>) {
    if let Some(evidence) = record.evidence {
        evidence.append_to(to);
    }
    push_some(to, KAFKA_BATCH_SIZE, record.batch_size.map(i64::from));
    push_some(to, KAFKA_QUEUE_TIME, record.queue_time);
    push_some(to, KAFKA_QUEUE_TIME_SENT, record.queue_time_sent);
    push_some(to, KAFKA_LAG, record.lag);
    let delivery_count = record.delivery_count.map(i64::from);
    push_some(to, KAFKA_DELIVERY_COUNT, delivery_count);
    let redelivered = record.redelivered.then_some(true);
    push_some(to, KAFKA_REDELIVERED, redelivered);
    push_some(to, KAFKA_HANDLED, record.handled);
    push_some(to, KAFKA_ACKNOWLEDGED, record.acknowledged);
    let not_injected = record.not_injected.map(SkipReason::name);
    push_some(to, KAFKA_NOT_INJECTED, not_injected);
    let attempts = record.attempts.map(|it| i64::from(it.count));
    push_some(to, KAFKA_ATTEMPTS, attempts);
}

/// Returns an event for each attempt behind the first; under the naming of opentracing-kafka-client
/// the log of an error as well, as that writes it.
fn events(record: &RecordAttributes<'_>, naming: SpanNaming, time: Timestamp) -> Vec<Event> {
    let failures = record.attempts.map_or(&[][..], |it| &it.failures);
    let retry = |failure: &FailedAttempt| Event {
        time: failure.retried_at,
        name: "retry".to_owned(),
        attributes: vec![KeyValue::new(
            ERROR_TYPE,
            error_code::name(failure.error_code),
        )],
    };
    let retries = failures.iter().map(retry);
    retries.chain(error_event(record, naming, time)).collect()
}

fn error_event(
    record: &RecordAttributes<'_>,
    naming: SpanNaming,
    time: Timestamp,
) -> Option<Event> {
    if record.error_code == error_code::NONE || naming != SpanNaming::OpenTracing {
        return None;
    }
    let error = error_code::name(record.error_code);
    let mut attributes = Vec::new();
    push(&mut attributes, "event", "error");
    push(&mut attributes, "error.kind", error);
    push(&mut attributes, "message", error);
    Some(Event {
        time,
        name: "error".to_owned(),
        attributes,
    })
}

// === impl RecordOperation ===

impl RecordOperation {
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

    /// Returns the value of the tag `span.kind`, which repeats the kind that OTLP has.
    const fn opentracing_kind(self) -> Option<&'static str> {
        match self {
            Self::Send => Some("producer"),
            Self::Process => Some("consumer"),
            Self::Commit => None,
        }
    }

    /// Returns the name that the messaging conventions prescribe: operation and destination.
    fn span_name(self, topic: &str) -> String {
        [self.verb(), " ", topic].concat()
    }

    /// Returns the name that opentracing-kafka-client gives; it has none for commits.
    fn opentracing_name(self, topic: &str) -> String {
        let prefix = match self {
            Self::Send => "To_",
            Self::Process => "From_",
            Self::Commit => "Commit_",
        };
        [prefix, topic].concat()
    }
}
