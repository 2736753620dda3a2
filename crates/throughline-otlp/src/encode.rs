//! From spans to OTLP, in both encodings, grouped by resource and scope again.

use std::collections::HashMap;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as ProtoValue;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue as ProtoKeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;
use opentelemetry_proto::tonic::trace::v1::span::{Event as ProtoEvent, Link as ProtoLink};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as ProtoSpan, Status as ProtoStatus};
use prost::Message as _;
use throughline_model::{KeyValue, Span, Status, Value};

use crate::json::{ResourceSpansJson, kind_number};

/// Spans that share a resource, by the scopes they share.
struct Group<'a> {
    scopes: Vec<Vec<&'a Span>>,
}

/// An `ExportTraceServiceRequest` of these spans in protobuf. Spans that share the resource (the same `Arc`) are written as one
/// group; those of equal but distinct resources are not.
#[must_use]
pub fn encode_protobuf<'a>(spans: impl IntoIterator<Item = &'a Span>) -> Vec<u8> {
    let resource_spans = groups(spans).iter().map(proto_group).collect();
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

/// The entries of OTLP's `resourceSpans` of these spans, to be serialised. Grouped as by [`encode_protobuf`].
#[must_use]
pub fn resource_spans_to_json<'a>(spans: impl IntoIterator<Item = &'a Span>) -> Vec<ResourceSpansJson<'a>> {
    groups(spans).into_iter().filter_map(|group| ResourceSpansJson::of(&group.scopes)).collect()
}

fn groups<'a>(spans: impl IntoIterator<Item = &'a Span>) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    let mut places = HashMap::new();
    let mut scopes = HashMap::new();
    for span in spans {
        let resource = Arc::as_ptr(&span.resource);
        let index = *places.entry(resource).or_insert_with(|| {
            groups.push(Group { scopes: Vec::new() });
            groups.len() - 1
        });
        let Some(group) = groups.get_mut(index) else { continue };
        let scope = *scopes.entry((resource, Arc::as_ptr(&span.scope))).or_insert_with(|| {
            group.scopes.push(Vec::new());
            group.scopes.len() - 1
        });
        if let Some(scope) = group.scopes.get_mut(scope) {
            scope.push(span);
        }
    }
    groups
}

fn proto_group(group: &Group<'_>) -> ResourceSpans {
    let resource =
        group.scopes.iter().flatten().next().map(|span| ProtoResource {
            attributes: key_values(&span.resource.attributes),
            ..ProtoResource::default()
        });
    let scope_spans = group.scopes.iter().map(|spans| proto_scope(spans)).collect();
    ResourceSpans { resource, scope_spans, schema_url: String::new() }
}

fn proto_scope(spans: &[&Span]) -> ScopeSpans {
    let scope = spans.first().map(|span| InstrumentationScope {
        name: span.scope.name.clone(),
        version: span.scope.version.clone(),
        attributes: key_values(&span.scope.attributes),
        dropped_attributes_count: 0,
    });
    ScopeSpans { scope, spans: spans.iter().map(|span| proto_span(span)).collect(), schema_url: String::new() }
}

fn proto_span(span: &Span) -> ProtoSpan {
    ProtoSpan {
        trace_id: span.trace_id.to_bytes().to_vec(),
        span_id: span.span_id.to_bytes().to_vec(),
        trace_state: span.trace_state.clone(),
        parent_span_id: span.parent_span_id.map_or_else(Vec::new, |id| id.to_bytes().to_vec()),
        flags: span.flags,
        name: span.name.clone(),
        kind: i32::try_from(kind_number(span.kind)).unwrap_or_default(),
        start_time_unix_nano: span.start,
        end_time_unix_nano: span.end,
        attributes: key_values(&span.attributes),
        dropped_attributes_count: span.dropped,
        events: span
            .events
            .iter()
            .map(|event| ProtoEvent {
                time_unix_nano: event.time,
                name: event.name.clone(),
                attributes: key_values(&event.attributes),
                dropped_attributes_count: 0,
            })
            .collect(),
        dropped_events_count: 0,
        links: span
            .links
            .iter()
            .map(|link| ProtoLink {
                trace_id: link.trace_id.to_bytes().to_vec(),
                span_id: link.span_id.to_bytes().to_vec(),
                trace_state: link.trace_state.clone(),
                attributes: key_values(&link.attributes),
                dropped_attributes_count: 0,
                flags: link.flags,
            })
            .collect(),
        dropped_links_count: 0,
        status: status(&span.status),
    }
}

fn status(status: &Status) -> Option<ProtoStatus> {
    match status {
        Status::Unset => None,
        Status::Ok => Some(ProtoStatus { code: StatusCode::Ok.into(), message: String::new() }),
        Status::Error(message) => Some(ProtoStatus { code: StatusCode::Error.into(), message: message.clone() }),
    }
}

fn key_values(pairs: &[KeyValue]) -> Vec<ProtoKeyValue> {
    pairs
        .iter()
        .map(|pair| ProtoKeyValue { key: pair.key.clone(), value: Some(any_value(&pair.value)), key_strindex: 0 })
        .collect()
}

fn any_value(value: &Value) -> AnyValue {
    let value = match value {
        Value::Empty => None,
        Value::String(text) => Some(ProtoValue::StringValue(text.clone())),
        Value::Bool(truth) => Some(ProtoValue::BoolValue(*truth)),
        Value::Int(number) => Some(ProtoValue::IntValue(*number)),
        Value::Double(number) => Some(ProtoValue::DoubleValue(*number)),
        Value::Bytes(bytes) => Some(ProtoValue::BytesValue(bytes.clone())),
        Value::Array(values) => {
            Some(ProtoValue::ArrayValue(ArrayValue { values: values.iter().map(any_value).collect() }))
        }
        Value::Map(pairs) => Some(ProtoValue::KvlistValue(KeyValueList { values: key_values(pairs) })),
    };
    AnyValue { value }
}
