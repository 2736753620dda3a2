//! Parent of an HTTP span: from the headers of a trusted peer, or from the correlator.

use throughline_model::context::{PropagatedContext, Sampling, SpanContext};

use crate::correlate::ParentDecision;
use crate::trace::ParentEvidence;

/// Parent of a span, before the span has ids.
#[derive(Debug)]
pub(super) struct SpanParent {
    pub(super) context: Option<SpanContext>,
    /// Context of an untrusted peer, which is linked to rather than continued.
    pub(super) untrusted: Option<SpanContext>,
    /// Sampling decision that came without a context.
    pub(super) sampling: Option<Sampling>,
    pub(super) evidence: Option<ParentEvidence>,
}

// === impl SpanParent ===

impl SpanParent {
    /// Returns the parent in the headers of a trusted downstream.
    pub(super) fn trusted(propagated: PropagatedContext) -> Self {
        Self {
            evidence: propagated
                .context
                .is_some()
                .then_some(ParentEvidence::HEADER),
            context: propagated.context,
            untrusted: None,
            sampling: propagated.sampling,
        }
    }

    /// Returns no parent, and a link to the context of an untrusted downstream. Its sampling
    /// decision does not count either.
    pub(super) fn untrusted(propagated: PropagatedContext) -> Self {
        Self {
            context: None,
            untrusted: propagated.context,
            sampling: None,
            evidence: None,
        }
    }

    /// Returns the parent that the correlator found.
    pub(super) fn attributed(decision: ParentDecision, sampling: Option<Sampling>) -> Self {
        let is_exact = decision.is_exact();
        let mut context = decision.context;
        if let Some(context) = context.as_mut().filter(|_| !is_exact) {
            // A parent that may be wrong overrides no decision that the message carries, and does
            // not spread the wish of its client for debugging.
            context.sampling = match (sampling, context.sampling) {
                (Some(own), _) => own,
                (None, Sampling::Debug) => Sampling::Sample,
                (None, inherited) => inherited,
            };
        }
        Self {
            evidence: Some(ParentEvidence {
                evidence: decision.evidence,
                confidence: decision.confidence,
            }),
            context,
            untrusted: None,
            sampling,
        }
    }

    /// Decides against a span where nobody before has decided.
    pub(super) fn drop_undecided(&mut self) {
        if self.sampling_decision() == Sampling::Deferred {
            match &mut self.context {
                Some(context) => context.sampling = Sampling::Drop,
                None => self.sampling = Some(Sampling::Drop),
            }
        }
    }

    /// Returns the sampling decision of the parent, or [`Sampling::Deferred`].
    pub(super) fn sampling_decision(&self) -> Sampling {
        match &self.context {
            Some(context) => context.sampling,
            // `b3: 0` and `b3: d` decide without naming a parent.
            None => self.sampling.unwrap_or(Sampling::Deferred),
        }
    }
}
