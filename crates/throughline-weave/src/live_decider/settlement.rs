//! Final decisions, and learning: about calls that have become certain, or have had their time.

use super::{
    CERTAIN, LAG_NS, LiveDecider, MAX_FOLLOWED_NS, MIN_WITHOUT_RECORD, QUEUE_SETTLE_NS, RETRY_NS,
    abandoned_ns,
};
use crate::decision::{Alternative, Decision};
use crate::event::Nanos;
use crate::evidence_tier::EvidenceTier;
use crate::guard::{CROWDED, DecisionContext};
use crate::lane::{CauseShare, OpenCall};
use crate::learning::{LearnedCalls, caused_calls, learn_handled, learn_request};
use crate::life_table::Step;
use crate::message::OPEN;
use crate::plan::ProcessPlan;

/// Confidence in a choice between requests of which one was long overdue: something held the
/// process up, and its times say little.
const HELD_UP_CONFIDENCE: f64 = 0.9;

impl LiveDecider {
    /// Learns from a lane what has become certain, or has had its time.
    pub(super) fn settle(&mut self, lane: u32) {
        let of_lane = &self.state.lanes[lane as usize];
        if of_lane.paths.is_empty() {
            return;
        }
        if of_lane.is_queue {
            self.settle_queue(lane);
            return;
        }
        let member = of_lane.members.first().copied().unwrap_or_default();
        let inbound = &mut self.state.inbound[member as usize];
        let is_followed = self.now < inbound.start.saturating_add(MAX_FOLLOWED_NS);
        if inbound.end == OPEN && !is_followed {
            self.open_requests = self.open_requests.saturating_sub(1);
            inbound.end = self.now;
        }
        let (end, inbound_operation) = (inbound.end, inbound.operation);
        if end > self.now {
            return;
        }
        let is_waiting = of_lane
            .paths
            .iter()
            .any(|path| !path.outstanding.is_empty());
        if inbound.abandoned && is_waiting && is_followed {
            // Its handler still waits for a response.
            let longest = self.longest_ns.get(&inbound.operation).copied();
            inbound.end = self.now + abandoned_ns(longest.unwrap_or(0));
            self.deadlines.insert((inbound.end, lane));
            return;
        }
        if self.now < end + LAG_NS && self.awaits_record(lane, inbound_operation) {
            self.deadlines.insert((self.now + RETRY_NS, lane));
            return;
        }
        let shares = self.state.shares(lane, self.now, &mut self.plan.model);
        let is_certain = shares.iter().any(|share| *share >= CERTAIN);
        if !is_certain && self.now < end + LAG_NS && self.state.has_open_rivals(lane) {
            self.deadlines.insert((self.now + RETRY_NS, lane));
            return;
        }
        let learned = learn_request(&self.state, lane, &shares, self.now, &mut self.plan.model);
        self.note_learned(&learned);
        self.balance_calls(lane, inbound_operation, &shares);
        let calls = caused_calls(&self.state, lane, &shares);
        let ProcessPlan { model, order, .. } = &mut self.plan;
        self.recent_calls.observe(calls, order, model);
        let calls = std::mem::take(&mut self.state.lanes[lane as usize].calls);
        self.state.remove_lane(lane);
        self.release_calls(lane, &calls, &learned);
    }

    /// Doubts the calls of a request whose operation's calls are mixed up.
    fn balance_calls(&mut self, lane: u32, operation: u32, shares: &[f64]) {
        let of_lane = &mut self.state.lanes[lane as usize];
        let paths = of_lane.paths.iter().zip(shares);
        let Some((path, share)) = paths.max_by(|a, b| a.1.total_cmp(b.1)) else {
            return;
        };
        let calls = self.plan.model.calls_in(path.standing.history);
        let is_sure = of_lane.is_quiet && *share >= CERTAIN;
        self.balance.observe(operation, calls, is_sure);
        of_lane.is_held_up |= self.balance.is_mixed_up(operation);
    }

