//! The memory that a span takes, precise enough for a limit. Its protobuf is smaller.

use throughline_model::{KeyValue, Span, Status, Value};

/// Returns the bytes of a span, without its resource and scope.
pub(crate) fn bytes_of(span: &Span) -> usize {
    // Resource and scope are shared by many spans, so they do not count here.
    let status = if let Status::Error(message) = &span.status {
        message.len()
    } else {
        0
    };
    let events: usize = span
        .events
        .iter()
        .map(|event| size_of_val(event) + event.name.len() + attribute_bytes(&event.attributes))
        .sum();
    let links: usize = span
        .links
        .iter()
        .map(|link| size_of_val(link) + link.trace_state.len() + attribute_bytes(&link.attributes))
        .sum();
    size_of::<Span>()
        + span.name.len()
        + span.trace_state.len()
        + status
        + attribute_bytes(&span.attributes)
        + events
        + links
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
