//! The messages between a lane and its candidates.

use crate::belief::Belief;
use crate::event::Nanos;
use crate::lane_graph::{Edge, LaneGraph, NO_CANDIDATE, PathSums};
use crate::lane_masses::LaneMasses;
use crate::problem::{Lane, Problem};
use crate::step_model::{Standing, StepModel};

/// Weight of the old message in a new one.
const DAMPING: f64 = 0.5;
/// Odds beyond which nothing is more certain.
const MAX_ODDS: f64 = 1e15;
/// Probability that a call was the last, for its end to say something.
const LIKELY_LAST: f64 = 0.8;

/// One lane while beliefs are exchanged.
#[derive(Debug, Clone)]
pub(crate) struct LaneState {
    pub(crate) graph: LaneGraph,
    pub(crate) sums: PathSums,
    /// The message of the lane to each candidate: the density of the call, if it was its own.
    pub(crate) odds: Vec<f64>,
    /// First edge into each candidate.
    pub(crate) first_edge: Vec<u32>,
    /// The message of the rest about each candidate: one over the density of all other causes.
    pub(crate) inclusion: Vec<f64>,
    /// Probability of each candidate within the lane.
    pub(crate) marginals: Vec<f64>,
    /// Probabilities of its steps, once beliefs are exchanged.
    pub(crate) masses: LaneMasses,
    pub(crate) start: Nanos,
    pub(crate) end: Nanos,
    pub(crate) is_queue: bool,
}

// === impl LaneState ===

impl LaneState {
    pub(crate) fn new(problem: &Problem, lane: &Lane, model: &mut StepModel) -> Self {
        let graph = LaneGraph::build(problem, lane, model);
        let count = lane.candidates.len();
        let mut odds = vec![0.0; count];
        // To begin with, a candidate is as likely as its best way.
        let mut first_edge = vec![0; count + 1];
        for edge in &graph.edges {
            let candidate = graph.nodes[edge.to as usize].candidate as usize;
            odds[candidate] = edge.weight.max(odds[candidate]);
            first_edge[candidate + 1] += 1;
        }
        for slot in 0..count {
            first_edge[slot + 1] += first_edge[slot];
        }
        let first = &problem.inbound[lane.members[0] as usize];
        Self {
            graph,
            sums: PathSums::default(),
            first_edge,
            odds,
            inclusion: vec![0.0; count],
            marginals: vec![0.0; count],
            masses: LaneMasses::default(),
            start: first.start,
            end: first.end,
            is_queue: lane.is_queue,
        }
    }

    /// Updates the messages of the lane. Returns the largest change of a probability.
    pub(crate) fn update(&mut self, undamped: bool) -> f64 {
        self.graph.sum_paths(&self.inclusion, &mut self.sums);
        let mut mass = vec![0.0; self.marginals.len()];
        for (index, node) in self.graph.nodes.iter().enumerate() {
            if node.candidate != NO_CANDIDATE {
                mass[node.candidate as usize] +=
                    self.sums.forward[index] * self.sums.backward[index];
            }
        }
        let mut change: f64 = 0.0;
        for (slot, mass) in mass.into_iter().enumerate() {
            let total = self.sums.total.max(f64::MIN_POSITIVE);
            let with = (mass / total).clamp(0.0, 1.0);
            let without = (1.0 - with).max(1e-13);
            let inclusion = self.inclusion[slot].max(f64::MIN_POSITIVE);
            let odds = (with / without / inclusion).min(MAX_ODDS);
            let known = self.odds[slot];
            self.odds[slot] = if undamped || odds <= 0.0 || known <= 0.0 {
                odds
            } else {
                known.powf(DAMPING) * odds.powf(1.0 - DAMPING)
            };
            change = change.max((with - self.marginals[slot]).abs());
            self.marginals[slot] = with;
        }
        change
    }

    /// Returns, by node, the logarithm of what the rest of its path is worth, as far as the beliefs
    /// say. Values of nodes are comparable before any call.
    pub(crate) fn outlook(&self) -> Vec<f64> {
        let nodes = self.graph.nodes.iter().zip(&self.sums.backward);
        nodes
            .map(|(node, rest)| rest.ln() + self.sums.omitted_before(node))
            .collect()
    }

    /// Fixes the probabilities of the steps, once beliefs are exchanged.
    pub(crate) fn finish(&mut self, masses: Option<LaneMasses>) {
        let Some(masses) = masses else {
            self.masses = LaneMasses::of(&self.graph, &self.sums);
            return;
        };
        self.masses = masses;
        self.marginals.fill(0.0);
        for (edge, mass) in self.graph.edges.iter().zip(&self.masses.edges) {
            let candidate = self.graph.nodes[edge.to as usize].candidate;
            self.marginals[candidate as usize] += mass;
        }
    }

    /// Returns the edges into a candidate with their probabilities.
    fn edges_into(&self, slot: u32) -> impl Iterator<Item = (&Edge, f64)> {
        let first = self.first_edge[slot as usize] as usize;
        let range = first..self.first_edge[slot as usize + 1] as usize;
        let masses = self.masses.edges.get(range.clone()).unwrap_or_default();
        self.graph.edges[range].iter().zip(masses.iter().copied())
    }

    /// Returns where the lane most likely stood before it made a call.
    pub(crate) fn before(&self, slot: u32) -> Option<Standing> {
        let likely = self.edges_into(slot).max_by(|a, b| a.1.total_cmp(&b.1));
        let (edge, _) = likely?;
        Some(self.graph.nodes[edge.from as usize].standing)
    }

    /// Returns where the lane stood after a call, if that was most likely its last.
    pub(crate) fn last(&self, slot: u32) -> Option<Standing> {
        let last = |node: u32| self.masses.finals[node as usize];
        let nodes = self.edges_into(slot).map(|(edge, _)| edge.to);
        let likely = nodes.max_by(|a, b| last(*a).total_cmp(&last(*b)))?;
        let into = self.edges_into(slot).filter(|(edge, _)| edge.to == likely);
        let all: f64 = into.map(|(_, mass)| mass).sum();
        (last(likely) > LIKELY_LAST * all).then(|| self.graph.nodes[likely as usize].standing)
    }

    /// Splits the share of the lane in a candidate among its members.
    pub(crate) fn members_of(&self, slot: u32, share: f64, lane: &Lane, causes: &mut Vec<Belief>) {
        if !lane.is_queue {
            causes.push(Belief {
                inbound: lane.members[0],
                probability: share,
            });
            return;
        }
        let mut masses: Vec<(u32, f64)> = Vec::new();
        for (edge, mass) in self.edges_into(slot) {
            let made_by = self.graph.nodes[edge.to as usize].member;
            match masses.iter_mut().find(|(member, _)| *member == made_by) {
                Some((_, sum)) => *sum += mass,
                None => masses.push((made_by, mass)),
            }
        }
        let total: f64 = masses.iter().map(|(_, mass)| mass).sum();
        for (member, mass) in masses {
            if mass > 0.0 {
                causes.push(Belief {
                    inbound: lane.members[member as usize],
                    probability: share * mass / total,
                });
            }
        }
    }
}
