//! The engine on a stream of events: decisions when requests have ended.

use std::collections::{BTreeMap, BTreeSet};

use crate::batch::MAX_LINGER_NS;
use crate::component::Component;
use crate::decision::Decision;
use crate::event::{InboundId, InboundOutcome, InboundStart, Nanos, OutboundStart, WeaveEvent};
use crate::order::{LikelyCause, ProcessOrder, observe_pair};
use crate::plan::ProcessPlan;
use crate::problem::{Inbound, OPEN, Outbound, Problem};
use crate::solver::Solver;
use crate::stray::StrayModel;
use crate::weaver_settings::{WeaverLosses, WeaverSettings};
use crate::window::Window;

/// Time after the end of a request until its calls are settled.
const SETTLE_NS: Nanos = 50_000_000;
/// Time after a call of a consumer until it is settled.
const QUEUE_LAG_NS: Nanos = 1_000_000_000;
/// Records that a queue has passed before they are removed together.
const MIN_PASSED: usize = 8;
/// Times the longest duration that an abandoned request may go on, and at least this long.
const ABANDONED: (Nanos, Nanos) = (3, 30_000_000_000);
/// Records are open until they are committed, at most this long.
const RECORD_NS: Nanos = 300_000_000_000;
/// Requests learned from between two looks at the curves, relative to all.
const REFRESH_SHARE: f64 = 0.05;
/// Requests of an operation that the model stands for; older ones count less.
const MEMORY_REQUESTS: f64 = 5_000.0;
/// Causes less likely than this are given up: while an outbound event is new, and when it is
/// settled.
const MIN_EARLY_CAUSE: f64 = 1e-7;
const MIN_CAUSE: f64 = 1e-4;
/// Causes from which it is learned which values messages share.
const CERTAIN: f64 = 0.99;
/// Inversions that independent delays would have shown, before their absence means something.
const MIN_PREDICTED: f64 = 6.0;
/// Idle calls soon after an end that show that an operation goes on after it.
const MIN_LINGERING: u32 = 2;

/// Finds the causes of the outbound events of one process, soon after the requests have ended.
#[derive(Debug)]
pub struct Weaver {
    settings: WeaverSettings,
    plan: ProcessPlan,
    window: Window,
    strays: StrayModel,
    order: ProcessOrder,
    losses: WeaverLosses,
    now: Nanos,
    /// Since when requests are open, or are not.
    counted_until: Option<Nanos>,
    open_inbound: usize,
    learned: f64,
    refresh_at: f64,
    /// The latest end of a request, and idle calls soon after it.
    last_end: Option<(Nanos, u32)>,
    lingering: BTreeMap<(u32, u32), u32>,
    longest_ns: BTreeMap<u32, Nanos>,
    last_of_kind: BTreeMap<u32, (LikelyCause, Inbound, Outbound)>,
}

// === impl Weaver ===

impl Weaver {
    /// Creates the engine of a process about which nothing is known.
    #[must_use]
    pub fn new(settings: WeaverSettings) -> Self {
        Self::with_plan(settings, ProcessPlan::new(settings.clock_tick_ns))
    }

