//! Parents that were found after the fact, and the traces that they join.
//!
//! A decision never changes a stored span. It is kept beside the spans, can be revised, and counts
//! wherever traces are read as [`WeavingView::Woven`].

use crate::SpanKey;

/// Maximum number of alternatives that are kept of a decision.
pub const MAX_ALTERNATIVES: usize = 3;

/// The traces that a reader wants to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WeavingView {
    /// Traces that decisions join are one, under any of their ids.
    #[default]
    Woven,
    /// Traces as they were reported.
    Raw,
}

/// A decision about the parent of a span that was reported without one.
#[derive(Debug, Clone, PartialEq)]
pub struct WovenEdge {
    /// The span, as it was reported.
    pub child: SpanKey,
    /// The most likely parent; `None` when most likely it has none.
    pub parent: Option<SpanKey>,
    /// The kind of evidence.
    pub evidence: WovenEvidence,
    /// Probability that the decision is right; 1 for exact evidence.
    pub confidence: f64,
    /// Other possibilities, the likeliest first; at most [`MAX_ALTERNATIVES`].
    pub alternatives: Vec<AlternativeParent>,
    /// Whether the decision is certain enough to join the two traces.
    pub is_joined: bool,
}

/// A parent that was less likely than the one that was chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AlternativeParent {
    /// The parent; `None` for none.
    pub parent: Option<SpanKey>,
    /// Its probability.
    pub confidence: f64,
}

/// The kind of evidence for a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WovenEvidence {
    /// Both spans describe the record at one offset: exact.
    Offset,
    /// Nothing else was possible.
    Proven,
    /// Rare values that both messages share.
    Tokens,
    /// The order of a request's steps.
    Structure,
    /// The times alone.
    Timing,
}

/// The numbers of decisions that were kept and refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WeaveOutcome {
    /// Decisions that join their span with a parent.
    pub joined: u64,
    /// Decisions that were kept without joining.
    pub kept: u64,
    /// The span, or its parent, is not stored (any more).
    pub missing: u64,
    /// The span was reported with a parent.
    pub reported: u64,
    /// The parent descends from the span.
    pub cyclic: u64,
    /// The trace would consist of too many traces.
    pub too_many: u64,
}

// === impl WovenEvidence ===

impl WovenEvidence {
    /// All kinds, the strongest first.
    pub const ALL: [Self; 5] = [
        Self::Offset,
        Self::Proven,
        Self::Tokens,
        Self::Structure,
        Self::Timing,
    ];

    /// Returns the value of `throughline.parent.evidence`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Offset => "offset",
            Self::Proven => "proven",
            Self::Tokens => "tokens",
            Self::Structure => "structure",
            Self::Timing => "timing",
        }
    }

    /// Returns whether the evidence names the parent, rather than making it likely.
    #[must_use]
    pub const fn is_exact(self) -> bool {
        matches!(self, Self::Offset)
    }
}
