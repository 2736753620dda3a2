//! Spans of records: names and attributes under both naming conventions.

use std::sync::Arc;

use throughline_kafka::types::{Offset, PartitionIndex};
use throughline_model::context::SpanContext;
use throughline_model::convention::{
    CLIENT_ADDRESS, ERROR_TYPE, KAFKA_ACKNOWLEDGED, KAFKA_ATTEMPTS, KAFKA_BATCH_SIZE,
    KAFKA_BUFFERED, KAFKA_DELIVERY_COUNT, KAFKA_HANDLED, KAFKA_LAG, KAFKA_NOT_INJECTED,
    KAFKA_QUEUE_TIME, KAFKA_QUEUE_TIME_SENT, KAFKA_REDELIVERED, MESSAGING_CLIENT_ID,
    MESSAGING_CONSUMER_GROUP_NAME, MESSAGING_DESTINATION_NAME, MESSAGING_DESTINATION_PARTITION_ID,
    MESSAGING_KAFKA_CLUSTER_ID, MESSAGING_KAFKA_MESSAGE_KEY, MESSAGING_KAFKA_MESSAGE_TOMBSTONE,
    MESSAGING_KAFKA_OFFSET, MESSAGING_OPERATION_NAME, MESSAGING_OPERATION_TYPE, MESSAGING_SYSTEM,
    SERVER_ADDRESS, SERVER_PORT,
};
use throughline_model::{Event, GroupContent, GroupedSpan, KeyValue, SpanGroup, SpanKind, Status};

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

/// Spans of records of one partition, which have the attributes of their batch in common.
#[derive(Debug)]
pub(super) struct RecordSpans {
    operation: RecordOperation,
    naming: SpanNaming,
    group: SpanGroup,
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

/// Times, result and attributes that the records of a batch share; [`None`] where a value is
/// unknown.
#[derive(Debug, Default)]
pub(super) struct BatchAttributes<'a> {
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    pub(super) batch_size: Option<i32>,
    pub(super) acknowledged: Option<&'static str>,
    /// Attempts to send the batch, if there was more than one.
    pub(super) attempts: Option<&'a BatchAttempts>,
    /// Kafka's error code; [`error_code::NONE`] for success.
    pub(super) error_code: i16,
}

/// Attributes of one record; [`None`] where a value is unknown.
#[derive(Debug, Default)]
pub(super) struct RecordAttributes<'a> {
    pub(super) offset: Option<Offset>,
    pub(super) key: Option<&'a str>,
    pub(super) tombstone: bool,
    pub(super) evidence: Option<ParentEvidence>,
    /// Seconds from the record's timestamp to the request that sends it.
    pub(super) buffered: Option<f64>,
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
    pub(super) not_injected: Option<SkipReason>,
}

/// Maximum number of attributes that the spans of a batch commonly share.
const COMMON_ATTRIBUTES: usize = 16;
/// Number of attributes that a span commonly has besides.
const RECORD_ATTRIBUTES: usize = 4;

// === impl RecordSpans ===

impl RecordSpans {
    /// Returns no spans yet, of records of a partition; `expected` of them will come.
    pub(super) fn new(
        partition: &PartitionAttributes,
        batch: &BatchAttributes<'_>,
        settings: &Settings,
        client: &ClientIdentity,
        expected: usize,
    ) -> Self {
        let (operation, topic, naming) = (partition.operation, &partition.topic, settings.naming);
        let (mut attributes, name) = match naming {
            SpanNaming::OpenTelemetry => (
                opentelemetry_attributes(partition, batch, client),
                operation.span_name(topic),
            ),
            SpanNaming::OpenTracing => (
                opentracing_tags(partition, batch),
                operation.opentracing_name(topic),
            ),
        };
        // Those under `throughline.`, for which no convention has a name.
        push_some(
            &mut attributes,
            KAFKA_BATCH_SIZE,
            batch.batch_size.map(i64::from),
        );
        push_some(&mut attributes, KAFKA_ACKNOWLEDGED, batch.acknowledged);
        let attempts = batch.attempts.map(|it| i64::from(it.count));
        push_some(&mut attributes, KAFKA_ATTEMPTS, attempts);
        let common = GroupContent {
            name,
            kind: operation.kind(),
            start: batch.start,
            // Spans must not end before they start, even if a driver's clock steps back.
            end: batch.end.max(batch.start),
            attributes,
            events: events(batch, naming),
            status: match batch.error_code {
                error_code::NONE => Status::Unset,
                code => Status::Error(error_code::name(code).to_owned()),
            },
            resource: Arc::clone(&client.resource),
            scope: Arc::clone(&settings.scope),
        };
        let mut group = SpanGroup::new(Arc::new(common));
        group.reserve(expected, RECORD_ATTRIBUTES);
        Self {
            operation,
            naming,
            group,
        }
    }

