//! Zipkin's shared spans: client and server of one call have the same span id.
//!
//! Decoding gives the server's half an id of its own (see [`crate::zipkin`]). The server's other
//! spans still name the shared id as parent, and spans arrive in any order, so those children move
//! below the server's half when a trace is read.

use std::collections::HashMap;
use std::sync::Arc;

use throughline_model::SpanId;
use throughline_store::StoredTrace;

use crate::zipkin::SHARED_ID;

/// Returns the trace with the children of shared spans below the half of their own service.
pub(super) fn split_shared_spans(mut trace: StoredTrace) -> StoredTrace {
    // By service too: only spans of the server's own service are its children.
    let halves: HashMap<(SpanId, String), SpanId> = trace
        .spans
        .iter()
        .filter(|span| span.attribute(SHARED_ID).is_some())
        .filter_map(|span| {
            Some((
                (span.parent_span_id?, span.service().to_owned()),
                span.span_id,
            ))
        })
        .collect();
    // Only Zipkin's clients make shared spans: most traces are returned as they are.
    if halves.is_empty() {
        return trace;
    }
    for span in &mut trace.spans {
        let Some(parent) = span.parent_span_id else {
            continue;
        };
        let Some(half) = halves.get(&(parent, span.service().to_owned())) else {
            continue;
        };
        // The half itself stays below the client's.
        if *half != span.span_id {
            // Copies the span: the store shares the original.
            Arc::make_mut(span).parent_span_id = Some(*half);
        }
    }
    trace
}
