//! Names and attributes of Kafka spans: those of OpenTelemetry's messaging conventions, or those of OpenTracing.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use opentelemetry::trace::{SpanRef, Status};
use opentelemetry::{KeyValue, Value};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use throughline_model::convention::{
    ERROR_TYPE, MESSAGING_CLIENT_ID, MESSAGING_CONSUMER_GROUP_NAME, MESSAGING_DESTINATION_NAME,
    MESSAGING_DESTINATION_PARTITION_ID, MESSAGING_KAFKA_CLUSTER_ID, MESSAGING_KAFKA_MESSAGE_KEY,
    MESSAGING_KAFKA_MESSAGE_TOMBSTONE, MESSAGING_KAFKA_OFFSET, MESSAGING_OPERATION_NAME,
    MESSAGING_OPERATION_TYPE, MESSAGING_SYSTEM, SERVER_ADDRESS, SERVER_PORT,
};

use super::OpenTracing;
use super::settings::Values;

/// Whose names and attributes the spans have.
#[derive(Debug, Clone, Default)]
pub enum Naming {
    /// `send T`, `process T`, `messaging.*`: OpenTelemetry's messaging conventions, v1.44.
    #[default]
    OpenTelemetry,
    /// `To_T`, `From_T`, `message_bus.destination`: opentracing-kafka-client 0.1.15.
    OpenTracing(OpenTracing),
}

/// What is known of a record when its span is made.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its partition: on the sending side only when the caller chose one.
    pub partition: Option<i32>,
    /// Its offset in the partition: on the receiving side only.
    pub offset: Option<i64>,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Whether it has no value, which deletes its key from a compacted topic.
    pub tombstone: bool,
}

/// Why something went wrong, in the words that a span can hold.
#[derive(Debug, Clone)]
pub struct Failure {
    /// A name of few different values: Kafka's error name, or the error's Rust type.
    pub kind: Cow<'static, str>,
    /// What the error says.
    pub message: String,
    /// The error in all detail, with its causes as far as its `Debug` shows them.
    pub detail: String,
}

/// What a client does with records (`messaging.operation.*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Send,
    Poll,
    Process,
    Commit,
}

// === impl Naming ===

impl Naming {
    /// The names of opentracing-kafka-client with its standard tags.
    #[must_use]
    pub fn opentracing() -> Self {
        Self::OpenTracing(OpenTracing::default())
    }

    /// The span's name. `topic` is `None` where records of several topics are handled together.
    pub(crate) fn span_name(&self, operation: Operation, topic: Option<&str>) -> String {
        match self {
            Self::OpenTelemetry => match topic {
                Some(topic) => [operation.name(), " ", topic].concat(),
                None => operation.name().to_owned(),
            },
            Self::OpenTracing(names) => names.span_name(operation, topic),
        }
    }

    /// The attributes that the span starts with.
    pub(crate) fn attributes(
        &self,
        operation: Operation,
        record: &Record<'_>,
        values: &Values,
    ) -> Vec<KeyValue> {
        match self {
            Self::OpenTelemetry => conventional(operation, record, values),
            Self::OpenTracing(names) => names.attributes(operation, record),
        }
    }

    /// Records a failure on a span.
    pub(crate) fn fail(&self, failure: &Failure, span: &SpanRef<'_>) {
        span.set_status(Status::error(failure.message.clone()));
        match self {
            Self::OpenTelemetry => {
                span.set_attribute(KeyValue::new(ERROR_TYPE, failure.kind.clone()))
            }
            Self::OpenTracing(names) => names.on_error(failure, span),
        }
    }
}

