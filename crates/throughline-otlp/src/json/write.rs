//! The types that are written: borrowed from spans, without zero and empty fields as in proto3,
//! enums as numbers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use throughline_model::{Event, KeyValue, Link, Scope, Span, SpanKind, Status, Value};

/// The spans of one resource: an entry of OTLP's `resourceSpans`.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OtlpResourceSpansJson<'a> {
    resource: OtlpResourceJson<'a>,
    scope_spans: Vec<OtlpScopeSpansJson<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    schema_url: &'a str,
}

#[derive(Debug, serde::Serialize)]
struct OtlpResourceJson<'a> {
    attributes: AttributeList<'a>,
}

#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct OtlpScopeSpansJson<'a> {
    scope: OtlpScopeJson<'a>,
    spans: Vec<OtlpSpanJson<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    schema_url: &'a str,
}

#[derive(Debug, serde::Serialize)]
struct OtlpScopeJson<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'a str,
    #[serde(skip_serializing_if = "AttributeList::is_empty")]
    attributes: AttributeList<'a>,
}

#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct OtlpSpanJson<'a> {
    trace_id: StringEncoded<throughline_model::TraceId>,
    span_id: StringEncoded<throughline_model::SpanId>,
    #[serde(skip_serializing_if = "str::is_empty")]
    trace_state: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<StringEncoded<throughline_model::SpanId>>,
    #[serde(skip_serializing_if = "is_zero")]
    flags: u32,
    name: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    kind: u32,
    start_time_unix_nano: StringEncoded<u64>,
    end_time_unix_nano: StringEncoded<u64>,
    #[serde(skip_serializing_if = "AttributeList::is_empty")]
    attributes: AttributeList<'a>,
    #[serde(skip_serializing_if = "is_zero")]
    dropped_attributes_count: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    events: Vec<OtlpEventJson<'a>>,
    #[serde(skip_serializing_if = "is_zero")]
    dropped_events_count: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    links: Vec<OtlpLinkJson<'a>>,
    #[serde(skip_serializing_if = "is_zero")]
    dropped_links_count: u32,
    status: OtlpStatusJson<'a>,
}

#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct OtlpEventJson<'a> {
    time_unix_nano: StringEncoded<u64>,
    name: &'a str,
    #[serde(skip_serializing_if = "AttributeList::is_empty")]
    attributes: AttributeList<'a>,
}

#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct OtlpLinkJson<'a> {
    trace_id: StringEncoded<throughline_model::TraceId>,
    span_id: StringEncoded<throughline_model::SpanId>,
    #[serde(skip_serializing_if = "str::is_empty")]
    trace_state: &'a str,
    #[serde(skip_serializing_if = "AttributeList::is_empty")]
    attributes: AttributeList<'a>,
    #[serde(skip_serializing_if = "is_zero")]
    flags: u32,
}

#[derive(Debug, serde::Serialize)]
struct OtlpStatusJson<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    code: u32,
}

/// A list of attributes.
#[derive(Debug)]
struct AttributeList<'a>(&'a [KeyValue]);

/// OTLP's `AnyValue`: an object with one field that names the type.
struct AnyValueJson<'a>(&'a Value);

/// A value that is printed as text: ids, and 64-bit numbers, which JSON parsers would round.
#[derive(Debug)]
struct StringEncoded<T>(T);

// === conversion from the model ===

impl<'a> OtlpResourceSpansJson<'a> {
    /// Converts the spans of one resource, grouped by scope; `None` without spans.
    pub(crate) fn of(scopes: &[Vec<&'a Span>]) -> Option<Self> {
        let resource = &scopes.iter().flatten().next()?.resource;
        let scope_spans = scopes
            .iter()
            .filter_map(|spans| {
                let scope = &*spans.first()?.scope;
                Some(OtlpScopeSpansJson {
                    scope: OtlpScopeJson::from(scope),
                    schema_url: &scope.schema_url,
                    spans: spans.iter().map(|span| OtlpSpanJson::from(*span)).collect(),
                })
            })
            .collect();
        Some(Self {
            resource: OtlpResourceJson {
                attributes: AttributeList(&resource.attributes),
            },
            scope_spans,
            schema_url: &resource.schema_url,
        })
    }
}

impl<'a> From<&'a Scope> for OtlpScopeJson<'a> {
    fn from(scope: &'a Scope) -> Self {
        Self {
            name: &scope.name,
            version: &scope.version,
            attributes: AttributeList(&scope.attributes),
        }
    }
}

