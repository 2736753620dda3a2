//! Decisions at the moment of a call, from what has been seen so far.
//!
//! Requests compete for a call by the hazards of their next steps. Where two could have made it,
//! both ways are kept, jointly: what follows shows which it was. Only what has become certain, or
//! has had its time, is learned from.

mod settlement;

use std::collections::{BTreeMap, BTreeSet};

use crate::call_balance::CallBalance;
use crate::call_decision::{abandoned_rivals, call_decision, candidate_lanes, only_open_witness};
use crate::coincidence::RequestEvents;
use crate::decision::Decision;
use crate::event::{
    InboundId, InboundOutcome, InboundStart, Nanos, OutboundId, OutboundStart, WeaveEvent,
};
use crate::evidence_tier::EvidenceTier;
use crate::guard::{ConfidenceGuard, DecisionContext, StatedCause};
use crate::lane::{CallStatement, OpenCall};
use crate::life_table::Step;
use crate::message::{Inbound, OPEN, Outbound};
use crate::order::{ProcessOrder, RecentCalls};
use crate::plan::ProcessPlan;
use crate::process_state::{ProcessState, call_step};
use crate::stray::StrayModel;
use crate::weaver_settings::{LiveChecks, WeaverLosses, WeaverSettings};

/// Time after the end of a request in which a record that it made may still be seen.
const SETTLE_NS: Nanos = 30_000_000;
/// Requests of an operation without a record that show that it sends none.
const MIN_WITHOUT_RECORD: f64 = 8.0;
/// Time after which what is not certain is learned from by its share.
const LAG_NS: Nanos = 1_000_000_000;
/// Requests in flight up to which the calls of each are hardly mistaken.
const QUIET: usize = 4;
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
    state: ProcessState,
    strays: StrayModel,
    guard: ConfidenceGuard,
    balance: CallBalance,
    recent_calls: RecentCalls,
    events: RequestEvents,
    losses: WeaverLosses,
    now: Nanos,
    counted_until: Option<Nanos>,
    is_idle: bool,
    idle_since: Nanos,
    open_requests: usize,
    queue_lanes: Vec<u32>,
    /// Queues with a commit that has not been weighed.
    committed_lanes: Vec<u32>,
    /// When to look at a lane that may be settled.
    deadlines: BTreeSet<(Nanos, u32)>,
    last_end: Option<(Nanos, u32)>,
    lingering: BTreeMap<(u32, u32), u32>,
    longest_ns: BTreeMap<u32, Nanos>,
    /// Decisions that have become final, if anybody wants them.
    settled: Option<Vec<Decision>>,
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
        plan.order = ProcessOrder::default();
        Self::with_known(settings, plan)
    }

    /// Creates the decider of a recording that an earlier pass has learned from.
    pub(crate) fn with_known(settings: WeaverSettings, mut plan: ProcessPlan) -> Self {
        plan.model.refresh();
        Self {
            settings,
            plan,
            state: ProcessState::default(),
            strays: StrayModel::default(),
            guard: ConfidenceGuard::default(),
            balance: CallBalance::default(),
            recent_calls: RecentCalls::default(),
            events: RequestEvents::default(),
            losses: WeaverLosses::default(),
            now: Nanos::MIN,
            counted_until: None,
            is_idle: true,
            idle_since: Nanos::MIN,
            open_requests: 0,
            queue_lanes: Vec::new(),
            committed_lanes: Vec::new(),
            deadlines: BTreeSet::new(),
            last_end: None,
            lingering: BTreeMap::new(),
            longest_ns: BTreeMap::new(),
            settled: None,
        }
    }

    /// Keeps what it comes to think of each call when its requests have ended.
    pub(crate) fn with_settled(mut self) -> Self {
        self.settled = Some(Vec::new());
        self
    }

    /// Keeps decisions that were final, and gives all these calls up.
    pub(crate) fn give_up_all(&mut self, settled: Vec<Decision>, calls: &[OutboundId]) {
        let given_up = calls.iter().copied().map(Decision::undecided);
        let all = settled.into_iter().chain(given_up);
        self.settled.get_or_insert_default().extend(all);
    }

    /// Returns the decisions that have become final by `now`.
    pub(crate) fn take_settled(&mut self, now: Nanos) -> Vec<Decision> {
        self.advance(now);
        self.settled
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// Creates the decider of another pass over the same events, with all that is known by now:
    /// also which calls requests have been seen to make, and which have no cause.
    pub(crate) fn second_look(&self, settings: WeaverSettings) -> Self {
        let mut plan = self.plan.clone();
        plan.begin_pass(1);
        Self {
            guard: self.guard.acquainted(),
            strays: self.strays.clone(),
            ..Self::with_known(settings, plan).with_settled()
        }
    }

    /// Goes on with new events after another pass over old ones.
    pub(crate) fn end_pass(&mut self) {
        self.plan.end_pass();
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
        let was_idle = self.is_idle;
        self.is_idle = self.open_requests == 0
            && self.queue_lanes.iter().all(|lane| {
                let members = self.state.members(*lane);
                let mut paths = self.state.lanes[*lane as usize].paths.iter();
                paths.all(|path| path.is_queue_idle(members, &self.plan.model))
            });
        if self.is_idle && !was_idle {
            self.idle_since = self.now;
        }
    }

    /// Returns whether nothing was in flight when a call was made. A record is seen later than it
    /// was made.
    fn was_idle(&self, outbound: &Outbound) -> bool {
        self.is_idle && outbound.start.saturating_sub(outbound.tick_ns()) > self.idle_since
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
            if self.open_requests > QUIET {
                self.state.end_quiet();
            }
            self.events.push(start.at, Some(start.id));
            self.deadlines.insert((start.at + MAX_FOLLOWED_NS, lane));
        } else {
            self.events.push_delivery(start.at);
            if !self.queue_lanes.contains(&lane) {
                self.queue_lanes.push(lane);
            }
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
        self.state
            .weigh_end_order(lane, at, self.plan.order.weight(), &mut self.plan.model);
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
        let is_response = call.outbound.end == OPEN;
        call.outbound.end = at;
        if let Some(proof) = only_open_witness(&self.state, slot) {
            let call = &mut self.state.calls[slot as usize];
            call.proof = Some(proof);
            if let Some(stated) = call.statement.as_mut().filter(|it| !it.is_checked) {
                stated.is_checked = true;
                self.guard
                    .check(&stated.cause, stated.cause.parent == proof);
            }
        }
        if is_response {
            let cause = self.state.calls[slot as usize].certain_cause();
            self.events.push(at, cause);
        }
    }

    fn begin_outbound(&mut self, start: &OutboundStart) -> Option<Decision> {
        if self.state.call_index(start.id).is_some() {
            return None;
        }
        if self.state.call_count() >= self.settings.max_outbound {
            self.losses.outbound += 1;
            return self.give_up(start);
        }
        self.weigh_commits();
        let kind = self.kind_of(start);
        self.notice_lingering(kind, start.at);
        let outbound = Outbound::new(start, kind);
        let candidates = candidate_lanes(&self.state, &self.plan.model, &outbound);
        if candidates.len() > self.settings.max_competing {
            self.losses.crowded += 1;
            return self.give_up(start);
        }
        let outlook = self.state.look(
            &candidates,
            &outbound,
            self.plan.order.weight(),
            &mut self.plan.model,
        );
        let named = outbound.exact.and_then(|id| self.state.inbound_index(id));
        let stray_rate = if named.is_some() {
            0.0
        } else {
            self.strays.rate(kind, start.at)
        };
        let slot = self.add_call(outbound.clone(), &candidates);
        let mut decision = call_decision(
            &self.state,
            &self.plan.model.tokens,
            &outbound,
            &outlook,
            stray_rate,
        );
        let raw = decision.confidence;
        let mut context = None;
        if named.is_some() {
            decision.tier = EvidenceTier::Exact;
        } else {
            context = self.limit(&mut decision, &outbound, &candidates);
        }
        let ProcessPlan { model, .. } = &mut self.plan;
        let is_held_up = self.settled.is_some()
            && self
                .state
                .is_held_up(&candidates, &outlook, &outbound, model);
        if is_held_up {
            self.state.note_held_up(&outlook);
        }
        let (confidence, tier) = (decision.confidence, decision.tier);
        self.state.calls[slot as usize].statement = decision.parent.map(|parent| CallStatement {
            cause: StatedCause {
                parent,
                raw,
                confidence,
            },
            tier,
            context,
            is_held_up,
            is_checked: false,
        });
        let call = call_step(slot, &outbound, kind);
        let model = &mut self.plan.model;
        self.state
            .take_call(&outlook, stray_rate, call, candidates.len(), model);
        self.after_call(slot);
        Some(decision)
    }

    fn weigh_commits(&mut self) {
        for lane in std::mem::take(&mut self.committed_lanes) {
            self.state
                .weigh_commit(lane, self.now, &mut self.plan.model);
        }
    }

    fn kind_of(&mut self, start: &OutboundStart) -> Step {
        let kind = self.plan.kinds.get(start.operation);
        self.plan.model.kinds = self.plan.kinds.len();
        if start.is_record {
            self.plan.model.record_kinds.insert(kind);
        }
        kind
    }

    /// Leaves a call out because of a limit.
    fn give_up(&mut self, start: &OutboundStart) -> Option<Decision> {
        if let Some(settled) = &mut self.settled {
            settled.push(Decision::undecided(start.id));
        }
        None
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
        let is_idle = self.was_idle(&outbound);
        self.state.add_call(OpenCall {
            outbound,
            lanes: Vec::new(),
            owned: 0.0,
            causes: Vec::new(),
            statement: None,
            is_idle,
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
            let call = &mut self.state.calls[slot as usize];
            // With many competing requests none may have a share worth keeping; a stray is rare.
            call.owned = f64::from(u8::from(call.statement.is_some()));
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
    fn limit(
        &mut self,
        decision: &mut Decision,
        outbound: &Outbound,
        candidates: &[u32],
    ) -> Option<DecisionContext> {
        self.guard.observe(decision.confidence);
        let index = decision
            .parent
            .and_then(|id| self.state.inbound_index(id))?;
        let inbound = &self.state.inbound[index as usize];
        let lane = &self.state.lanes[self.state.lane_of[index as usize] as usize];
        let of_request = || lane.paths.iter().filter(|path| path.member == Some(index));
        let is_first = of_request().all(|path| {
            let model = &self.plan.model;
            !model.has_made(path.standing.history, outbound.kind)
        });
        let since = of_request().map(|path| path.last_event()).max();
        let since = since.unwrap_or(Nanos::MIN).max(inbound.start);
        let coincidence = inbound.position.is_none().then(|| {
            let tick_ns = outbound.tick_ns().max(self.settings.clock_tick_ns).max(1);
            self.events.coincidence(inbound.id, outbound.start, tick_ns)
        });
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
            coincidence,
        };
        decision.confidence = self.guard.limit(decision.confidence, &context);
        // A job that calls again and again follows its own responses.
        if is_first {
            self.guard.note_coincidence(&context);
        }
        Some(context)
    }
}

fn abandoned_ns(longest: Nanos) -> Nanos {
    (longest.saturating_mul(ABANDONED_FACTOR)).clamp(ABANDONED_NS.0, ABANDONED_NS.1)
}
