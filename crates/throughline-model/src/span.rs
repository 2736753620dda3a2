//! A finished span, shaped like OTLP's (opentelemetry-proto v1, `trace.proto`), with ids that cannot be zero.

use std::sync::Arc;

use crate::{KeyValue, SpanId, TraceId, Value};

/// A finished span.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// Its own id, unique within the trace.
    pub span_id: SpanId,
    /// The span it is a child of; `None` for a root.
    pub parent_span_id: Option<SpanId>,
    /// OTLP `Span.flags`: low 8 bits are the W3C trace flags, 0x100 says that 0x200 (parent is remote) is known.
    pub flags: u32,
    /// The W3C `tracestate` it ran under; empty when there was none.
    pub trace_state: String,
    /// What it did: `GET /checkout`, `To_eshop-topic`.
    pub name: String,
    /// Which side of which exchange it saw.
    pub kind: SpanKind,
    /// Start, nanoseconds since the Unix epoch.
    pub start: u64,
    /// End, nanoseconds since the Unix epoch. Not before `start` in a well-made span, but clocks step.
    pub end: u64,
    /// Attributes in the order they came.
    pub attributes: Vec<KeyValue>,
    /// Things that happened during it.
    pub events: Vec<Event>,
    /// Other spans it has to do with, in this trace or another.
    pub links: Vec<Link>,
    /// How it went.
    pub status: Status,
    /// Attributes, events and links that the sender dropped to stay within its limits.
    pub dropped: u32,
    /// Who made it. Shared by all spans of one export.
    pub resource: Arc<Resource>,
    /// The instrumentation that made it. Shared likewise.
    pub scope: Arc<Scope>,
}

/// Which side of which exchange a span saw (OTLP `SpanKind`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SpanKind {
    /// Not said.
    #[default]
    Unspecified,
    /// Work inside one process.
    Internal,
    /// An answered request, on the side that answers.
    Server,
    /// An answered request, on the side that asks.
    Client,
    /// A message, on the side that sends it.
    Producer,
    /// A message, on the side that gets it.
    Consumer,
}

/// How a span went (OTLP `Status`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Status {
    /// Nobody said.
    #[default]
    Unset,
    /// The application said that it went well.
    Ok,
    /// It failed, with the reason given, which may be empty.
    Error(String),
}

/// Something that happened at one moment of a span.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When, nanoseconds since the Unix epoch.
    pub time: u64,
    /// What: `exception`, for one.
    pub name: String,
    /// Details.
    pub attributes: Vec<KeyValue>,
}

/// A reference to another span, in the same trace or another.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// The other span's trace.
    pub trace_id: TraceId,
    /// The other span.
    pub span_id: SpanId,
    /// The `tracestate` of the other span; empty when there was none.
    pub trace_state: String,
    /// OTLP `Link.flags`, as [`Span::flags`].
    pub flags: u32,
    /// What the link means. `opentracing.ref_type` is `child_of` or `follows_from`.
    pub attributes: Vec<KeyValue>,
}

/// The process that made a span.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Resource {
    /// Attributes such as `service.name`.
    pub attributes: Vec<KeyValue>,
}

/// The instrumentation library that made a span.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scope {
    /// Its name, often that of a crate or package.
    pub name: String,
    /// Its version; empty when unknown.
    pub version: String,
    /// Attributes of the scope.
    pub attributes: Vec<KeyValue>,
}

// === impl Span ===

impl Span {
    /// The service that made the span, `unknown_service` when the resource does not say.
    #[must_use]
    pub fn service(&self) -> &str {
        self.resource.service()
    }

    /// The attribute of this name; the last one when a sender repeats itself.
    #[must_use]
    pub fn attribute(&self, key: &str) -> Option<&Value> {
        find(&self.attributes, key)
    }

    /// How long it took, in nanoseconds; zero when the clock stepped back meanwhile.
    #[must_use]
    pub const fn duration(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether its status says that it failed.
    #[must_use]
    pub const fn failed(&self) -> bool {
        matches!(self.status, Status::Error(_))
    }
}

// === impl SpanKind ===

impl SpanKind {
    /// Lower-case name, as in Jaeger's tag `span.kind`; `None` when unspecified.
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

    /// The kind of this name, in any case.
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

// === impl Link ===

impl Link {
    /// The attribute of this name.
    #[must_use]
    pub fn attribute(&self, key: &str) -> Option<&Value> {
        find(&self.attributes, key)
    }
}

// === impl Resource, Scope ===

impl Resource {
    /// A resource that says no more than which service it is.
    #[must_use]
    pub fn of_service(name: &str) -> Self {
        Self {
            attributes: vec![KeyValue::new("service.name", name.to_owned())],
        }
    }

    /// The attribute `service.name`, else `unknown_service`, as the resource conventions ask.
    #[must_use]
    pub fn service(&self) -> &str {
        find(&self.attributes, "service.name")
            .and_then(Value::as_str)
            .filter(|name| !name.is_empty())
            .unwrap_or("unknown_service")
    }
}

fn find<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    attributes
        .iter()
        .rev()
        .find(|pair| pair.key == key)
        .map(|pair| &pair.value)
}
