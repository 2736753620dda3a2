//! Identity of a span: its ids, its parent, and the flags that it carries.

use throughline_model::context::{Sampling, SpanContext, TraceState};
use throughline_model::{SpanId, TraceId, flag};

/// Ids, parent and flags of a span that is to be recorded.
#[derive(Debug, Clone)]
pub(crate) struct SpanIdentity {
    pub(crate) trace_id: TraceId,
    pub(crate) span_id: SpanId,
    pub(crate) parent: Option<SpanId>,
    /// W3C trace flags.
    pub(crate) flags: u8,
    pub(crate) trace_state: TraceState,
}

// === impl SpanIdentity ===

impl SpanIdentity {
    /// Returns the identity of a span that begins a trace.
    #[inline]
    pub(crate) fn root(trace_id: TraceId, span_id: SpanId) -> Self {
        Self {
            trace_id,
            span_id,
            parent: None,
            flags: flag::SAMPLED,
            trace_state: TraceState::default(),
        }
    }

    /// Returns the identity of a child of `parent`.
    #[inline]
    pub(crate) fn child_of(parent: SpanContext, span_id: SpanId) -> Self {
        Self {
            trace_id: parent.trace_id,
            span_id,
            parent: Some(parent.span_id),
            flags: flag::SAMPLED | if parent.random { flag::RANDOM } else { 0 },
            trace_state: parent.trace_state,
        }
    }

    /// Returns the context that messages caused by this span carry.
    #[inline]
    pub(crate) fn context(&self, sampling: Sampling) -> SpanContext {
        SpanContext {
            trace_id: self.trace_id,
            span_id: self.span_id,
            sampling,
            random: self.flags & flag::RANDOM != 0,
            trace_state: self.trace_state.clone(),
        }
    }

    /// Returns OTLP `Span.flags`. A span without a parent has no remote parent.
    pub(crate) fn span_flags(&self, is_parent_remote: bool) -> u32 {
        let remote = if is_parent_remote && self.parent.is_some() {
            flag::IS_REMOTE
        } else {
            0
        };
        u32::from(self.flags) | flag::HAS_IS_REMOTE | remote
    }
}
