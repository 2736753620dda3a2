//! From spans to OTLP, in both encodings, grouped by resource and scope.
//!
//! Field numbers are those of opentelemetry-proto: trace/v1/trace.proto, common/v1/common.proto and
//! resource/v1/resource.proto.

use std::collections::HashMap;
use std::sync::Arc;

use throughline_model::context::SpanContext;
use throughline_model::{
    Event, KeyValue, Link, Resource, Scope, Span, SpanGroup, SpanId, SpanKind, Status, TraceId,
    Value,
};

use crate::json::{OtlpResourceSpansJson, kind_number};
use crate::protobuf::{self, MessageWriter};

/// Spans to encode.
#[derive(Debug, Clone, Copy)]
pub enum SpanRef<'a> {
    /// A single span.
    Single(&'a Span),
    /// Spans with common content.
    Group(&'a SpanGroup),
}

/// The spans of one resource, grouped by scope.
struct ResourceGroup<T> {
    scopes: Vec<Vec<T>>,
}

/// Resource and scope of spans.
type SpanOrigin<'a> = (&'a Arc<Resource>, &'a Arc<Scope>);

/// Typical length of an encoded span. An estimate: the encoding does not depend on it.
const SPAN_BYTES: usize = 600;

// === impl SpanRef ===

impl<'a> SpanRef<'a> {
    fn origin(self) -> SpanOrigin<'a> {
        match self {
            Self::Single(span) => (&span.resource, &span.scope),
            Self::Group(group) => (&group.common().resource, &group.common().scope),
        }
    }
}

impl<'a> From<&'a Span> for SpanRef<'a> {
    fn from(span: &'a Span) -> Self {
        Self::Single(span)
    }
}

impl<'a> From<&'a SpanGroup> for SpanRef<'a> {
    fn from(group: &'a SpanGroup) -> Self {
        Self::Group(group)
    }
}

/// Encodes spans as an `ExportTraceServiceRequest` in protobuf.
///
/// Spans that share their resource (the same `Arc`) form one group; equal but distinct resources do
/// not.
#[must_use]
pub fn encode_protobuf<'a, T: Into<SpanRef<'a>>>(spans: impl IntoIterator<Item = T>) -> Vec<u8> {
    encode_protobuf_into(Vec::new(), spans)
}

