//! What of a span can be asked for.

use throughline_model::{KeyValue, Span, Status, Value};

use super::Facts;
use super::test::Piece;
use crate::message::Message;

/// What of a span can be asked for: TraceQL's intrinsics, attributes, and what a span says of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// `span:name`.
    Name,
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
    /// The service that made the span.
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
    /// An attribute, of where and of which name.
    Attribute(Scope, String),
    /// The topic of a message.
    Topic,
    /// Its partition.
    Partition,
    /// Its offset.
    Offset,
    /// The consumer group that got it.
    Group,
    /// Messages behind it, when it was delivered.
    Lag,
    /// How long it waited in the topic.
    QueueTime,
}

/// Where an attribute is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Of the span or its resource.
    Any,
    /// Of the span.
    Span,
    /// Of the resource.
    Resource,
    /// Of an event.
    Event,
    /// Of a link.
    Link,
    /// Of the instrumentation.
    Instrumentation,
    /// Anywhere, and Jaeger's tags for fields: what a logfmt query means.
    Tag,
}

// === impl Scope ===

impl Scope {
    /// As TraceQL writes it, where it has a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Any | Self::Tag => "",
            Self::Span => "span",
            Self::Resource => "resource",
            Self::Event => "event",
            Self::Link => "link",
            Self::Instrumentation => "instrumentation",
        }
    }

    /// Of this word.
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

// === impl Field ===

impl Field {
    /// Shows every value of the field, until `see` is satisfied.
    pub fn each(
        &self,
        span: &Span,
        facts: &Facts<'_>,
        see: &mut dyn FnMut(Piece<'_>) -> bool,
    ) -> bool {
        match self {
            Self::Name => see(Piece::Text(&span.name)),
            Self::Duration => see(Piece::Nanoseconds(span.duration())),
            Self::Status => see(Piece::Text(status(span))),
            Self::StatusMessage => match &span.status {
                Status::Error(message) => see(Piece::Text(message)),
                Status::Unset | Status::Ok => false,
            },
            Self::Kind => see(Piece::Text(span.kind.name().unwrap_or("unspecified"))),
            Self::Id => see(Piece::Text(&span.span_id.to_string())),
            Self::ParentId => span
                .parent_span_id
                .is_some_and(|id| see(Piece::Text(&id.to_string()))),
            Self::Service => see(Piece::Text(span.service())),
            Self::TraceDuration => see(Piece::Nanoseconds(facts.duration)),
            Self::RootName => facts.root.is_some_and(|root| see(Piece::Text(&root.name))),
            Self::RootService => facts
                .root
                .is_some_and(|root| see(Piece::Text(root.service()))),
            Self::TraceId => see(Piece::Text(&facts.id.to_string())),
            Self::EventName => span
                .events
                .iter()
                .any(|event| see(Piece::Text(&event.name))),
            Self::EventTime => span
                .events
                .iter()
                .any(|event| see(Piece::Nanoseconds(event.time.saturating_sub(span.start)))),
            Self::LinkTraceId => span
                .links
                .iter()
                .any(|link| see(Piece::Text(&link.trace_id.to_string()))),
            Self::LinkSpanId => span
                .links
                .iter()
                .any(|link| see(Piece::Text(&link.span_id.to_string()))),
            Self::ScopeName => see(Piece::Text(&span.scope.name)),
            Self::ScopeVersion => see(Piece::Text(&span.scope.version)),
            Self::Attribute(scope, key) => each_attribute(*scope, key, span, see),
            Self::Topic => Message::of(span)
                .and_then(|message| message.topic)
                .is_some_and(|text| see(Piece::Text(text))),
            Self::Group => Message::of(span)
                .and_then(|message| message.group)
                .is_some_and(|text| see(Piece::Text(text))),
            Self::Partition => of_message(span, |message| message.partition.map(Piece::Whole), see),
            Self::Offset => of_message(span, |message| message.offset.map(Piece::Whole), see),
            Self::Lag => of_message(span, |message| message.lag.map(Piece::Whole), see),
            Self::QueueTime => of_message(
                span,
                |message| message.queue_time.map(Piece::Nanoseconds),
                see,
            ),
        }
    }
}

fn of_message(
    span: &Span,
    piece: impl Fn(&Message<'_>) -> Option<Piece<'static>>,
    see: &mut dyn FnMut(Piece<'_>) -> bool,
) -> bool {
    Message::of(span)
        .and_then(|message| piece(&message))
        .is_some_and(see)
}

/// As TraceQL writes it.
pub(crate) const fn status(span: &Span) -> &'static str {
    match &span.status {
        Status::Unset => "unset",
        Status::Ok => "ok",
        Status::Error(_) => "error",
    }
}

fn each_attribute(
    scope: Scope,
    key: &str,
    span: &Span,
    see: &mut dyn FnMut(Piece<'_>) -> bool,
) -> bool {
    let mut among = |pairs: &[KeyValue]| {
        pairs
            .iter()
            .any(|pair| pair.key == key && each_value(&pair.value, see))
    };
    match scope {
        Scope::Span => among(&span.attributes),
        Scope::Resource => among(&span.resource.attributes),
        Scope::Any => among(&span.attributes) || among(&span.resource.attributes),
        Scope::Event => span.events.iter().any(|event| among(&event.attributes)),
        Scope::Link => span.links.iter().any(|link| among(&link.attributes)),
        Scope::Instrumentation => among(&span.scope.attributes),
        Scope::Tag => {
            among(&span.attributes)
                || among(&span.resource.attributes)
                || span.events.iter().any(|event| among(&event.attributes))
                || span.links.iter().any(|link| among(&link.attributes))
                || tag(key, span).is_some_and(|text| see(Piece::Text(text)))
        }
    }
}

/// The elements of an array count one by one.
fn each_value(value: &Value, see: &mut dyn FnMut(Piece<'_>) -> bool) -> bool {
    match value {
        Value::Array(values) => values.iter().any(|value| each_value(value, see)),
        Value::Empty
        | Value::String(_)
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Double(_)
        | Value::Bytes(_)
        | Value::Map(_) => see(Piece::Value(value)),
    }
}

/// The tags that Jaeger makes of the fields of a span.
pub(crate) fn tag<'a>(key: &str, span: &'a Span) -> Option<&'a str> {
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
