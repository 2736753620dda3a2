//! Joint hypotheses beside brute force on small problems.

use crate::decision::Decision;
use crate::event::{
    InboundId, InboundOutcome, InboundStart, Nanos, OperationKey, OutboundId, OutboundStart,
    WeaveEvent,
};
use crate::lane_path::LanePath;
use crate::life_table::GapScale;
use crate::live_decider::LiveDecider;
use crate::plan::ProcessPlan;
use crate::step_model::{Standing, Stay, StepModel};
use crate::stray::StrayModel;
use crate::weaver_settings::WeaverSettings;

const MS: Nanos = 1_000_000;
/// Hypotheses that seem hopeless when a call is made are given up, and what a settled request has
/// claimed is not revised.
const TOLERANCE: f64 = 0.2;
const CASES: usize = 200;

/// Requests (start, duration) and calls (start, duration, kind); times in milliseconds.
struct SmallProblem {
    requests: Vec<(i64, i64)>,
    calls: Vec<(i64, i64, u32)>,
}

/// A process whose requests call kind 0 after some 5 ms, and kind 1 some 5 ms after its end.
fn plan() -> ProcessPlan {
    let mut plan = ProcessPlan::new(MS);
    plan.operations.get(OperationKey(0));
    for kind in 0..2 {
        plan.kinds.get(OperationKey(kind));
    }
    let model = &mut plan.model;
    *model = StepModel::new(GapScale::new(MS));
    model.kinds = 2;
    for turn in 0..200_i64 {
        let gap = (3 + turn % 5) * MS;
        let mut standing = Standing {
            history: model.fresh(0),
            last_start: 0,
            free_since: 0,
            ended: false,
        };
        let mut at = gap;
        for kind in 0..2 {
            let stays: Vec<Stay> = standing.stays(at, Some(kind)).iter().copied().collect();
            stays.iter().for_each(|stay| model.learn(stay, 1.0));
            let history = model.after(standing.history, kind);
            standing = standing.after_call(history, at, at + 10 * MS);
            at += 10 * MS + gap;
        }
        let stays: Vec<Stay> = standing.stays_to_end(at).iter().copied().collect();
        stays.iter().for_each(|stay| model.learn(stay, 1.0));
        model.learn_request(0);
    }
    model.refresh();
    plan
}

// === impl SmallProblem ===

impl SmallProblem {
    fn events(&self) -> Vec<WeaveEvent> {
        let mut events = Vec::new();
        for (index, (start, duration)) in (0_u64..).zip(&self.requests) {
            let id = InboundId(index);
            events.push(WeaveEvent::InboundStarted(InboundStart {
                id,
                at: start * MS,
                operation: OperationKey(0),
                position: None,
                tokens: Vec::new(),
            }));
            events.push(WeaveEvent::InboundEnded {
                id,
                at: (start + duration) * MS,
                outcome: InboundOutcome::Completed,
            });
        }
        for (index, (start, duration, kind)) in (0_u64..).zip(&self.calls) {
            let id = OutboundId(index);
            events.push(WeaveEvent::OutboundStarted(OutboundStart {
                id,
                at: start * MS,
                operation: OperationKey(u64::from(*kind)),
                tokens: Vec::new(),
                is_record: false,
                exact: None,
            }));
            events.push(WeaveEvent::OutboundEnded {
                id,
                at: (start + duration) * MS,
            });
        }
        events.sort_by_key(WeaveEvent::at);
        events
    }

    /// Returns the likelihood that a request made exactly these calls.
    fn likelihood(&self, model: &mut StepModel, request: usize, calls: &[usize]) -> f64 {
        let (start, duration) = self.requests[request];
        let (start, end) = (start * MS, (start + duration) * MS);
        let mut path = LanePath::new(Some(0), model.fresh(0), start);
        let mut likelihood = 1.0;
        for call in calls {
            let (at, duration, kind) = self.calls[*call];
            let at = at * MS;
            if at < start || at > end {
                return 0.0;
            }
            likelihood *= model.likelihood_of(&path.standing.stays(at, Some(kind)));
            let history = model.after(path.standing.history, kind);
            path.standing = path.standing.after_call(history, at, at + duration * MS);
        }
        likelihood * path.end(end, model)
    }

