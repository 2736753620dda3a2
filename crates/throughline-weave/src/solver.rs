//! Belief propagation over lanes and outbound events.
//!
//! Each outbound event has one cause or none; each lane weighs all the ways in which it can have
//! caused its candidates; neighbouring calls of one kind compare the order of their causes. All
//! exchange their beliefs until nothing changes.

use std::collections::BTreeMap;

use crate::belief::{Belief, Posterior};
use crate::component::Component;
use crate::evidence_tier::EvidenceTier;
use crate::joint_paths::{JointCause, JointPaths, PairFactor};
use crate::lane_state::LaneState;
use crate::order::{LikelyCause, ProcessOrder, compare};
use crate::problem::{Lane, Problem};
use crate::propagation::CallCounts;
use crate::solved_component::{OutboundState, Solved};
use crate::step_model::StepModel;
use crate::tokens::DECISIVE_FACTOR;

const MAX_ROUNDS: usize = 24;
/// Rate of strays among calls that name their cause, per second.
const NAMED_STRAYS: f64 = 1e-12;
/// Share of the hypotheses that may be given up.
const MAX_LOST: f64 = 0.01;
/// Beliefs that change less than this are final.
const SETTLED: f64 = 1e-3;
/// Causes with less than this share are not compared with a neighbour's.
const MIN_SHARE: f64 = 1e-4;
/// Causes that are taken as known when orders are compared.
const MIN_LIKELY: f64 = 0.8;

pub(crate) struct Solver<'a> {
    pub(crate) problem: &'a Problem,
    pub(crate) lanes: &'a [Lane],
    /// Rate of calls without a cause, by kind, per second.
    pub(crate) stray_rates: &'a [f64],
    pub(crate) order: &'a ProcessOrder,
    /// Outbound events whose cause is proven.
    pub(crate) proven: &'a [bool],
    /// The proven neighbours of each outbound event: calls of its kind before and after, with the
    /// request that made them.
    pub(crate) neighbors: &'a [Vec<(u32, u32)>],
    /// Whether groups in doubt are solved exactly. A first look does without.
    pub(crate) is_exact: bool,
}

/// A belief about a cause, for the comparison with a neighbour's.
#[derive(Clone, Copy)]
struct Share {
    place: usize,
    lane: u32,
    share: f64,
}

// === impl Solver ===

