//! Zipkin's shared spans: client and server of one call have the same span id.
//!
//! The intake gives the server's half an id of its own (see [`crate::zipkin`]); what the server did meanwhile still names the shared
//! id as parent, and may come in any order. So it is put below the server's half here, when a trace is shown.

use std::collections::HashMap;
use std::sync::Arc;

use throughline_model::SpanId;
use throughline_store::Trace;

use crate::zipkin::SHARED_ID;

/// The trace with the children of shared spans put below the half of the service that made them.
pub(super) fn parted(mut trace: Trace) -> Trace {
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
        if *half != span.span_id {
            Arc::make_mut(span).parent_span_id = Some(*half);
        }
    }
    trace
}
