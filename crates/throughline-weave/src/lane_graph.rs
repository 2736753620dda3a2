//! The ways in which a lane can have caused its candidates, as a graph: a node is a call that it
//! made after a certain history, an edge the likelihood that it did nothing else in between.

use crate::event::Nanos;
use crate::lane_masses::LaneMasses;
use crate::life_table::END;
use crate::problem::{Lane, OPEN, Problem};
use crate::step_model::{HistoryId, Standing, StepModel};

/// Likelihoods below this are none, per second.
const MIN_WEIGHT: f64 = 1e-9;
/// Records that a consumer may pass over without a call.
const MAX_SKIPPED: usize = 16;
/// Steps to a candidate that are this much less likely than the best one are left out.
const MIN_SHARE: f64 = 1e-4;
/// The same for queues, whose nodes pass over the calls of other queues.
const MIN_QUEUE_SHARE: f64 = 1e-6;
/// Factor of a queue for passing over a call, while its paths are compared.
const PASSED_OVER: f64 = 0.3;
/// A node that has survived with less than this probability takes no further step.
const MIN_SURVIVAL: f64 = 1e-8;
/// Steps of a lane to one candidate.
const MAX_EDGES_PER_CANDIDATE: usize = 48;
/// Nodes that a lane goes on from.
const MAX_ACTIVE: usize = 160;
/// Candidates of a lane whose path sums need no scaling.
const MAX_UNSCALED: usize = 16;
/// Calls of one record while the one before it still waits.
const OVERLAP: f64 = 1e-3;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    /// Index into the candidates of the lane; the root has none.
    pub(crate) candidate: u32,
    /// Index into the members of the lane.
    pub(crate) member: u32,
    pub(crate) standing: Standing,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Edge {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) weight: f64,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct LaneGraph {
    pub(crate) nodes: Vec<Node>,
    /// In the order of the candidates of their targets.
    pub(crate) edges: Vec<Edge>,
    /// Likelihood that a node is the last.
    pub(crate) finals: Vec<f64>,
}

/// Forward and backward sums over a graph.
#[derive(Debug, Clone, Default)]
pub(crate) struct PathSums {
    /// Factor for including each candidate, scaled.
    inclusion: Vec<f64>,
    /// Logarithm of what leaving out the candidates before each counts; empty for short lanes.
    omitted: Vec<f64>,
    pub(crate) forward: Vec<f64>,
    pub(crate) backward: Vec<f64>,
    pub(crate) total: f64,
}

pub(crate) const NO_CANDIDATE: u32 = u32::MAX;

/// A graph under construction.
struct LaneGraphBuilder<'a> {
    problem: &'a Problem,
    lane: &'a Lane,
    model: &'a mut StepModel,
    graph: LaneGraph,
    /// Weight of the best path to each node, relative to the best way to its candidate.
    best: Vec<f64>,
    /// Nodes that can still take a step.
    active: Vec<u32>,
    /// Reused for each candidate.
    steps: Vec<LaneStep>,
}

/// A step from a node to a candidate, on behalf of a member.
struct LaneStep {
    from: u32,
    member: u32,
    /// History before the call.
    history: HistoryId,
    standing: Standing,
    weight: f64,
}

// === impl LaneGraph ===

impl LaneGraph {
    pub(crate) fn build(problem: &Problem, lane: &Lane, model: &mut StepModel) -> Self {
        let first = &problem.inbound[lane.members[0] as usize];
        let mut builder = LaneGraphBuilder {
            problem,
            lane,
            model,
            graph: Self::default(),
            best: vec![1.0],
            active: vec![0],
            steps: Vec::new(),
        };
        builder.graph.nodes.push(Node {
            candidate: NO_CANDIDATE,
            member: 0,
            standing: Standing {
                history: builder.model.fresh(first.operation),
                last_start: first.start,
                free_since: first.start,
                ended: false,
            },
        });
        for index in 0..lane.candidates.len() {
            builder.add_candidate(index);
        }
        let LaneGraphBuilder {
            mut graph, model, ..
        } = builder;
        for index in 0..graph.nodes.len() {
            let weight = graph.final_weight(problem, lane, model, index);
            graph.finals.push(weight);
        }
        graph
    }

