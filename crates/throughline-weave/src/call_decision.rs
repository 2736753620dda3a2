//! The statement about a call that is just made, before circumstances limit it, and its proof.

use crate::decision::{Alternative, Decision};
use crate::event::InboundId;
use crate::evidence_tier::EvidenceTier;
use crate::message::{OPEN, Outbound};
use crate::process_state::{ProcessOutlook, ProcessState};
use crate::step_model::StepModel;
use crate::tokens::{DECISIVE_FACTOR, TokenModel};

/// Returns the causes of a call by their shares of the hazard; `stray_rate` is that of no cause.
pub(crate) fn call_decision(
    state: &ProcessState,
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
    let mut decision = Decision::choose(outbound.id, causes.chain([none]));
    let inbound = decision.parent.and_then(|id| state.inbound_index(id));
    let is_decisive =
        |index: u32| tokens.factor(&state.inbound[index as usize], outbound) > DECISIVE_FACTOR;
    decision.tier = if inbound.is_some_and(is_decisive) {
        EvidenceTier::Tokens
    } else if decision
        .alternatives
        .iter()
        .all(|other| other.parent.is_none())
    {
        EvidenceTier::Structure
    } else {
        EvidenceTier::Timing
    };
    decision
}

/// Returns the lanes that may have made a call.
pub(crate) fn candidate_lanes(
    state: &ProcessState,
    model: &StepModel,
    outbound: &Outbound,
) -> Vec<u32> {
    if let Some(named) = outbound.exact.and_then(|id| state.inbound_index(id)) {
        return vec![state.lane_of[named as usize]];
    }
    let is_candidate = |lane: &u32| {
        let of_lane = &state.lanes[*lane as usize];
        if of_lane.is_queue {
            return true;
        }
        of_lane.members.first().is_some_and(|member| {
            let inbound = &state.inbound[*member as usize];
            let lingers = model.lingers(inbound.operation, outbound.kind);
            // A record may be seen long after it was made, when later requests have begun.
            inbound.start <= outbound.start && inbound.end.saturating_add(lingers) >= outbound.start
        })
    };
    state.live.iter().copied().filter(is_candidate).collect()
}

/// Returns the lanes and operations of requests without a client, other than `parent`, that may not
/// have made a call of this kind yet: of how long their handlers take little is known.
pub(crate) fn abandoned_rivals<'a>(
    state: &'a ProcessState,
    model: &'a StepModel,
    parent: u32,
    outbound: &'a Outbound,
) -> impl Iterator<Item = (u32, u32)> + 'a {
    state.live.iter().filter_map(move |index| {
        let lane = &state.lanes[*index as usize];
        let member = lane.members.first().filter(|it| **it != parent)?;
        let inbound = &state.inbound[*member as usize];
        let mut paths = lane.paths.iter();
        let lacks_call = paths.any(|path| !model.has_made(path.standing.history, outbound.kind));
        (inbound.abandoned && lacks_call).then_some((*index, inbound.operation))
    })
}

/// Returns the only one of several requests that was open when a call began, and when it ended. The
/// handler of an abandoned one may be running.
pub(crate) fn only_open_witness(state: &ProcessState, slot: u32) -> Option<InboundId> {
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
