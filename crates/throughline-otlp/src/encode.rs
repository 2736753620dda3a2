//! From spans to OTLP, in both encodings, grouped by resource and scope again.

use std::collections::HashMap;
use std::sync::Arc;

use throughline_model::{Event, KeyValue, Link, Span, Status, Value};

use crate::json::{ResourceSpansJson, kind_number};
use crate::protobuf::Writer;

/// Spans that share a resource, by the scopes they share.
struct Group<'a> {
    scopes: Vec<Vec<&'a Span>>,
}

/// An `ExportTraceServiceRequest` of these spans in protobuf. Spans that share the resource (the same `Arc`) are written as one
/// group; those of equal but distinct resources are not.
#[must_use]
pub fn encode_protobuf<'a>(spans: impl IntoIterator<Item = &'a Span>) -> Vec<u8> {
    let mut request = Writer::default();
    for group in groups(spans) {
        request.message(1, |resource_spans| write_group(resource_spans, &group));
    }
    request.into_bytes()
}

/// The entries of OTLP's `resourceSpans` of these spans, to be serialised. Grouped as by [`encode_protobuf`].
#[must_use]
pub fn resource_spans_to_json<'a>(
    spans: impl IntoIterator<Item = &'a Span>,
) -> Vec<ResourceSpansJson<'a>> {
    groups(spans)
        .into_iter()
        .filter_map(|group| ResourceSpansJson::of(&group.scopes))
        .collect()
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
        let Some(group) = groups.get_mut(index) else {
            continue;
        };
        let scope = *scopes
            .entry((resource, Arc::as_ptr(&span.scope)))
            .or_insert_with(|| {
                group.scopes.push(Vec::new());
                group.scopes.len() - 1
            });
        if let Some(scope) = group.scopes.get_mut(scope) {
            scope.push(span);
        }
    }
    groups
}

// Numbers are those of the fields in opentelemetry-proto: trace/v1/trace.proto, common/v1/common.proto, resource/v1/resource.proto.

fn write_group(resource_spans: &mut Writer, group: &Group<'_>) {
    if let Some(span) = group.scopes.iter().flatten().next() {
        resource_spans.message(1, |resource| {
            write_attributes(resource, 1, &span.resource.attributes)
        });
    }
    for spans in &group.scopes {
        resource_spans.message(2, |scope_spans| write_scope(scope_spans, spans));
    }
}

fn write_scope(scope_spans: &mut Writer, spans: &[&Span]) {
    if let Some(span) = spans.first() {
        scope_spans.message(1, |scope| {
            scope.some_bytes(1, span.scope.name.as_bytes());
            scope.some_bytes(2, span.scope.version.as_bytes());
            write_attributes(scope, 3, &span.scope.attributes);
        });
    }
    for span in spans {
        scope_spans.message(2, |message| write_span(message, span));
    }
}

fn write_span(message: &mut Writer, span: &Span) {
    message.bytes(1, &span.trace_id.to_bytes());
    message.bytes(2, &span.span_id.to_bytes());
    message.some_bytes(3, span.trace_state.as_bytes());
    if let Some(parent) = span.parent_span_id {
        message.bytes(4, &parent.to_bytes());
    }
    message.some_bytes(5, span.name.as_bytes());
    message.some_varint(6, kind_number(span.kind));
    message.some_fixed_64(7, span.start);
    message.some_fixed_64(8, span.end);
    write_attributes(message, 9, &span.attributes);
    message.some_varint(10, span.dropped);
    for event in &span.events {
        message.message(11, |message| write_event(message, event));
    }
    for link in &span.links {
        message.message(13, |message| write_link(message, link));
    }
    let (code, description) = match &span.status {
        Status::Unset => (0, ""),
        Status::Ok => (1, ""),
        Status::Error(description) => (2, description.as_str()),
    };
    if code != 0 {
        message.message(15, |status| {
            status.some_bytes(2, description.as_bytes());
            status.some_varint(3, code);
        });
    }
    message.some_fixed_32(16, span.flags);
}

fn write_event(message: &mut Writer, event: &Event) {
    message.some_fixed_64(1, event.time);
    message.some_bytes(2, event.name.as_bytes());
    write_attributes(message, 3, &event.attributes);
}

fn write_link(message: &mut Writer, link: &Link) {
    message.bytes(1, &link.trace_id.to_bytes());
    message.bytes(2, &link.span_id.to_bytes());
    message.some_bytes(3, link.trace_state.as_bytes());
    write_attributes(message, 4, &link.attributes);
    message.some_fixed_32(6, link.flags);
}

fn write_attributes(message: &mut Writer, field: u32, pairs: &[KeyValue]) {
    for KeyValue { key, value } in pairs {
        message.message(field, |pair| {
            pair.some_bytes(1, key.as_bytes());
            pair.message(2, |any_value| write_value(any_value, value));
        });
    }
}

fn write_value(any_value: &mut Writer, value: &Value) {
    match value {
        Value::Empty => {}
        Value::String(text) => any_value.bytes(1, text.as_bytes()),
        Value::Bool(truth) => any_value.varint(2, u64::from(*truth)),
        Value::Int(number) => any_value.varint(3, number.cast_unsigned()),
        Value::Double(number) => any_value.double(4, *number),
        Value::Array(values) => any_value.message(5, |array| {
            for value in values {
                array.message(1, |any_value| write_value(any_value, value));
            }
        }),
        Value::Map(pairs) => any_value.message(6, |list| write_attributes(list, 1, pairs)),
        Value::Bytes(bytes) => any_value.bytes(7, bytes),
    }
}
