//! What a span says of a message, in whichever convention it says it: OpenTelemetry's messaging conventions (now and before), or those of
//! opentracing-kafka-client.

use throughline_model::convention::{
    KAFKA_LAG, KAFKA_QUEUE_TIME, KAFKA_QUEUE_TIME_SENT, MESSAGING_CONSUMER_GROUP_NAME,
    MESSAGING_DESTINATION_NAME, MESSAGING_DESTINATION_PARTITION_ID, MESSAGING_KAFKA_OFFSET,
};
use throughline_model::{KeyValue, Span, SpanKind, Value};

/// What a span says of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Message<'a> {
    /// The topic it went through.
    pub topic: Option<&'a str>,
    /// The consumer group that got it.
    pub group: Option<&'a str>,
    /// Its partition.
    pub partition: Option<i64>,
    /// Its offset.
    pub offset: Option<i64>,
    /// Messages behind it in its partition, when it was delivered.
    pub lag: Option<i64>,
    /// How long it waited in the topic, in nanoseconds.
    pub queue_time: Option<u64>,
}

impl<'a> Message<'a> {
    /// What this span says; `None` when it speaks of no message.
    #[must_use]
    pub fn of(span: &'a Span) -> Option<Self> {
        let is_side = matches!(span.kind, SpanKind::Producer | SpanKind::Consumer);
        let mut message = Self::of_attributes(&span.attributes, is_side);
        if !is_side && message.topic.is_none() {
            return None;
        }
        if message.queue_time.is_none() {
            message.queue_time = span.attribute(KAFKA_QUEUE_TIME_SENT).and_then(nanoseconds);
        }
        (is_side || message != Self::default()).then_some(message)
    }

    /// What these attributes say; short names mean a message only where it is known that they do.
    #[must_use]
    pub fn of_attributes(attributes: &'a [KeyValue], knows_short_names: bool) -> Self {
        let mut message = Self::default();
        for KeyValue { key, value } in attributes {
            match key.as_str() {
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
                | "messaging.kafka.partition" => message.partition = whole(value),
                MESSAGING_KAFKA_OFFSET | "messaging.kafka.message.offset" => {
                    message.offset = whole(value)
                }
                KAFKA_LAG => message.lag = whole(value),
                KAFKA_QUEUE_TIME => message.queue_time = nanoseconds(value),
                "partition" if knows_short_names => message.partition = whole(value),
                "offset" if knows_short_names => message.offset = whole(value),
                _ => {}
            }
        }
        message
    }
}

fn whole(value: &Value) -> Option<i64> {
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

/// Of seconds.
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
        reason = "the cast saturates, which is as good as any"
    )]
    (seconds >= 0.0).then_some((seconds * 1e9).round() as u64)
}

/// How the parent of a span was found, as the span says it, and whether it is inferred rather than carried.
#[must_use]
pub fn evidence(span: &Span) -> Option<Evidence<'_>> {
    let name = span
        .attribute(throughline_model::convention::PARENT_EVIDENCE)
        .and_then(Value::as_str);
    let confidence = span
        .attribute(throughline_model::convention::PARENT_CONFIDENCE)
        .and_then(|value| match value {
            Value::Double(number) => Some(*number),
            Value::String(text) => text.parse().ok(),
            #[expect(clippy::cast_precision_loss, reason = "it is 0 or 1")]
            Value::Int(number) => Some(*number as f64),
            Value::Empty | Value::Bool(_) | Value::Bytes(_) | Value::Array(_) | Value::Map(_) => {
                None
            }
        });
    let name = name.or_else(|| confidence.map(|_| ""))?;
    let is_open = name == "open";
    let is_inferred =
        !is_open && (confidence.is_some() || !matches!(name, "header" | "request-id" | "thread"));
    Some(Evidence {
        name,
        confidence,
        is_open,
        is_inferred,
    })
}

/// How the parent of a span was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evidence<'a> {
    /// `header`, `request-id`, `thread`, `sole`, `open`, or what the weaver calls it.
    pub name: &'a str,
    /// How sure it is, 0 to 1.
    pub confidence: Option<f64>,
    /// The span must have a parent, and none is known.
    pub is_open: bool,
    /// The parent is inferred, not carried.
    pub is_inferred: bool,
}
