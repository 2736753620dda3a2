//! The solver beside brute force on small problems.

use proptest::prelude::*;

use crate::component::components;
use crate::event::{InboundId, InboundStart, Nanos, OperationKey, OutboundId, OutboundStart};
use crate::life_table::GapScale;
use crate::order::ProcessOrder;
use crate::problem::{Inbound, Outbound, Problem};
use crate::solver::Solver;
use crate::step_model::{Standing, Stay, StepModel};

const MS: Nanos = 1_000_000;
const STRAY_RATE: f64 = 0.05;

/// Two requests and up to three calls of two kinds; times in milliseconds.
fn problem(requests: &[(i64, i64)], calls: &[(i64, i64, u32)]) -> Problem {
    let mut problem = Problem::default();
    for (index, (start, duration)) in requests.iter().enumerate() {
        let mut inbound = Inbound::new(
            &InboundStart {
                id: InboundId(index as u64),
                at: start * MS,
                operation: OperationKey(0),
                position: None,
                tokens: Vec::new(),
            },
            0,
        );
        inbound.end = (start + duration) * MS;
        problem.inbound.push(inbound);
    }
    for (index, (start, duration, kind)) in calls.iter().enumerate() {
        let mut outbound = Outbound::new(
            &OutboundStart {
                id: OutboundId(index as u64),
                at: start * MS,
                operation: OperationKey(u64::from(*kind)),
                tokens: Vec::new(),
                is_record: false,
                exact: None,
            },
            *kind,
        );
        outbound.end = (start + duration) * MS;
        problem.outbound.push(outbound);
    }
    problem.now = 1_000 * MS;
    problem.sort();
    problem
}

/// A process whose requests call kind 0 after some 5 ms, and kind 1 some 5 ms after its end.
fn model() -> StepModel {
    let mut model = StepModel::new(GapScale::new(MS));
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
    model
}

/// Returns the likelihood that a request made exactly these calls.
fn likelihood(problem: &Problem, model: &mut StepModel, request: usize, calls: &[usize]) -> f64 {
    let inbound = problem.inbound[request].clone();
    let mut standing = Standing {
        history: model.fresh(0),
        last_start: inbound.start,
        free_since: inbound.start,
        ended: false,
    };
    let mut likelihood = 1.0;
    for call in calls {
        let call = problem.outbound[*call].clone();
        if call.start < inbound.start || call.start > inbound.end {
            return 0.0;
        }
        likelihood *= model.likelihood_of(&standing.stays(call.start, Some(call.kind)));
        let history = model.after(standing.history, call.kind);
        standing = standing.after_call(history, call.start, call.end);
    }
    likelihood * model.likelihood_of(&standing.stays_to_end(inbound.end))
}

/// Returns the probability of each request as the cause of each call, from all combinations.
fn brute_force(problem: &Problem, model: &mut StepModel) -> Vec<Vec<f64>> {
    let (requests, calls) = (problem.inbound.len(), problem.outbound.len());
    let mut sums = vec![vec![0.0; requests + 1]; calls];
    let mut total = 0.0;
    for combination in 0..(requests + 1).pow(calls as u32) {
        let cause = |call: usize| combination / (requests + 1).pow(call as u32) % (requests + 1);
        let mut weight = 1.0;
        for request in 0..requests {
            let own: Vec<usize> = (0..calls).filter(|call| cause(*call) == request).collect();
            weight *= likelihood(problem, model, request, &own);
        }
        let strays = (0..calls).filter(|call| cause(*call) == requests).count();
        weight *= (0..strays).map(|_| STRAY_RATE).product::<f64>();
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

/// Returns the same from the solver.
fn solve(problem: &Problem, model: &mut StepModel) -> Vec<Vec<f64>> {
    let lanes = problem.lanes(|_| 0, |_, _| true);
    let (proven, neighbors) = (
        vec![false; problem.outbound.len()],
        vec![Vec::new(); problem.outbound.len()],
    );
    let solver = Solver {
        problem,
        lanes: &lanes,
        stray_rates: &[STRAY_RATE; 2],
        order: &ProcessOrder::default(),
        proven: &proven,
        neighbors: &neighbors,
        is_exact: true,
    };
    let mut probabilities = vec![vec![0.0; problem.inbound.len() + 1]; problem.outbound.len()];
    for component in components(problem, &lanes) {
        let solved = solver.solve(&component, model);
        for (call, posterior) in solver.posteriors(&component, &solved, model) {
            let row = &mut probabilities[call as usize];
            row[problem.inbound.len()] = posterior.none;
            for cause in posterior.causes {
                row[cause.inbound as usize] = cause.probability;
            }
        }
    }
    probabilities
}

fn assert_agree(problem: &Problem, tolerance: f64) {
    let mut model = model();
    let exact = brute_force(problem, &mut model);
    let solved = solve(problem, &mut model);
    for (call, (exact, solved)) in exact.iter().zip(&solved).enumerate() {
        for (cause, (exact, solved)) in exact.iter().zip(solved).enumerate() {
            assert!(
                (exact - solved).abs() <= tolerance,
                "call {call}, cause {cause}: {exact:.4} by brute force, {solved:.4} by the solver"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// One request is a chain without loops: belief propagation is exact, but for steps that it
    /// leaves out because they are unlikely.
    #[test]
    fn one_request_is_solved_exactly(
        gaps in prop::collection::vec(3..8_i64, 3),
        stray in 1..30_i64,
    ) {
        let second = gaps[0] + 10 + gaps[1];
        let calls = [(gaps[0], 10, 0), (second, 10, 1), (stray, 5, 0)];
        assert_agree(&problem(&[(0, second + 10 + gaps[2])], &calls), 0.01);
    }

    /// Two requests and one call make no loop either.
    #[test]
    fn one_call_is_solved_exactly(
        offset in 0..20_i64,
        start in 1..40_i64,
        kind in 0..2_u32,
    ) {
        assert_agree(&problem(&[(0, 50), (offset, 50)], &[(start, 10, kind)]), 0.002);
    }

    /// With loops the solver approximates; where brute force is sure, so is the solver.
    #[test]
    fn two_requests_agree_where_the_answer_is_sure(
        offset in 1..25_i64,
        gaps in prop::collection::vec(3..8_i64, 4),
    ) {
        let first = (gaps[0], 10, 0);
        let second = (offset + gaps[1], 10, 0);
        let third = (gaps[0] + 10 + gaps[2], 10, 1);
        let end = (third.0 + 10 + gaps[3], offset + gaps[1] + 10 + gaps[2]);
        let problem = problem(&[(0, end.0), (offset, end.1)], &[first, second, third]);
        let mut model = model();
        let exact = brute_force(&problem, &mut model);
        let solved = solve(&problem, &mut model);
        for (exact, solved) in exact.iter().zip(&solved) {
            for (exact, solved) in exact.iter().zip(solved) {
                if *exact > 0.95 {
                    prop_assert!(*solved > 0.85, "{exact} by brute force, {solved} by the solver");
                }
            }
        }
    }
}
