//! Properties of a trace that the filter of one span can use.

use throughline_model::{Span, TraceId};

/// Properties of the whole trace that a span filter can use.
#[derive(Debug, Clone, Copy)]
pub struct TraceProperties<'a> {
    /// Id of the trace.
    pub id: TraceId,
    /// Time from the first start to the last end, in nanoseconds.
    pub duration: u64,
    /// Root span, or the first span without one.
    pub root: Option<&'a Span>,
}
