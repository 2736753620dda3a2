//! The identity of a stored span.

use throughline_model::{Link, Span, SpanId, TraceId};

/// The identity of a stored span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanKey {
    /// Trace of the span.
    pub trace_id: TraceId,
    /// Id of the span within its trace.
    pub span_id: SpanId,
}

// === impl SpanKey ===

impl SpanKey {
    /// Returns the key of a span.
    #[must_use]
    pub const fn of(span: &Span) -> Self {
        Self {
            trace_id: span.trace_id,
            span_id: span.span_id,
        }
    }

    /// Returns the key of the span that a link points to.
    #[must_use]
    pub const fn of_link(link: &Link) -> Self {
        Self {
            trace_id: link.trace_id,
            span_id: link.span_id,
        }
    }

    /// Returns the key of a span's parent, which is part of the same trace.
    #[must_use]
    pub fn of_parent(span: &Span) -> Option<Self> {
        span.parent_span_id.map(|span_id| Self {
            trace_id: span.trace_id,
            span_id,
        })
    }
}
