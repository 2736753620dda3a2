//! The names and tags of opentracing-kafka-client 0.1.15, for traces that must look as they did
//! with it.
//!
//! `component` is `java-kafka` even here, because saved searches and dashboards depend on it.

use std::fmt;
use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::trace::SpanRef;

use super::operation::{KafkaOperation, RecordMetadata};
use super::span_error::SpanError;

/// Span names and tags of opentracing-kafka-client.
#[derive(Clone)]
pub struct OpenTracing {
    producer: SpanName,
    consumer: SpanName,
    decorators: Arc<[Arc<dyn SpanDecorator>]>,
}

/// The name of a span (`ClientSpanNameProvider`). The operation is `send` or `receive`; a missing
/// topic is `unknown`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpanName {
    /// `send`
    OperationName,
    /// `<prefix>send`
    PrefixedOperationName(String),
    /// `orders`
    Topic,
    /// `<prefix>orders`; the default, with the prefixes `To_` and `From_`.
    PrefixedTopic(String),
    /// `send - orders`
    OperationNameTopic,
    /// `<prefix>send - orders`
    PrefixedOperationNameTopic(String),
}

/// A source of tags (`SpanDecorator`). A list for [`OpenTracing::decorators`] replaces
/// [`StandardTags`]; include them in the list to keep them.
pub trait SpanDecorator: Send + Sync {
    /// Adds the tags of a record that is being sent.
    fn on_send(&self, record: &RecordMetadata<'_>, tags: &mut Vec<KeyValue>);
    /// Adds the tags of a received record.
    fn on_response(&self, record: &RecordMetadata<'_>, tags: &mut Vec<KeyValue>);
    /// Records the error of a failed send or handler.
    fn on_error(&self, error: &SpanError<'_>, span: &SpanRef<'_>);
}

/// The default tags of opentracing-kafka-client. `span.kind` is OpenTelemetry's span kind.
#[derive(Debug, Clone, Copy, Default)]
pub struct StandardTags;

// === impl OpenTracing ===

impl Default for OpenTracing {
    fn default() -> Self {
        Self {
            producer: SpanName::PrefixedTopic("To_".to_owned()),
            consumer: SpanName::PrefixedTopic("From_".to_owned()),
            decorators: Arc::new([Arc::new(StandardTags)]),
        }
    }
}

impl fmt::Debug for OpenTracing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("OpenTracing");
        debug
            .field("producer", &self.producer)
            .field("consumer", &self.consumer)
            .finish_non_exhaustive()
    }
}

impl OpenTracing {
    /// Sets the names of producer spans.
    #[must_use]
    pub fn producer_name(self, producer: SpanName) -> Self {
        Self { producer, ..self }
    }

    /// Sets the names of consumer spans.
    #[must_use]
    pub fn consumer_name(self, consumer: SpanName) -> Self {
        Self { consumer, ..self }
    }

    /// Sets the decorators, in place of [`StandardTags`].
    #[must_use]
    pub fn decorators(self, decorators: Vec<Arc<dyn SpanDecorator>>) -> Self {
        Self {
            decorators: decorators.into(),
            ..self
        }
    }

    pub(crate) fn span_name(&self, operation: KafkaOperation, topic: Option<&str>) -> String {
        match operation {
            KafkaOperation::Send => self.producer.format("send", topic),
            KafkaOperation::Poll | KafkaOperation::Process | KafkaOperation::Commit => {
                self.consumer.format("receive", topic)
            }
        }
    }

    /// Returns the name of the span that is active in a listener.
    pub(crate) fn listener_name(topic: &str) -> String {
        format!("KafkaListener_{topic}")
    }

    pub(crate) fn attributes(
        &self,
        operation: KafkaOperation,
        record: &RecordMetadata<'_>,
    ) -> Vec<KeyValue> {
        let mut tags = Vec::with_capacity(6);
        for decorator in self.decorators.iter() {
            match operation {
                KafkaOperation::Send => decorator.on_send(record, &mut tags),
                KafkaOperation::Poll | KafkaOperation::Process | KafkaOperation::Commit => {
                    decorator.on_response(record, &mut tags);
                }
            }
        }
        tags
    }

    pub(crate) fn on_error(&self, error: &SpanError<'_>, span: &SpanRef<'_>) {
        for decorator in self.decorators.iter() {
            decorator.on_error(error, span);
        }
    }
}

// === impl SpanName ===

impl SpanName {
    fn format(&self, operation: &str, topic: Option<&str>) -> String {
        // The name providers of the original use `unknown` for a missing topic.
        let topic = topic.filter(|topic| !topic.is_empty()).unwrap_or("unknown");
        match self {
            Self::OperationName => operation.to_owned(),
            Self::PrefixedOperationName(prefix) => format!("{prefix}{operation}"),
            Self::Topic => topic.to_owned(),
            Self::PrefixedTopic(prefix) => [prefix, topic].concat(),
            Self::OperationNameTopic => format!("{operation} - {topic}"),
            Self::PrefixedOperationNameTopic(prefix) => format!("{prefix}{operation} - {topic}"),
        }
    }
}

// === impl StandardTags ===

impl SpanDecorator for StandardTags {
    fn on_send(&self, record: &RecordMetadata<'_>, tags: &mut Vec<KeyValue>) {
        shared_tags(record, tags);
        tags.extend(
            record
                .partition
                .map(|partition| KeyValue::new("partition", i64::from(partition))),
        );
    }

    fn on_response(&self, record: &RecordMetadata<'_>, tags: &mut Vec<KeyValue>) {
        shared_tags(record, tags);
        tags.extend(
            record
                .partition
                .map(|partition| KeyValue::new("partition", i64::from(partition))),
        );
        tags.extend(record.offset.map(|offset| KeyValue::new("offset", offset)));
    }

    fn on_error(&self, error: &SpanError<'_>, span: &SpanRef<'_>) {
        if !span.is_recording() {
            return;
        }
        // A log of OpenTracing ("error.kind", "stack", ...) is an event in OpenTelemetry.
        span.set_attribute(KeyValue::new("error", true));
        let message = error.message();
        let log = vec![
            KeyValue::new("event", "error"),
            KeyValue::new("error.kind", error.kind()),
            KeyValue::new("error.object", message.clone()),
            KeyValue::new("message", message),
            KeyValue::new("stack", error.detail()),
        ];
        span.add_event("error", log);
    }
}

fn shared_tags(record: &RecordMetadata<'_>, tags: &mut Vec<KeyValue>) {
    tags.push(KeyValue::new("component", "java-kafka"));
    // The span kind of OpenTelemetry takes the place of the tag `span.kind`.
    tags.push(KeyValue::new("peer.service", "kafka"));
    tags.push(KeyValue::new(
        "message_bus.destination",
        record.topic.to_owned(),
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn span_names_equal_those_of_the_original_providers() {
        let prefix = || "P_".to_owned();
        let names = [
            (SpanName::OperationName, "receive"),
            (SpanName::PrefixedOperationName(prefix()), "P_receive"),
            (SpanName::Topic, "orders"),
            (SpanName::PrefixedTopic(prefix()), "P_orders"),
            (SpanName::OperationNameTopic, "receive - orders"),
            (
                SpanName::PrefixedOperationNameTopic(prefix()),
                "P_receive - orders",
            ),
        ];
        for (provider, expected) in names {
            assert_eq!(provider.format("receive", Some("orders")), expected);
        }
        assert_eq!(SpanName::Topic.format("send", None), "unknown");
    }
}
