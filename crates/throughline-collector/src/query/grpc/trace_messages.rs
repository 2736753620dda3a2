//! Traces as messages of a stream: `TracesData`, which has the fields of OTLP's
//! `ExportTraceServiceRequest`.
//!
//! A message holds spans of one trace, as Jaeger requires, and a large trace takes several in
//! sequence, because clients refuse messages of more than 4 MiB by default.

use std::sync::Arc;

use throughline_model::Span;
use throughline_otlp::encode_protobuf;
use throughline_store::StoredTrace;

use crate::grpc_message::MessageFrames;

/// Size from which a message is split.
const MAX_MESSAGE_BYTES: usize = 3 << 20;

/// Number of spans to encode before their size is looked at.
const CHUNK_SPANS: usize = 4096;

/// Adds the messages of a trace.
pub(super) fn push_trace(frames: &mut MessageFrames, trace: &StoredTrace) {
    for spans in trace.spans.chunks(CHUNK_SPANS) {
        push_spans(frames, spans);
    }
}

/// Adds spans in one message, or in two halves if it would be too large.
fn push_spans(frames: &mut MessageFrames, spans: &[Arc<Span>]) {
    let message = encode_protobuf(spans.iter().map(|span| &**span));
    // A single span cannot be split.
    if message.len() <= MAX_MESSAGE_BYTES || spans.len() < 2 {
        frames.push(&message);
        return;
    }
    drop(message);
    // At most as deep as the logarithm of the chunk.
    let (first, second) = spans.split_at(spans.len() / 2);
    push_spans(frames, first);
    push_spans(frames, second);
}
