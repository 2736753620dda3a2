//! The fields of a span that a filter can use.

use throughline_model::{KeyValue, Span, Status, Value};

use super::predicate::FieldValue;
use super::properties::TraceProperties;
use crate::message::MessageAttributes;

/// Tags that Jaeger derives from the fields of a span.
pub(crate) const JAEGER_TAGS: [&str; 6] = [
    "span.kind",
    "error",
    "otel.status_code",
    "otel.status_description",
    "otel.scope.name",
    "otel.scope.version",
];

/// A field of a span: a TraceQL intrinsic, an attribute, or a property of its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpanField {
    /// `span:name`.
    Name,
    /// Start of the span, in nanoseconds since the Unix epoch.
    StartTime,
    /// `span:duration`.
    Duration,
    /// `span:status`: `ok`, `error`, `unset`.
    Status,
    /// `span:statusMessage`.
    StatusMessage,
    /// `span:kind`: `server`, `client`, `producer`, `consumer`, `internal`, `unspecified`.
    Kind,
    /// `span:id`.
    Id,
    /// `span:parentID`.
    ParentId,
    /// Service that made the span.
    Service,
    /// `trace:duration`.
    TraceDuration,
    /// `trace:rootName`.
    RootName,
    /// `trace:rootService`.
    RootService,
    /// `trace:id`.
    TraceId,
    /// `event:name`.
    EventName,
    /// `event:timeSinceStart`.
    EventTime,
    /// `link:traceID`.
    LinkTraceId,
    /// `link:spanID`.
    LinkSpanId,
    /// `instrumentation:name`.
    ScopeName,
    /// `instrumentation:version`.
    ScopeVersion,
    /// An attribute, by scope and name.
    Attribute(AttributeScope, String),
    /// Topic of the message.
    Topic,
    /// Partition of the message.
    Partition,
    /// Offset of the message.
    Offset,
    /// Consumer group that received the message.
    Group,
    /// Number of messages behind this one at delivery.
    Lag,
    /// Time that the message waited in the topic.
    QueueTime,
}

/// The part of a span that holds an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AttributeScope {
    /// The span or its resource.
    Any,
    /// The span.
    Span,
    /// The resource.
    Resource,
    /// An event.
    Event,
    /// A link.
    Link,
    /// The instrumentation scope.
    Instrumentation,
    /// A tag as Jaeger and a logfmt query mean it: an attribute of span, resource, events, links or
    /// scope, or a tag derived from a field.
    JaegerTag,
}

// === impl AttributeScope ===

impl AttributeScope {
    /// Returns the scope's name in TraceQL; empty when TraceQL has none.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Any | Self::JaegerTag => "",
            Self::Span => "span",
            Self::Resource => "resource",
            Self::Event => "event",
            Self::Link => "link",
            Self::Instrumentation => "instrumentation",
        }
    }

    /// Returns the scope with this name in TraceQL.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Self::Span,
            Self::Resource,
            Self::Event,
            Self::Link,
            Self::Instrumentation,
        ]
        .into_iter()
        .find(|scope| scope.name() == name)
    }
}

// === impl SpanField ===