    fn final_weight(
        &self,
        problem: &Problem,
        lane: &Lane,
        model: &mut StepModel,
        index: usize,
    ) -> f64 {
        let node = &self.nodes[index];
        if lane.is_queue {
            return queue_final(problem, lane, model, node);
        }
        let inbound = &problem.inbound[lane.members[0] as usize];
        if node.standing.ended || inbound.abandoned {
            return 1.0;
        }
        if inbound.end == OPEN {
            model.likelihood_of(&node.standing.stays(problem.now, None))
        } else {
            model.likelihood_of(&node.standing.stays_to_end(inbound.end))
        }
    }

    /// Sums the weights of all paths; a candidate on a path counts `inclusion` times.
    pub(crate) fn sum_paths(&self, inclusion: &[f64], sums: &mut PathSums) {
        self.scale_paths(inclusion, sums);
        sums.forward.clear();
        sums.forward.resize(self.nodes.len(), 0.0);
        sums.forward[0] = 1.0;
        for edge in &self.edges {
            let weight = sums.factor(self, edge);
            sums.forward[edge.to as usize] += sums.forward[edge.from as usize] * weight;
        }
        sums.backward.clear();
        for (node, last) in self.nodes.iter().zip(&self.finals) {
            sums.backward.push(last * sums.final_scale(node.candidate));
        }
        for edge in self.edges.iter().rev() {
            let weight = sums.factor(self, edge);
            sums.backward[edge.from as usize] += weight * sums.backward[edge.to as usize];
        }
        sums.total = sums.backward[0];
    }

    /// Long lanes overflow: there, every path is multiplied by the same number for each candidate,
    /// whether it has it or leaves it out, so that having it counts about one.
    fn scale_paths(&self, inclusion: &[f64], sums: &mut PathSums) {
        sums.inclusion.clear();
        sums.inclusion.extend_from_slice(inclusion);
        sums.omitted.clear();
        if inclusion.len() <= MAX_UNSCALED {
            return;
        }
        let mut heaviest = vec![0.0_f64; inclusion.len()];
        for edge in &self.edges {
            let candidate = self.nodes[edge.to as usize].candidate as usize;
            heaviest[candidate] = heaviest[candidate].max(edge.weight);
        }
        let mut sum = 0.0;
        sums.omitted.push(sum);
        for (candidate, heaviest) in heaviest.into_iter().enumerate() {
            let counts = inclusion[candidate] * heaviest;
            if counts > 1.0 {
                sum -= counts.ln();
                sums.inclusion[candidate] /= counts;
            }
            sums.omitted.push(sum);
        }
    }

    /// Adds the stays of all paths to the model, each with its probability.
    pub(crate) fn learn(
        &self,
        problem: &Problem,
        lane: &Lane,
        model: &mut StepModel,
        masses: &LaneMasses,
    ) {
        for (edge, weight) in self.edges.iter().zip(&masses.edges) {
            if *weight > 1e-4 {
                self.learn_edge(problem, lane, model, edge, weight.min(1.0));
            }
        }
        for (node, weight) in self.nodes.iter().zip(&masses.finals) {
            if *weight > 1e-4 {
                learn_final(problem, lane, model, node, weight.min(1.0));
            }
        }
    }