/// Does the same in the memory of `buffer`, whose content is discarded.
#[must_use]
pub fn encode_protobuf_into<'a, T: Into<SpanRef<'a>>>(
    buffer: Vec<u8>,
    spans: impl IntoIterator<Item = T>,
) -> Vec<u8> {
    let mut request = MessageWriter::into_buffer(buffer);
    let spans = spans.into_iter().map(Into::into);
    for group in resource_groups(spans, SpanRef::origin) {
        let expected_bytes = expected_bytes(group.scopes.iter().flatten());
        request.message_of(1, expected_bytes, |resource_spans| {
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
    resource_groups(spans, |span| (&span.resource, &span.scope))
        .into_iter()
        .filter_map(|group| OtlpResourceSpansJson::of(&group.scopes))
        .collect()
}

fn resource_groups<'a, T: Copy>(
    spans: impl IntoIterator<Item = T>,
    origin: impl Fn(T) -> SpanOrigin<'a>,
) -> Vec<ResourceGroup<T>> {
    let mut groups: Vec<ResourceGroup<T>> = Vec::new();
    // By address: comparing the attributes of every resource would cost more than a repeated group.
    let mut group_indices = HashMap::new();
    let mut scope_indices = HashMap::new();
    let mut previous = None;
    for span in spans {
        let (resource, scope) = origin(span);
        let addresses = (Arc::as_ptr(resource), Arc::as_ptr(scope));
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

fn expected_bytes<'a>(spans: impl IntoIterator<Item = &'a SpanRef<'a>>) -> usize {
    let counts = spans.into_iter().map(|spans| match spans {
        SpanRef::Single(_) => 1,
        SpanRef::Group(group) => group.len(),
    });
    SPAN_BYTES.saturating_mul(counts.sum())
}

fn write_resource_spans(resource_spans: &mut MessageWriter, group: &ResourceGroup<SpanRef<'_>>) {
    // The resource is the same in all spans of the group.
    let resource = group.scopes.iter().flatten().next();
    let resource = resource.map(|spans| spans.origin().0);
    if let Some(resource) = resource {
        resource_spans.message(1, |message| {
            write_attributes(message, 1, &resource.attributes);
        });
    }
    for spans in &group.scopes {
        // All spans of a group have the scope of the first.
        resource_spans.message_of(2, expected_bytes(spans), |scope_spans| {
            write_scope(scope_spans, spans);
        });
    }
    if let Some(resource) = resource {
        resource_spans.some_bytes(3, resource.schema_url.as_bytes());
    }
}

fn write_scope(scope_spans: &mut MessageWriter, spans: &[SpanRef<'_>]) {
    let scope = spans.first().map(|spans| spans.origin().1);
    if let Some(scope) = scope {
        scope_spans.message(1, |message| {
            message.some_bytes(1, scope.name.as_bytes());
            message.some_bytes(2, scope.version.as_bytes());
            write_attributes(message, 3, &scope.attributes);
        });
    }
    for spans in spans {
        match spans {
            SpanRef::Single(span) => {
                scope_spans.message_of(2, SPAN_BYTES, |message| write_span(message, span));
            }
            SpanRef::Group(group) => write_group(scope_spans, group),
        }
    }
    if let Some(scope) = scope {
        scope_spans.some_bytes(3, scope.schema_url.as_bytes());
    }
}

/// Writes the spans of a group: the fields that they have in common are encoded once.
fn write_group(scope_spans: &mut MessageWriter, group: &SpanGroup) {
    let common = group.common();
    let mut head = MessageWriter::default();
    let (mut events, mut status) = (MessageWriter::default(), MessageWriter::default());
    write_head(
        &mut head,
        &common.name,
        common.kind,
        (common.start, common.end),
    );
    write_attributes(&mut head, 9, &common.attributes);
    for event in &common.events {
        events.message(11, |message| write_event(message, event));
    }
    write_status(&mut status, &common.status, "");
    for (span, own) in group.members() {
        scope_spans.message_of(2, SPAN_BYTES, |message| {
            let ids = (span.trace_id, span.span_id, span.parent_span_id);
            write_ids(message, ids, span.trace_state.as_str());
            message.fields(head.as_bytes());
            write_attributes(message, 9, own);
            message.fields(events.as_bytes());
            if let Some(sender) = &span.sender {
                message.message(13, |message| write_sender(message, sender));
            }
            message.fields(status.as_bytes());
            message.some_fixed_32(16, span.flags);
        });
    }
}

fn write_span(message: &mut MessageWriter, span: &Span) {
    // Fields in the order of their numbers, as prost writes them.
    let ids = (span.trace_id, span.span_id, span.parent_span_id);
    write_ids(message, ids, &span.trace_state);
    write_head(message, &span.name, span.kind, (span.start, span.end));
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
    write_status(message, &span.status, &span.status_message);
    message.some_fixed_32(16, span.flags);
}

fn write_ids(
    message: &mut MessageWriter,
    (trace_id, span_id, parent): (TraceId, SpanId, Option<SpanId>),
    trace_state: &str,
) {
    message.bytes(1, &trace_id.to_bytes());
    message.bytes(2, &span_id.to_bytes());
    message.some_bytes(3, trace_state.as_bytes());
    if let Some(parent) = parent {
        message.bytes(4, &parent.to_bytes());
    }
}

fn write_head(message: &mut MessageWriter, name: &str, kind: SpanKind, (start, end): (u64, u64)) {
    message.some_bytes(5, name.as_bytes());
    message.some_varint(6, kind_number(kind));
    message.some_fixed_64(7, start);
    message.some_fixed_64(8, end);
}

fn write_status(message: &mut MessageWriter, status: &Status, other_message: &str) {
    let (code, description) = match status {
        Status::Unset => (0, other_message),
        Status::Ok => (1, other_message),
        Status::Error(description) => (2, description.as_str()),
    };
    // Status code 0, unset, is the default: proto3 leaves the message out.
    if code != 0 || !description.is_empty() {
        message.message(15, |status| {
            status.some_bytes(2, description.as_bytes());
            status.some_varint(3, code);
        });
    }
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

/// Writes [`Link::follows_from`], without making it.
fn write_sender(message: &mut MessageWriter, sender: &SpanContext) {
    message.bytes(1, &sender.trace_id.to_bytes());
    message.bytes(2, &sender.span_id.to_bytes());
    message.some_bytes(3, sender.trace_state.as_str().as_bytes());
    write_attributes(message, 4, &[Link::follows_from_attribute()]);
    message.some_fixed_32(6, Link::sender_flags(sender));
}

fn write_attributes(message: &mut MessageWriter, field: u32, pairs: &[KeyValue]) {
    for KeyValue { key, value } in pairs {
        let key = key.as_bytes();
        match value {
            // The values of nearly all attributes: their lengths are known beforehand.
            Value::String(text) => {
                let text = text.as_bytes();
                message.key_value(field, key, protobuf::bytes_length(text.len()), |value| {
                    value.bytes(1, text);
                });
            }
            Value::Int(number) => {
                let number = number.cast_unsigned();
                let length = 1 + protobuf::varint_length(number);
                message.key_value(field, key, length, |value| value.varint(3, number));
            }
            Value::Double(number) => {
                let length = 1 + size_of::<f64>();
                message.key_value(field, key, length, |value| value.double(4, *number));
            }
            Value::Bool(truth) => {
                message.key_value(field, key, 2, |value| value.varint(2, u64::from(*truth)));
            }
            Value::Empty | Value::Bytes(_) | Value::Array(_) | Value::Map(_) => {
                message.message(field, |pair| {
                    pair.some_bytes(1, key);
                    pair.message(2, |any_value| write_value(any_value, value));
                });
            }
        }
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