impl<'a> From<&'a Span> for OtlpSpanJson<'a> {
    fn from(span: &'a Span) -> Self {
        Self {
            trace_id: StringEncoded(span.trace_id),
            span_id: StringEncoded(span.span_id),
            trace_state: &span.trace_state,
            parent_span_id: span.parent_span_id.map(StringEncoded),
            flags: span.flags,
            name: &span.name,
            kind: kind_number(span.kind),
            start_time_unix_nano: StringEncoded(span.start),
            end_time_unix_nano: StringEncoded(span.end),
            attributes: AttributeList(&span.attributes),
            dropped_attributes_count: span.dropped.attributes,
            events: span.events.iter().map(OtlpEventJson::from).collect(),
            dropped_events_count: span.dropped.events,
            links: span.links.iter().map(OtlpLinkJson::from).collect(),
            dropped_links_count: span.dropped.links,
            status: OtlpStatusJson::of(span),
        }
    }
}

impl<'a> From<&'a Event> for OtlpEventJson<'a> {
    fn from(event: &'a Event) -> Self {
        Self {
            time_unix_nano: StringEncoded(event.time),
            name: &event.name,
            attributes: AttributeList(&event.attributes),
        }
    }
}

impl<'a> From<&'a Link> for OtlpLinkJson<'a> {
    fn from(link: &'a Link) -> Self {
        Self {
            trace_id: StringEncoded(link.trace_id),
            span_id: StringEncoded(link.span_id),
            trace_state: &link.trace_state,
            attributes: AttributeList(&link.attributes),
            flags: link.flags,
        }
    }
}

impl<'a> OtlpStatusJson<'a> {
    fn of(span: &'a Span) -> Self {
        let message = &*span.status_message;
        match &span.status {
            Status::Unset => Self { message, code: 0 },
            Status::Ok => Self { message, code: 1 },
            Status::Error(message) => Self { message, code: 2 },
        }
    }
}

/// Returns the number of a kind in `trace.proto`.
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

// === impl AttributeList ===

impl AttributeList<'_> {
    const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for AttributeList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct AttributeJson<'a> {
            key: &'a str,
            value: AnyValueJson<'a>,
        }
        serializer.collect_seq(self.0.iter().map(|pair| AttributeJson {
            key: &pair.key,
            value: AnyValueJson(&pair.value),
        }))
    }
}

// === impl AnyValueJson ===

impl Serialize for AnyValueJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct ValueList<T> {
            values: T,
        }
        // The only field names the type of the value, as a oneof is written in JSON.
        let mut map = serializer.serialize_map(None)?;
        match self.0 {
            Value::Empty => {}
            Value::String(text) => map.serialize_entry("stringValue", text.as_str())?,
            Value::Bool(truth) => map.serialize_entry("boolValue", truth)?,
            Value::Int(number) => map.serialize_entry("intValue", &StringEncoded(number))?,
            Value::Double(number) if number.is_finite() => {
                map.serialize_entry("doubleValue", number)?;
            }
            // JSON has no such numbers; proto3 writes them as text.
            Value::Double(number) => map.serialize_entry("doubleValue", non_finite(*number))?,
            Value::Bytes(bytes) => map.serialize_entry("bytesValue", &STANDARD.encode(bytes))?,
            Value::Array(values) => {
                let values: Vec<AnyValueJson<'_>> = values.iter().map(AnyValueJson).collect();
                map.serialize_entry("arrayValue", &ValueList { values })?;
            }
            Value::Map(pairs) => map.serialize_entry(
                "kvlistValue",
                &ValueList {
                    values: AttributeList(pairs),
                },
            )?,
        }
        map.end()
    }
}

/// Returns the text of a number that JSON cannot express.
fn non_finite(number: f64) -> &'static str {
    if number.is_nan() {
        "NaN"
    } else if number > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

// === impl StringEncoded ===

impl<T: std::fmt::Display> Serialize for StringEncoded<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde requires this signature"
)]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}
