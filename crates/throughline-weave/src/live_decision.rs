//! The statement about a call that is just made, before circumstances limit it, and its proof.

use crate::decision::{Alternative, Decision};
use crate::event::InboundId;
use crate::evidence_tier::EvidenceTier;
use crate::live_state::{LiveState, ProcessOutlook};
use crate::problem::{OPEN, Outbound};
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

/// Returns the only one of several requests that was open when a call began, and when it ended. The
/// handler of an abandoned one may be running.
pub(crate) fn only_open_witness(state: &LiveState, slot: u32) -> Option<InboundId> {
    let call = &state.calls[slot as usize];
    if call.witnesses.len() < 2 || call.outbound.is_record {
        return None;
    }
    let mut open = call.witnesses.iter().filter(|id| {
        let index = state.inbound_index(**id);
        let inbound = index.map(|index| &state.inbound[index as usize]);
        inbound.is_some_and(|inbound| inbound.end == OPEN || inbound.abandoned)
    });
    let first = open.next()?;
    open.next().is_none().then_some(*first)
}
