//! Identity of a span: its ids, its parent, and the flags that it carries.

use throughline_model::context::{Sampling, SpanContext, TraceState};
use throughline_model::{SpanId, TraceId};

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

/// W3C Trace Context level 2, section 3.2.2.5: the trace is recorded.
const SAMPLED: u8 = 0x01;
/// W3C Trace Context level 2, section 3.2.2.5: the low 7 bytes of the trace id are random.
const RANDOM: u8 = 0x02;
/// OTLP `Span.flags`: it is known whether the parent is remote.
pub(super) const HAS_IS_REMOTE: u32 = 0x100;
/// OTLP `Span.flags`: the parent is remote.
pub(super) const IS_REMOTE: u32 = 0x200;

/// Returns the W3C trace flags of a context.
pub(super) fn trace_flags(context: &SpanContext) -> u8 {
    let sampled = if context.sampling.is_sampled() {
        SAMPLED
    } else {
        0
    };
    sampled | random_flag(context)
}

const fn random_flag(context: &SpanContext) -> u8 {
    if context.random { RANDOM } else { 0 }
}

// === impl SpanIdentity ===

impl SpanIdentity {
    /// Returns the identity of a span that begins a trace.
    pub(crate) fn root(trace_id: TraceId, span_id: SpanId) -> Self {
        Self {
            trace_id,
            span_id,
            parent: None,
            flags: SAMPLED,
            trace_state: TraceState::default(),
        }
    }

    /// Returns the identity of a child of `parent`.
    pub(crate) fn child_of(parent: SpanContext, span_id: SpanId) -> Self {
        Self {
            trace_id: parent.trace_id,
            span_id,
            parent: Some(parent.span_id),
            flags: SAMPLED | random_flag(&parent),
            trace_state: parent.trace_state,
        }
    }

    /// Returns the context that messages caused by this span carry.
    pub(crate) fn context(&self, sampling: Sampling) -> SpanContext {
        SpanContext {
            trace_id: self.trace_id,
            span_id: self.span_id,
            sampling,
            random: self.flags & RANDOM != 0,
            trace_state: self.trace_state.clone(),
        }
    }

    /// Returns OTLP `Span.flags`. A span without a parent has no remote parent.
    pub(crate) fn span_flags(&self, is_parent_remote: bool) -> u32 {
        let remote = if is_parent_remote && self.parent.is_some() {
            IS_REMOTE
        } else {
            0
        };
        u32::from(self.flags) | HAS_IS_REMOTE | remote
    }
}
