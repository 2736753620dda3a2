//! The memory that a span takes, precise enough for a limit. Its protobuf is smaller.

use throughline_model::{Event, KeyValue, Span, SpanGroup, Status, Value};

/// Bytes that an attribute takes in a request beside its texts, at most.
const ENCODED_ATTRIBUTE_BYTES: usize = 16;

/// Returns the bytes of a span, without its resource and scope.
pub(crate) fn bytes_of(span: &Span) -> usize {
    // Resource and scope are shared by many spans, so they do not count here.
    let links: usize = span
        .links
        .iter()
        .map(|link| size_of_val(link) + link.trace_state.len() + attribute_bytes(&link.attributes))
        .sum();
    size_of::<Span>()
        + span.name.len()
        + span.trace_state.len()
        + status_bytes(&span.status)
        + attribute_bytes(&span.attributes)
        + event_bytes(&span.events)
        + links
}

/// Returns the bytes of a group, each of whose spans counts with the protobuf of the common
/// content: the memory is smaller.
pub(crate) fn bytes_of_group(group: &SpanGroup) -> usize {
    let common = group.common();
    let attributes = common
        .attributes
        .iter()
        .map(|pair| ENCODED_ATTRIBUTE_BYTES + pair.key.len() + heap_bytes(&pair.value));
    let common_bytes = common.name.len()
        + status_bytes(&common.status)
        + event_bytes(&common.events)
        + attributes.sum::<usize>();
    let members = group.members().map(|(span, own)| {
        let sender = span
            .sender
            .as_ref()
            .map_or(0, |it| it.trace_state.as_str().len());
        size_of_val(span) + span.trace_state.as_str().len() + sender + attribute_bytes(own)
    });
    members.sum::<usize>() + common_bytes * group.len()
}

fn status_bytes(status: &Status) -> usize {
    if let Status::Error(message) = status {
        message.len()
    } else {
        0
    }
}

fn event_bytes(events: &[Event]) -> usize {
    events
        .iter()
        .map(|event| size_of_val(event) + event.name.len() + attribute_bytes(&event.attributes))
        .sum()
}

fn attribute_bytes(pairs: &[KeyValue]) -> usize {
    pairs
        .iter()
        .map(|pair| size_of::<KeyValue>() + pair.key.len() + heap_bytes(&pair.value))
        .sum()
}

/// Returns the bytes that a value owns beyond its own size.
fn heap_bytes(value: &Value) -> usize {
    match value {
        Value::Empty | Value::Bool(_) | Value::Int(_) | Value::Double(_) => 0,
        Value::String(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Array(values) => values
            .iter()
            .map(|value| size_of::<Value>() + heap_bytes(value))
            .sum(),
        Value::Map(pairs) => attribute_bytes(pairs),
    }
}
