//! Learning from requests and records that are settled.

use std::collections::BTreeMap;

use crate::event::{InboundId, Nanos};
use crate::handled_records::{HandledRecords, visit_handled};
use crate::lane_path::{LanePath, RecentTurns};
use crate::message::Inbound;
use crate::order::CausedCall;
use crate::process_state::ProcessState;
use crate::step_model::{ObservedStay, Stays, StepModel};
use crate::step_trail::visit_trail;

/// Paths below this share teach nothing.
const MIN_SHARE: f64 = 1e-3;
/// Share of a call from which it is learned which values messages share.
pub(crate) const CERTAIN: f64 = 0.99;
/// Share of a call from which a request has shown that its operation makes it.
const LIKELY: f64 = 0.5;

/// Part of the duration of a request within which its next step follows the response to a call, if
/// it waited for that call: 1 / 20.
const PROMPT_PART: Nanos = 20;

/// The calls that a lane made.
#[derive(Debug, Default)]
pub(crate) struct LearnedCalls {
    /// Probability that the lane made a call.
    pub(crate) owned: BTreeMap<u32, f64>,
    /// The same, by request or record.
    pub(crate) causes: BTreeMap<(u32, InboundId), f64>,
    /// Operations of requests with the kinds of calls that they have shown.
    pub(crate) backing: Vec<((u32, u32), f64)>,
    /// Those of a call that can only have been made by the request.
    pub(crate) proven: Vec<(u32, u32)>,
    /// Those of a call that the request has certainly waited for.
    pub(crate) awaited: Vec<(u32, u32)>,
    /// Handled records of an operation, and those during which the next one made a call.
    pub(crate) records: BTreeMap<u32, (f64, f64)>,
    /// Whether some of the calls are not known any more.
    pub(crate) is_cut: bool,
}

/// Learns from an ended request; `shares` are the probabilities of its paths.
pub(crate) fn learn_request(
    state: &ProcessState,
    lane: u32,
    shares: &[f64],
    now: Nanos,
    model: &mut StepModel,
) -> LearnedCalls {
    let mut learned = LearnedCalls::default();
    let of_lane = &state.lanes[lane as usize];
    let Some(member) = of_lane.members.first() else {
        return learned;
    };
    let inbound = &state.inbound[*member as usize];
    model.learn_request(inbound.operation);
    let calls = of_lane
        .calls
        .iter()
        .map(|call| &state.calls[*call as usize]);
    let proven = calls.filter(|call| call.proof == Some(inbound.id));
    learned.proven = proven
        .map(|call| (inbound.operation, call.outbound.kind))
        .collect();
    learned.proven.sort_unstable();
    learned.proven.dedup();
    let mut kinds: BTreeMap<u32, f64> = BTreeMap::new();
    for (path, share) in of_lane.paths.iter().zip(shares) {
        if *share < MIN_SHARE {
            continue;
        }
        learned.is_cut |= path.is_cut;
        if *share > CERTAIN && !inbound.abandoned {
            let awaited = awaited_kinds(state, path, inbound).into_iter();
            learned.awaited = awaited.map(|kind| (inbound.operation, kind)).collect();
        }
        let stays = observed_stays(state, lane, path, *share, now);
        let mut of_path: BTreeMap<u32, f64> = BTreeMap::new();
        visit_trail(&path.trail, *share, &mut |_, call, kind, weight| {
            *learned.owned.entry(call).or_default() += weight;
            *learned.causes.entry((call, inbound.id)).or_default() += weight;
            let most = of_path.entry(kind).or_default();
            *most = most.max(weight);
        });
        for (kind, weight) in of_path {
            *kinds.entry(kind).or_default() += weight;
        }
        model.learn_path(&stays);
    }
    for (call, share) in &learned.owned {
        if *share > CERTAIN {
            let outbound = &state.calls[*call as usize].outbound;
            model.tokens.learn(inbound, outbound);
        }
    }
    let shown = kinds.into_iter().filter(|(_, share)| *share > LIKELY);
    learned.backing = shown
        .map(|(kind, share)| ((inbound.operation, kind), share.min(1.0)))
        .collect();
    learned
}

/// Returns the calls that a settled request has most likely made.
pub(crate) fn caused_calls(state: &ProcessState, lane: u32, shares: &[f64]) -> Vec<CausedCall> {
    let of_lane = &state.lanes[lane as usize];
    let Some(member) = of_lane.members.first() else {
        return Vec::new();
    };
    let inbound = &state.inbound[*member as usize];
    let mut calls: Vec<CausedCall> = Vec::new();
    if inbound.abandoned {
        return calls;
    }
    for (path, share) in of_lane.paths.iter().zip(shares) {
        let mut is_last = true;
        visit_trail(&path.trail, *share, &mut |stays, slot, kind, weight| {
            let last = path.before_end.filter(|_| std::mem::take(&mut is_last));
            if weight < CERTAIN {
                return;
            }
            let call = &state.calls[slot as usize];
            calls.push(CausedCall {
                kind,
                call: (call.outbound.start, call.outbound.end),
                request: (inbound.start, inbound.end),
                request_id: inbound.id,
                share: weight,
                before: stays.standing(call.outbound.start),
                last,
                is_proven: call.proof == Some(inbound.id),
            });
        });
    }
    calls
}