    /// Creates the engine of a process that was known before. The plan counts as a few requests: it
    /// says what to expect, and is soon outweighed.
    #[must_use]
    pub fn with_plan(settings: WeaverSettings, mut plan: ProcessPlan) -> Self {
        plan.model.limit_counts(50.0);
        plan.model.refresh();
        Self {
            settings,
            plan,
            window: Window::default(),
            strays: StrayModel::default(),
            order: ProcessOrder::default(),
            losses: WeaverLosses::default(),
            now: Nanos::MIN,
            counted_until: None,
            open_inbound: 0,
            learned: 0.0,
            refresh_at: 1.0,
            last_end: None,
            lingering: BTreeMap::new(),
            longest_ns: BTreeMap::new(),
            last_of_kind: BTreeMap::new(),
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

    /// Takes an event. Events may be late by as much as connections reorder them.
    pub fn push(&mut self, event: WeaveEvent) {
        self.advance(event.at());
        match event {
            WeaveEvent::InboundStarted(start) => self.begin_inbound(&start),
            WeaveEvent::InboundEnded { id, at, outcome } => self.end_inbound(id, at, outcome),
            WeaveEvent::OutboundStarted(start) => self.begin_outbound(&start),
            WeaveEvent::OutboundEnded { id, at } => {
                if let Some(index) = self.window.outbound_index(id) {
                    let outbound = &mut self.window.problem.outbound[index as usize];
                    if !outbound.is_record {
                        outbound.end = at.max(outbound.start);
                    }
                }
            }
        }
    }

    fn advance(&mut self, at: Nanos) {
        let from = self.counted_until.replace(at.max(self.now)).unwrap_or(at);
        let seconds = (at - from).max(0) as f64 * 1e-9;
        if self.open_inbound > 0 {
            self.strays.busy_s += seconds;
        } else {
            self.strays.idle_s += seconds;
        }
        self.now = self.now.max(at);
        self.window.problem.now = self.now;
    }

    fn begin_inbound(&mut self, start: &InboundStart) {
        let is_known = self.window.inbound_index(start.id).is_some();
        if is_known || self.window.inbound_count() >= self.settings.max_inbound {
            self.losses.inbound += u64::from(!is_known);
            return;
        }
        let operation = self.plan.operations.get(start.operation);
        let inbound = Inbound::new(start, operation);
        self.plan.model.tokens.observe(&inbound.tokens);
        self.window.add_inbound(inbound);
        self.open_inbound += 1;
    }

    fn end_inbound(&mut self, id: InboundId, at: Nanos, outcome: InboundOutcome) {
        let Some(index) = self.window.inbound_index(id) else {
            return;
        };
        let inbound = &mut self.window.problem.inbound[index as usize];
        if inbound.end != OPEN {
            return;
        }
        inbound.end = at.max(inbound.start);
        let operation = inbound.operation;
        self.open_inbound = self.open_inbound.saturating_sub(1);
        let longest = self.longest_ns.entry(operation).or_default();
        *longest = (*longest).max(inbound.end - inbound.start);
        if outcome == InboundOutcome::Abandoned {
            // Its handler goes on unseen: it stays a possible cause, without an end.
            inbound.abandoned = true;
            inbound.end = at.saturating_add((*longest * ABANDONED.0).max(ABANDONED.1));
        } else if inbound.position.is_none() {
            self.last_end = Some((at, operation));
        }
    }

    fn begin_outbound(&mut self, start: &OutboundStart) {
        if self.window.outbound_index(start.id).is_some() {
            return;
        }
        if self.window.outbound_count() >= self.settings.max_outbound {
            self.losses.outbound += 1;
            return;
        }
        let kind = self.plan.kinds.get(start.operation);
        self.plan.model.kinds = self.plan.kinds.len();
        if start.is_record {
            self.plan.model.record_kinds.insert(kind);
        }
        let index = self.window.add_outbound(Outbound::new(start, kind));
        self.notice_lingering(kind, start.at);
        let lanes = self.candidate_lanes(index, start.at);
        for lane in &lanes {
            self.window.link(index, *lane);
        }
        self.window.open[index as usize].idle = self.open_inbound == 0;
        let Some(component) = self.window.component(&lanes, self.settings.max_competing) else {
            self.losses.crowded += 1;
            return;
        };
        if !lanes.is_empty() {
            self.solve(&component, MIN_EARLY_CAUSE);
        }
    }

    /// Learns of operations whose requests make calls after their end.
    fn notice_lingering(&mut self, kind: u32, at: Nanos) {
        if let Some((end, operation)) = self.last_end
            && self.open_inbound == 0
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

    fn candidate_lanes(&self, outbound: u32, at: Nanos) -> Vec<u32> {
        let problem = &self.window.problem;
        let event = &problem.outbound[outbound as usize];
        if let Some(named) = event.exact {
            // If it is not known any more, the call is still not another's.
            let named = self.window.inbound_index(named).into_iter();
            return named
                .map(|named| self.window.lane_of[named as usize])
                .collect();
        }
        let live = self.window.live_lanes.iter();
        let open = live
            .take_while(|(start, _)| *start <= at)
            .map(|(_, lane)| *lane);
        open.filter(|lane| {
            let lane = &self.window.lanes[*lane as usize];
            lane.members.iter().any(|member| {
                let inbound = &problem.inbound[*member as usize];
                let lingers = self.plan.model.lingers(inbound.operation, event.kind);
                inbound.start <= at && inbound.end.saturating_add(lingers) >= at
            })
        })
        .collect()
    }

    /// Updates the beliefs of a component.
    fn solve(&mut self, component: &Component, min_cause: f64) {
        let rates = self.stray_rates();
        let proven = vec![false; self.window.problem.outbound.len()];
        let neighbors = vec![Vec::new(); self.window.problem.outbound.len()];
        let solver = Solver {
            problem: &self.window.problem,
            lanes: &self.window.lanes,
            stray_rates: &rates,
            order: &self.order,
            proven: &proven,
            neighbors: &neighbors,
            is_exact: min_cause >= MIN_CAUSE,
        };
        let solved = solver.solve(component, &mut self.plan.model);
        for (outbound, posterior) in solver.posteriors(component, &solved, &self.plan.model) {
            self.window.believe(outbound, posterior, min_cause);
        }
    }

    fn stray_rates(&self) -> Vec<f64> {
        let kinds = self.plan.kinds.len() as u32;
        (0..kinds)
            .map(|kind| self.strays.rate(kind, self.now))
            .collect()
    }

    /// Returns the decisions that have become final: their requests have ended.
    pub fn poll(&mut self, now: Nanos) -> Vec<Decision> {
        self.advance(now);
        let mut decisions = Vec::new();
        self.expire_records();
        let settled: Vec<u32> = self
            .window
            .live_outbound
            .iter()
            .map(|(_, index)| *index)
            .filter(|index| !self.window.open[*index as usize].decided && self.is_settled(*index))
            .collect();
        let mut done: BTreeSet<u32> = BTreeSet::new();
        for index in settled {
            if done.contains(&index) {
                continue;
            }
            let lanes = self.window.open[index as usize].lanes.clone();
            let component = self.window.component(&lanes, self.settings.max_competing);
            let Some(component) = component else {
                self.close_outbound(index, &mut decisions);
                done.insert(index);
                continue;
            };
            self.solve(&component, MIN_CAUSE);
            for outbound in component.outbound.iter().chain([&index]) {
                let is_decided = self.window.open[*outbound as usize].decided;
                if !is_decided && self.is_settled(*outbound) && done.insert(*outbound) {
                    self.close_outbound(*outbound, &mut decisions);
                }
            }
        }
        self.close_lanes();
        self.refresh();
        decisions
    }

    fn lane_is_settled(&self, lane: u32) -> bool {
        self.window.lane_end(lane).saturating_add(SETTLE_NS) <= self.now
    }

    /// Whether all that may have caused an outbound event has ended.
    fn is_settled(&self, outbound: u32) -> bool {
        let open = &self.window.open[outbound as usize];
        let start = self.window.problem.outbound[outbound as usize].start;
        // A queue never ends: what followed within a while decides.
        let followed = start.saturating_add(QUEUE_LAG_NS) <= self.now;
        start.saturating_add(SETTLE_NS) <= self.now
            && open.lanes.iter().all(|lane| {
                let is_queue = self.window.lanes[*lane as usize].is_queue;
                (is_queue && followed) || self.lane_is_settled(*lane)
            })
    }

    fn expire_records(&mut self) {
        let now = self.now;
        for inbound in &mut self.window.problem.inbound {
            let is_record = inbound.position.is_some();
            if is_record && inbound.end == OPEN && now - inbound.start > RECORD_NS {
                inbound.end = now;
            }
        }
    }

    /// Decides about an outbound event for good.
    fn close_outbound(&mut self, index: u32, decisions: &mut Vec<Decision>) {
        let open = &self.window.open[index as usize];
        let outbound = &self.window.problem.outbound[index as usize];
        let decision = Decision::new(&self.window.problem, outbound, &open.posterior);
        let idle = open.idle;
        self.strays
            .observe(outbound.kind, idle, open.posterior.none, outbound.start);
        decisions.push(decision);
        self.window.open[index as usize].decided = true;
    }

    /// Learns from requests all of whose calls are decided, and removes them.
    fn close_lanes(&mut self) {
        let lanes: Vec<u32> = self
            .window
            .live_lanes
            .iter()
            .map(|(_, lane)| *lane)
            .collect();
        for lane in lanes {
            if self.window.lanes[lane as usize].is_queue {
                self.trim_queue(lane);
            }
            let candidates = &self.window.lanes[lane as usize].candidates;
            let all_decided = candidates
                .iter()
                .all(|other| self.window.open[*other as usize].decided);
            if self.lane_is_settled(lane) && all_decided {
                self.learn_lane(lane);
                for member in self.window.lanes[lane as usize].members.clone() {
                    self.window.remove_inbound(member);
                }
            }
        }
        let decided: Vec<u32> = self
            .window
            .live_outbound
            .iter()
            .map(|(_, index)| *index)
            .filter(|index| {
                let open = &self.window.open[*index as usize];
                open.decided && open.lanes.is_empty()
            })
            .collect();
        for index in decided {
            self.window.remove_outbound(index);
        }
    }

    /// Removes the records that a consumer has passed: records are handled in turn, so all before
    /// the latest that is known to have made a call are done.
    fn trim_queue(&mut self, lane: u32) {
        let Some(passed) = self.window.passed_members(lane) else {
            return;
        };
        if passed.len() < MIN_PASSED {
            return;
        }
        self.learn_lane(lane);
        for candidate in self.window.lanes[lane as usize].candidates.clone() {
            let open = &self.window.open[candidate as usize];
            let cause = open.posterior.causes.first().map(|cause| cause.inbound);
            if open.decided && cause.is_some_and(|cause| passed.contains(&cause)) {
                self.window.unlink(candidate, lane);
            }
        }
        for member in passed {
            let inbound = &self.window.problem.inbound[member as usize];
            if inbound.end == OPEN {
                self.open_inbound = self.open_inbound.saturating_sub(1);
            }
            self.window.remove_inbound(member);
        }
    }

    fn learn_lane(&mut self, lane: u32) {
        let Some(component) = self.window.component(&[lane], self.settings.max_competing) else {
            return;
        };
        let rates = self.stray_rates();
        let count = self.window.problem.outbound.len();
        let (proven, neighbors) = (vec![false; count], vec![Vec::new(); count]);
        let solver = Solver {
            problem: &self.window.problem,
            lanes: &self.window.lanes,
            stray_rates: &rates,
            order: &self.order,
            proven: &proven,
            neighbors: &neighbors,
            is_exact: true,
        };
        let solved = solver.solve(&component, &mut self.plan.model);
        solver.learn_one(&component, &solved, lane as usize, &mut self.plan.model);
        let mut causes = solver.causes(&component, &solved);
        causes.retain(|cause| self.window.lane_of[cause.inbound as usize] == lane);
        self.learned += 1.0;
        for cause in causes {
            if cause.share > CERTAIN {
                let inbound = &self.window.problem.inbound[cause.inbound as usize];
                let outbound = &self.window.problem.outbound[cause.outbound as usize];
                self.plan.model.tokens.learn(inbound, outbound);
            }
            self.observe_order(cause);
        }
    }

    /// Compares a call with the one of its kind that was decided before.
    fn observe_order(&mut self, cause: LikelyCause) {
        let outbound = self.window.problem.outbound[cause.outbound as usize].clone();
        let inbound = self.window.problem.inbound[cause.inbound as usize].clone();
        let kind = outbound.kind;
        let this = (cause, inbound, outbound);
        let Some(previous) = self.last_of_kind.insert(kind, this.clone()) else {
            return;
        };
        let (first, second) = if previous.2.start <= this.2.start {
            (previous, this)
        } else {
            (this, previous)
        };
        let as_index = |cause: LikelyCause, index| LikelyCause {
            outbound: index,
            inbound: index,
            ..cause
        };
        let causes = (as_index(first.0, 0), as_index(second.0, 1));
        // The previous one has left the window.
        let pair = Problem {
            inbound: vec![first.1, second.1],
            outbound: vec![first.2, second.2],
            now: self.now,
        };
        let model = &mut self.plan.model;
        observe_pair(&pair, model, &mut self.order, (&causes.0, &causes.1));
    }

    fn refresh(&mut self) {
        if self.learned >= self.refresh_at {
            self.refresh_at = self.learned * (1.0 + REFRESH_SHARE) + 1.0;
            self.plan.model.limit_counts(MEMORY_REQUESTS);
            self.plan.model.refresh();
            self.order.refresh(MIN_PREDICTED);
        }
    }
}
