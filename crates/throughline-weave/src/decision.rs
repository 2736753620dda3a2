//! Decisions of the engine about outbound events.

use crate::belief::Posterior;
use crate::event::{InboundId, OutboundId};
use crate::evidence_tier::EvidenceTier;
use crate::problem::{Outbound, Problem};

/// Alternatives that a decision names.
const MAX_ALTERNATIVES: usize = 3;
/// Alternatives below this are not worth naming.
const MIN_ALTERNATIVE: f64 = 0.001;

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
    /// Probability that this is right.
    pub confidence: f64,
    pub tier: EvidenceTier,
    /// Other possible causes, the likeliest first, at most three.
    pub alternatives: Vec<Alternative>,
}

// === impl Decision ===

impl Decision {
    pub(crate) fn new(problem: &Problem, outbound: &Outbound, posterior: &Posterior) -> Self {
        let mut possible: Vec<Alternative> = posterior
            .causes
            .iter()
            .map(|cause| Alternative {
                parent: Some(problem.inbound[cause.inbound as usize].id),
                confidence: cause.probability,
            })
            .collect();
        let at = possible.partition_point(|other| other.confidence >= posterior.none);
        let none = Alternative {
            parent: None,
            confidence: posterior.none,
        };
        possible.insert(at, none);
        let mut possible = possible.into_iter();
        let best = possible.next().unwrap_or(none);
        Self {
            outbound: outbound.id,
            parent: best.parent,
            confidence: best.confidence,
            tier: posterior.tier,
            alternatives: possible
                .filter(|other| other.confidence >= MIN_ALTERNATIVE)
                .take(MAX_ALTERNATIVES)
                .collect(),
        }
    }
}
