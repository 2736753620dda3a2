//! Evidence for the parent of an outbound message.

use throughline_model::context::SpanContext;

/// Evidence by which the parent of a span was found, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// The message carries a context.
    Header,
    /// The message carries a token of an inbound message.
    RequestId,
    /// Exactly one inbound request or record was in flight.
    Sole,
    /// The record was the next in the order of its partition.
    Order,
    /// The message shares a value with this one of the possible parents.
    Tokens,
    /// Only this request or record had come to the step that the call is.
    Structure,
    /// This is the most likely one of those that had come to the step, by the time that it takes.
    Timing,
    /// No parent was found: the span is a root.
    Open,
}

/// Parent of an outbound message, with the evidence for it.
#[derive(Debug, Clone, PartialEq)]
pub struct ParentDecision {
    pub evidence: Evidence,
    /// Context of the parent span; [`None`] for [`Evidence::Open`].
    pub context: Option<SpanContext>,
    /// Probability from 0 to 1 that the parent is right; [`None`] for exact evidence.
    pub confidence: Option<f64>,
}

// === impl Evidence ===

impl Evidence {
    /// All variants, best first.
    pub const ALL: [Self; 8] = [
        Self::Header,
        Self::RequestId,
        Self::Sole,
        Self::Order,
        Self::Tokens,
        Self::Structure,
        Self::Timing,
        Self::Open,
    ];

    /// Returns the value of the attribute `throughline.parent.evidence`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::RequestId => "request-id",
            Self::Sole => "sole",
            Self::Order => "order",
            Self::Tokens => "tokens",
            Self::Structure => "structure",
            Self::Timing => "timing",
            Self::Open => "open",
        }
    }
}

// === impl ParentDecision ===

impl ParentDecision {
    /// Returns the decision that no parent is known.
    #[must_use]
    pub const fn open() -> Self {
        Self {
            evidence: Evidence::Open,
            context: None,
            confidence: None,
        }
    }

    /// Returns whether the message itself shows its parent.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        self.context.is_some() && self.confidence.is_none()
    }

    pub(super) const fn exact(evidence: Evidence, context: SpanContext) -> Self {
        Self {
            evidence,
            context: Some(context),
            confidence: None,
        }
    }

    pub(super) const fn inferred(
        evidence: Evidence,
        context: SpanContext,
        confidence: f64,
    ) -> Self {
        Self {
            evidence,
            context: Some(context),
            confidence: Some(confidence),
        }
    }
}
