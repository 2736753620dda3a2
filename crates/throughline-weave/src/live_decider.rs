//! Decisions at the moment of a call, from what has been seen so far.
//!
//! Requests compete for a call by the hazards of their next steps. Where two could have made it,
//! both ways are kept, jointly: what follows shows which it was. Only what has become certain, or
//! has had its time, is learned from.

use std::collections::{BTreeMap, BTreeSet};

use crate::decision::Decision;
use crate::event::{
    InboundId, InboundOutcome, InboundStart, Nanos, OutboundId, OutboundStart, WeaveEvent,
};
use crate::evidence_tier::EvidenceTier;
use crate::guard::{ConfidenceGuard, DecisionContext};
use crate::life_table::Step;
use crate::live_decision::{abandoned_rivals, candidate_lanes, live_decision, only_open_witness};
use crate::live_lane::{LiveCall, StatedCause};
use crate::live_learning::{LearnedCalls, learn_handled, learn_request};
use crate::live_state::{LiveState, call_step};
use crate::plan::ProcessPlan;
use crate::problem::{Inbound, OPEN, Outbound};
use crate::stray::StrayModel;
use crate::weaver_settings::{LiveChecks, WeaverLosses, WeaverSettings};

/// Time after the end of a request in which a record that it made may still be seen.
const SETTLE_NS: Nanos = 30_000_000;
/// Requests of an operation without a record that show that it sends none.
const MIN_WITHOUT_RECORD: f64 = 8.0;
/// Time after which what is not certain is learned from by its share.
const LAG_NS: Nanos = 1_000_000_000;
/// Interval between two looks at what is not certain.
const RETRY_NS: Nanos = 50_000_000;
/// Time after a call of a consumer until the records before are settled.
const QUEUE_SETTLE_NS: Nanos = 100_000_000;
/// Calls later after the end of a request are not its doing.
const MAX_LINGER_NS: Nanos = 20_000_000;
/// Idle calls soon after an end that show that an operation goes on after it.
const MIN_LINGERING: u32 = 2;
/// Times the longest duration that an abandoned request may go on, and bounds of it.
const ABANDONED_FACTOR: Nanos = 3;
const ABANDONED_NS: (Nanos, Nanos) = (250_000_000, 30_000_000_000);
/// Longest time for which a request is followed; streams and long polls last longer.
const MAX_FOLLOWED_NS: Nanos = 60_000_000_000;
/// Records of one partition that are held; of more, the oldest count as handled.
const MAX_QUEUE: usize = 512;
/// Share of a path from which it counts as certain.
const CERTAIN: f64 = 0.99;
/// Requests that a plan stands for when a process starts again.
const PLAN_REQUESTS: f64 = 50.0;
/// Life tables whose curves are computed again with one event.
const REFRESH_TABLES: usize = 2;

/// Decides at once which inbound message of a process caused an outbound one.
#[derive(Debug)]
pub struct LiveDecider {
    settings: WeaverSettings,
    plan: ProcessPlan,
    state: LiveState,
    strays: StrayModel,
    guard: ConfidenceGuard,
    losses: WeaverLosses,
    now: Nanos,
    counted_until: Option<Nanos>,
    is_idle: bool,
    open_requests: usize,
    queue_lanes: Vec<u32>,
    /// Queues with a commit that has not been weighed.
    committed_lanes: Vec<u32>,
    /// When to look at a lane that may be settled.
    deadlines: BTreeSet<(Nanos, u32)>,
    last_end: Option<(Nanos, u32)>,
    lingering: BTreeMap<(u32, u32), u32>,
    longest_ns: BTreeMap<u32, Nanos>,
}

// === impl LiveDecider ===

impl LiveDecider {
    /// Creates the decider of a process about which nothing is known.
    #[must_use]
    pub fn new(settings: WeaverSettings) -> Self {
        Self::with_plan(settings, ProcessPlan::new(settings.clock_tick_ns))
    }

    /// Creates the decider of a process that was known before. The plan counts as a few requests:
    /// it says what to expect, and is soon outweighed.
    #[must_use]
    pub fn with_plan(settings: WeaverSettings, mut plan: ProcessPlan) -> Self {
        plan.model.is_live = true;
        plan.model.limit_counts(PLAN_REQUESTS);
        plan.model.refresh();
        Self {
            settings,
            plan,
            state: LiveState::default(),
            strays: StrayModel::default(),
            guard: ConfidenceGuard::default(),
            losses: WeaverLosses::default(),
            now: Nanos::MIN,
            counted_until: None,
            is_idle: true,
            open_requests: 0,
            queue_lanes: Vec::new(),
            committed_lanes: Vec::new(),
            deadlines: BTreeSet::new(),
            last_end: None,
            lingering: BTreeMap::new(),
            longest_ns: BTreeMap::new(),
        }
    }

