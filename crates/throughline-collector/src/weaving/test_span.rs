//! The span of a call, for tests.

use std::sync::Arc;

use throughline_model::{DroppedCounts, Resource, Scope, Span, SpanId, SpanKind, Status};
use throughline_store::SpanKey;

/// Returns the span of a call of the service `shop`.
pub(super) fn call_span(key: SpanKey, parent: Option<SpanId>, (start, end): (u64, u64)) -> Span {
    Span {
        trace_id: key.trace_id,
        span_id: key.span_id,
        parent_span_id: parent,
        flags: 0,
        trace_state: String::new(),
        name: "GET".to_owned(),
        kind: SpanKind::Client,
        start,
        end,
        attributes: Vec::new(),
        events: Vec::new(),
        links: Vec::new(),
        status: Status::Unset,
        status_message: Box::default(),
        dropped: DroppedCounts::default(),
        resource: Arc::new(Resource::of_service("shop")),
        scope: Arc::new(Scope::default()),
    }
}