    /// Adds the span of a record, which follows that of its sender.
    pub(super) fn push(
        &mut self,
        identity: SpanIdentity,
        record: &RecordAttributes<'_>,
        sender: Option<SpanContext>,
    ) {
        let span = GroupedSpan {
            flags: identity.span_flags(self.is_parent_remote(record)),
            trace_id: identity.trace_id,
            span_id: identity.span_id,
            parent_span_id: identity.parent,
            trace_state: identity.trace_state,
            sender,
        };
        let naming = self.naming;
        self.group
            .push(span, |to| append_record_attributes(to, record, naming));
    }

    /// Returns the number of spans.
    pub(super) fn len(&self) -> usize {
        self.group.len()
    }

    /// Returns the spans.
    pub(super) fn into_group(self) -> SpanGroup {
        self.group
    }

    /// Returns whether the parent is a span of another process. The parent of a commit span, and a
    /// parent that was found by inference, was recorded here.
    fn is_parent_remote(&self, record: &RecordAttributes<'_>) -> bool {
        let by_header = |it: ParentEvidence| it.evidence == Evidence::Header;
        self.operation != RecordOperation::Commit && record.evidence.is_none_or(by_header)
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

/// Returns the attributes of OpenTelemetry's messaging conventions, v1.44, that the records of a
/// batch share.
fn opentelemetry_attributes(
    partition: &PartitionAttributes,
    batch: &BatchAttributes<'_>,
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
    if batch.error_code != error_code::NONE {
        push(&mut to, ERROR_TYPE, error_code::name(batch.error_code));
    }
    to
}

/// Returns the standard tags of opentracing-kafka-client that the records of a batch share, as far
/// as a proxy can know them.
fn opentracing_tags(partition: &PartitionAttributes, batch: &BatchAttributes<'_>) -> Vec<KeyValue> {
    let mut to = Vec::with_capacity(COMMON_ATTRIBUTES);
    let kind = partition.operation.opentracing_kind();
    push_some(&mut to, "span.kind", kind);
    push(&mut to, "component", "java-kafka");
    push(&mut to, "peer.service", "kafka");
    push(&mut to, "message_bus.destination", &partition.topic);
    push(&mut to, "partition", i64::from(partition.index.0));
    // That library knows no cluster. Offsets are compared within one alone.
    let cluster_id = partition.cluster_id.as_ref();
    push_some(&mut to, MESSAGING_KAFKA_CLUSTER_ID, cluster_id);
    if batch.error_code != error_code::NONE {
        push(&mut to, "error", true);
    }
    to
}

/// Appends the attributes of one record: first those of the conventions, then those under
/// `throughline.`.
fn append_record_attributes(
    to: &mut Vec<KeyValue>,
    record: &RecordAttributes<'_>,
    naming: SpanNaming,
) {
    let offset = record.offset.map(|offset| offset.0);
    let key = record.key.map(str::to_owned);
    match naming {
        SpanNaming::OpenTelemetry => {
            push_some(to, MESSAGING_KAFKA_OFFSET, offset);
            let tombstone = record.tombstone.then_some(true);
            push_some(to, MESSAGING_KAFKA_MESSAGE_TOMBSTONE, tombstone);
        }
        SpanNaming::OpenTracing => push_some(to, "offset", offset),
    }
    // opentracing-kafka-client has no tag for the key; it is only present if the user enabled it.
    push_some(to, MESSAGING_KAFKA_MESSAGE_KEY, key);
    if let Some(evidence) = record.evidence {
        evidence.append_to(to);
    }
    push_some(to, KAFKA_BUFFERED, record.buffered);
    push_some(to, KAFKA_QUEUE_TIME, record.queue_time);
    push_some(to, KAFKA_QUEUE_TIME_SENT, record.queue_time_sent);
    push_some(to, KAFKA_LAG, record.lag);
    let delivery_count = record.delivery_count.map(i64::from);
    push_some(to, KAFKA_DELIVERY_COUNT, delivery_count);
    let redelivered = record.redelivered.then_some(true);
    push_some(to, KAFKA_REDELIVERED, redelivered);
    push_some(to, KAFKA_HANDLED, record.handled);
    let not_injected = record.not_injected.map(SkipReason::name);
    push_some(to, KAFKA_NOT_INJECTED, not_injected);
}

/// Returns an event for each attempt behind the first; under the naming of opentracing-kafka-client
/// the log of an error as well, as that writes it.
fn events(batch: &BatchAttributes<'_>, naming: SpanNaming) -> Vec<Event> {
    let failures = batch.attempts.map_or(&[][..], |it| &it.failures);
    let retry = |failure: &FailedAttempt| Event {
        time: failure.retried_at,
        name: "retry".to_owned(),
        attributes: vec![KeyValue::new(
            ERROR_TYPE,
            error_code::name(failure.error_code),
        )],
    };
    let retries = failures.iter().map(retry);
    retries.chain(error_event(batch, naming)).collect()
}

fn error_event(batch: &BatchAttributes<'_>, naming: SpanNaming) -> Option<Event> {
    if batch.error_code == error_code::NONE || naming != SpanNaming::OpenTracing {
        return None;
    }
    let error = error_code::name(batch.error_code);
    let mut attributes = Vec::new();
    push(&mut attributes, "event", "error");
    push(&mut attributes, "error.kind", error);
    push(&mut attributes, "message", error);
    Some(Event {
        time: batch.end,
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
