//! Jaeger's legacy JSON, as its query API and its UI export traces (jaegertracing/jaeger,
//! `model/json`): one trace, or several under `data`.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;
use throughline_model::convention::SERVICE_NAME;
use throughline_model::{Event, KeyValue, Resource, Scope, SpanId, TraceId, Value};
use throughline_otlp::DecodedSpans;

use super::span::{JaegerReference, JaegerSpan, event};

#[derive(Debug, Deserialize)]
struct ExportJson {
    /// Several traces.
    data: Option<Vec<TraceJson>>,
    #[serde(flatten)]
    single: TraceJson,
}

#[derive(Debug, Default, Deserialize)]
struct TraceJson {
    #[serde(default)]
    spans: Vec<SpanJson>,
    #[serde(default)]
    processes: HashMap<String, ProcessJson>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpanJson {
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
    /// In exports of old versions only; today the parent is a reference.
    #[serde(rename = "parentSpanID", default)]
    parent_span_id: String,
    #[serde(default)]
    operation_name: String,
    #[serde(default)]
    references: Vec<ReferenceJson>,
    #[serde(default)]
    flags: i64,
    /// Microseconds since the Unix epoch.
    start_time: i64,
    /// Microseconds.
    #[serde(default)]
    duration: i64,
    #[serde(default)]
    tags: Vec<TagJson>,
    #[serde(default)]
    logs: Option<Vec<LogJson>>,
    #[serde(rename = "processID", default)]
    process_id: String,
    /// In place of `processID` in Elasticsearch's documents.
    process: Option<ProcessJson>,
}

#[derive(Debug, Deserialize)]
struct ReferenceJson {
    #[serde(rename = "refType", default)]
    kind: String,
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProcessJson {
    #[serde(default)]
    service_name: String,
    #[serde(default)]
    tags: Vec<TagJson>,
}

#[derive(Debug, Clone, Deserialize)]
struct TagJson {
    key: String,
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    value: serde_json::Value,
}

#[derive(Debug, Deserialize)]
struct LogJson {
    timestamp: i64,
    #[serde(default)]
    fields: Vec<TagJson>,
}

/// Decodes one document.
pub(crate) fn decode(document: &[u8]) -> Result<DecodedSpans, serde_json::Error> {
    let export: ExportJson = serde_json::from_slice(document)?;
    let mut decoded = DecodedSpans::default();
    let mut scope = Arc::new(Scope::default());
    for trace in export.data.into_iter().flatten().chain([export.single]) {
        let processes: HashMap<String, Arc<Resource>> = trace
            .processes
            .into_iter()
            .map(|(id, process)| (id, Arc::new(process.into_resource())))
            .collect();
        for mut span in trace.spans {
            let own = span.process.take();
            let own = own.map(|process| Arc::new(process.into_resource()));
            let resource = own.or_else(|| processes.get(&span.process_id).cloned());
            match span.into_jaeger_span().into_span(&mut scope) {
                Ok(mut span) => {
                    span.resource = resource.unwrap_or_default();
                    decoded.spans.push(span);
                }
                // One bad span must not cost the others.
                Err(reason) => decoded.rejected.add(reason),
            }
        }
    }
    Ok(decoded)
}

// === impl SpanJson ===

impl SpanJson {
    fn into_jaeger_span(self) -> JaegerSpan {
        let (trace_id_high, trace_id_low) = trace_id(&self.trace_id);
        let references = self.references.iter();
        JaegerSpan {
            trace_id_low,
            trace_id_high,
            span_id: span_id(&self.span_id),
            parent_span_id: span_id(&self.parent_span_id),
            operation_name: self.operation_name,
            references: references.map(ReferenceJson::to_reference).collect(),
            flags: self.flags,
            start_time: self.start_time,
            duration: self.duration,
            tags: self.tags.into_iter().map(TagJson::into_pair).collect(),
            logs: self
                .logs
                .into_iter()
                .flatten()
                .map(LogJson::into_event)
                .collect(),
        }
    }
}

// === impl ReferenceJson, ProcessJson, TagJson, LogJson ===

impl ReferenceJson {
    fn to_reference(&self) -> JaegerReference {
        let (trace_id_high, trace_id_low) = trace_id(&self.trace_id);
        JaegerReference {
            // The numbers of `SpanRefType`.
            kind: i64::from(self.kind == "FOLLOWS_FROM"),
            trace_id_low,
            trace_id_high,
            span_id: span_id(&self.span_id),
        }
    }
}

impl ProcessJson {
    fn into_resource(self) -> Resource {
        let mut attributes = vec![KeyValue::new(SERVICE_NAME, self.service_name)];
        attributes.extend(self.tags.into_iter().map(TagJson::into_pair));
        Resource {
            attributes,
            ..Resource::default()
        }
    }
}

impl TagJson {
    fn into_pair(self) -> KeyValue {
        let value = match self.value {
            serde_json::Value::Bool(value) => Value::Bool(value),
            // Numbers beyond 2^53 are texts.
            serde_json::Value::String(text) => match (self.kind.as_str(), text.parse()) {
                ("int64", Ok(number)) => Value::Int(number),
                _ => Value::from(text),
            },
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(number) if self.kind != "float64" => Value::Int(number),
                _ => Value::Double(number.as_f64().unwrap_or_default()),
            },
            serde_json::Value::Null => Value::Empty,
            other @ (serde_json::Value::Array(_) | serde_json::Value::Object(_)) => {
                Value::from(other.to_string())
            }
        };
        KeyValue::new(self.key, value)
    }
}

impl LogJson {
    fn into_event(self) -> Event {
        let fields = self.fields.into_iter().map(TagJson::into_pair).collect();
        event(self.timestamp, fields)
    }
}

/// Returns the two halves of an id; zeros, which are rejected later, for one that is none.
fn trace_id(hex: &str) -> (i64, i64) {
    let bits = TraceId::from_hex(hex).map_or(0, |id| u128::from_be_bytes(id.to_bytes()));
    let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or_default();
    (half(bits >> 64).cast_signed(), half(bits).cast_signed())
}

fn span_id(hex: &str) -> i64 {
    SpanId::from_hex(hex).map_or(0, |id| i64::from_be_bytes(id.to_bytes()))
}

#[cfg(test)]
mod tests {
    use throughline_model::{SpanKind, Status};

