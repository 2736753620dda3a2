//! The statement about a call that is just made, before circumstances limit it.

use crate::decision::{Alternative, Decision};
use crate::evidence_tier::EvidenceTier;
use crate::live_state::{LiveState, ProcessOutlook};
use crate::problem::Outbound;
use crate::tokens::{DECISIVE_FACTOR, TokenModel};

/// Alternatives that a decision names, and those below this are not worth naming.
const MAX_ALTERNATIVES: usize = 3;
const MIN_ALTERNATIVE: f64 = 1e-3;

/// Returns the causes of a call by their shares of the hazard; `stray_rate` is that of no cause.
pub(crate) fn live_decision(
    state: &LiveState,
    tokens: &TokenModel,
    outbound: &Outbound,
    outlook: &ProcessOutlook,
    stray_rate: f64,
) -> Decision {
    let total = (outlook.hazard + stray_rate).max(f64::MIN_POSITIVE);
    let none = Alternative {
        parent: None,
        confidence: stray_rate / total,
    };
    let causes = outlook.causes.iter().map(|(member, hazard)| Alternative {
        parent: Some(state.inbound[*member as usize].id),
        confidence: hazard / total,
    });
    let mut possible: Vec<Alternative> = causes.chain([none]).collect();
    possible.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    let best = possible.remove(0);
    possible.retain(|other| other.confidence >= MIN_ALTERNATIVE);
    possible.truncate(MAX_ALTERNATIVES);
    let inbound = best.parent.and_then(|id| state.inbound_index(id));
    let is_decisive =
        |index: u32| tokens.factor(&state.inbound[index as usize], outbound) > DECISIVE_FACTOR;
    let tier = if inbound.is_some_and(is_decisive) {
        EvidenceTier::Tokens
    } else if possible.iter().all(|other| other.parent.is_none()) {
        EvidenceTier::Structure
    } else {
        EvidenceTier::Timing
    };
    Decision {
        outbound: outbound.id,
        parent: best.parent,
        confidence: best.confidence,
        tier,
        alternatives: possible,
    }
}
