//! The shapes that are written: borrowed from spans, zero and empty fields left out as proto3 does, enums as numbers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use throughline_model::{Event, KeyValue, Link, Scope, Span, SpanKind, Status, Value};

/// Spans of one resource, as an entry of OTLP's `resourceSpans`.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceSpansJson<'a> {
    resource: ResourceJson<'a>,
    scope_spans: Vec<ScopeSpansJson<'a>>,
}

#[derive(Debug, serde::Serialize)]
struct ResourceJson<'a> {
    attributes: Attributes<'a>,
}

#[derive(Debug, serde::Serialize)]
struct ScopeSpansJson<'a> {
    scope: ScopeJson<'a>,
    spans: Vec<SpanJson<'a>>,
}

#[derive(Debug, serde::Serialize)]
struct ScopeJson<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'a str,
    #[serde(skip_serializing_if = "Attributes::is_empty")]
    attributes: Attributes<'a>,
}

#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct SpanJson<'a> {
    trace_id: Text<throughline_model::TraceId>,
    span_id: Text<throughline_model::SpanId>,
    #[serde(skip_serializing_if = "str::is_empty")]
    trace_state: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<Text<throughline_model::SpanId>>,
    #[serde(skip_serializing_if = "is_zero")]
    flags: u32,
    name: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    kind: u32,
    start_time_unix_nano: Text<u64>,
    end_time_unix_nano: Text<u64>,
    #[serde(skip_serializing_if = "Attributes::is_empty")]
    attributes: Attributes<'a>,
    #[serde(skip_serializing_if = "is_zero")]
    dropped_attributes_count: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    events: Vec<EventJson<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    links: Vec<LinkJson<'a>>,
    status: StatusJson<'a>,
}

#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct EventJson<'a> {
    time_unix_nano: Text<u64>,
    name: &'a str,
    #[serde(skip_serializing_if = "Attributes::is_empty")]
    attributes: Attributes<'a>,
}

#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct LinkJson<'a> {
    trace_id: Text<throughline_model::TraceId>,
    span_id: Text<throughline_model::SpanId>,
    #[serde(skip_serializing_if = "str::is_empty")]
    trace_state: &'a str,
    #[serde(skip_serializing_if = "Attributes::is_empty")]
    attributes: Attributes<'a>,
    #[serde(skip_serializing_if = "is_zero")]
    flags: u32,
}

#[derive(Debug, serde::Serialize)]
struct StatusJson<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    code: u32,
}

/// A list of attributes.
#[derive(Debug)]
struct Attributes<'a>(&'a [KeyValue]);

/// An `AnyValue`: an object with one field that names the type.
struct AnyValue<'a>(&'a Value);

/// Something printed as text: ids, and 64-bit numbers, which JSON's readers would round.
#[derive(Debug)]
struct Text<T>(T);

// === from the model ===

impl<'a> ResourceSpansJson<'a> {
    /// Spans of one resource, by scope; `None` when there is no span.
    pub(crate) fn of(scopes: &[Vec<&'a Span>]) -> Option<Self> {
        let resource = &scopes.iter().flatten().next()?.resource;
        let scope_spans = scopes
            .iter()
            .filter_map(|spans| {
                let scope = ScopeJson::from(&*spans.first()?.scope);
                Some(ScopeSpansJson {
                    scope,
                    spans: spans.iter().map(|span| SpanJson::from(*span)).collect(),
                })
            })
            .collect();
        Some(Self {
            resource: ResourceJson {
                attributes: Attributes(&resource.attributes),
            },
            scope_spans,
        })
    }
}

impl<'a> From<&'a Scope> for ScopeJson<'a> {
    fn from(scope: &'a Scope) -> Self {
        Self {
            name: &scope.name,
            version: &scope.version,
            attributes: Attributes(&scope.attributes),
        }
    }
}

impl<'a> From<&'a Span> for SpanJson<'a> {
    fn from(span: &'a Span) -> Self {
        Self {
            trace_id: Text(span.trace_id),
            span_id: Text(span.span_id),
            trace_state: &span.trace_state,
            parent_span_id: span.parent_span_id.map(Text),
            flags: span.flags,
            name: &span.name,
            kind: kind_number(span.kind),
            start_time_unix_nano: Text(span.start),
            end_time_unix_nano: Text(span.end),
            attributes: Attributes(&span.attributes),
            dropped_attributes_count: span.dropped,
            events: span.events.iter().map(EventJson::from).collect(),
            links: span.links.iter().map(LinkJson::from).collect(),
            status: StatusJson::from(&span.status),
        }
    }
}

impl<'a> From<&'a Event> for EventJson<'a> {
    fn from(event: &'a Event) -> Self {
        Self {
            time_unix_nano: Text(event.time),
            name: &event.name,
            attributes: Attributes(&event.attributes),
        }
    }
}

impl<'a> From<&'a Link> for LinkJson<'a> {
    fn from(link: &'a Link) -> Self {
        Self {
            trace_id: Text(link.trace_id),
            span_id: Text(link.span_id),
            trace_state: &link.trace_state,
            attributes: Attributes(&link.attributes),
            flags: link.flags,
        }
    }
}

impl<'a> From<&'a Status> for StatusJson<'a> {
    fn from(status: &'a Status) -> Self {
        match status {
            Status::Unset => Self {
                message: "",
                code: 0,
            },
            Status::Ok => Self {
                message: "",
                code: 1,
            },
            Status::Error(message) => Self { message, code: 2 },
        }
    }
}

/// The number of a kind in `trace.proto`.
pub(crate) const fn kind_number(kind: SpanKind) -> u32 {
    match kind {
        SpanKind::Unspecified => 0,
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    }
}

// === impl Attributes, AnyValue, Text ===

impl Attributes<'_> {
    const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Attributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct Pair<'a> {
            key: &'a str,
            value: AnyValue<'a>,
        }
        serializer.collect_seq(self.0.iter().map(|pair| Pair {
            key: &pair.key,
            value: AnyValue(&pair.value),
        }))
    }
}

impl Serialize for AnyValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct Values<T> {
            values: T,
        }
        let mut map = serializer.serialize_map(None)?;
        match self.0 {
            Value::Empty => {}
            Value::String(text) => map.serialize_entry("stringValue", text.as_str())?,
            Value::Bool(truth) => map.serialize_entry("boolValue", truth)?,
            Value::Int(number) => map.serialize_entry("intValue", &Text(number))?,
            Value::Double(number) if number.is_finite() => {
                map.serialize_entry("doubleValue", number)?
            }
            Value::Double(number) => map.serialize_entry("doubleValue", non_finite(*number))?,
            Value::Bytes(bytes) => map.serialize_entry("bytesValue", &STANDARD.encode(bytes))?,
            Value::Array(values) => {
                let values: Vec<AnyValue<'_>> = values.iter().map(AnyValue).collect();
                map.serialize_entry("arrayValue", &Values { values })?;
            }
            Value::Map(pairs) => map.serialize_entry(
                "kvlistValue",
                &Values {
                    values: Attributes(pairs),
                },
            )?,
        }
        map.end()
    }
}

/// As proto3 writes the numbers that JSON cannot.
fn non_finite(number: f64) -> &'static str {
    if number.is_nan() {
        "NaN"
    } else if number > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

impl<T: std::fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}
