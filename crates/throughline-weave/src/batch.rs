//! Weaving of a whole recording: what the process does is learned from the recording itself, in
//! several passes.

use std::collections::{BTreeMap, HashMap};

use crate::belief::Posterior;
use crate::component::components;
use crate::decision::Decision;
use crate::event::{InboundId, InboundOutcome, Nanos, OutboundId, WeaveEvent};
use crate::order::{LikelyCause, ProcessOrder, observe_pair};
use crate::plan::ProcessPlan;
use crate::problem::{Inbound, Lane, OperationIndex, Outbound, Problem};
use crate::propagation::{CallCounts, propagate};
use crate::solver::Solver;
use crate::step_model::StepModel;
use crate::stray::independence_factor;

/// Passes over the first requests only, to learn cheaply.
const SAMPLE_PASSES: usize = 3;
/// Requests of these passes.
const SAMPLE_REQUESTS: usize = 300;
/// Passes over everything.
const PASSES: usize = 4;
/// Requests of each operation that a plan stands for, however many it was learned from.
const MAX_KNOWN_REQUESTS: f64 = 300.0;
/// Strays of a kind that are assumed before any was seen, and the seconds that this stands for.
const PRIOR_STRAYS: f64 = 0.1;
const PRIOR_S: f64 = 3.0;
/// How much a busy second says about strays, compared with an idle one.
const BUSY_SHARE: f64 = 0.1;
/// Strays that an idle call counts for while nothing was learned.
const IDLE_WEIGHT: f64 = 5.0;
/// Calls after an end that show that an operation goes on after it, of all idle calls of the kind.
const MIN_LINGERING: usize = 3;
const LINGERING_SHARE: f64 = 0.9;
/// Calls later after the end of a request are not its doing.
pub(crate) const MAX_LINGER_NS: Nanos = 20_000_000;
/// Strays per second above which a sole candidate proves nothing.
const MAX_PROVEN_STRAYS: f64 = 0.05;
/// Inversions that independent delays would have shown, before their absence means something.
const MIN_PREDICTED: f64 = 1.0;
/// Causes from which it is learned which values messages share.
const CERTAIN: f64 = 0.99;
/// Causes less likely than this are not considered in the next pass.
const MIN_CAUSE: f64 = 1e-7;

/// Results for a recording.
#[derive(Debug, Clone)]
pub struct WovenRecording {
    /// One for each outbound event, in the order of their starts.
    pub decisions: Vec<Decision>,
    /// The plan that was learned, to begin the next recording of the process with.
    pub plan: ProcessPlan,
}

/// A recording of one process, with the knowledge about it.
struct Recording {
    problem: Problem,
    plan: ProcessPlan,
    stray_rates: Vec<f64>,
    order: ProcessOrder,
    seconds: f64,
    /// Causes that the last pass left for each outbound event.
    likely: Option<Vec<Posterior>>,
    /// Nothing was learned yet, so nothing is proven.
    is_cold: bool,
    /// Knowledge from before the recording; each pass adds what it finds.
    base: StepModel,
    idle: IdleTimes,
}

/// When nothing was open.
#[derive(Debug, Clone, Default)]
struct IdleTimes {
    /// By outbound event.
    is_idle: Vec<bool>,
    idle_s: f64,
}

/// Finds the causes of all outbound events of one process. A plan from a quieter time helps where
/// many requests are in flight at once.
#[must_use]
pub fn weave_recording(events: &[WeaveEvent], plan: Option<&ProcessPlan>) -> WovenRecording {
    let mut plan = plan.cloned();
    let (mut problem, operations, kinds) = collect(events, plan.as_ref());
    problem.sort();
    let is_cold = plan.is_none();
    let plan = plan.get_or_insert_with(|| ProcessPlan::new(clock_tick(&problem)));
    (plan.operations, plan.kinds) = (operations, kinds);
    plan.model.kinds = plan.kinds.len();
    let mut recording = Recording::new(problem, plan.clone(), is_cold);
    for outbound in recording
        .problem
        .outbound
        .iter()
        .filter(|outbound| outbound.is_record)
    {
        recording.plan.model.record_kinds.insert(outbound.kind);
    }
    for inbound in &recording.problem.inbound {
        recording.plan.model.tokens.observe(&inbound.tokens);
    }
    recording.idle = find_idle(&recording.problem, &mut recording.plan.model);
    recording.seed_strays();
    if is_cold && recording.problem.inbound.len() > 2 * SAMPLE_REQUESTS {
        recording.learn_sample();
    }
    for pass in 0..PASSES {
        recording.pass(pass > 0);
    }
    WovenRecording {
        decisions: recording.decisions(),
        plan: recording.plan,
    }
}