    /// Returns what was learned so far.
    #[must_use]
    pub const fn plan(&self) -> &ProcessPlan {
        &self.plan
    }

    /// Returns what could not be considered.
    #[must_use]
    pub const fn losses(&self) -> WeaverLosses {
        self.losses
    }

    /// Returns the confident decisions that a later proof has confirmed or refuted.
    #[must_use]
    pub const fn checks(&self) -> LiveChecks {
        self.guard.checks
    }

    /// Takes an event. Events may be late by as much as connections reorder them.
    pub fn push(&mut self, event: WeaveEvent) {
        self.advance(event.at());
        match event {
            WeaveEvent::InboundStarted(start) => self.begin_inbound(&start),
            WeaveEvent::InboundEnded { id, at, outcome } => self.end_inbound(id, at, outcome),
            WeaveEvent::OutboundStarted(start) => {
                self.begin_outbound(&start);
            }
            WeaveEvent::OutboundEnded { id, at } => {
                if let Some(slot) = self.state.call_index(id) {
                    self.end_call(slot, at, false);
                }
            }
        }
        self.plan.model.refresh_some(REFRESH_TABLES);
        self.update_idle();
    }

    /// Takes the end of a call that failed in a way that makes callers try again.
    pub fn fail(&mut self, id: OutboundId, at: Nanos) {
        self.advance(at);
        if let Some(slot) = self.state.call_index(id) {
            self.end_call(slot, at, true);
        }
        self.update_idle();
    }

    /// Takes the start of an outbound event, and says what caused it.
    ///
    /// Returns `None` when the limits of the settings are reached.
    pub fn decide(&mut self, outbound: &OutboundStart) -> Option<Decision> {
        self.advance(outbound.at);
        let decision = self.begin_outbound(outbound);
        self.update_idle();
        decision
    }

    fn advance(&mut self, at: Nanos) {
        let from = self.counted_until.replace(at.max(self.now)).unwrap_or(at);
        let seconds = (at - from).max(0) as f64 * 1e-9;
        if self.is_idle {
            self.strays.idle_s += seconds;
        } else {
            self.strays.busy_s += seconds;
        }
        self.now = self.now.max(at);
        while let Some((due, lane)) = self.deadlines.first().copied()
            && due <= self.now
        {
            self.deadlines.pop_first();
            self.settle(lane);
        }
    }

    fn update_idle(&mut self) {
        self.is_idle = self.open_requests == 0
            && self.queue_lanes.iter().all(|lane| {
                let members = self.state.members(*lane);
                let mut paths = self.state.lanes[*lane as usize].paths.iter();
                paths.all(|path| path.is_queue_idle(members, &self.plan.model))
            });
    }

    fn begin_inbound(&mut self, start: &InboundStart) {
        let is_known = self.state.inbound_index(start.id).is_some();
        if is_known || self.state.inbound_count() >= self.settings.max_inbound {
            self.losses.inbound += u64::from(!is_known);
            return;
        }
        if let Some(position) = start.position
            && let Some(lane) = self.state.queue_lane(position.queue)
        {
            let last = self.state.lanes[lane as usize].members.last().copied();
            let last = last.map(|last| &self.state.inbound[last as usize]);
            if last.is_some_and(|last| last.position >= start.position) {
                // The consumer went back: what was delivered before is void.
                self.remove_queue(lane);
            }
        }
        let operation = self.plan.operations.get(start.operation);
        let inbound = Inbound::new(start, operation);
        self.plan.model.tokens.observe(&inbound.tokens);
        let index = self.state.add_inbound(inbound, &mut self.plan.model);
        let lane = self.state.lane_of[index as usize];
        if start.position.is_none() {
            self.open_requests += 1;
            self.deadlines.insert((start.at + MAX_FOLLOWED_NS, lane));
        } else if !self.queue_lanes.contains(&lane) {
            self.queue_lanes.push(lane);
        }
        if self.state.lanes[lane as usize].members.len() > MAX_QUEUE {
            self.state.lanes[lane as usize].is_lost = true;
            self.settle_queue_up_to(lane, Some(MAX_QUEUE / 2));
        }
    }

