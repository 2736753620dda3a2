//! Traces in the JSON of Jaeger's legacy API, as Jaeger translates them from OTLP
//! (jaegertracing/jaeger, `model/json`).

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use throughline_model::convention;
use throughline_model::{Event, KeyValue, Link, Resource, Span, SpanId, Status, TraceId, Value};
use throughline_store::StoredTrace;

/// Reference type of a parent.
const CHILD_OF: &str = "CHILD_OF";

/// Largest whole number that JavaScript's numbers hold exactly.
const MAX_SAFE_INTEGER: u64 = 1 << 53;

/// A trace.
#[derive(serde::Serialize)]
pub(super) struct JaegerTraceJson<'a> {
    #[serde(rename = "traceID")]
    trace_id: DisplayText<TraceId>,
    spans: Vec<JaegerSpanJson<'a>>,
    processes: ProcessMap<'a>,
    warnings: Option<Vec<String>>,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct JaegerSpanJson<'a> {
    #[serde(rename = "traceID")]
    trace_id: DisplayText<TraceId>,
    #[serde(rename = "spanID")]
    span_id: DisplayText<SpanId>,
    flags: u32,
    operation_name: &'a str,
    references: Vec<JaegerReferenceJson<'a>>,
    /// Microseconds since the Unix epoch.
    start_time: u64,
    /// Microseconds.
    duration: u64,
    tags: Vec<JaegerTagJson<'a>>,
    logs: Vec<JaegerLogJson<'a>>,
    #[serde(rename = "processID")]
    process_id: String,
    warnings: Option<Vec<&'static str>>,
}

#[derive(serde::Serialize)]
struct JaegerReferenceJson<'a> {
    #[serde(rename = "refType")]
    kind: &'static str,
    #[serde(rename = "traceID")]
    trace_id: DisplayText<TraceId>,
    #[serde(rename = "spanID")]
    span_id: DisplayText<SpanId>,
    /// Attributes of the link. Jaeger drops them; they are our addition.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<JaegerTagJson<'a>>,
}

#[derive(serde::Serialize)]
struct JaegerLogJson<'a> {
    /// Microseconds since the Unix epoch.
    timestamp: u64,
    fields: Vec<JaegerTagJson<'a>>,
}

#[derive(serde::Serialize)]
struct JaegerTagJson<'a> {
    key: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    value: JaegerTagValue<'a>,
}

#[derive(serde::Serialize)]
#[serde(untagged)]
enum JaegerTagValue<'a> {
    Borrowed(&'a str),
    Owned(String),
    Bool(bool),
    Int(i64),
    Double(f64),
}

/// The processes by the keys that spans refer to: `p1`, `p2`...
struct ProcessMap<'a>(Vec<JaegerProcessJson<'a>>);

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct JaegerProcessJson<'a> {
    service_name: &'a str,
    tags: Vec<JaegerTagJson<'a>>,
}

/// A value serialised as its display text.
struct DisplayText<T>(T);

// === impl JaegerTraceJson ===

impl<'a> From<&'a StoredTrace> for JaegerTraceJson<'a> {
    fn from(trace: &'a StoredTrace) -> Self {
        let mut numbering = ProcessNumbering::default();
        let spans = trace
            .spans
            .iter()
            .map(|span| span_json(span, numbering.number(&span.resource)))
            .collect();
        Self {
            trace_id: DisplayText(trace.id),
            spans,
            processes: ProcessMap(numbering.processes),
            warnings: None,
        }
    }
}

/// Numbers resources. Each export brings its own copy of a resource; equal copies share a number.
#[derive(Default)]
struct ProcessNumbering<'a> {
    by_address: HashMap<*const Resource, usize>,
    by_content: HashMap<String, usize>,
    processes: Vec<JaegerProcessJson<'a>>,
}