    fn learn_edge(
        &self,
        problem: &Problem,
        lane: &Lane,
        model: &mut StepModel,
        edge: &Edge,
        weight: f64,
    ) {
        let from = &self.nodes[edge.from as usize];
        let to = &self.nodes[edge.to as usize];
        let outbound = &problem.outbound[lane.candidates[to.candidate as usize] as usize];
        let mut standing = from.standing;
        if lane.is_queue {
            let starts_at = from.candidate == NO_CANDIDATE || to.member != from.member;
            if starts_at {
                if from.candidate != NO_CANDIDATE {
                    model.learn_done(from.standing.history, true, weight);
                }
                let skipped = skipped_from(from)..to.member as usize;
                for member in skipped {
                    let inbound = &problem.inbound[lane.members[member] as usize];
                    let fresh = model.fresh(inbound.operation);
                    model.learn_done(fresh, true, weight);
                }
                standing = begin_member(problem, lane, model, from, to.member as usize);
            }
            model.learn_done(standing.history, false, weight);
        } else {
            let inbound = &problem.inbound[lane.members[0] as usize];
            if !standing.ended && to.standing.ended {
                for stay in standing.stays_to_end(inbound.end).iter() {
                    model.learn(stay, weight);
                }
                standing = standing.after_end(inbound.end);
            }
        }
        for stay in standing.stays(outbound.start, Some(outbound.kind)).iter() {
            model.learn(stay, weight);
        }
    }
}

// === impl PathSums ===

impl PathSums {
    /// Returns what an edge multiplies a path by.
    pub(crate) fn factor(&self, graph: &LaneGraph, edge: &Edge) -> f64 {
        let to = graph.nodes[edge.to as usize].candidate as usize;
        let weight = edge.weight * self.inclusion[to];
        if self.omitted.is_empty() {
            return weight;
        }
        let first = graph.nodes[edge.from as usize].first_after();
        weight * (self.omitted[to] - self.omitted[first]).exp()
    }

    /// Returns the logarithm of what leaving out all candidates up to a node counts.
    pub(crate) fn omitted_before(&self, node: &Node) -> f64 {
        self.omitted.get(node.first_after()).copied().unwrap_or(0.0)
    }

    /// Returns what leaving out all candidates after one counts.
    pub(crate) fn final_scale(&self, candidate: u32) -> f64 {
        let Some(last) = self.omitted.last() else {
            return 1.0;
        };
        let first = if candidate == NO_CANDIDATE {
            0
        } else {
            candidate as usize + 1
        };
        (last - self.omitted[first]).exp()
    }
}

// === impl Node ===

impl Node {
    /// Returns the first candidate that can follow.
    fn first_after(&self) -> usize {
        if self.candidate == NO_CANDIDATE {
            0
        } else {
            self.candidate as usize + 1
        }
    }
}

// === impl LaneGraphBuilder ===

