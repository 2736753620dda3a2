//! The names and tags of opentracing-kafka-client 0.1.15, for traces that must look as they did with it.
//!
//! `component` stays `java-kafka`, wrong as it is here: saved searches and dashboards look for it.

use std::fmt;
use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::trace::SpanRef;

use super::naming::{Failure, Operation, Record};

/// Span names and tags of opentracing-kafka-client.
#[derive(Clone)]
pub struct OpenTracing {
    producer: SpanName,
    consumer: SpanName,
    decorators: Arc<[Arc<dyn SpanDecorator>]>,
}

/// How a span is named (`ClientSpanNameProvider`). The operation is `send` or `receive`; what is missing is `unknown`.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// Puts tags on spans (`SpanDecorator`). A list of decorators given to [`OpenTracing::decorators`] replaces
/// [`StandardTags`]; name them in the list to keep them.
pub trait SpanDecorator: Send + Sync {
    /// Tags of a record that is being sent.
    fn on_send(&self, record: &Record<'_>, tags: &mut Vec<KeyValue>);
    /// Tags of a record that was received.
    fn on_response(&self, record: &Record<'_>, tags: &mut Vec<KeyValue>);
    /// Something went wrong: sending, or handling.
    fn on_error(&self, failure: &Failure, span: &SpanRef<'_>);
}

/// The tags that opentracing-kafka-client sets unless told otherwise. `span.kind` is OpenTelemetry's span kind.
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
        let mut shown = f.debug_struct("OpenTracing");
        shown
            .field("producer", &self.producer)
            .field("consumer", &self.consumer)
            .finish_non_exhaustive()
    }
}

impl OpenTracing {
    /// How producer spans are named.
    #[must_use]
    pub fn producer_name(self, producer: SpanName) -> Self {
        Self { producer, ..self }
    }

    /// How consumer spans are named.
    #[must_use]
    pub fn consumer_name(self, consumer: SpanName) -> Self {
        Self { consumer, ..self }
    }

    /// Who puts the tags on, in place of [`StandardTags`].
    #[must_use]
    pub fn decorators(self, decorators: Vec<Arc<dyn SpanDecorator>>) -> Self {
        Self {
            decorators: decorators.into(),
            ..self
        }
    }

    pub(crate) fn span_name(&self, operation: Operation, topic: Option<&str>) -> String {
        match operation {
            Operation::Send => self.producer.of("send", topic),
            Operation::Poll | Operation::Process | Operation::Commit => {
                self.consumer.of("receive", topic)
            }
        }
    }

    /// The span that is active while a listener runs.
    pub(crate) fn listener_name(topic: &str) -> String {
        format!("KafkaListener_{topic}")
    }

    pub(crate) fn attributes(&self, operation: Operation, record: &Record<'_>) -> Vec<KeyValue> {
        let mut tags = Vec::with_capacity(6);
        for decorator in self.decorators.iter() {
            match operation {
                Operation::Send => decorator.on_send(record, &mut tags),
                Operation::Poll | Operation::Process | Operation::Commit => {
                    decorator.on_response(record, &mut tags)
                }
            }
        }
        tags
    }

    pub(crate) fn on_error(&self, failure: &Failure, span: &SpanRef<'_>) {
        for decorator in self.decorators.iter() {
            decorator.on_error(failure, span);
        }
    }
}

// === impl SpanName ===

impl SpanName {
    fn of(&self, operation: &str, topic: Option<&str>) -> String {
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
    fn on_send(&self, record: &Record<'_>, tags: &mut Vec<KeyValue>) {
        shared_tags(record, tags);
        tags.extend(
            record
                .partition
                .map(|partition| KeyValue::new("partition", i64::from(partition))),
        );
    }

    fn on_response(&self, record: &Record<'_>, tags: &mut Vec<KeyValue>) {
        shared_tags(record, tags);
        tags.extend(
            record
                .partition
                .map(|partition| KeyValue::new("partition", i64::from(partition))),
        );
        tags.extend(record.offset.map(|offset| KeyValue::new("offset", offset)));
    }

    fn on_error(&self, failure: &Failure, span: &SpanRef<'_>) {
        span.set_attribute(KeyValue::new("error", true));
        let log = vec![
            KeyValue::new("event", "error"),
            KeyValue::new("error.kind", failure.kind()),
            KeyValue::new("error.object", failure.message.clone()),
            KeyValue::new("message", failure.message.clone()),
            KeyValue::new("stack", failure.detail.clone()),
        ];
        span.add_event("error", log);
    }
}

fn shared_tags(record: &Record<'_>, tags: &mut Vec<KeyValue>) {
    tags.push(KeyValue::new("component", "java-kafka"));
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
    fn every_span_name_provider_names_as_its_original_does() {
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
            assert_eq!(provider.of("receive", Some("orders")), expected);
        }
        assert_eq!(SpanName::Topic.of("send", None), "unknown");
    }
}