impl SpanField {
    /// Passes each value of the field to `visit` until it returns true; returns whether it did.
    pub fn visit_values(
        &self,
        span: &Span,
        properties: &TraceProperties<'_>,
        visit: &mut dyn FnMut(FieldValue<'_>) -> bool,
    ) -> bool {
        match self {
            Self::Name => visit(FieldValue::Text(&span.name)),
            Self::StartTime => visit(FieldValue::Nanoseconds(span.start)),
            Self::Duration => visit(FieldValue::Nanoseconds(span.duration())),
            Self::Status => visit(FieldValue::Text(status_name(span))),
            Self::StatusMessage => match &span.status {
                Status::Error(message) => visit(FieldValue::Text(message)),
                Status::Unset | Status::Ok if span.status_message.is_empty() => false,
                Status::Unset | Status::Ok => visit(FieldValue::Text(&span.status_message)),
            },
            Self::Kind => visit(FieldValue::Text(span.kind.name().unwrap_or("unspecified"))),
            Self::Id => visit(FieldValue::Text(&span.span_id.to_string())),
            Self::ParentId => span
                .parent_span_id
                .is_some_and(|id| visit(FieldValue::Text(&id.to_string()))),
            Self::Service => visit(FieldValue::Text(span.service())),
            Self::TraceDuration => visit(FieldValue::Nanoseconds(properties.duration)),
            Self::RootName => properties
                .root
                .is_some_and(|root| visit(FieldValue::Text(&root.name))),
            Self::RootService => properties
                .root
                .is_some_and(|root| visit(FieldValue::Text(root.service()))),
            // Ids are compared as lower-case hex, the form in which they are shown.
            // The reported id: a woven trace is found under each of its ids.
            Self::TraceId => visit(FieldValue::Text(&span.trace_id.to_string())),
            Self::ScopeName => visit(FieldValue::Text(&span.scope.name)),
            Self::ScopeVersion => visit(FieldValue::Text(&span.scope.version)),
            Self::Attribute(scope, key) => visit_attribute(*scope, key, span, visit),
            Self::EventName => span
                .events
                .iter()
                .any(|event| visit(FieldValue::Text(&event.name))),
            Self::EventTime => span
                .events
                .iter()
                // Clocks may put an event before its span; its time is then zero.
                .map(|event| event.time.saturating_sub(span.start))
                .any(|time| visit(FieldValue::Nanoseconds(time))),
            Self::LinkTraceId => span
                .links
                .iter()
                .any(|link| visit(FieldValue::Text(&link.trace_id.to_string()))),
            Self::LinkSpanId => span
                .links
                .iter()
                .any(|link| visit(FieldValue::Text(&link.span_id.to_string()))),
            Self::Topic => visit_message(span, |it| it.topic.map(FieldValue::Text), visit),
            Self::Group => visit_message(span, |it| it.group.map(FieldValue::Text), visit),
            Self::Partition => {
                visit_message(span, |it| it.partition.map(FieldValue::Integer), visit)
            }
            Self::Offset => visit_message(span, |it| it.offset.map(FieldValue::Integer), visit),
            Self::Lag => visit_message(span, |it| it.lag.map(FieldValue::Integer), visit),
            Self::QueueTime => {
                visit_message(span, |it| it.queue_time.map(FieldValue::Nanoseconds), visit)
            }
        }
    }
}

/// Visits a field of the message that the span describes, if any.
fn visit_message(
    span: &Span,
    read: impl Fn(MessageAttributes<'_>) -> Option<FieldValue<'_>>,
    visit: &mut dyn FnMut(FieldValue<'_>) -> bool,
) -> bool {
    MessageAttributes::of(span)
        .and_then(read)
        .is_some_and(visit)
}

/// Returns the span's status in TraceQL's spelling; that of a failed span is `error`.
pub(crate) fn status_name(span: &Span) -> &'static str {
    match &span.status {
        _ if span.failed() => "error",
        Status::Ok => "ok",
        Status::Unset | Status::Error(_) => "unset",
    }
}

fn visit_attribute(
    scope: AttributeScope,
    key: &str,
    span: &Span,
    visit: &mut dyn FnMut(FieldValue<'_>) -> bool,
) -> bool {
    let mut among = |pairs: &[KeyValue]| {
        pairs
            .iter()
            .any(|pair| pair.key == key && visit_value(&pair.value, visit))
    };
    match scope {
        AttributeScope::Span => among(&span.attributes),
        AttributeScope::Resource => among(&span.resource.attributes),
        AttributeScope::Any => among(&span.attributes) || among(&span.resource.attributes),
        AttributeScope::Event => span.events.iter().any(|event| among(&event.attributes)),
        AttributeScope::Link => span.links.iter().any(|link| among(&link.attributes)),
        AttributeScope::Instrumentation => among(&span.scope.attributes),
        AttributeScope::JaegerTag => {
            among(&span.attributes)
                || among(&span.resource.attributes)
                || span.events.iter().any(|event| among(&event.attributes))
                || span.links.iter().any(|link| among(&link.attributes))
                || among(&span.scope.attributes)
                || jaeger_tag(key, span).is_some_and(|text| visit(FieldValue::Text(text)))
        }
    }
}

/// Visits a value; the elements of an array one by one, and then the array as a whole.
fn visit_value(value: &Value, visit: &mut dyn FnMut(FieldValue<'_>) -> bool) -> bool {
    match value {
        Value::Array(values) => {
            values.iter().any(|value| visit_value(value, visit)) || visit(FieldValue::Value(value))
        }
        Value::Empty
        | Value::String(_)
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Double(_)
        | Value::Bytes(_)
        | Value::Map(_) => visit(FieldValue::Value(value)),
    }
}

/// Returns the tag that Jaeger derives from a field of the span; see [`JAEGER_TAGS`].
fn jaeger_tag<'a>(key: &str, span: &'a Span) -> Option<&'a str> {
    match key {
        "span.kind" => span.kind.name(),
        "error" => span.failed().then_some("true"),
        "otel.status_code" => match span.status {
            Status::Unset => None,
            Status::Ok => Some("OK"),
            Status::Error(_) => Some("ERROR"),
        },
        "otel.status_description" => match &span.status {
            Status::Error(message) => Some(message.as_str()),
            Status::Unset | Status::Ok => None,
        },
        "otel.scope.name" => Some(span.scope.name.as_str()),
        "otel.scope.version" => Some(span.scope.version.as_str()),
        _ => None,
    }
}