    fn end_inbound(&mut self, id: InboundId, at: Nanos, outcome: InboundOutcome) {
        let Some(index) = self.state.inbound_index(id) else {
            return;
        };
        let lane = self.state.lane_of[index as usize];
        let inbound = &mut self.state.inbound[index as usize];
        if inbound.end != OPEN {
            return;
        }
        let (operation, start) = (inbound.operation, inbound.start);
        inbound.end = at.max(start);
        if let Some(position) = inbound.position {
            self.deadlines.insert((at + LAG_NS, lane));
            self.state.lanes[lane as usize].note_commit(position.offset, at);
            if !self.committed_lanes.contains(&lane) {
                self.committed_lanes.push(lane);
            }
            return;
        }
        self.open_requests = self.open_requests.saturating_sub(1);
        let longest = self.longest_ns.entry(operation).or_default();
        let is_outlier = at - start > *longest;
        *longest = (*longest).max(at - start);
        if outcome == InboundOutcome::Abandoned {
            // Its handler goes on unseen: it stays a possible cause, without an end. If it has
            // already run longer than any other, nothing is known about its end.
            inbound.abandoned = true;
            let goes_on_ns = if is_outlier {
                ABANDONED_NS.1
            } else {
                abandoned_ns(*longest)
            };
            inbound.end = at.saturating_add(goes_on_ns);
            self.deadlines.insert((inbound.end, lane));
            return;
        }
        self.last_end = Some((at, operation));
        let of_lane = &mut self.state.lanes[lane as usize];
        of_lane.is_open = false;
        let model = &mut self.plan.model;
        let ends = of_lane.paths.iter_mut().map(|path| path.end(at, model));
        let factors: Vec<f64> = ends.collect();
        self.state.weigh_paths(lane, &factors, at, model);
        // Even in a process that has not sent a record yet: its first may be on its way.
        self.deadlines.insert((at + SETTLE_NS, lane));
    }

    fn end_call(&mut self, slot: u32, at: Nanos, failed: bool) {
        for lane in self.state.calls[slot as usize].lanes.clone() {
            for path in &mut self.state.lanes[lane as usize].paths {
                path.end_call(slot, at, failed, &mut self.plan.model);
            }
        }
        let call = &mut self.state.calls[slot as usize];
        call.outbound.end = at;
        let stated = call.stated.take();
        if let Some(proof) = only_open_witness(&self.state, slot) {
            self.state.calls[slot as usize].proof = Some(proof);
            if let Some(stated) = stated {
                self.guard.check(&stated, stated.parent == proof);
            }
        }
    }

    fn begin_outbound(&mut self, start: &OutboundStart) -> Option<Decision> {
        if self.state.call_index(start.id).is_some() {
            return None;
        }
        if self.state.call_count() >= self.settings.max_outbound {
            self.losses.outbound += 1;
            return None;
        }
        for lane in std::mem::take(&mut self.committed_lanes) {
            let factors = self.state.commit_factors(lane);
            self.state
                .weigh_paths(lane, &factors, self.now, &mut self.plan.model);
        }
        let kind = self.plan.kinds.get(start.operation);
        self.plan.model.kinds = self.plan.kinds.len();
        if start.is_record {
            self.plan.model.record_kinds.insert(kind);
        }
        self.notice_lingering(kind, start.at);
        let outbound = Outbound::new(start, kind);
        let candidates = candidate_lanes(&self.state, &self.plan.model, &outbound);
        if candidates.len() > self.settings.max_competing {
            self.losses.crowded += 1;
            return None;
        }
        let outlook = self
            .state
            .look(&candidates, &outbound, &mut self.plan.model);
        let named = outbound.exact.and_then(|id| self.state.inbound_index(id));
        let stray_rate = if named.is_some() {
            0.0
        } else {
            self.strays.rate(kind, start.at)
        };
        let slot = self.add_call(outbound.clone(), &candidates);
        let mut decision = live_decision(
            &self.state,
            &self.plan.model.tokens,
            &outbound,
            &outlook,
            stray_rate,
        );
        let raw = decision.confidence;
        if named.is_some() {
            decision.tier = EvidenceTier::Exact;
        } else {
            self.limit(&mut decision, &outbound, &candidates);
        }
        self.state.calls[slot as usize].stated = decision.parent.map(|parent| StatedCause {
            parent,
            raw,
            confidence: decision.confidence,
        });
        let call = call_step(slot, &outbound, kind);
        let model = &mut self.plan.model;
        self.state
            .take_call(&outlook, stray_rate, call, candidates.len(), model);
        self.after_call(slot);
        Some(decision)
    }

    fn add_call(&mut self, outbound: Outbound, candidates: &[u32]) -> u32 {
        let is_queue_busy = candidates
            .iter()
            .any(|lane| self.state.lanes[*lane as usize].is_queue);
        let open = candidates
            .iter()
            .map(|lane| &self.state.lanes[*lane as usize])
            .filter(|lane| lane.is_open && !is_queue_busy)
            .filter_map(|lane| lane.members.first());
        let witnesses: Vec<InboundId> = open
            .map(|member| self.state.inbound[*member as usize].id)
            .collect();
        let only = match (witnesses.as_slice(), candidates) {
            ([only], [_]) => Some(*only),
            _ => None,
        };
        let proof = outbound.exact.or(only);
        self.state.add_call(LiveCall {
            outbound,
            lanes: Vec::new(),
            owned: 0.0,
            is_idle: self.is_idle,
            stated: None,
            witnesses,
            proof,
        })
    }

