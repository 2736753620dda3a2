//! A finished span, shaped like OTLP's (opentelemetry-proto v1, `trace.proto`), with non-zero ids.

use std::sync::Arc;

use crate::convention::{ERROR, SERVICE_NAME};
use crate::value::find;
use crate::{KeyValue, Link, SpanId, TraceId, Value};

/// The service name of a resource without one (resource conventions, "Service").
const UNKNOWN_SERVICE: &str = "unknown_service";

/// A finished span.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// Its own id, unique within the trace.
    pub span_id: SpanId,
    /// The span it is a child of; `None` for a root.
    pub parent_span_id: Option<SpanId>,
    /// OTLP `Span.flags`, with the bits of [`flag`](crate::flag).
    pub flags: u32,
    /// The W3C `tracestate` it ran under; empty when there was none.
    pub trace_state: String,
    /// The operation: `GET /checkout`, `To_eshop-topic`.
    pub name: String,
    /// Its side of the exchange.
    pub kind: SpanKind,
    /// Start, nanoseconds since the Unix epoch.
    pub start: u64,
    /// End, nanoseconds since the Unix epoch. May be before `start`, because clocks step.
    pub end: u64,
    /// Attributes in the order of the sender.
    pub attributes: Vec<KeyValue>,
    /// Events during the span.
    pub events: Vec<Event>,
    /// References to other spans, in this trace or another.
    pub links: Vec<Link>,
    /// The result.
    pub status: Status,
    /// Message of a status other than a failure, which OTLP permits; nearly always empty.
    pub status_message: Box<str>,
    /// Items that the sender dropped to stay within its limits.
    pub dropped: DroppedCounts,
    /// The process that produced it. Shared by all spans of one export.
    pub resource: Arc<Resource>,
    /// The instrumentation that produced it. Shared by all spans of one scope.
    pub scope: Arc<Scope>,
}

/// The side of an exchange that a span describes (OTLP `SpanKind`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SpanKind {
    /// Not given.
    #[default]
    Unspecified,
    /// Work inside one process.
    Internal,
    /// A request, on the server's side.
    Server,
    /// A request, on the client's side.
    Client,
    /// A message, on the sender's side.
    Producer,
    /// A message, on the receiver's side.
    Consumer,
}

/// The result of a span (OTLP `Status`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Status {
    /// Not given.
    #[default]
    Unset,
    /// Success, as declared by the application.
    Ok,
    /// Failure, with a reason that may be empty.
    Error(String),
}

/// Numbers of attributes, events and links that a sender dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DroppedCounts {
    /// Attributes of the span.
    pub attributes: u32,
    /// Events.
    pub events: u32,
    /// Links.
    pub links: u32,
}

/// A moment within a span.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Time, nanoseconds since the Unix epoch.
    pub time: u64,
    /// Name, such as `exception`.
    pub name: String,
    /// Attributes of the event.
    pub attributes: Vec<KeyValue>,
}

/// The process that produced a span.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Resource {
    /// Attributes such as `service.name`.
    pub attributes: Vec<KeyValue>,
    /// Version of the semantic conventions of the attributes; empty when unknown.
    pub schema_url: String,
}

/// The instrumentation library that produced a span.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scope {
    /// Its name, often that of a crate or package.
    pub name: String,
    /// Its version; empty when unknown.
    pub version: String,
    /// Attributes of the scope.
    pub attributes: Vec<KeyValue>,
    /// Version of the semantic conventions of its spans; empty when unknown.
    pub schema_url: String,
}

// === impl Span ===

impl Span {
    /// Returns the service of the span, `unknown_service` when the resource names none.
    #[must_use]
    pub fn service(&self) -> &str {
        self.resource.service()
    }

    /// Returns the attribute of this name; the last one when the sender repeats it.
    #[must_use]
    pub fn attribute(&self, key: &str) -> Option<&Value> {
        find(&self.attributes, key)
    }

    /// Returns the duration in nanoseconds; zero when the clock stepped back meanwhile.
    #[must_use]
    pub const fn duration(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Returns whether the span failed: by its status or, when that is unset, by OpenTracing's tag
    /// `error`, which bridges and older libraries set alone.
    #[must_use]
    pub fn failed(&self) -> bool {
        match self.status {
            Status::Error(_) => true,
            Status::Ok => false,
            Status::Unset => match self.attribute(ERROR) {
                Some(Value::Bool(failed)) => *failed,
                Some(Value::String(text)) => &**text == "true",
                _ => false,
            },
        }
    }
}

// === impl DroppedCounts ===

impl DroppedCounts {
    /// Returns the greater number of each kind, as for two halves of one span.
    #[must_use]
    pub const fn max(self, other: Self) -> Self {
        const fn greater(a: u32, b: u32) -> u32 {
            if a > b { a } else { b }
        }
        Self {
            attributes: greater(self.attributes, other.attributes),
            events: greater(self.events, other.events),
            links: greater(self.links, other.links),
        }
    }

    /// Returns the number of all dropped items.
    #[must_use]
    pub const fn total(self) -> u32 {
        self.attributes
            .saturating_add(self.events)
            .saturating_add(self.links)
    }
}

// === impl SpanKind ===

impl SpanKind {
    /// Returns the lower-case name, as in Jaeger's tag `span.kind`; `None` when unspecified.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::Unspecified => None,
            Self::Internal => Some("internal"),
            Self::Server => Some("server"),
            Self::Client => Some("client"),
            Self::Producer => Some("producer"),
            Self::Consumer => Some("consumer"),
        }
    }

    /// Returns the kind of this name, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Self::Internal,
            Self::Server,
            Self::Client,
            Self::Producer,
            Self::Consumer,
        ]
        .into_iter()
        .find(|kind| {
            kind.name()
                .is_some_and(|own| own.eq_ignore_ascii_case(name))
        })
    }
}

// === impl Resource ===

impl Resource {
    /// Returns the attribute of this name.
    #[must_use]
    pub fn attribute(&self, key: &str) -> Option<&Value> {
        find(&self.attributes, key)
    }

    /// Returns a resource that holds the service name only.
    #[must_use]
    pub fn of_service(name: &str) -> Self {
        Self {
            attributes: vec![KeyValue::new(SERVICE_NAME, name.to_owned())],
            schema_url: String::new(),
        }
    }

    /// Returns the attribute `service.name`, else `unknown_service`, as the resource conventions
    /// require.
    #[must_use]
    pub fn service(&self) -> &str {
        find(&self.attributes, SERVICE_NAME)
            .and_then(Value::as_str)
            // Some exporters send the attribute empty rather than not at all.
            .filter(|name| !name.is_empty())
            .unwrap_or(UNKNOWN_SERVICE)
    }
}