    use super::*;

    #[test]
    fn exported_trace_is_read_with_parents_kinds_and_results() {
        let document = br#"{"data": [{"traceID": "ab", "spans": [
            {"traceID": "ab", "spanID": "1", "operationName": "GET /a", "references": [],
             "startTime": 1000, "duration": 5, "processID": "p1", "logs": null,
             "tags": [{"key": "span.kind", "type": "string", "value": "server"},
                      {"key": "big", "type": "int64", "value": "9007199254740993"}]},
            {"traceID": "ab", "spanID": "2", "operationName": "call", "startTime": 1001,
             "duration": 3, "processID": "p1",
             "references": [{"refType": "CHILD_OF", "traceID": "ab", "spanID": "1"}],
             "tags": [{"key": "error", "type": "bool", "value": true}],
             "logs": [{"timestamp": 1002, "fields": [
                {"key": "event", "type": "string", "value": "retry"}]}]},
            {"traceID": "", "spanID": "3", "operationName": "no id", "startTime": 1}],
            "processes": {"p1": {"serviceName": "shop", "tags": []}}}]}"#;
        let decoded = decode(document).unwrap();
        assert_eq!((decoded.spans.len(), decoded.rejected.total()), (2, 1));
        let [first, second] = &decoded.spans[..] else {
            panic!("{decoded:?}")
        };
        assert_eq!((first.kind, first.service()), (SpanKind::Server, "shop"));
        assert_eq!((first.start, first.end), (1_000_000, 1_005_000));
        let big = Some(&Value::Int(9_007_199_254_740_993));
        assert_eq!(first.attribute("big"), big);
        assert_eq!(second.parent_span_id, Some(first.span_id));
        assert!(matches!(second.status, Status::Error(_)) && second.links.is_empty());
        assert_eq!(second.events[0].name, "retry");
    }
}