// === impl Recording ===

impl Recording {
    fn new(problem: Problem, plan: ProcessPlan, is_cold: bool) -> Self {
        let mut base = plan.model.clone();
        base.limit_counts(MAX_KNOWN_REQUESTS);
        let start = problem
            .inbound
            .first()
            .map_or(problem.now, |first| first.start);
        let seconds = (problem.now - start) as f64 * 1e-9;
        Self {
            problem,
            stray_rates: vec![PRIOR_STRAYS / (seconds + PRIOR_S); plan.kinds.len()],
            plan,
            order: ProcessOrder::default(),
            seconds,
            likely: None,
            is_cold,
            base,
            idle: IdleTimes::default(),
        }
    }

    /// Learns from the first requests.
    fn learn_sample(&mut self) {
        let mut sample = self.problem.clone();
        sample.inbound.truncate(SAMPLE_REQUESTS);
        let until = sample.inbound.last().map_or(0, |last| last.start);
        sample.outbound.retain(|outbound| outbound.start <= until);
        sample
            .inbound
            .retain(|inbound| inbound.end <= until || inbound.position.is_some());
        let whole = std::mem::replace(&mut self.problem, sample);
        let idle = std::mem::take(&mut self.idle);
        let rates = self.stray_rates.clone();
        for _ in 0..SAMPLE_PASSES {
            self.pass(false);
            self.stray_rates.clone_from(&rates);
            self.likely = None;
        }
        self.problem = whole;
        self.idle = idle;
    }

    /// Solves everything with what is known, and learns from the result.
    fn pass(&mut self, compare_order: bool) {
        let mut lanes = self.lanes();
        let proven = propagate(&self.problem, &mut lanes, &self.plan.counts, |kind| {
            self.stray_rates[kind as usize] > MAX_PROVEN_STRAYS || self.is_cold
        });
        let components = components(&self.problem, &lanes);
        self.plan.model.restore_counts(&self.base);
        let mut strays = vec![0.0; self.stray_rates.len()];
        let mut likely = vec![Posterior::default(); self.problem.outbound.len()];
        let mut order = self.order.clone();
        order.forget_pairs();
        let mut counts = CallCounts::default();
        let mut causes = Vec::new();
        self.strike_out_unlikely(&mut lanes, &proven);
        let neighbors = proven_neighbors(&self.problem, &lanes, &proven);
        let solver = Solver {
            problem: &self.problem,
            lanes: &lanes,
            stray_rates: &self.stray_rates,
            order: &self.order,
            proven: &proven,
            neighbors: &neighbors,
            is_exact: true,
        };
        for component in &components {
            let solved = solver.solve(component, &mut self.plan.model);
            solver.learn(component, &solved, &mut self.plan.model);
            causes.extend(solver.causes(component, &solved));
            solver.count_calls(component, &solved, &mut counts);
            for (outbound, posterior) in solver.posteriors(component, &solved, &self.plan.model) {
                let kind = self.problem.outbound[outbound as usize].kind as usize;
                let is_idle = self.idle.is_idle.get(outbound as usize) == Some(&true);
                strays[kind] += posterior.none * if is_idle { 1.0 } else { BUSY_SHARE };
                likely[outbound as usize] = posterior;
            }
        }
        self.plan.model.refresh();
        for cause in causes.iter().filter(|cause| cause.share > CERTAIN) {
            let inbound = &self.problem.inbound[cause.inbound as usize];
            let outbound = &self.problem.outbound[cause.outbound as usize];
            self.plan.model.tokens.learn(inbound, outbound);
        }
        if compare_order {
            observe_orders(&self.problem, &mut self.plan.model, &mut order, causes);
            order.refresh(MIN_PREDICTED);
        }
        self.order = order;
        self.plan.counts = counts;
        self.is_cold = false;
        self.likely = Some(likely);
        let exposure = self.exposure_s();
        for (rate, strays) in self.stray_rates.iter_mut().zip(strays) {
            *rate = (strays + PRIOR_STRAYS) / exposure;
        }
        self.raise_independent();
    }

    /// Raises the rates of kinds that have nothing to do with requests.
    fn raise_independent(&mut self) {
        let mut calls = vec![(0.0, 0.0); self.stray_rates.len()];
        for (outbound, is_idle) in self.problem.outbound.iter().zip(&self.idle.is_idle) {
            let counts = &mut calls[outbound.kind as usize];
            if *is_idle {
                counts.0 += 1.0;
            } else {
                counts.1 += 1.0;
            }
        }
        let busy_s = (self.seconds - self.idle.idle_s).max(0.0);
        for (rate, (idle, busy)) in self.stray_rates.iter_mut().zip(calls) {
            *rate *= independence_factor((idle, self.idle.idle_s), (busy, busy_s));
        }
    }

