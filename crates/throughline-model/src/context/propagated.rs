//! The result of reading headers.

use super::{Baggage, Sampling, SpanContext};

/// The content of a message's headers: the sender's context, its baggage, and the count of errors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PropagatedContext {
    /// The sender's context, when one of the formats held a well-formed one.
    pub context: Option<SpanContext>,
    /// A decision without ids (`b3: 0`), from the first format that has one. Only without a
    /// context.
    pub sampling: Option<Sampling>,
    /// Baggage of all formats together.
    pub baggage: Baggage,
    /// Number of headers that were present but malformed, and so ignored.
    pub rejected: u32,
}

// === impl PropagatedContext ===

impl PropagatedContext {
    /// Counts a header that was present but malformed.
    pub(super) fn reject(&mut self) {
        self.rejected = self.rejected.saturating_add(1);
    }
}