    /// Returns whether an ended request may have made a record that its producer has not sent yet:
    /// a slow one sends it long after the response.
    fn awaits_record(&self, lane: u32, operation: u32) -> bool {
        let model = &self.plan.model;
        let is_new = model.request_count(operation) < MIN_WITHOUT_RECORD;
        let mut kinds = model.record_kinds.iter();
        let expects = |kind: &Step| is_new || self.guard.backing(operation, *kind) > 0.0;
        let paths = &self.state.lanes[lane as usize].paths;
        let lacks = |kind: &Step| {
            let mut paths = paths.iter();
            paths.any(|path| !model.has_made(path.standing.history, *kind))
        };
        kinds.any(|kind| expects(kind) && lacks(kind))
    }

    fn settle_queue(&mut self, lane: u32) {
        let of_lane = &self.state.lanes[lane as usize];
        let inbound = &self.state.inbound;
        let expired = of_lane.members.iter().rposition(|member| {
            let end = inbound[*member as usize].end;
            end != OPEN && end.saturating_add(LAG_NS) <= self.now
        });
        let is_due = of_lane.last_step + LAG_NS <= self.now;
        let shares = self.state.shares(lane, self.now, &mut self.plan.model);
        let is_certain = shares.iter().any(|share| *share >= CERTAIN);
        if expired.is_none() && !is_due && !is_certain {
            self.deadlines.insert((self.now + QUEUE_SETTLE_NS, lane));
            return;
        }
        self.settle_queue_up_to(lane, expired);
    }

    /// Learns from the records that a consumer is done with: those before the current one, and all
    /// up to `expired`.
    pub(super) fn settle_queue_up_to(&mut self, lane: u32, expired: Option<usize>) {
        let shares = self.state.shares(lane, self.now, &mut self.plan.model);
        if let Some(expired) = expired {
            self.state
                .expire_records(lane, expired, &mut self.plan.model);
        }
        let learned = learn_handled(&mut self.state, lane, &shares, &mut self.plan.model);
        self.note_learned(&learned);
        let open = self.state.trim_queue(lane, expired);
        let calls = std::mem::take(&mut self.state.lanes[lane as usize].calls);
        let (kept, released): (Vec<u32>, Vec<u32>) =
            calls.into_iter().partition(|call| open.contains(call));
        self.state.lanes[lane as usize].calls = kept;
        self.release_calls(lane, &released, &learned);
        if self.state.lanes[lane as usize].members.is_empty() {
            self.remove_queue(lane);
        }
    }

    pub(super) fn remove_queue(&mut self, lane: u32) {
        let calls = std::mem::take(&mut self.state.lanes[lane as usize].calls);
        self.queue_lanes.retain(|other| *other != lane);
        self.committed_lanes.retain(|other| *other != lane);
        self.state.remove_lane(lane);
        self.release_calls(lane, &calls, &LearnedCalls::default());
    }

    fn note_learned(&mut self, learned: &LearnedCalls) {
        for ((operation, kind), weight) in &learned.backing {
            self.guard.back(*operation, *kind, *weight);
        }
        for (operation, kind) in &learned.proven {
            self.guard.note_proven(*operation, *kind);
        }
        for (operation, kind) in &learned.awaited {
            self.guard.note_awaited(*operation, *kind);
        }
        for (operation, counts) in &learned.records {
            self.guard.observe_records(*operation, *counts);
        }
        for (slot, share) in &learned.owned {
            self.state.calls[*slot as usize].owned += share;
        }
        for ((slot, cause), share) in &learned.causes {
            let index = self.state.inbound_index(*cause);
            let inbound = index.map(|index| &self.state.inbound[index as usize]);
            let cause = CauseShare {
                id: *cause,
                operation: inbound.map_or(0, |it| it.operation),
                is_record: inbound.is_some_and(|it| it.position.is_some()),
                share: *share,
            };
            self.state.calls[*slot as usize].causes.push(cause);
        }
    }