    /// Seconds in which strays were looked for; a busy one says less.
    fn exposure_s(&self) -> f64 {
        let busy_s = (self.seconds - self.idle.idle_s).max(0.0);
        self.idle.idle_s + BUSY_SHARE * busy_s + PRIOR_S
    }

    /// Begins with the calls that were made while nothing was open.
    fn seed_strays(&mut self) {
        let exposure = self.exposure_s();
        let mut strays = vec![PRIOR_STRAYS; self.stray_rates.len()];
        for (outbound, is_idle) in self.problem.outbound.iter().zip(&self.idle.is_idle) {
            // Nothing is known yet that could speak for a request.
            strays[outbound.kind as usize] += if *is_idle { IDLE_WEIGHT } else { 0.0 };
        }
        self.stray_rates = strays.into_iter().map(|strays| strays / exposure).collect();
        self.raise_independent();
    }

    /// Takes away candidates that the last pass found unlikely. It comes after the proofs, which
    /// must not rest on timing.
    fn strike_out_unlikely(&self, lanes: &mut [Lane], proven: &[bool]) {
        let Some(likely) = &self.likely else { return };
        for lane in lanes.iter_mut().filter(|lane| !lane.is_queue) {
            let member = lane.members[0];
            lane.candidates.retain(|candidate| {
                proven[*candidate as usize]
                    || likely[*candidate as usize]
                        .causes
                        .iter()
                        .any(|cause| cause.inbound == member && cause.probability >= MIN_CAUSE)
            });
        }
    }

    fn lanes(&self) -> Vec<Lane> {
        let operations = self
            .problem
            .inbound
            .iter()
            .map(|inbound| inbound.operation)
            .max();
        let detached: Vec<bool> = (0..operations.map_or(0, |last| last + 1))
            .map(|operation| self.plan.model.ends_while_waiting(operation))
            .collect();
        self.problem.lanes(
            |operation| self.plan.model.longest_linger(operation),
            |inbound_index, outbound_index| {
                let named = self.problem.outbound[outbound_index as usize].exact;
                if let Some(named) = named {
                    return named == self.problem.inbound[inbound_index as usize].id;
                }
                let inbound = &self.problem.inbound[inbound_index as usize];
                let outbound = &self.problem.outbound[outbound_index as usize];
                if outbound.start > inbound.end {
                    let lingers = self.plan.model.lingers(inbound.operation, outbound.kind);
                    outbound.start - inbound.end <= lingers
                } else {
                    outbound.end <= inbound.end || detached[inbound.operation as usize]
                }
            },
        )
    }

    fn decisions(&self) -> Vec<Decision> {
        let posteriors = self.likely.iter().flatten();
        self.problem
            .outbound
            .iter()
            .zip(posteriors)
            .map(|(outbound, posterior)| Decision::new(&self.problem, outbound, posterior))
            .collect()
    }
}

/// Compares neighbouring calls of each kind.
fn observe_orders(
    problem: &Problem,
    model: &mut StepModel,
    order: &mut ProcessOrder,
    mut causes: Vec<LikelyCause>,
) {
    causes.sort_by_key(|cause| cause.outbound);
    let mut last: BTreeMap<u32, LikelyCause> = BTreeMap::new();
    for cause in causes {
        let kind = problem.outbound[cause.outbound as usize].kind;
        if let Some(previous) = last.insert(kind, cause) {
            observe_pair(problem, model, order, (&previous, &cause));
        }
    }
}

/// Finds, for each outbound event that is not proven, the proven calls of its kind next to it.
fn proven_neighbors(problem: &Problem, lanes: &[Lane], proven: &[bool]) -> Vec<Vec<(u32, u32)>> {
    let mut cause: Vec<Option<u32>> = vec![None; proven.len()];
    for lane in lanes {
        for candidate in lane
            .candidates
            .iter()
            .filter(|other| proven[**other as usize])
        {
            cause[*candidate as usize] = lane.members.first().copied();
        }
    }
    let mut neighbors = vec![Vec::new(); proven.len()];
    let mut sweep = |indices: &mut dyn Iterator<Item = usize>| {
        let mut last: BTreeMap<u32, (u32, u32)> = BTreeMap::new();
        for index in indices {
            let kind = problem.outbound[index].kind;
            match (proven[index], cause[index]) {
                (true, Some(cause)) => {
                    last.insert(kind, (index as u32, cause));
                }
                _ => neighbors[index].extend(last.get(&kind)),
            }
        }
    };
    sweep(&mut (0..proven.len()));
    sweep(&mut (0..proven.len()).rev());
    neighbors
}

