//! Names and attributes of Kafka spans, by OpenTelemetry's messaging conventions or by OpenTracing.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanRef, Status};
use throughline_model::convention::{
    ERROR_TYPE, EXCEPTION_MESSAGE, EXCEPTION_TYPE, KAFKA_QUEUE_TIME, MESSAGING_CLIENT_ID,
    MESSAGING_CONSUMER_GROUP_NAME, MESSAGING_DESTINATION_NAME, MESSAGING_DESTINATION_PARTITION_ID,
    MESSAGING_KAFKA_CLUSTER_ID, MESSAGING_KAFKA_MESSAGE_KEY, MESSAGING_KAFKA_MESSAGE_TOMBSTONE,
    MESSAGING_KAFKA_OFFSET, MESSAGING_OPERATION_NAME, MESSAGING_OPERATION_TYPE, MESSAGING_SYSTEM,
    SERVER_ADDRESS, SERVER_PORT,
};

use super::client_attributes::ClientAttributes;
use super::opentracing::OpenTracing;
use super::operation::{KafkaOperation, RecordMetadata};
use super::span_error::SpanError;

/// The convention for names and attributes of spans.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Naming {
    /// `send T`, `process T`, `messaging.*`: OpenTelemetry's messaging conventions, v1.44.
    #[default]
    OpenTelemetry,
    /// `To_T`, `From_T`, `message_bus.destination`: opentracing-kafka-client 0.1.15.
    OpenTracing(OpenTracing),
}

// === impl Naming ===

impl Naming {
    /// Returns the names of opentracing-kafka-client with its standard tags.
    #[must_use]
    pub fn opentracing() -> Self {
        Self::OpenTracing(OpenTracing::default())
    }

    /// Returns the name of a span. `topic` is `None` for records of several topics.
    pub(crate) fn span_name(&self, operation: KafkaOperation, topic: Option<&str>) -> String {
        match self {
            Self::OpenTelemetry => match topic {
                Some(topic) => [operation.name(), " ", topic].concat(),
                None => operation.name().to_owned(),
            },
            Self::OpenTracing(names) => names.span_name(operation, topic),
        }
    }

    /// Returns the attributes that a span starts with.
    pub(crate) fn attributes(
        &self,
        operation: KafkaOperation,
        record: &RecordMetadata<'_>,
        client: &ClientAttributes,
    ) -> Vec<KeyValue> {
        match self {
            Self::OpenTelemetry => messaging_attributes(operation, record, client),
            Self::OpenTracing(names) => names.attributes(operation, record),
        }
    }

    /// Records an error on a span.
    pub(crate) fn record_error(&self, error: &SpanError<'_>, span: &SpanRef<'_>) {
        // The texts of an error may be costly.
        if !span.is_recording() {
            return;
        }
        if error.is_cancelled() {
            // Recorded, but not as a failure: the caller decided to wait no longer.
            span.set_attribute(KeyValue::new(ERROR_TYPE, error.kind()));
            return;
        }
        let message = error.message();
        span.set_status(Status::error(message.clone()));
        match self {
            Self::OpenTelemetry => {
                span.set_attribute(KeyValue::new(ERROR_TYPE, error.kind()));
                // Exceptions on spans; without the stack trace, which few errors of Rust have and
                // which costs milliseconds.
                let exception = vec![
                    KeyValue::new(EXCEPTION_TYPE, error.kind()),
                    KeyValue::new(EXCEPTION_MESSAGE, message),
                ];
                span.add_event("exception", exception);
            }
            Self::OpenTracing(names) => names.on_error(error, span),
        }
    }
}

/// Returns the attributes of the messaging conventions (v1.44, Kafka).
fn messaging_attributes(
    operation: KafkaOperation,
    record: &RecordMetadata<'_>,
    client: &ClientAttributes,
) -> Vec<KeyValue> {
    let mut attributes = Vec::with_capacity(13);
    attributes.push(KeyValue::new(MESSAGING_SYSTEM, "kafka"));
    attributes.push(KeyValue::new(MESSAGING_OPERATION_NAME, operation.name()));
    attributes.push(KeyValue::new(MESSAGING_OPERATION_TYPE, operation.kind()));
    if !record.topic.is_empty() {
        attributes.push(KeyValue::new(
            MESSAGING_DESTINATION_NAME,
            record.topic.to_owned(),
        ));
    }
    push_position(&mut attributes, record.partition, record.offset);
    if record.tombstone {
        attributes.push(KeyValue::new(MESSAGING_KAFKA_MESSAGE_TOMBSTONE, true));
    }
    let key = record.key.filter(|_| client.has_message_key);
    if let Some(Ok(key)) = key.map(std::str::from_utf8) {
        attributes.push(KeyValue::new(MESSAGING_KAFKA_MESSAGE_KEY, key.to_owned()));
    }
    let timestamp = record
        .timestamp_ms
        .filter(|_| operation == KafkaOperation::Process);
    if let Some(seconds) = timestamp.and_then(seconds_since) {
        attributes.push(KeyValue::new(KAFKA_QUEUE_TIME, seconds));
    }
    // A producer has no group, even where its settings come from a consumer's configuration.
    let group = if operation == KafkaOperation::Send {
        &None
    } else {
        &client.group
    };
    let known = [
        (MESSAGING_CONSUMER_GROUP_NAME, group),
        (MESSAGING_CLIENT_ID, &client.client_id),
        (MESSAGING_KAFKA_CLUSTER_ID, &client.cluster_id),
    ];
    for (name, value) in known {
        if let Some(value) = value {
            attributes.push(KeyValue::new(name, Arc::clone(value)));
        }
    }
    if let Some((host, port)) = &client.server {
        attributes.push(KeyValue::new(SERVER_ADDRESS, Arc::clone(host)));
        attributes.extend(port.map(|port| KeyValue::new(SERVER_PORT, i64::from(port))));
    }
    attributes
}

/// Returns the time from a record's timestamp to now, in seconds.
fn seconds_since(timestamp_ms: i64) -> Option<f64> {
    let sent = Duration::from_millis(u64::try_from(timestamp_ms).ok()?);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    // The clock of the sender may be ahead.
    Some(now.saturating_sub(sent).as_secs_f64())
}

/// Adds partition and offset, where they are known.
pub(crate) fn push_position(
    attributes: &mut Vec<KeyValue>,
    partition: Option<i32>,
    offset: Option<i64>,
) {
    if let Some(partition) = partition {
        // The conventions define the partition as a string.
        attributes.push(KeyValue::new(
            MESSAGING_DESTINATION_PARTITION_ID,
            partition.to_string(),
        ));
    }
    if let Some(offset) = offset {
        attributes.push(KeyValue::new(MESSAGING_KAFKA_OFFSET, offset));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn span_of_several_topics_has_no_topic_in_its_name() {
        assert_eq!(
            Naming::OpenTelemetry.span_name(KafkaOperation::Process, None),
            "process"
        );
        assert_eq!(
            Naming::OpenTelemetry.span_name(KafkaOperation::Process, Some("t")),
            "process t"
        );
    }
}