    /// Returns the probability of each request as the cause of each call, from all combinations.
    fn brute_force(&self) -> Vec<Vec<f64>> {
        let mut model = plan().model;
        let stray_rate = StrayModel::default().rate(0, 0);
        let (requests, calls) = (self.requests.len(), self.calls.len());
        let mut sums = vec![vec![0.0; requests + 1]; calls];
        let mut total = 0.0;
        for combination in 0..(requests + 1).pow(calls as u32) {
            let cause =
                |call: usize| combination / (requests + 1).pow(call as u32) % (requests + 1);
            let mut weight = 1.0;
            for request in 0..requests {
                let own: Vec<usize> = (0..calls).filter(|call| cause(*call) == request).collect();
                weight *= self.likelihood(&mut model, request, &own);
            }
            let strays = (0..calls).filter(|call| cause(*call) == requests).count();
            weight *= (0..strays).map(|_| stray_rate).product::<f64>();
            total += weight;
            for (call, sums) in sums.iter_mut().enumerate() {
                sums[cause(call)] += weight;
            }
        }
        for sums in &mut sums {
            sums.iter_mut().for_each(|sum| *sum /= total);
        }
        sums
    }

    /// Returns the same from the engine.
    fn decide(&self) -> Vec<Vec<f64>> {
        let settings = WeaverSettings {
            clock_tick_ns: MS,
            ..WeaverSettings::default()
        };
        let mut decider = LiveDecider::with_known(settings, plan()).with_settled();
        for event in self.events() {
            decider.push(event);
        }
        let mut decisions: Vec<Decision> = decider.take_settled(10_000 * MS);
        decisions.sort_by_key(|decision| decision.outbound);
        assert_eq!(decisions.len(), self.calls.len());
        decisions
            .iter()
            .map(|decision| self.row(decision))
            .collect()
    }

    fn row(&self, decision: &Decision) -> Vec<f64> {
        let place = |parent: Option<InboundId>| match parent {
            Some(id) => usize::try_from(id.0).unwrap(),
            None => self.requests.len(),
        };
        let mut row = vec![0.0; self.requests.len() + 1];
        for other in &decision.alternatives {
            row[place(other.parent)] = other.confidence;
        }
        // The guard may have lowered what is said.
        let rest = 1.0 - row.iter().sum::<f64>();
        row[place(decision.parent)] = rest;
        row
    }

    fn assert_agree(&self) {
        for (call, (exact, engine)) in self.brute_force().iter().zip(self.decide()).enumerate() {
            for (cause, (exact, engine)) in exact.iter().zip(engine).enumerate() {
                assert!(
                    (exact - engine).abs() <= TOLERANCE,
                    "call {call}, cause {cause}: {exact:.4} by brute force, {engine:.4} here"
                );
            }
        }
    }
}

/// The stray comes when the request hardly makes a call of its own: a hypothesis below 1e-4 at the
/// time of the call is not kept, whatever follows.
#[test]
fn calls_of_one_request_and_a_stray() {
    let mut rng = fastrand::Rng::with_seed(1);
    for _ in 0..CASES {
        let gaps: [i64; 3] = std::array::from_fn(|_| rng.i64(3..8));
        let second = gaps[0] + 10 + gaps[1];
        let problem = SmallProblem {
            requests: vec![(0, second + 10 + gaps[2])],
            calls: vec![(gaps[0], 10, 0), (second, 10, 1), (rng.i64(9..30), 5, 0)],
        };
        problem.assert_agree();
    }
}

#[test]
fn one_call_of_two_requests() {
    let mut rng = fastrand::Rng::with_seed(2);
    for _ in 0..CASES {
        let offset = rng.i64(0..20);
        let problem = SmallProblem {
            requests: vec![(0, 50), (offset, 50)],
            calls: vec![(offset + rng.i64(1..9), 10, rng.u32(0..2))],
        };
        problem.assert_agree();
    }
}

/// Three calls that two requests can have shared in several ways.
#[test]
fn calls_of_two_requests() {
    let mut rng = fastrand::Rng::with_seed(3);
    for _ in 0..CASES {
        let offset = rng.i64(1..25);
        let gaps: [i64; 4] = std::array::from_fn(|_| rng.i64(3..8));
        let first = (gaps[0], 10, 0);
        let second = (offset + gaps[1], 10, 0);
        let third = (gaps[0] + 10 + gaps[2], 10, 1);
        let end = (third.0 + 10 + gaps[3], offset + gaps[1] + 10 + gaps[2]);
        let problem = SmallProblem {
            requests: vec![(0, end.0), (offset, end.1)],
            calls: vec![first, second, third],
        };
        problem.assert_agree();
    }
}