fn conventional(operation: Operation, record: &Record<'_>, values: &Values) -> Vec<KeyValue> {
    let mut attributes = Vec::with_capacity(12);
    attributes.push(KeyValue::new(MESSAGING_SYSTEM, "kafka"));
    attributes.push(KeyValue::new(MESSAGING_OPERATION_NAME, operation.name()));
    attributes.push(KeyValue::new(MESSAGING_OPERATION_TYPE, operation.kind()));
    if !record.topic.is_empty() {
        attributes.push(KeyValue::new(
            MESSAGING_DESTINATION_NAME,
            record.topic.to_owned(),
        ));
    }
    place(&mut attributes, record.partition, record.offset);
    if record.tombstone {
        attributes.push(KeyValue::new(MESSAGING_KAFKA_MESSAGE_TOMBSTONE, true));
    }
    if values.message_key
        && let Some(Ok(key)) = record.key.map(str::from_utf8)
    {
        attributes.push(KeyValue::new(MESSAGING_KAFKA_MESSAGE_KEY, key.to_owned()));
    }
    let group = if operation == Operation::Send {
        &None
    } else {
        &values.group
    };
    let known = [
        (MESSAGING_CONSUMER_GROUP_NAME, group),
        (MESSAGING_CLIENT_ID, &values.client_id),
        (MESSAGING_KAFKA_CLUSTER_ID, &values.cluster_id),
    ];
    for (name, value) in known {
        if let Some(value) = value {
            attributes.push(KeyValue::new(name, Arc::clone(value)));
        }
    }
    if let Some((host, port)) = &values.server {
        attributes.push(KeyValue::new(SERVER_ADDRESS, Arc::clone(host)));
        attributes.extend(port.map(|port| KeyValue::new(SERVER_PORT, i64::from(port))));
    }
    attributes
}

/// Partition and offset, as far as they are known.
pub(crate) fn place(attributes: &mut Vec<KeyValue>, partition: Option<i32>, offset: Option<i64>) {
    if let Some(partition) = partition {
        attributes.push(KeyValue::new(
            MESSAGING_DESTINATION_PARTITION_ID,
            partition.to_string(),
        ));
    }
    if let Some(offset) = offset {
        attributes.push(KeyValue::new(MESSAGING_KAFKA_OFFSET, offset));
    }
}

// === impl Operation ===

impl Operation {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Poll => "poll",
            Self::Process => "process",
            Self::Commit => "commit",
        }
    }

    pub(crate) const fn kind(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Poll => "receive",
            Self::Process => "process",
            Self::Commit => "settle",
        }
    }
}

// === impl Failure ===

impl Failure {
    /// From an error of a handler: anything that can be shown and debugged, `anyhow::Error` too.
    pub(crate) fn of<E: fmt::Display + fmt::Debug>(error: &E) -> Self {
        let kind = Cow::Borrowed(std::any::type_name::<E>());
        Self {
            kind,
            message: error.to_string(),
            detail: format!("{error:?}"),
        }
    }

    /// From an error of the Kafka client.
    pub(crate) fn kafka(error: &KafkaError) -> Self {
        let kind = error
            .rdkafka_error_code()
            .map_or(Cow::Borrowed("KafkaError"), |code| {
                Cow::Owned(kafka_name(code))
            });
        Self {
            kind,
            message: error.to_string(),
            detail: format!("{error:?}"),
        }
    }

    /// A handler that panicked. The payload is the panic hook's affair.
    pub(crate) fn panic() -> Self {
        let message = "the handler panicked".to_owned();
        Self {
            kind: Cow::Borrowed("panic"),
            detail: message.clone(),
            message,
        }
    }

    pub(crate) fn kind(&self) -> Value {
        Value::from(self.kind.clone())
    }
}

/// Kafka's own name of an error, `NOT_ENOUGH_REPLICAS`, from rdkafka's `NotEnoughReplicas`.
fn kafka_name(code: RDKafkaErrorCode) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_names_that_kafka_gives_them() {
        let error = KafkaError::MessageProduction(RDKafkaErrorCode::NotEnoughReplicas);
        assert_eq!(Failure::kafka(&error).kind, "NOT_ENOUGH_REPLICAS");
        assert_eq!(Failure::kafka(&KafkaError::Canceled).kind, "KafkaError");
    }

    #[test]
    fn a_span_over_several_topics_has_no_topic_in_its_name() {
        assert_eq!(
            Naming::OpenTelemetry.span_name(Operation::Process, None),
            "process"
        );
        assert_eq!(
            Naming::OpenTelemetry.span_name(Operation::Process, Some("t")),
            "process t"
        );
    }
}
