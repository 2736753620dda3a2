//! How much memory a span takes, near enough for a limit. Its protobuf is smaller.

use throughline_model::{KeyValue, Span, Status, Value};

/// The bytes of a span, without its resource and scope: many share those.
pub(crate) fn of(span: &Span) -> usize {
    let status = if let Status::Error(message) = &span.status {
        message.len()
    } else {
        0
    };
    let events: usize = span
        .events
        .iter()
        .map(|event| size_of_val(event) + event.name.len() + attributes(&event.attributes))
        .sum();
    let links: usize = span
        .links
        .iter()
        .map(|link| size_of_val(link) + link.trace_state.len() + attributes(&link.attributes))
        .sum();
    size_of::<Span>()
        + span.name.len()
        + span.trace_state.len()
        + status
        + attributes(&span.attributes)
        + events
        + links
}

fn attributes(pairs: &[KeyValue]) -> usize {
    pairs
        .iter()
        .map(|pair| size_of::<KeyValue>() + pair.key.len() + beyond(&pair.value))
        .sum()
}

/// What a value holds beyond its own place.
fn beyond(value: &Value) -> usize {
    match value {
        Value::Empty | Value::Bool(_) | Value::Int(_) | Value::Double(_) => 0,
        Value::String(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Array(values) => values
            .iter()
            .map(|value| size_of::<Value>() + beyond(value))
            .sum(),
        Value::Map(pairs) => attributes(pairs),
    }
}