    /// Takes a settled lane from the possible causes of its calls.
    fn release_calls(&mut self, lane: u32, calls: &[u32], learned: &LearnedCalls) {
        let is_held_up = self.state.lanes[lane as usize].is_held_up;
        // The first steps of a request that makes very many are forgotten; they were its own.
        for slot in calls {
            let call = &mut self.state.calls[*slot as usize];
            call.lanes.retain(|other| *other != lane);
            if is_held_up && let Some(statement) = &mut call.statement {
                statement.is_held_up = true;
            }
            if learned.is_cut && !learned.owned.contains_key(slot) {
                call.owned = 1.0;
            }
            if call.lanes.is_empty() {
                self.close_call(*slot);
            }
        }
    }

    pub(super) fn close_call(&mut self, slot: u32) {
        let call = &self.state.calls[slot as usize];
        let none = (1.0 - call.owned).clamp(0.0, 1.0);
        let (kind, start): (Step, Nanos) = (call.outbound.kind, call.outbound.start);
        self.strays.observe(kind, call.is_idle, none, start);
        if self.settled.is_some() {
            let decision = self.settled_decision(slot);
            self.settled.get_or_insert_default().push(decision);
        }
        self.state.remove_call(slot);
    }

    /// Returns what has come of a call, all of whose possible causes are settled.
    fn settled_decision(&self, slot: u32) -> Decision {
        let call = &self.state.calls[slot as usize];
        let sum: f64 = call.causes.iter().map(|cause| cause.share).sum();
        // Lanes that are not weighed together may each claim the call.
        let total = sum.max(1.0);
        let causes = call.causes.iter().map(|cause| Alternative {
            parent: Some(cause.id),
            confidence: cause.share / total,
        });
        let none = Alternative {
            parent: None,
            confidence: (1.0 - call.owned).clamp(0.0, 1.0 - sum / total),
        };
        let mut decision = Decision::choose(call.outbound.id, causes.chain([none]));
        let same = call.statement.as_ref();
        let same = same.filter(|it| Some(it.cause.parent) == decision.parent);
        decision.tier = same.map_or(EvidenceTier::Timing, |it| it.tier);
        let is_proven = decision.parent.is_some() && call.proof == decision.parent;
        if is_proven && self.strays.count(call.outbound.kind) < 1.0 {
            decision.tier = decision.tier.min(EvidenceTier::Proven);
        }
        self.limit_settled(&mut decision, call);
        decision
    }

    /// Limits what is said about a settled call to what the circumstances allow.
    fn limit_settled(&self, decision: &mut Decision, call: &OpenCall) {
        let mut causes = call.causes.iter();
        let cause = causes.find(|cause| Some(cause.id) == decision.parent);
        // A parent that the message names, and a shared rare value, need no acquaintance with the
        // process.
        let is_known = matches!(decision.tier, EvidenceTier::Exact | EvidenceTier::Tokens);
        let (Some(cause), false) = (cause, is_known) else {
            return;
        };
        let kind = call.outbound.kind;
        let statement = call.statement.as_ref();
        let is_same = statement.is_some_and(|it| it.cause.parent == cause.id);
        let at_call = statement.and_then(|it| it.context);
        let context = DecisionContext {
            operation: cause.operation,
            is_record: cause.is_record,
            in_flight: at_call.map_or(2, |it| it.in_flight.min(CROWDED)),
            first_after_ns: at_call.filter(|_| is_same).and_then(|it| it.first_after_ns),
            coincidence: at_call.filter(|_| is_same).and_then(|it| it.coincidence),
            strays: self.strays.count(kind),
            stray_share: self.strays.share(kind),
            ..at_call.unwrap_or_else(|| DecisionContext::unknown(kind))
        };
        decision.confidence = self.guard.limit(decision.confidence, &context);
        let is_held_up = statement.is_some_and(|it| it.is_held_up);
        if is_held_up && decision.tier != EvidenceTier::Proven {
            decision.confidence = decision.confidence.min(HELD_UP_CONFIDENCE);
        }
    }
}