impl LaneGraphBuilder<'_> {
    fn add_candidate(&mut self, index: usize) {
        let candidate = self.lane.candidates[index];
        let outbound = &self.problem.outbound[candidate as usize];
        let mut steps = std::mem::take(&mut self.steps);
        steps.clear();
        let mut active = std::mem::take(&mut self.active);
        // Newest first: a queue looks back no further than it must.
        active.retain(|from| {
            let node = self.graph.nodes[*from as usize];
            self.push_steps(*from, &node, candidate, &mut steps)
        });
        self.active = active;
        let heaviest = steps.iter().map(|step| step.weight).fold(0.0, f64::max);
        if heaviest < MIN_WEIGHT {
            self.steps = steps;
            return;
        }
        let value = |step: &LaneStep| self.best[step.from as usize] * step.weight / heaviest;
        let top = steps.iter().map(value).fold(0.0, f64::max);
        let floor = top
            * if self.lane.is_queue {
                MIN_QUEUE_SHARE
            } else {
                MIN_SHARE
            };
        steps.retain(|step| {
            step.weight >= MIN_WEIGHT
                && self.best[step.from as usize] * step.weight / heaviest >= floor
        });
        if steps.len() > MAX_EDGES_PER_CANDIDATE {
            let value = |step: &LaneStep| self.best[step.from as usize] * step.weight;
            steps.sort_by(|a, b| value(b).total_cmp(&value(a)));
            steps.truncate(MAX_EDGES_PER_CANDIDATE);
        }
        let first_new = self.graph.nodes.len();
        for step in &steps {
            let history = self.model.after(step.history, outbound.kind);
            let standing = step
                .standing
                .after_call(history, outbound.start, outbound.end);
            let known = self.graph.nodes[first_new..]
                .iter()
                .position(|node| node.member == step.member && node.standing == standing);
            let value = self.best[step.from as usize] * step.weight / heaviest;
            let to = if let Some(offset) = known {
                first_new + offset
            } else {
                self.graph.nodes.push(Node {
                    candidate: index as u32,
                    member: step.member,
                    standing,
                });
                self.best.push(0.0);
                self.graph.nodes.len() - 1
            };
            self.best[to] = self.best[to].max(value);
            self.graph.edges.push(Edge {
                from: step.from,
                to: to as u32,
                weight: step.weight,
            });
        }
        self.activate(first_new);
        self.steps = steps;
    }

    /// Lets the nodes from `first_new` on take further steps.
    fn activate(&mut self, first_new: usize) {
        self.active
            .extend((first_new..self.graph.nodes.len()).map(|node| node as u32));
        if self.lane.is_queue {
            // Few calls of a consumer are not its records': older nodes have passed this one over.
            for node in &mut self.best[..first_new] {
                *node *= PASSED_OVER;
            }
        }
        if self.active.len() > MAX_ACTIVE {
            self.thin_out(MAX_ACTIVE);
        }
    }

    /// Gives up the least likely of the nodes that can still take steps.
    fn thin_out(&mut self, most: usize) {
        let mut values: Vec<f64> = self
            .active
            .iter()
            .map(|node| self.best[*node as usize])
            .collect();
        values.sort_by(|a, b| b.total_cmp(a));
        let floor = values[most - 1];
        let mut left = most;
        // Of equals the newest stay.
        let mut kept: Vec<u32> = Vec::with_capacity(most);
        for node in self.active.iter().rev() {
            if self.best[*node as usize] >= floor && left > 0 {
                kept.push(*node);
                left -= 1;
            }
        }
        kept.reverse();
        self.active = kept;
    }

    /// Adds the ways in which the lane can make the call after a node. Returns whether the node can
    /// still take later steps.
    fn push_steps(
        &mut self,
        from: u32,
        node: &Node,
        candidate: u32,
        steps: &mut Vec<LaneStep>,
    ) -> bool {
        let (problem, lane) = (self.problem, self.lane);
        let outbound = &problem.outbound[candidate as usize];
        if lane.is_queue {
            queue_steps(problem, lane, self.model, (from, node), candidate, steps);
            return true;
        }
        let inbound = &problem.inbound[lane.members[0] as usize];
        let mut standing = node.standing;
        let mut weight = self.model.tokens.factor(inbound, outbound);
        if !standing.ended && outbound.start > inbound.end && !inbound.abandoned {
            weight *= self
                .model
                .likelihood_of(&standing.stays_to_end(inbound.end));
            standing = standing.after_end(inbound.end);
        }
        let (survival, hazard) = self
            .model
            .split_likelihood(&standing.stays(outbound.start, Some(outbound.kind)));
        weight *= survival;
        steps.push(LaneStep {
            from,
            member: 0,
            history: standing.history,
            standing,
            weight: weight * hazard,
        });
        weight > MIN_SURVIVAL
    }
}

/// Returns the first member that has not acted when the lane stands at `node`.
fn skipped_from(node: &Node) -> usize {
    if node.candidate == NO_CANDIDATE {
        0
    } else {
        node.member as usize + 1
    }
}

/// Returns the standing of a record whose turn comes after `node`.
fn begin_member(
    problem: &Problem,
    lane: &Lane,
    model: &mut StepModel,
    node: &Node,
    member: usize,
) -> Standing {
    let inbound = &problem.inbound[lane.members[member] as usize];
    let start = if node.candidate == NO_CANDIDATE {
        inbound.start
    } else {
        inbound.start.max(node.standing.free_since)
    };
    Standing {
        history: model.fresh(inbound.operation),
        last_start: start,
        free_since: start,
        ended: false,
    }
}