impl<'a> ProcessNumbering<'a> {
    fn number(&mut self, resource: &'a Arc<Resource>) -> usize {
        if let Some(number) = self.by_address.get(&Arc::as_ptr(resource)) {
            return *number;
        }
        let process = process_json(resource);
        // The JSON identifies the content: values need not be hashable. Serialising strings and
        // numbers into a string cannot fail.
        let content = serde_json::to_string(&process).unwrap_or_default();
        let next = self.processes.len() + 1;
        let number = *self.by_content.entry(content).or_insert(next);
        // Another address with the same content: its process is listed already.
        if number == next {
            self.processes.push(process);
        }
        self.by_address.insert(Arc::as_ptr(resource), number);
        number
    }
}

fn process_json(resource: &Resource) -> JaegerProcessJson<'_> {
    let tags = resource
        .attributes
        .iter()
        .filter(|pair| pair.key != "service.name")
        .map(JaegerTagJson::from)
        .collect();
    JaegerProcessJson {
        service_name: resource.service(),
        tags,
    }
}

fn span_json(span: &Span, process: usize) -> JaegerSpanJson<'_> {
    JaegerSpanJson {
        trace_id: DisplayText(span.trace_id),
        span_id: DisplayText(span.span_id),
        // Jaeger's flags are 1 for sampled and 2 for debug; of the W3C flags only `sampled` has
        // the same meaning.
        flags: span.flags & 1,
        operation_name: &span.name,
        references: references(span),
        start_time: span.start / 1000,
        duration: span.duration() / 1000,
        tags: span_tags(span),
        logs: span.events.iter().map(log_json).collect(),
        process_id: format!("p{process}"),
        // Such a span has a duration of zero; the warning says why.
        warnings: (span.end < span.start).then(|| vec!["the span ends before it starts"]),
    }
}

/// Returns the references of a span. The parent comes first, as `CHILD_OF` unless a link to it
/// has another type; every other link is a reference of its own (jaegertracing/jaeger,
/// `from_dbmodel.go` and `to_dbmodel.go` of its storage).
fn references(span: &Span) -> Vec<JaegerReferenceJson<'_>> {
    let parent = span.parent_span_id;
    let is_parent = |link: &Link| Some(link.span_id) == parent && link.trace_id == span.trace_id;
    // The last link to the parent decides the type of the reference.
    let parent = parent.map(|span_id| {
        let link = span.links.iter().rfind(|link| is_parent(link));
        JaegerReferenceJson {
            kind: link.map_or(CHILD_OF, link_kind),
            trace_id: DisplayText(span.trace_id),
            span_id: DisplayText(span_id),
            tags: link.map_or_else(Vec::new, |link| tags(&link.attributes)),
        }
    });
    let links = span
        .links
        .iter()
        .filter(|link| !is_parent(link))
        .map(|link| JaegerReferenceJson {
            kind: link_kind(link),
            trace_id: DisplayText(link.trace_id),
            span_id: DisplayText(link.span_id),
            tags: tags(&link.attributes),
        });
    parent.into_iter().chain(links).collect()
}

fn link_kind(link: &Link) -> &'static str {
    match link
        .attribute(convention::OPENTRACING_REF_TYPE)
        .and_then(Value::as_str)
    {
        Some(convention::CHILD_OF) => CHILD_OF,
        // A link is a causal relation without nesting, which OpenTracing calls `follows_from`.
        _ => "FOLLOWS_FROM",
    }
}

