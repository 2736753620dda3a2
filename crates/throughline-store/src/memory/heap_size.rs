//! Estimates of the memory that spans take.
//!
//! The lengths of the texts alone would let a store take twice its limit: most texts of a span are
//! short, and the allocator gives a block of 32 bytes to a text of four.

use throughline_model::{Event, KeyValue, Link, Resource, Scope, Span, Status, Value};

/// Reference counters of an `Arc`.
const ARC_COUNTER_BYTES: usize = 16;

/// Average slot of a map that is three quarters full.
const MAP_SLOT_BYTES: usize = 40;

/// Smallest block of the allocator (glibc's `malloc` on 64-bit systems).
const MIN_BLOCK_BYTES: usize = 32;

/// Returns the memory of a span and of its slot in the trace, without the shared resource and
/// scope.
pub(super) fn span(span: &Span) -> usize {
    let message = match &span.status {
        Status::Error(message) => text(message),
        Status::Unset | Status::Ok => text(&span.status_message),
    };
    block(size_of::<Span>() + ARC_COUNTER_BYTES)
        + MAP_SLOT_BYTES
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

/// Returns the memory of a resource and of its slot in the index.
pub(super) fn resource(resource: &Resource) -> usize {
    block(size_of::<Resource>() + ARC_COUNTER_BYTES)
        + MAP_SLOT_BYTES
        + text(&resource.schema_url)
        + attributes(&resource.attributes)
}

/// Returns the memory of a scope and of its slot in the index.
pub(super) fn scope(scope: &Scope) -> usize {
    let texts = text(&scope.name) + text(&scope.version) + text(&scope.schema_url);
    block(size_of::<Scope>() + ARC_COUNTER_BYTES)
        + MAP_SLOT_BYTES
        + texts
        + attributes(&scope.attributes)
}

fn attributes(pairs: &[KeyValue]) -> usize {
    list::<KeyValue>(pairs.len())
        + pairs
            .iter()
            .map(|pair| text(&pair.key) + value(&pair.value))
            .sum::<usize>()
}

fn value(measured: &Value) -> usize {
    match measured {
        // Held in the enum itself.
        Value::Empty | Value::Bool(_) | Value::Int(_) | Value::Double(_) => 0,
        Value::String(content) => text(content),
        Value::Bytes(bytes) => block(bytes.len()),
        Value::Array(values) => {
            list::<Value>(values.len()) + values.iter().map(value).sum::<usize>()
        }
        Value::Map(pairs) => attributes(pairs),
    }
}

/// Returns the memory of a text.
pub(super) const fn text(text: &str) -> usize {
    block(text.len())
}

const fn list<T>(length: usize) -> usize {
    block(length * size_of::<T>())
}

/// Returns the size of an allocated block: a header of 8 bytes, rounded up to a multiple of 16.
const fn block(bytes: usize) -> usize {
    // Empty strings and vectors do not allocate.
    if bytes == 0 {
        return 0;
    }
    let block = (bytes + 8).next_multiple_of(16);
    if block < MIN_BLOCK_BYTES {
        MIN_BLOCK_BYTES
    } else {
        block
    }
}