    /// Sees to the lanes that may have made a call; without any it had no cause.
    fn after_call(&mut self, slot: u32) {
        let lanes = &self.state.calls[slot as usize].lanes;
        for lane in lanes {
            if self.state.lanes[*lane as usize].is_queue {
                self.deadlines.insert((self.now + QUEUE_SETTLE_NS, *lane));
            }
        }
        if lanes.is_empty() {
            self.close_call(slot);
        }
    }

    /// Learns of operations whose requests make calls after their end.
    fn notice_lingering(&mut self, kind: u32, at: Nanos) {
        if let Some((end, operation)) = self.last_end
            && self.is_idle
            && (0..=MAX_LINGER_NS).contains(&(at - end))
        {
            let seen = self.lingering.entry((operation, kind)).or_default();
            *seen += 1;
            if *seen >= MIN_LINGERING {
                self.plan
                    .model
                    .learn_lingering(operation, kind, MAX_LINGER_NS);
            }
        }
    }

    /// Limits what is said to what the circumstances allow.
    fn limit(&mut self, decision: &mut Decision, outbound: &Outbound, candidates: &[u32]) {
        self.guard.observe(decision.confidence);
        let Some(index) = decision.parent.and_then(|id| self.state.inbound_index(id)) else {
            return;
        };
        let inbound = &self.state.inbound[index as usize];
        let lane = &self.state.lanes[self.state.lane_of[index as usize] as usize];
        let of_request = || lane.paths.iter().filter(|path| path.member == Some(index));
        let is_first = of_request().all(|path| {
            let model = &self.plan.model;
            !model.has_made(path.standing.history, outbound.kind)
        });
        let since = of_request().map(|path| path.last_event()).max();
        let since = since.unwrap_or(Nanos::MIN).max(inbound.start);
        let context = DecisionContext {
            operation: inbound.operation,
            kind: outbound.kind,
            in_flight: candidates.len(),
            is_record: inbound.position.is_some(),
            is_lost: lane.is_lost,
            ended_nearby: self
                .last_end
                .is_some_and(|(end, _)| (0..=MAX_LINGER_NS).contains(&(outbound.start - end))),
            abandoned_nearby: abandoned_rivals(&self.state, &self.plan.model, index, outbound)
                .filter(|(lane, _)| candidates.contains(lane))
                .any(|(_, operation)| self.guard.backing(operation, outbound.kind) > 0.0),
            first_after_ns: is_first.then_some(outbound.start - since),
            strays: self.strays.count(outbound.kind),
            stray_share: self.strays.share(outbound.kind),
        };
        decision.confidence = self.guard.limit(decision.confidence, &context);
    }

    /// Learns from a lane what has become certain, or has had its time.
    fn settle(&mut self, lane: u32) {
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
        let calls = std::mem::take(&mut self.state.lanes[lane as usize].calls);
        self.state.remove_lane(lane);
        self.release_calls(lane, &calls, &learned);
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
    fn settle_queue_up_to(&mut self, lane: u32, expired: Option<usize>) {
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

    fn remove_queue(&mut self, lane: u32) {
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
    }

    /// Takes a settled lane from the possible causes of its calls.
    fn release_calls(&mut self, lane: u32, calls: &[u32], learned: &LearnedCalls) {
        // The first steps of a request that makes very many are forgotten; they were its own.
        for slot in calls {
            let call = &mut self.state.calls[*slot as usize];
            call.lanes.retain(|other| *other != lane);
            if learned.is_cut && !learned.owned.contains_key(slot) {
                call.owned = 1.0;
            }
            if call.lanes.is_empty() {
                self.close_call(*slot);
            }
        }
    }

    fn close_call(&mut self, slot: u32) {
        let call = &self.state.calls[slot as usize];
        let none = (1.0 - call.owned).clamp(0.0, 1.0);
        let (kind, start): (Step, Nanos) = (call.outbound.kind, call.outbound.start);
        self.strays.observe(kind, call.is_idle, none, start);
        self.state.remove_call(slot);
    }
}

fn abandoned_ns(longest: Nanos) -> Nanos {
    (longest.saturating_mul(ABANDONED_FACTOR)).clamp(ABANDONED_NS.0, ABANDONED_NS.1)
}