fn queue_steps(
    problem: &Problem,
    lane: &Lane,
    model: &mut StepModel,
    (from_node, node): (u32, &Node),
    candidate: u32,
    steps: &mut Vec<LaneStep>,
) {
    let outbound = &problem.outbound[candidate as usize];
    let mut passing = 1.0;
    if node.candidate != NO_CANDIDATE {
        let current = &problem.inbound[lane.members[node.member as usize] as usize];
        let done = model.done_probability(node.standing.history);
        let stays = node.standing.stays(outbound.start, Some(outbound.kind));
        let is_possible = f64::from(u8::from(outbound.may_be_of(current)));
        steps.push(LaneStep {
            from: from_node,
            member: node.member,
            history: node.standing.history,
            standing: node.standing,
            weight: is_possible
                * (1.0 - done)
                * model.tokens.factor(current, outbound)
                * model.likelihood_of(&stays),
        });
        passing = done;
        if node.standing.free_since > outbound.start {
            passing *= OVERLAP;
        }
    }
    let from = skipped_from(node);
    for member in from..lane.members.len().min(from + MAX_SKIPPED) {
        let inbound = &problem.inbound[lane.members[member] as usize];
        if inbound.start > outbound.start || passing < MIN_WEIGHT {
            break;
        }
        let mut standing = begin_member(problem, lane, model, node, member);
        // Calls of the record before may still be outstanding, if records overlap.
        standing.last_start = standing.last_start.min(outbound.start);
        standing.free_since = standing.free_since.min(outbound.start);
        let done = model.done_probability(standing.history);
        let stays = standing.stays(outbound.start, Some(outbound.kind));
        // A committed record is handled: what follows is not its doing.
        let committed = if outbound.start > inbound.end {
            OVERLAP
        } else {
            1.0
        };
        steps.push(LaneStep {
            from: from_node,
            member: member as u32,
            history: standing.history,
            standing,
            weight: passing
                * f64::from(u8::from(outbound.may_be_of(inbound)))
                * committed
                * (1.0 - done)
                * model.tokens.factor(inbound, outbound)
                * model.likelihood_of(&stays),
        });
        passing *= done;
    }
}

/// Returns the likelihood that a consumer did nothing after `node`.
fn queue_final(problem: &Problem, lane: &Lane, model: &mut StepModel, node: &Node) -> f64 {
    let mut weight = 1.0;
    if node.candidate != NO_CANDIDATE {
        let done = model.done_probability(node.standing.history);
        let idle = node.standing.stays(problem.now, None);
        let waiting = (1.0 - done) * model.likelihood_of(&idle);
        weight = done + waiting;
    }
    for member in skipped_from(node)..lane.members.len() {
        let standing = begin_member(problem, lane, model, node, member);
        let done = model.done_probability(standing.history);
        weight *= done + (1.0 - done) * model.likelihood_of(&standing.stays(problem.now, None));
        if weight < 1e-12 {
            break;
        }
    }
    weight
}

fn learn_final(problem: &Problem, lane: &Lane, model: &mut StepModel, node: &Node, weight: f64) {
    if lane.is_queue {
        if node.candidate != NO_CANDIDATE {
            model.learn_done(node.standing.history, true, weight);
        }
        for member in skipped_from(node)..lane.members.len() {
            let inbound = &problem.inbound[lane.members[member] as usize];
            if inbound.end != OPEN {
                let fresh = model.fresh(inbound.operation);
                model.learn_done(fresh, true, weight);
            }
        }
        return;
    }
    let inbound = &problem.inbound[lane.members[0] as usize];
    if node.standing.ended || inbound.abandoned {
        return;
    }
    let (at, step): (Nanos, _) = if inbound.end == OPEN {
        (problem.now, None)
    } else {
        (inbound.end, Some(END))
    };
    for stay in node.standing.stays(at, step).iter() {
        model.learn(stay, weight);
    }
}
