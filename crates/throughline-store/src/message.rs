//! The attributes with which a span describes a message.
//!
//! Three conventions are read: OpenTelemetry's messaging conventions, their earlier versions, and
//! the tags of opentracing-kafka-client.

use throughline_model::convention::{
    KAFKA_LAG, KAFKA_QUEUE_TIME, KAFKA_QUEUE_TIME_SENT, MESSAGING_CONSUMER_GROUP_NAME,
    MESSAGING_DESTINATION_NAME, MESSAGING_DESTINATION_PARTITION_ID, MESSAGING_KAFKA_OFFSET,
};
use throughline_model::{KeyValue, Span, SpanKind, Value};

/// The message that a span or link describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MessageAttributes<'a> {
    /// Topic of the message.
    pub topic: Option<&'a str>,
    /// Consumer group that received it.
    pub group: Option<&'a str>,
    /// Partition of the topic.
    pub partition: Option<i64>,
    /// Offset in the partition.
    pub offset: Option<i64>,
    /// Number of messages behind this one in its partition, at delivery.
    pub lag: Option<i64>,
    /// Time that the message waited in the topic, in nanoseconds.
    pub queue_time: Option<u64>,
}

impl<'a> MessageAttributes<'a> {
    /// Reads the message of a span; `None` when the span describes none.
    #[must_use]
    pub fn of(span: &'a Span) -> Option<Self> {
        let is_endpoint = matches!(span.kind, SpanKind::Producer | SpanKind::Consumer);
        let mut message = Self::of_attributes(&span.attributes, is_endpoint);
        // Other kinds of spans may name a partition or an offset of something else; only a topic
        // shows that they describe a message.
        if !is_endpoint && message.topic.is_none() {
            return None;
        }
        if message.queue_time.is_none() {
            // Some spans record only the time since the end of the sending span.
            message.queue_time = span.attribute(KAFKA_QUEUE_TIME_SENT).and_then(nanoseconds);
        }
        (is_endpoint || message != Self::default()).then_some(message)
    }

    /// Reads the message of an attribute list. `accept_short_keys` also reads `partition` and
    /// `offset`, which mean a message only on producers, consumers and their links.
    #[must_use]
    pub fn of_attributes(attributes: &'a [KeyValue], accept_short_keys: bool) -> Self {
        let mut message = Self::default();
        for KeyValue { key, value } in attributes {
            match key.as_str() {
                // `messaging.destination` before semconv 1.17; `message_bus.destination` is
                // OpenTracing's.
                MESSAGING_DESTINATION_NAME
                | "messaging.destination"
                | "message_bus.destination" => {
                    message.topic = value.as_str().filter(|topic| !topic.is_empty());
                }
                MESSAGING_CONSUMER_GROUP_NAME
                | "messaging.kafka.consumer.group"
                | "messaging.kafka.consumer_group" => {
                    message.group = value.as_str();
                }
                MESSAGING_DESTINATION_PARTITION_ID
                | "messaging.kafka.destination.partition"
                | "messaging.kafka.partition" => message.partition = integer(value),
                MESSAGING_KAFKA_OFFSET | "messaging.kafka.message.offset" => {
                    message.offset = integer(value);
                }
                KAFKA_LAG => message.lag = integer(value),
                KAFKA_QUEUE_TIME => message.queue_time = nanoseconds(value),
                "partition" if accept_short_keys => message.partition = integer(value),
                "offset" if accept_short_keys => message.offset = integer(value),
                _ => {}
            }
        }
        message
    }
}

/// Reads a whole number. The partition id is a string in semconv and a number in older spans.
fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        Value::String(text) => text.parse().ok(),
        Value::Empty
        | Value::Bool(_)
        | Value::Double(_)
        | Value::Bytes(_)
        | Value::Array(_)
        | Value::Map(_) => None,
    }
}

/// Converts a number of seconds to nanoseconds.
fn nanoseconds(value: &Value) -> Option<u64> {
    #[expect(clippy::cast_precision_loss, reason = "whole seconds below 2^53")]
    let seconds = match value {
        Value::Double(seconds) => *seconds,
        Value::Int(seconds) => *seconds as f64,
        Value::String(text) => text.parse().ok()?,
        Value::Empty | Value::Bool(_) | Value::Bytes(_) | Value::Array(_) | Value::Map(_) => {
            return None;
        }
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "never negative here, and the cast saturates"
    )]
    (seconds >= 0.0).then_some((seconds * 1e9).round() as u64)
}
