//! From spans to OTLP, in both encodings, grouped by resource and scope.
//!
//! Field numbers are those of opentelemetry-proto: trace/v1/trace.proto, common/v1/common.proto and
//! resource/v1/resource.proto.

use std::collections::HashMap;
use std::sync::Arc;

use throughline_model::{Event, KeyValue, Link, Span, Status, Value};

use crate::json::{OtlpResourceSpansJson, kind_number};
use crate::protobuf::MessageWriter;

/// The spans of one resource, grouped by scope.
struct ResourceGroup<'a> {
    scopes: Vec<Vec<&'a Span>>,
}

/// Encodes spans as an `ExportTraceServiceRequest` in protobuf.
///
/// Spans that share their resource (the same `Arc`) form one group; equal but distinct resources do
/// not.
#[must_use]
pub fn encode_protobuf<'a>(spans: impl IntoIterator<Item = &'a Span>) -> Vec<u8> {
    let mut request = MessageWriter::default();
    for group in resource_groups(spans) {
        request.message(1, |resource_spans| {
            write_resource_spans(resource_spans, &group);
        });
    }
    request.into_bytes()
}

/// Returns the entries of OTLP's `resourceSpans` in JSON, grouped as by [`encode_protobuf`].
#[must_use]
pub fn spans_to_json<'a>(
    spans: impl IntoIterator<Item = &'a Span>,
) -> Vec<OtlpResourceSpansJson<'a>> {
    resource_groups(spans)
        .into_iter()
        .filter_map(|group| OtlpResourceSpansJson::of(&group.scopes))
        .collect()
}

fn resource_groups<'a>(spans: impl IntoIterator<Item = &'a Span>) -> Vec<ResourceGroup<'a>> {
    let mut groups: Vec<ResourceGroup<'a>> = Vec::new();
    // By address: comparing the attributes of every resource would cost more than a repeated group.
    let mut group_indices = HashMap::new();
    let mut scope_indices = HashMap::new();
    let mut previous = None;
    for span in spans {
        let addresses = (Arc::as_ptr(&span.resource), Arc::as_ptr(&span.scope));
        // Neighbours mostly have the same resource and scope: a comparison in place of two hashes.
        let (index, scope_index) = match previous {
            Some((known, indices)) if known == addresses => indices,
            _ => {
                let index = *group_indices.entry(addresses.0).or_insert_with(|| {
                    groups.push(ResourceGroup { scopes: Vec::new() });
                    groups.len() - 1
                });
                let scopes = groups.get_mut(index).map(|group| &mut group.scopes);
                let scope_index = *scope_indices.entry(addresses).or_insert_with(|| {
                    scopes.map_or(0, |scopes| {
                        scopes.push(Vec::new());
                        scopes.len() - 1
                    })
                });
                (index, scope_index)
            }
        };
        previous = Some((addresses, (index, scope_index)));
        // The indices were taken from these lists; the branch only avoids a panic.
        let group = groups.get_mut(index);
        if let Some(scope) = group.and_then(|group| group.scopes.get_mut(scope_index)) {
            scope.push(span);
        }
    }
    groups
}

fn write_resource_spans(resource_spans: &mut MessageWriter, group: &ResourceGroup<'_>) {
    // The resource is the same in all spans of the group.
    let first = group.scopes.iter().flatten().next();
    if let Some(span) = first {
        resource_spans.message(1, |resource| {
            write_attributes(resource, 1, &span.resource.attributes);
        });
    }
    for spans in &group.scopes {
        // All spans of a group have the scope of the first.
        resource_spans.message(2, |scope_spans| write_scope(scope_spans, spans));
    }
    if let Some(span) = first {
        resource_spans.some_bytes(3, span.resource.schema_url.as_bytes());
    }
}

fn write_scope(scope_spans: &mut MessageWriter, spans: &[&Span]) {
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
    if let Some(span) = spans.first() {
        scope_spans.some_bytes(3, span.scope.schema_url.as_bytes());
    }
}

fn write_span(message: &mut MessageWriter, span: &Span) {
    message.bytes(1, &span.trace_id.to_bytes());
    message.bytes(2, &span.span_id.to_bytes());
    message.some_bytes(3, span.trace_state.as_bytes());
    // Fields in the order of their numbers, as prost writes them.
    if let Some(parent) = span.parent_span_id {
        message.bytes(4, &parent.to_bytes());
    }
    message.some_bytes(5, span.name.as_bytes());
    message.some_varint(6, kind_number(span.kind));
    message.some_fixed_64(7, span.start);
    message.some_fixed_64(8, span.end);
    write_attributes(message, 9, &span.attributes);
    message.some_varint(10, span.dropped.attributes);
    for event in &span.events {
        message.message(11, |message| write_event(message, event));
    }
    message.some_varint(12, span.dropped.events);
    for link in &span.links {
        message.message(13, |message| write_link(message, link));
    }
    message.some_varint(14, span.dropped.links);
    let (code, description) = match &span.status {
        Status::Unset => (0, &*span.status_message),
        Status::Ok => (1, &*span.status_message),
        Status::Error(description) => (2, description.as_str()),
    };
    // Status code 0, unset, is the default: proto3 leaves the message out.
    if code != 0 || !description.is_empty() {
        message.message(15, |status| {
            status.some_bytes(2, description.as_bytes());
            status.some_varint(3, code);
        });
    }
    message.some_fixed_32(16, span.flags);
}

fn write_event(message: &mut MessageWriter, event: &Event) {
    message.some_fixed_64(1, event.time);
    message.some_bytes(2, event.name.as_bytes());
    write_attributes(message, 3, &event.attributes);
}

fn write_link(message: &mut MessageWriter, link: &Link) {
    message.bytes(1, &link.trace_id.to_bytes());
    message.bytes(2, &link.span_id.to_bytes());
    message.some_bytes(3, link.trace_state.as_bytes());
    write_attributes(message, 4, &link.attributes);
    message.some_fixed_32(6, link.flags);
}

fn write_attributes(message: &mut MessageWriter, field: u32, pairs: &[KeyValue]) {
    for KeyValue { key, value } in pairs {
        message.message(field, |pair| {
            pair.some_bytes(1, key.as_bytes());
            pair.message(2, |any_value| write_value(any_value, value));
        });
    }
}

fn write_value(any_value: &mut MessageWriter, value: &Value) {
    match value {
        // An `AnyValue` without a field is the empty value (common.proto).
        Value::Empty => {}
        Value::String(text) => any_value.bytes(1, text.as_bytes()),
        // Fields of a oneof are written even when zero, or their type would be lost.
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