/// Returns scope, attributes, kind, status and trace state, in the order of Jaeger's translation.
fn span_tags(span: &Span) -> Vec<JaegerTagJson<'_>> {
    let text = |key, value| JaegerTagJson {
        key,
        kind: "string",
        value: JaegerTagValue::Borrowed(value),
    };
    let mut tags = Vec::with_capacity(span.attributes.len() + 4);
    if !span.scope.name.is_empty() {
        tags.push(text("otel.scope.name", span.scope.name.as_str()));
    }
    if !span.scope.version.is_empty() {
        tags.push(text("otel.scope.version", span.scope.version.as_str()));
    }
    tags.extend(span.attributes.iter().map(JaegerTagJson::from));
    tags.extend(span.kind.name().map(|kind| text("span.kind", kind)));
    match &span.status {
        // An unset status has no tag.
        Status::Unset => {}
        Status::Ok => tags.push(text("otel.status_code", "OK")),
        Status::Error(message) => {
            tags.push(text("otel.status_code", "ERROR"));
            // Applications instrumented with OpenTracing set the tag themselves.
            if span.attribute("error").is_none() {
                tags.push(JaegerTagJson {
                    key: "error",
                    kind: "bool",
                    value: JaegerTagValue::Bool(true),
                });
            }
            if !message.is_empty() {
                tags.push(text("otel.status_description", message));
            }
        }
    }
    if !span.trace_state.is_empty() {
        tags.push(text("w3c.tracestate", &span.trace_state));
    }
    tags
}

fn log_json(event: &Event) -> JaegerLogJson<'_> {
    // OpenTracing and Jaeger clients put the name of an event into this attribute.
    let named = event.attributes.iter().any(|pair| pair.key == "event");
    let name = (!named && !event.name.is_empty()).then_some(event.name.as_str());
    let name = name.map(|name| JaegerTagJson {
        key: "event",
        kind: "string",
        value: JaegerTagValue::Borrowed(name),
    });
    JaegerLogJson {
        timestamp: event.time / 1000,
        fields: name.into_iter().chain(tags(&event.attributes)).collect(),
    }
}

fn tags(attributes: &[KeyValue]) -> Vec<JaegerTagJson<'_>> {
    attributes.iter().map(JaegerTagJson::from).collect()
}

impl<'a> From<&'a KeyValue> for JaegerTagJson<'a> {
    fn from(pair: &'a KeyValue) -> Self {
        let (kind, value) = match &pair.value {
            Value::Empty => ("string", JaegerTagValue::Borrowed("")),
            Value::String(text) => ("string", JaegerTagValue::Borrowed(text)),
            Value::Bool(boolean) => ("bool", JaegerTagValue::Bool(*boolean)),
            // JavaScript would round it.
            Value::Int(number) if number.unsigned_abs() > MAX_SAFE_INTEGER => {
                ("int64", JaegerTagValue::Owned(number.to_string()))
            }
            Value::Int(number) => ("int64", JaegerTagValue::Int(*number)),
            Value::Double(number) if number.is_finite() => {
                ("float64", JaegerTagValue::Double(*number))
            }
            // JSON has no NaN and no infinity.
            Value::Double(number) => ("float64", JaegerTagValue::Owned(number.to_string())),
            Value::Bytes(bytes) => ("binary", JaegerTagValue::Owned(STANDARD.encode(bytes))),
            Value::Array(_) | Value::Map(_) => (
                "string",
                JaegerTagValue::Owned(untyped_json(&pair.value).to_string()),
            ),
        };
        Self {
            key: &pair.key,
            kind,
            value,
        }
    }
}

/// Returns a value in JSON without OTLP's type names, as Jaeger shows lists and maps.
fn untyped_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Empty => serde_json::Value::Null,
        Value::String(text) => text.as_str().into(),
        Value::Bool(boolean) => (*boolean).into(),
        Value::Int(number) => (*number).into(),
        Value::Double(number) => (*number).into(),
        Value::Bytes(bytes) => STANDARD.encode(bytes).into(),
        Value::Array(values) => values.iter().map(untyped_json).collect(),
        Value::Map(pairs) => pairs
            .iter()
            .map(|pair| (pair.key.to_string(), untyped_json(&pair.value)))
            .collect(),
    }
}

// === impl ProcessMap, DisplayText ===

impl Serialize for ProcessMap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (index, process) in self.0.iter().enumerate() {
            map.serialize_entry(&format_args!("p{}", index + 1), process)?;
        }
        map.end()
    }
}

impl<T: std::fmt::Display> Serialize for DisplayText<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}