/// Finds when nothing was open, and operations whose requests make calls after their end: such
/// calls are seen then.
fn find_idle(problem: &Problem, model: &mut StepModel) -> IdleTimes {
    let mut ends: Vec<(Nanos, u32)> = problem
        .inbound
        .iter()
        .map(|inbound| (inbound.end, inbound.operation))
        .collect();
    ends.sort_unstable();
    let mut seen: BTreeMap<(u32, u32), usize> = BTreeMap::new();
    let mut idle_calls: BTreeMap<u32, usize> = BTreeMap::new();
    let mut times = IdleTimes {
        is_idle: vec![false; problem.outbound.len()],
        idle_s: idle_seconds(problem),
    };
    let (mut next, mut ended) = (0, 0);
    for (index, outbound) in problem.outbound.iter().enumerate() {
        while next < problem.inbound.len() && problem.inbound[next].start <= outbound.start {
            next += 1;
        }
        while ended < ends.len() && ends[ended].0 < outbound.start {
            ended += 1;
        }
        if next != ended {
            continue;
        }
        times.is_idle[index] = true;
        *idle_calls.entry(outbound.kind).or_default() += 1;
        let last = ended.checked_sub(1).map(|last| ends[last]);
        if let Some((end, operation)) = last
            && outbound.start - end <= MAX_LINGER_NS
        {
            *seen.entry((operation, outbound.kind)).or_default() += 1;
        }
    }
    for ((operation, kind), count) in seen {
        // A timer fires at any time, a handler that goes on only soon after.
        let all = idle_calls.get(&kind).copied().unwrap_or(0);
        if count >= MIN_LINGERING && count as f64 > LINGERING_SHARE * all as f64 {
            model.learn_lingering(operation, kind, MAX_LINGER_NS);
        }
    }
    times
}

/// Returns the time in which nothing was open.
fn idle_seconds(problem: &Problem) -> f64 {
    let mut idle = 0;
    let mut busy_until = problem.inbound.first().map_or(0, |first| first.start);
    for inbound in &problem.inbound {
        idle += (inbound.start - busy_until).max(0);
        busy_until = busy_until.max(inbound.end);
    }
    idle += (problem.now - busy_until).max(0);
    idle as f64 * 1e-9
}

/// Returns the resolution of the timestamps.
fn clock_tick(problem: &Problem) -> Nanos {
    let base = problem.inbound.first().map_or(0, |inbound| inbound.start);
    let gaps = problem
        .outbound
        .iter()
        .map(|outbound| (outbound.start - base).abs());
    gaps.fold(0, greatest_common_divisor).max(1)
}

fn greatest_common_divisor(a: Nanos, b: Nanos) -> Nanos {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

/// Returns the events as a problem, with the numbers of operations and kinds of calls.
fn collect(
    events: &[WeaveEvent],
    plan: Option<&ProcessPlan>,
) -> (Problem, OperationIndex, OperationIndex) {
    let known = plan.map(|plan| (plan.operations.clone(), plan.kinds.clone()));
    let (mut operations, mut kinds) = known.unwrap_or_default();
    let mut problem = Problem::default();
    let mut inbound_at: HashMap<InboundId, usize> = HashMap::new();
    let mut outbound_at: HashMap<OutboundId, usize> = HashMap::new();
    // Starts first: an event may name one that was pushed after it.
    for event in events {
        problem.now = problem.now.max(event.at());
        match event {
            WeaveEvent::InboundStarted(start) => {
                inbound_at.insert(start.id, problem.inbound.len());
                problem
                    .inbound
                    .push(Inbound::new(start, operations.get(start.operation)));
            }
            WeaveEvent::OutboundStarted(start) => {
                outbound_at.insert(start.id, problem.outbound.len());
                problem
                    .outbound
                    .push(Outbound::new(start, kinds.get(start.operation)));
            }
            WeaveEvent::InboundEnded { .. } | WeaveEvent::OutboundEnded { .. } => {}
        }
    }
    for event in events {
        match event {
            WeaveEvent::InboundEnded { id, at, outcome } => {
                if let Some(index) = inbound_at.get(id) {
                    let inbound = &mut problem.inbound[*index];
                    inbound.end = (*at).max(inbound.start);
                    inbound.abandoned = *outcome == InboundOutcome::Abandoned;
                }
            }
            WeaveEvent::OutboundEnded { id, at } => {
                if let Some(index) = outbound_at.get(id) {
                    let outbound = &mut problem.outbound[*index];
                    outbound.end = (*at).max(outbound.start);
                }
            }
            WeaveEvent::InboundStarted(_) | WeaveEvent::OutboundStarted(_) => {}
        }
    }
    (problem, operations, kinds)
}
