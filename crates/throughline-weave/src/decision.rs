//! Decisions of the engine about outbound events.

use crate::event::{InboundId, OutboundId};
use crate::evidence_tier::EvidenceTier;

/// Alternatives that a decision names.
const MAX_ALTERNATIVES: usize = 3;
/// Alternatives below this are not worth naming.
const MIN_ALTERNATIVE: f64 = 1e-3;

/// A possible cause.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Alternative {
    /// `None`: the process made the call on its own.
    pub parent: Option<InboundId>,
    pub confidence: f64,
}

/// A decision about one outbound event.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    pub outbound: OutboundId,
    /// The most likely cause; `None` if that is none.
    pub parent: Option<InboundId>,
    /// Probability that this is right; 0 if a limit left the event out.
    pub confidence: f64,
    pub tier: EvidenceTier,
    /// Other possible causes, the likeliest first, at most three.
    pub alternatives: Vec<Alternative>,
}

// === impl Decision ===

impl Decision {
    /// Says nothing about an event that a limit left out.
    pub(crate) const fn undecided(outbound: OutboundId) -> Self {
        Self {
            outbound,
            parent: None,
            confidence: 0.0,
            tier: EvidenceTier::Timing,
            alternatives: Vec::new(),
        }
    }

    /// Decides for the likeliest of all causes, of which "none" is one.
    pub(crate) fn choose(outbound: OutboundId, causes: impl Iterator<Item = Alternative>) -> Self {
        let mut possible: Vec<Alternative> = causes.collect();
        possible.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
        let mut possible = possible.into_iter();
        let best = possible.next();
        Self {
            outbound,
            parent: best.and_then(|best| best.parent),
            confidence: best.map_or(0.0, |best| best.confidence),
            tier: EvidenceTier::Timing,
            alternatives: possible
                .filter(|other| other.confidence >= MIN_ALTERNATIVE)
                .take(MAX_ALTERNATIVES)
                .collect(),
        }
    }
}