/// Returns the stays of a request on one of its paths, and which of them are proven.
fn observed_stays(
    state: &ProcessState,
    lane: u32,
    path: &LanePath,
    share: f64,
    now: Nanos,
) -> Vec<ObservedStay> {
    let of_lane = &state.lanes[lane as usize];
    let Some(member) = of_lane.members.first() else {
        return Vec::new();
    };
    let inbound = &state.inbound[*member as usize];
    let proof = |call: u32| state.calls[call as usize].proof;
    let is_own = |call: u32| proof(call) == Some(inbound.id);
    let mut steps: Vec<(Stays, u32, f64)> = Vec::new();
    visit_trail(&path.trail, share, &mut |stays, call, _, weight| {
        steps.push((*stays, call, weight));
    });
    let mut observed = Vec::new();
    let mut add = |stays: Stays, weight: f64, is_proven: bool| {
        observed.extend(stays.iter().map(|stay| ObservedStay {
            stay: *stay,
            weight,
            is_proven,
        }));
    };
    if let Some(before) = path.before_end {
        let is_proven = share > CERTAIN
            && of_lane.calls.iter().all(|call| proof(*call).is_some())
            && steps.first().is_none_or(|step| is_own(step.1));
        let end = inbound.end.max(before.last_start);
        add(path.standing.stays(now, None), share, is_proven);
        add(before.stays_to_end(end), share, is_proven);
    }
    // The latest step is the first.
    for (index, (stays, call, weight)) in steps.iter().enumerate() {
        let is_after_proof = match steps.get(index + 1) {
            Some(before) => is_own(before.1),
            None => !path.is_cut,
        };
        let is_proven = *weight > CERTAIN && is_own(*call) && is_after_proof;
        add(*stays, *weight, is_proven);
    }
    observed
}

/// Returns the kinds of the calls of a request that has certainly made them: one of each, one after
/// the other, the next right after the response to the one before, and the end right after the
/// last. The calls of a job beside a request are not so.
fn awaited_kinds(state: &ProcessState, path: &LanePath, inbound: &Inbound) -> Vec<u32> {
    let mut calls: Vec<(Nanos, Nanos, u32)> = Vec::new();
    let mut is_certain = !path.is_cut;
    visit_trail(&path.trail, 1.0, &mut |_, call, kind, weight| {
        let outbound = &state.calls[call as usize].outbound;
        let end = if outbound.is_record {
            outbound.start
        } else {
            outbound.end
        };
        is_certain &= weight > CERTAIN && calls.iter().all(|(.., other)| *other != kind);
        calls.push((outbound.start, end, kind));
    });
    calls.sort_unstable();
    let prompt_ns = (inbound.end - inbound.start) / PROMPT_PART;
    let next = calls.iter().skip(1).map(|call| call.0);
    is_certain &= calls
        .iter()
        .zip(next.chain([inbound.end]))
        .all(|((_, end, _), next)| (0..=prompt_ns).contains(&next.saturating_sub(*end)));
    if is_certain {
        calls.into_iter().map(|(.., kind)| kind).collect()
    } else {
        Vec::new()
    }
}

/// Learns from the records that a consumer is done with, and forgets them.
pub(crate) fn learn_handled(
    state: &mut ProcessState,
    lane: u32,
    shares: &[f64],
    model: &mut StepModel,
) -> LearnedCalls {
    let mut learned = LearnedCalls::default();
    let mut backing: BTreeMap<(u32, u32, u32), f64> = BTreeMap::new();
    let paths = state.lanes[lane as usize].paths.iter_mut().zip(shares);
    let handled: Vec<(f64, HandledRecords)> = paths
        .map(|(path, share)| {
            path.turns = RecentTurns::default();
            (*share, std::mem::take(&mut path.handled))
        })
        .collect();
    visit_handled(&handled, |record, share| {
        if share < MIN_SHARE {
            return;
        }
        let inbound = &state.inbound[record.member as usize];
        let (operation, id) = (inbound.operation, inbound.id);
        if share > LIKELY {
            model.learn_request(operation);
        }
        let records = learned.records.entry(operation).or_default();
        records.0 += share;
        records.1 += share * f64::from(u8::from(record.is_overlapped));
        let mut stays: Vec<ObservedStay> = Vec::new();
        visit_trail(&record.trail, share, &mut |steps, call, kind, weight| {
            stays.extend(steps.iter().map(|stay| ObservedStay {
                stay: *stay,
                weight,
                is_proven: true,
            }));
            *learned.owned.entry(call).or_default() += weight;
            *learned.causes.entry((call, id)).or_default() += weight;
            let shown = backing.entry((record.member, operation, kind)).or_default();
            *shown = shown.max(weight);
        });
        for observed in stays.iter().filter(|it| it.stay.step.is_some()) {
            model.learn_done(observed.stay.history, false, observed.weight);
        }
        model.learn_done(record.history, true, share);
        model.learn_path(&stays);
    });
    learned.backing = backing
        .into_iter()
        .filter(|(_, share)| *share > LIKELY)
        .map(|((_, operation, kind), share)| ((operation, kind), share))
        .collect();
    learned
}