impl Solver<'_> {
    /// Lets lanes and outbound events agree.
    pub(crate) fn solve(&self, component: &Component, model: &mut StepModel) -> Solved {
        let states: Vec<LaneState> = component
            .lanes
            .iter()
            .map(|lane| LaneState::new(self.problem, &self.lanes[*lane], model))
            .collect();
        let outbound = self.outbound_states(component);
        let mut solved = Solved { states, outbound };
        let is_single = solved.states.len() <= 1;
        let rounds = if is_single { 1 } else { MAX_ROUNDS };
        let compares = !self.order.is_neutral();
        for round in 0..rounds {
            if compares && !is_single && round > 0 {
                self.compare_neighbors(&mut solved);
            }
            self.exchange(&mut solved);
            let mut change: f64 = 0.0;
            for state in &mut solved.states {
                change = change.max(state.update(round == 0));
            }
            if change < SETTLED && round > 1 {
                break;
            }
        }
        self.share_out(&mut solved);
        if self.is_exact && !is_single && solved.is_doubtful() {
            self.solve_jointly(&mut solved);
        } else {
            solved
                .states
                .iter_mut()
                .for_each(|state| state.finish(None));
        }
        solved
    }

    /// Returns the rate of calls without a cause. A call that names its cause has one.
    fn stray_rate(&self, state: &OutboundState) -> f64 {
        let outbound = &self.problem.outbound[state.outbound as usize];
        if outbound.exact.is_some() {
            NAMED_STRAYS
        } else {
            self.stray_rates[state.kind]
        }
    }

    /// Computes the probabilities of the causes from the messages of the lanes.
    fn share_out(&self, solved: &mut Solved) {
        let Solved { states, outbound } = solved;
        for outbound in outbound {
            let stray = self.stray_rate(outbound);
            let value = |(index, (lane, slot)): (usize, &(u32, u32))| {
                states[*lane as usize].odds[*slot as usize] * outbound.order_at(index)
            };
            let mut shares: Vec<f64> = outbound.places.iter().enumerate().map(value).collect();
            let total = shares.iter().sum::<f64>() + stray;
            shares.iter_mut().for_each(|share| *share /= total);
            outbound.shares = shares;
            outbound.none = stray / total;
        }
    }

    /// Weighs the paths of all lanes together.
    fn solve_jointly(&self, solved: &mut Solved) {
        solved
            .states
            .iter_mut()
            .for_each(|state| state.finish(None));
        let compares = !self.order.is_neutral();
        for cluster in solved.doubtful_clusters() {
            let calls = solved.joint_calls(
                &cluster,
                &|outbound: &OutboundState| self.stray_rate(outbound),
                compares,
            );
            let pair_factor = |earlier: (usize, u32), later: (usize, u32)| {
                self.pair_factor(solved, earlier, later)
            };
            let compared: Option<PairFactor<'_>> = compares.then_some(&pair_factor);
            let masses = JointPaths::new(&solved.states, &calls, compared).solve();
            let Some(masses) = masses.filter(|masses| masses.lost < MAX_LOST) else {
                continue;
            };
            for (lane, masses) in masses.lanes {
                solved.states[lane as usize].finish(Some(masses));
            }
            for (call, none) in calls.iter().zip(masses.none) {
                let outbound = &mut solved.outbound[call.index];
                let share = |(lane, slot): &(u32, u32)| {
                    solved.states[*lane as usize].marginals[*slot as usize]
                };
                if matches!(call.cause, JointCause::Open { .. }) {
                    outbound.shares = outbound.places.iter().map(share).collect();
                    outbound.none = none;
                }
            }
        }
    }

    /// Adds what was found to the model.
    pub(crate) fn learn(&self, component: &Component, solved: &Solved, model: &mut StepModel) {
        for (state, lane) in solved.states.iter().zip(&component.lanes) {
            let lane = &self.lanes[*lane];
            state.graph.learn(self.problem, lane, model, &state.masses);
            for member in &lane.members {
                model.learn_request(self.problem.inbound[*member as usize].operation);
            }
        }
    }

    /// Adds what was found about one lane to the model.
    pub(crate) fn learn_one(
        &self,
        component: &Component,
        solved: &Solved,
        lane: usize,
        model: &mut StepModel,
    ) {
        for (state, index) in solved.states.iter().zip(&component.lanes) {
            if *index == lane {
                let lane = &self.lanes[lane];
                state.graph.learn(self.problem, lane, model, &state.masses);
                for member in &lane.members {
                    model.learn_request(self.problem.inbound[*member as usize].operation);
                }
            }
        }
    }

    /// Returns the beliefs about the outbound events of the component.
    pub(crate) fn posteriors(
        &self,
        component: &Component,
        solved: &Solved,
        model: &StepModel,
    ) -> Vec<(u32, Posterior)> {
        solved
            .outbound
            .iter()
            .map(|outbound| {
                let mut posterior = self.posterior(component, outbound, &solved.states);
                self.name_tier(outbound, &mut posterior, model);
                (outbound.outbound, posterior)
            })
            .collect()
    }

    fn outbound_states(&self, component: &Component) -> Vec<OutboundState> {
        let mut last_of_kind: BTreeMap<usize, usize> = BTreeMap::new();
        let mut index_of: BTreeMap<u32, usize> = BTreeMap::new();
        let mut states: Vec<OutboundState> = Vec::with_capacity(component.outbound.len());
        for (index, outbound) in component.outbound.iter().enumerate() {
            let kind = self.problem.outbound[*outbound as usize].kind as usize;
            index_of.insert(*outbound, index);
            states.push(OutboundState {
                outbound: *outbound,
                kind,
                places: Vec::new(),
                previous: last_of_kind.insert(kind, index),
                from_previous: Vec::new(),
                from_next: Vec::new(),
                from_proven: Vec::new(),
                shares: Vec::new(),
                none: 1.0,
            });
        }
        for (lane, index) in component.lanes.iter().enumerate() {
            for (slot, candidate) in self.lanes[*index].candidates.iter().enumerate() {
                if let Some(outbound) = index_of.get(candidate) {
                    states[*outbound].places.push((lane as u32, slot as u32));
                }
            }
        }
        for state in &mut states {
            state.from_previous = vec![1.0; state.places.len()];
            state.from_next = vec![1.0; state.places.len()];
            state.from_proven = self.order_of_proven(component, state);
        }
        states
    }

    /// Compares the possible causes of an outbound event with those of its proven neighbours.
    fn order_of_proven(&self, component: &Component, state: &OutboundState) -> Vec<f64> {
        let own = &self.problem.outbound[state.outbound as usize];
        let factor = |(lane, _): &(u32, u32)| {
            let lane = &self.lanes[component.lanes[*lane as usize]];
            let cause = &self.problem.inbound[lane.members[0] as usize];
            let mut factor = 1.0;
            for (neighbor, inbound) in &self.neighbors[state.outbound as usize] {
                let other = &self.problem.outbound[*neighbor as usize];
                let other_cause = &self.problem.inbound[*inbound as usize];
                if lane.is_queue || *inbound == lane.members[0] {
                    continue;
                }
                let starts = compare((own.start, other.start), (cause.start, other_cause.start));
                let ends = compare((own.end, other.end), (cause.end, other_cause.end));
                for order in [starts, ends] {
                    factor *= self.order.weight_of(order);
                }
            }
            factor
        };
        if self.order.is_neutral() {
            vec![1.0; state.places.len()]
        } else {
            state.places.iter().map(factor).collect()
        }
    }

    fn exchange(&self, solved: &mut Solved) {
        let Solved { states, outbound } = solved;
        for outbound in outbound {
            let stray = self.stray_rate(outbound);
            let mut total = stray;
            for (index, (lane, slot)) in outbound.places.iter().enumerate() {
                let order = outbound.order_at(index);
                total += states[*lane as usize].odds[*slot as usize] * order;
            }
            for (index, (lane, slot)) in outbound.places.iter().enumerate() {
                let order = outbound.order_at(index);
                let state = &mut states[*lane as usize];
                let own = state.odds[*slot as usize] * order;
                // The difference loses its digits where one cause dominates: the strays remain.
                let others = (total - own).max(stray);
                state.inclusion[*slot as usize] = order / others.max(f64::MIN_POSITIVE);
            }
        }
    }

    fn posterior(
        &self,
        component: &Component,
        outbound: &OutboundState,
        states: &[LaneState],
    ) -> Posterior {
        let mut causes: Vec<Belief> = Vec::new();
        for ((lane, slot), share) in outbound.places.iter().zip(&outbound.shares) {
            let share = *share;
            if share < 1e-6 {
                continue;
            }
            let state = &states[*lane as usize];
            let lane = &self.lanes[component.lanes[*lane as usize]];
            state.members_of(*slot, share, lane, &mut causes);
        }
        causes.sort_by(|a, b| {
            b.probability
                .total_cmp(&a.probability)
                .then(a.inbound.cmp(&b.inbound))
        });
        let tier = self.tier(outbound, states);
        Posterior {
            causes,
            none: outbound.none,
            tier,
        }
    }

    /// Returns the tier of the evidence about an outbound event.
    fn tier(&self, outbound: &OutboundState, states: &[LaneState]) -> EvidenceTier {
        if self.proven[outbound.outbound as usize] {
            return EvidenceTier::Proven;
        }
        // Whether others could have made the call at all, by what they had done before.
        let possible = outbound.places.iter().filter(|(lane, slot)| {
            states[*lane as usize].odds[*slot as usize] > self.stray_rate(outbound)
        });
        if possible.count() > 1 {
            EvidenceTier::Timing
        } else {
            EvidenceTier::Structure
        }
    }

    /// Notes where the message named its cause, or shared values decided.
    fn name_tier(&self, state: &OutboundState, posterior: &mut Posterior, model: &StepModel) {
        let outbound = &self.problem.outbound[state.outbound as usize];
        let Some(best) = posterior.causes.first() else {
            return;
        };
        let inbound = &self.problem.inbound[best.inbound as usize];
        if outbound.exact == Some(inbound.id) {
            posterior.make_exact();
        } else if posterior.tier != EvidenceTier::Proven
            && model.tokens.factor(inbound, outbound) > DECISIVE_FACTOR
        {
            posterior.tier = EvidenceTier::Tokens;
        }
    }

    /// Counts the calls of each kind that the requests of a component made.
    pub(crate) fn count_calls(
        &self,
        component: &Component,
        solved: &Solved,
        counts: &mut CallCounts,
    ) {
        for (state, lane) in solved.states.iter().zip(&component.lanes) {
            let lane = &self.lanes[*lane];
            if lane.is_queue {
                continue;
            }
            let operation = self.problem.inbound[lane.members[0] as usize].operation;
            counts.observe_request(operation);
            let mut made: BTreeMap<u32, f64> = BTreeMap::new();
            for (slot, candidate) in lane.candidates.iter().enumerate() {
                let kind = self.problem.outbound[*candidate as usize].kind;
                *made.entry(kind).or_default() += state.marginals[slot];
            }
            for (kind, number) in made {
                if (number - 1.0).abs() < 0.1 {
                    counts.observe_single(operation, kind);
                }
            }
        }
    }

    /// Passes messages between neighbouring calls of each kind, forwards and backwards.
    fn compare_neighbors(&self, solved: &mut Solved) {
        let count = solved.outbound.len();
        for forward in [true, false] {
            for step in 0..count {
                let later = if forward { step } else { count - 1 - step };
                let Some(earlier) = solved.outbound[later].previous else {
                    continue;
                };
                let to = if forward { later } else { earlier };
                if solved.outbound[to].places.len() < 2 {
                    continue;
                }
                let message = self.neighbor_message(solved, (earlier, later), forward);
                if forward {
                    solved.outbound[to].from_previous = message;
                } else {
                    solved.outbound[to].from_next = message;
                }
            }
        }
    }

    /// Returns what one of two neighbours says about the possible causes of the other.
    fn neighbor_message(
        &self,
        solved: &Solved,
        (earlier, later): (usize, usize),
        forward: bool,
    ) -> Vec<f64> {
        let (from, to) = if forward {
            (earlier, later)
        } else {
            (later, earlier)
        };
        let shares = self.shares(solved, from, Some(forward), |state, slot| state.odds[slot]);
        let rest = 1.0 - shares.iter().map(|share| share.share).sum::<f64>();
        let mut message = vec![1.0; solved.outbound[to].places.len()];
        for target in self.shares(solved, to, None, |_, _| 1.0) {
            let terms = shares.iter().map(|share| {
                let (first, second) = if forward {
                    (share.lane, target.lane)
                } else {
                    (target.lane, share.lane)
                };
                let (first, second) = ((earlier, first), (later, second));
                share.share * self.pair_factor(solved, first, second)
            });
            message[target.place] = (terms.sum::<f64>() + rest.max(0.0)).max(1e-6);
        }
        message
    }

    /// Returns the likely causes of an outbound event, without what the neighbour it is compared
    /// with has said.
    fn shares(
        &self,
        solved: &Solved,
        index: usize,
        forward: Option<bool>,
        odds: impl Fn(&LaneState, usize) -> f64,
    ) -> Vec<Share> {
        let outbound = &solved.outbound[index];
        let mut shares: Vec<Share> = Vec::with_capacity(outbound.places.len());
        let mut total = self.stray_rate(outbound);
        for (place, (lane, slot)) in outbound.places.iter().enumerate() {
            let state = &solved.states[*lane as usize];
            let neighbors = match forward {
                Some(true) => outbound.from_previous[place],
                Some(false) => outbound.from_next[place],
                None => 1.0,
            };
            let share = odds(state, *slot as usize) * neighbors * outbound.from_proven[place];
            total += share;
            shares.push(Share {
                place,
                lane: *lane,
                share,
            });
        }
        shares.iter_mut().for_each(|share| share.share /= total);
        if forward.is_some() {
            shares.retain(|share| share.share > MIN_SHARE);
        }
        shares
    }

    /// Returns what the order of two causes weighs, for neighbouring calls of one kind.
    fn pair_factor(
        &self,
        solved: &Solved,
        (earlier, first): (usize, u32),
        (later, second): (usize, u32),
    ) -> f64 {
        let [first, second] = [first, second].map(|lane| &solved.states[lane as usize]);
        if std::ptr::eq(first, second) || first.is_queue || second.is_queue {
            return 1.0;
        }
        let call = |index: usize| {
            let outbound = solved.outbound[index].outbound;
            &self.problem.outbound[outbound as usize]
        };
        let (earlier, later) = (call(earlier), call(later));
        let starts = compare((earlier.start, later.start), (first.start, second.start));
        let ends = compare((earlier.end, later.end), (first.end, second.end));
        self.order.weight_of(starts) * self.order.weight_of(ends)
    }

    /// Returns the likely causes of the outbound events of a component that are requests.
    pub(crate) fn causes(&self, component: &Component, solved: &Solved) -> Vec<LikelyCause> {
        let mut causes = Vec::new();
        for outbound in &solved.outbound {
            let index = outbound.outbound;
            let places = outbound.places.iter().zip(&outbound.shares);
            let best = places.max_by(|a, b| a.1.total_cmp(b.1));
            let Some((best, share)) = best else { continue };
            let state = &solved.states[best.0 as usize];
            let share = *share;
            if share < MIN_LIKELY || state.is_queue {
                continue;
            }
            let lane = &self.lanes[component.lanes[best.0 as usize]];
            if let Some(before) = state.before(best.1) {
                causes.push(LikelyCause {
                    outbound: index,
                    inbound: lane.members[0],
                    share,
                    before,
                    last: state.last(best.1),
                    is_proven: self.proven[index as usize],
                });
            }
        }
        causes
    }
}
