//! The identity of a span, as another process sees it.

use super::TraceState;
use crate::{SpanId, TraceId, flag};

/// The context of a message: the span that sent it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SpanContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The span that sent the message.
    pub span_id: SpanId,
    /// The sender's decision about recording.
    pub sampling: Sampling,
    /// W3C level 2 flag 0x02: the low 7 bytes of the trace id are random. Passed on unchanged.
    pub random: bool,
    /// Data of other tracing systems, passed on unread.
    pub trace_state: TraceState,
}

/// A sender's decision about recording the trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sampling {
    /// Left to the receiver (B3 without a sampling field).
    Deferred,
    /// Do not record.
    Drop,
    /// Record.
    Sample,
    /// Record, past any sampler (B3 `d`, Jaeger's debug flag).
    Debug,
}

// === impl SpanContext ===

impl SpanContext {
    /// Returns a context without the random flag and without `tracestate`.
    #[must_use]
    pub fn new(trace_id: TraceId, span_id: SpanId, sampling: Sampling) -> Self {
        Self {
            trace_id,
            span_id,
            sampling,
            random: false,
            trace_state: TraceState::default(),
        }
    }

    /// Returns the W3C trace flags (Trace Context level 2, section 3.2.2.5).
    #[must_use]
    pub const fn trace_flags(&self) -> u8 {
        let mut flags = 0;
        if self.sampling.is_sampled() {
            flags |= flag::SAMPLED;
        }
        if self.random {
            flags |= flag::RANDOM;
        }
        flags
    }
}

// === impl Sampling ===

impl Sampling {
    /// Returns whether the sender asks for recording.
    #[must_use]
    pub const fn is_sampled(self) -> bool {
        matches!(self, Self::Sample | Self::Debug)
    }
}
