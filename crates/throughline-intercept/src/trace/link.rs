//! Links to spans that a span follows from.

use throughline_model::context::SpanContext;
use throughline_model::convention::OPENTRACING_REF_TYPE;
use throughline_model::{KeyValue, Link};

use super::identity::{HAS_IS_REMOTE, IS_REMOTE, trace_flags};

/// Returns a link to a remote span, marked `follows_from` (OpenTracing compatibility, "Create a
/// link").
pub(crate) fn follows_from(context: &SpanContext) -> Link {
    Link {
        trace_id: context.trace_id,
        span_id: context.span_id,
        trace_state: context.trace_state.as_str().to_owned(),
        flags: u32::from(trace_flags(context)) | HAS_IS_REMOTE | IS_REMOTE,
        attributes: vec![KeyValue::new(OPENTRACING_REF_TYPE, "follows_from")],
    }
}
