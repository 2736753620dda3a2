//! The attributes with which a span describes a message.
//!
//! The names, those of today and of earlier conventions, are in
//! [`throughline_model::convention`].

use throughline_model::convention::{
    GROUP_KEYS, KAFKA_ACKNOWLEDGED, KAFKA_HANDLED, KAFKA_LAG, KAFKA_QUEUE_TIME,
    KAFKA_QUEUE_TIME_SENT, MESSAGING_OPERATION_TYPE, OFFSET_KEYS, PARTITION_KEYS, SHORT_OFFSET_KEY,
    SHORT_PARTITION_KEY, SHORT_TOPIC_KEY, TOPIC_KEYS,
};
use throughline_model::{KeyValue, Span, SpanKind, Value};

/// Value of `messaging.operation.type` for a commit or acknowledgement.
const SETTLE: &str = "settle";
/// Name of `messaging.operation.type` before version 1.28 of the conventions.
const OLD_OPERATION: &str = "messaging.operation";
/// OpenTracing's name of a topic.
const OPENTRACING_TOPIC: &str = "message_bus.destination";
/// Name of the sidecar's commits under OpenTracing's naming, before the topic.
const COMMIT_PREFIX: &str = "Commit_";

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
        // The ranks of the names that were found: the first name of a table counts, whatever the
        // order of the sender, and the last value where a sender repeats a name.
        let mut ranks = [usize::MAX; 4];
        let [topic_rank, group_rank, partition_rank, offset_rank] = &mut ranks;
        for KeyValue { key, value } in attributes {
            let key = key.as_str();
            // Nearly all attributes of other spans end here.
            if !matches!(
                key.as_bytes(),
                [b'c' | b'j' | b'k' | b'm' | b'o' | b'p' | b'r' | b't', ..]
            ) {
                continue;
            }
            let short = |name| accept_short_keys && key == name;
            let rank = |keys: &[&str], is_short: bool| {
                let rank = keys.iter().position(|name| *name == key);
                rank.or_else(|| is_short.then_some(keys.len()))
            };
            let better = |best: &mut usize, rank: Option<usize>| {
                let is_better = rank.is_some_and(|rank| rank <= *best);
                *best = rank.map_or(*best, |rank| rank.min(*best));
                is_better
            };
            let text = value.as_str().filter(|text| !text.is_empty());
            if text.is_some() && better(topic_rank, rank(TOPIC_KEYS, short(SHORT_TOPIC_KEY))) {
                message.topic = text;
            } else if text.is_some() && better(group_rank, rank(GROUP_KEYS, false)) {
                message.group = text;
            } else if better(
                partition_rank,
                rank(PARTITION_KEYS, short(SHORT_PARTITION_KEY)),
            ) {
                message.partition = integer(value);
            } else if better(offset_rank, rank(OFFSET_KEYS, short(SHORT_OFFSET_KEY))) {
                message.offset = integer(value);
            } else if key == KAFKA_LAG {
                message.lag = integer(value);
            } else if key == KAFKA_QUEUE_TIME {
                message.queue_time = nanoseconds(value);
            }
        }
        message
    }
}

/// Returns whether a span settles messages, by a commit or an acknowledgement. Nobody waits for it:
/// a consumer with auto-commit settles up to five seconds after its work
/// (`auto.commit.interval.ms`).
#[must_use]
pub fn is_settlement(span: &Span) -> bool {
    span.attributes.iter().any(|KeyValue { key, value }| {
        match key.as_str() {
            MESSAGING_OPERATION_TYPE | OLD_OPERATION => value.as_str() == Some(SETTLE),
            // The sidecar's own, which every one of its names for these spans comes with.
            KAFKA_HANDLED | KAFKA_ACKNOWLEDGED => true,
            // Its commits under the names of opentracing-kafka-client, which has none of its own.
            OPENTRACING_TOPIC => {
                let topic = value.as_str();
                topic.is_some() && span.name.strip_prefix(COMMIT_PREFIX) == topic
            }
            _ => false,
        }
    })
}

/// Returns whether an attribute of this name can be part of a message, or settle one; see
/// [`MessageAttributes::of`] and [`is_settlement`].
#[must_use]
pub fn describes_message(key: &str) -> bool {
    [TOPIC_KEYS, GROUP_KEYS, PARTITION_KEYS, OFFSET_KEYS]
        .into_iter()
        .any(|keys| keys.contains(&key))
        || [
            SHORT_TOPIC_KEY,
            SHORT_PARTITION_KEY,
            SHORT_OFFSET_KEY,
            KAFKA_LAG,
            KAFKA_QUEUE_TIME,
            KAFKA_QUEUE_TIME_SENT,
            MESSAGING_OPERATION_TYPE,
            OLD_OPERATION,
            KAFKA_HANDLED,
            KAFKA_ACKNOWLEDGED,
        ]
        .contains(&key)
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
