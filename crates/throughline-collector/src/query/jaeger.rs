//! Traces in the JSON of Jaeger's legacy API, as its OTLP translation makes it (jaegertracing/jaeger, model/json).

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use throughline_model::convention;
use throughline_model::{Event, KeyValue, Link, Resource, Span, SpanId, Status, TraceId, Value};
use throughline_store::Trace;

/// A trace.
#[derive(serde::Serialize)]
pub(super) struct TraceJson<'a> {
    #[serde(rename = "traceID")]
    trace_id: Shown<TraceId>,
    spans: Vec<SpanJson<'a>>,
    processes: Processes<'a>,
    warnings: Option<Vec<String>>,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct SpanJson<'a> {
    #[serde(rename = "traceID")]
    trace_id: Shown<TraceId>,
    #[serde(rename = "spanID")]
    span_id: Shown<SpanId>,
    flags: u32,
    operation_name: &'a str,
    references: Vec<ReferenceJson<'a>>,
    /// Microseconds since the Unix epoch.
    start_time: u64,
    /// Microseconds.
    duration: u64,
    tags: Vec<TagJson<'a>>,
    logs: Vec<LogJson<'a>>,
    #[serde(rename = "processID")]
    process_id: String,
    warnings: Option<Vec<&'static str>>,
}

#[derive(serde::Serialize)]
struct ReferenceJson<'a> {
    #[serde(rename = "refType")]
    kind: &'static str,
    #[serde(rename = "traceID")]
    trace_id: Shown<TraceId>,
    #[serde(rename = "spanID")]
    span_id: Shown<SpanId>,
    /// The attributes of the link: an addition of ours, Jaeger loses them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<TagJson<'a>>,
}

#[derive(serde::Serialize)]
struct LogJson<'a> {
    /// Microseconds since the Unix epoch.
    timestamp: u64,
    fields: Vec<TagJson<'a>>,
}

#[derive(serde::Serialize)]
struct TagJson<'a> {
    key: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    value: TagValue<'a>,
}

#[derive(serde::Serialize)]
#[serde(untagged)]
enum TagValue<'a> {
    Borrowed(&'a str),
    Owned(String),
    Bool(bool),
    Int(i64),
    Double(f64),
}

/// Processes by the name that spans refer to them with: `p1`, `p2`...
struct Processes<'a>(Vec<ProcessJson<'a>>);

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessJson<'a> {
    service_name: &'a str,
    tags: Vec<TagJson<'a>>,
}

/// Something shown as text.
struct Shown<T>(T);

// === impl TraceJson ===

impl<'a> From<&'a Trace> for TraceJson<'a> {
    fn from(trace: &'a Trace) -> Self {
        let mut numbering = Numbering::default();
        let spans = trace
            .spans
            .iter()
            .map(|span| span_json(span, numbering.number(&span.resource)))
            .collect();
        Self {
            trace_id: Shown(trace.id),
            spans,
            processes: Processes(numbering.processes),
            warnings: None,
        }
    }
}

/// Gives one number to equal resources, which each export brings anew.
#[derive(Default)]
struct Numbering<'a> {
    by_address: HashMap<*const Resource, usize>,
    by_content: HashMap<String, usize>,
    processes: Vec<ProcessJson<'a>>,
}

impl<'a> Numbering<'a> {
    fn number(&mut self, resource: &'a Arc<Resource>) -> usize {
        if let Some(number) = self.by_address.get(&Arc::as_ptr(resource)) {
            return *number;
        }
        let process = process_json(resource);
        // Serialising strings and numbers into a string cannot fail.
        let content = serde_json::to_string(&process).unwrap_or_default();
        let next = self.processes.len() + 1;
        let number = *self.by_content.entry(content).or_insert(next);
        if number == next {
            self.processes.push(process);
        }
        self.by_address.insert(Arc::as_ptr(resource), number);
        number
    }
}

fn process_json(resource: &Resource) -> ProcessJson<'_> {
    let tags = resource
        .attributes
        .iter()
        .filter(|pair| pair.key != "service.name")
        .map(TagJson::from)
        .collect();
    ProcessJson {
        service_name: resource.service(),
        tags,
    }
}

fn span_json(span: &Span, process: usize) -> SpanJson<'_> {
    SpanJson {
        trace_id: Shown(span.trace_id),
        span_id: Shown(span.span_id),
        // Jaeger's flags: 1 sampled, 2 debug. Of W3C's only the first means the same.
        flags: span.flags & 1,
        operation_name: &span.name,
        references: references(span),
        start_time: span.start / 1000,
        duration: span.duration() / 1000,
        tags: span_tags(span),
        logs: span.events.iter().map(log_json).collect(),
        process_id: format!("p{process}"),
        warnings: (span.end < span.start).then(|| vec!["the span ends before it starts"]),
    }
}

