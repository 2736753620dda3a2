//! What spans really take of memory.
//!
//! Not the bytes of their texts: most texts of a span are short, and a text of four bytes takes a block of 32 from the allocator.
//! With the lengths alone a store would take twice what it was allowed.

use throughline_model::{Event, KeyValue, Link, Resource, Scope, Span, Status, Value};

/// A span, its place in the map of its trace, and the counters of its `Arc`; without the resource and scope it shares.
pub(super) fn span(span: &Span) -> usize {
    let message = if let Status::Error(message) = &span.status {
        text(message)
    } else {
        0
    };
    block(size_of::<Span>() + COUNTERS)
        + MAP_PLACE
        + text(&span.name)
        + text(&span.trace_state)
        + message
        + attributes(&span.attributes)
        + list::<Event>(span.events.len())
        + span
            .events
            .iter()
            .map(|event| text(&event.name) + attributes(&event.attributes))
            .sum::<usize>()
        + list::<Link>(span.links.len())
        + span
            .links
            .iter()
            .map(|link| text(&link.trace_state) + attributes(&link.attributes))
            .sum::<usize>()
}

/// A resource, and its place among what is shared.
pub(super) fn resource(resource: &Resource) -> usize {
    block(size_of::<Resource>() + COUNTERS) + MAP_PLACE + attributes(&resource.attributes)
}

/// A scope, and its place among what is shared.
pub(super) fn scope(scope: &Scope) -> usize {
    let texts = text(&scope.name) + text(&scope.version);
    block(size_of::<Scope>() + COUNTERS) + MAP_PLACE + texts + attributes(&scope.attributes)
}

fn attributes(pairs: &[KeyValue]) -> usize {
    list::<KeyValue>(pairs.len())
        + pairs
            .iter()
            .map(|pair| text(&pair.key) + value(&pair.value))
            .sum::<usize>()
}

fn value(of: &Value) -> usize {
    match of {
        Value::Empty | Value::Bool(_) | Value::Int(_) | Value::Double(_) => 0,
        Value::String(content) => text(content),
        Value::Bytes(bytes) => block(bytes.len()),
        Value::Array(values) => {
            list::<Value>(values.len()) + values.iter().map(value).sum::<usize>()
        }
        Value::Map(pairs) => attributes(pairs),
    }
}

/// A text.
pub(super) const fn text(text: &str) -> usize {
    block(text.len())
}

const fn list<T>(length: usize) -> usize {
    block(length * size_of::<T>())
}

/// A block of the allocator: a header of 8 bytes, in steps of 16, 32 at least. Nothing takes no block.
const fn block(bytes: usize) -> usize {
    if bytes == 0 {
        return 0;
    }
    let block = (bytes + 8).next_multiple_of(16);
    if block < 32 { 32 } else { block }
}

/// The counters of an `Arc`.
const COUNTERS: usize = 16;

/// A place in a map that is three quarters full, about.
const MAP_PLACE: usize = 32;