/// The parent is the first reference, `CHILD_OF` unless a link to the parent itself says otherwise; every other link is a reference of
/// its own (jaegertracing/jaeger, `from_dbmodel.go` and `to_dbmodel.go` of its storage).
fn references(span: &Span) -> Vec<ReferenceJson<'_>> {
    let parent = span.parent_span_id;
    let is_parent = |link: &Link| Some(link.span_id) == parent && link.trace_id == span.trace_id;
    let parent = parent.map(|span_id| {
        let link = span.links.iter().rfind(|link| is_parent(link));
        ReferenceJson {
            kind: link.map_or(CHILD_OF, link_kind),
            trace_id: Shown(span.trace_id),
            span_id: Shown(span_id),
            tags: link.map_or_else(Vec::new, |link| tags(&link.attributes)),
        }
    });
    let links = span
        .links
        .iter()
        .filter(|link| !is_parent(link))
        .map(|link| ReferenceJson {
            kind: link_kind(link),
            trace_id: Shown(link.trace_id),
            span_id: Shown(link.span_id),
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
        _ => "FOLLOWS_FROM",
    }
}

/// Scope, attributes, kind, status and trace state, in the order of Jaeger's translation.
fn span_tags(span: &Span) -> Vec<TagJson<'_>> {
    let text = |key, value| TagJson {
        key,
        kind: "string",
        value: TagValue::Borrowed(value),
    };
    let mut tags = Vec::with_capacity(span.attributes.len() + 4);
    if !span.scope.name.is_empty() {
        tags.push(text("otel.scope.name", span.scope.name.as_str()));
    }
    if !span.scope.version.is_empty() {
        tags.push(text("otel.scope.version", span.scope.version.as_str()));
    }
    tags.extend(span.attributes.iter().map(TagJson::from));
    tags.extend(span.kind.name().map(|kind| text("span.kind", kind)));
    match &span.status {
        Status::Unset => {}
        Status::Ok => tags.push(text("otel.status_code", "OK")),
        Status::Error(message) => {
            tags.push(text("otel.status_code", "ERROR"));
            // An application may have set the tag itself, as OpenTracing's do.
            if span.attribute("error").is_none() {
                tags.push(TagJson {
                    key: "error",
                    kind: "bool",
                    value: TagValue::Bool(true),
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

fn log_json(event: &Event) -> LogJson<'_> {
    let named = event.attributes.iter().any(|pair| pair.key == "event");
    let name = (!named && !event.name.is_empty()).then_some(event.name.as_str());
    let name = name.map(|name| TagJson {
        key: "event",
        kind: "string",
        value: TagValue::Borrowed(name),
    });
    LogJson {
        timestamp: event.time / 1000,
        fields: name.into_iter().chain(tags(&event.attributes)).collect(),
    }
}

fn tags(attributes: &[KeyValue]) -> Vec<TagJson<'_>> {
    attributes.iter().map(TagJson::from).collect()
}

impl<'a> From<&'a KeyValue> for TagJson<'a> {
    fn from(pair: &'a KeyValue) -> Self {
        let (kind, value) = match &pair.value {
            Value::Empty => ("string", TagValue::Borrowed("")),
            Value::String(text) => ("string", TagValue::Borrowed(text)),
            Value::Bool(truth) => ("bool", TagValue::Bool(*truth)),
            // Past this, JavaScript rounds.
            Value::Int(number) if number.unsigned_abs() > 1 << 53 => {
                ("int64", TagValue::Owned(number.to_string()))
            }
            Value::Int(number) => ("int64", TagValue::Int(*number)),
            Value::Double(number) if number.is_finite() => ("float64", TagValue::Double(*number)),
            Value::Double(number) => ("float64", TagValue::Owned(number.to_string())),
            Value::Bytes(bytes) => ("binary", TagValue::Owned(STANDARD.encode(bytes))),
            Value::Array(_) | Value::Map(_) => {
                ("string", TagValue::Owned(plain(&pair.value).to_string()))
            }
        };
        Self {
            key: &pair.key,
            kind,
            value,
        }
    }
}

/// A value in JSON without OTLP's type names, as Jaeger shows lists and maps.
fn plain(value: &Value) -> serde_json::Value {
    match value {
        Value::Empty => serde_json::Value::Null,
        Value::String(text) => text.as_str().into(),
        Value::Bool(truth) => (*truth).into(),
        Value::Int(number) => (*number).into(),
        Value::Double(number) => (*number).into(),
        Value::Bytes(bytes) => STANDARD.encode(bytes).into(),
        Value::Array(values) => values.iter().map(plain).collect(),
        Value::Map(pairs) => pairs
            .iter()
            .map(|pair| (pair.key.to_string(), plain(&pair.value)))
            .collect(),
    }
}

// === impl Processes, Shown ===

impl Serialize for Processes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (index, process) in self.0.iter().enumerate() {
            map.serialize_entry(&format_args!("p{}", index + 1), process)?;
        }
        map.end()
    }
}

impl<T: std::fmt::Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

const CHILD_OF: &str = "CHILD_OF";
