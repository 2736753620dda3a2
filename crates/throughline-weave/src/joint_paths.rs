//! The paths of all lanes of a component together.
//!
//! Belief propagation counts evidence more than once where two requests can be exchanged in several
//! calls. Here the lanes pass the calls together: a hypothesis says where each lane stands, and each
//! call moves one lane or none. Hypotheses that agree from now on are one. The sums forward and
//! backward are exact as long as no hypothesis has to be given up.

use std::collections::{BTreeMap, HashMap};

use crate::lane_masses::LaneMasses;
use crate::lane_state::LaneState;

/// Hypotheses before a call, and before all calls of a component together.
const MAX_HYPOTHESES: usize = 384;
const MIN_HYPOTHESES: usize = 24;
const MAX_ALL_HYPOTHESES: usize = 150_000;
/// Logarithm of the share below which a hypothesis is given up.
const MIN_LOG_SHARE: f64 = -23.0;

/// A possible cause of a call, as the component numbers it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JointPlace {
    pub(crate) lane: u32,
    pub(crate) slot: u32,
    /// What neighbours outside of the component say about it.
    pub(crate) factor: f64,
}

/// A call of the component.
#[derive(Debug, Clone)]
pub(crate) struct JointCall {
    /// Index of the call in the component.
    pub(crate) index: usize,
    pub(crate) kind: usize,
    pub(crate) cause: JointCause,
}

/// What may have caused a call.
#[derive(Debug, Clone)]
pub(crate) enum JointCause {
    /// One of these, or, with this density, none.
    Open { places: Vec<JointPlace>, stray: f64 },
    /// This lane for certain.
    Fixed(JointPlace),
    /// A lane whose path is not looked at.
    Foreign(u32),
}

/// Results for a component.
#[derive(Debug, Clone)]
pub(crate) struct JointMasses {
    pub(crate) lanes: BTreeMap<u32, LaneMasses>,
    /// Probability of each call to have no cause.
    pub(crate) none: Vec<f64>,
    /// Share of the hypotheses that were given up.
    pub(crate) lost: f64,
}

/// How the causes of two calls of one kind weigh: (earlier call, its lane), (later call, its lane).
pub(crate) type PairFactor<'a> = &'a dyn Fn((usize, u32), (usize, u32)) -> f64;

/// The search over one component.
pub(crate) struct JointPaths<'a> {
    states: &'a [LaneState],
    calls: &'a [JointCall],
    /// Compares the causes of neighbouring calls of a kind; without it they are independent.
    pair_factor: Option<PairFactor<'a>>,
    kinds: usize,
    /// By lane: its first and its last call.
    spans: BTreeMap<u32, (usize, usize)>,
    /// By lane: first outgoing edge of each node, and the edges in that order.
    outgoing: BTreeMap<u32, (Vec<u32>, Vec<u32>)>,
    /// By lane and node: logarithm of what the rest of its path is worth.
    outlook: BTreeMap<u32, Vec<f64>>,
}

/// Hypotheses before one call.
#[derive(Debug, Default)]
struct HypothesisLayer {
    /// Lanes that may still make a call.
    lanes: Vec<u32>,
    /// The nodes of these lanes, then for each kind the last call and its lane, by hypothesis.
    keys: Vec<u32>,
    /// Logarithm of the weight.
    weights: Vec<f64>,
    arcs: Vec<PathStep>,
}

/// A step from a hypothesis to one of the next layer.
#[derive(Debug, Clone, Copy)]
struct PathStep {
    from: u32,
    to: u32,
    /// Lane and edge; none for a call without a cause.
    step: Option<(u32, u32)>,
    log_weight: f64,
}

/// A possible cause of a call under a hypothesis.
struct StepChoice {
    step: Option<(u32, u32)>,
    /// Position of the lane, and its new node.
    position: usize,
    node: u32,
    log_weight: f64,
}

const NO_LANE: u32 = u32::MAX;

// === impl StepChoice ===

impl StepChoice {
    fn none(weight: f64) -> Self {
        Self {
            step: None,
            position: usize::MAX,
            node: 0,
            log_weight: weight.ln(),
        }
    }
}

// === impl JointCause ===

impl JointCause {
    fn places(&self) -> &[JointPlace] {
        match self {
            Self::Open { places, .. } => places,
            Self::Fixed(place) => std::slice::from_ref(place),
            Self::Foreign(_) => &[],
        }
    }
}

// === impl JointMasses ===

impl JointMasses {
    fn end_at(&mut self, lane: u32, node: u32, mass: f64) {
        if let Some(lane) = self.lanes.get_mut(&lane) {
            lane.finals[node as usize] += mass;
        }
    }
}

// === impl JointPaths ===

impl<'a> JointPaths<'a> {
    pub(crate) fn new(
        states: &'a [LaneState],
        calls: &'a [JointCall],
        pair_factor: Option<PairFactor<'a>>,
    ) -> Self {
        let kinds = calls.iter().map(|call| call.kind + 1).max().unwrap_or(0);
        let mut spans: BTreeMap<u32, (usize, usize)> = BTreeMap::new();
        for (index, call) in calls.iter().enumerate() {
            for place in call.cause.places() {
                spans.entry(place.lane).or_insert((index, index)).1 = index;
            }
        }
        let state = |lane: &u32| &states[*lane as usize];
        Self {
            states,
            calls,
            pair_factor,
            kinds: if pair_factor.is_some() { kinds } else { 0 },
            outgoing: spans
                .keys()
                .map(|lane| (*lane, outgoing(state(lane))))
                .collect(),
            outlook: spans
                .keys()
                .map(|lane| (*lane, state(lane).outlook()))
                .collect(),
            spans,
        }
    }

    /// Sums over all hypotheses; `None` if none is possible.
    pub(crate) fn solve(&self) -> Option<JointMasses> {
        let most =
            (MAX_ALL_HYPOTHESES / self.calls.len().max(1)).clamp(MIN_HYPOTHESES, MAX_HYPOTHESES);
        let mut layers: Vec<HypothesisLayer> = Vec::with_capacity(self.calls.len() + 1);
        let mut kept: f64 = 1.0;
        let mut layer = HypothesisLayer {
            keys: vec![NO_LANE; 2 * self.kinds],
            weights: vec![0.0],
            ..HypothesisLayer::default()
        };
        for index in 0..self.calls.len() {
            self.enter(&mut layer, index);
            let (next, share) = self.step(&mut layer, index, most);
            kept *= share;
            layers.push(layer);
            layer = next;
            if layer.weights.is_empty() {
                return None;
            }
        }
        let mut masses = self.sum_backward(&layers, &layer);
        masses.lost = 1.0 - kept;
        Some(masses)
    }

    /// Adds the lanes whose first candidate is this call.
    fn enter(&self, layer: &mut HypothesisLayer, index: usize) {
        let places = self.calls[index].cause.places().iter();
        let lanes = places.map(|place| place.lane);
        let new: Vec<u32> = lanes.filter(|lane| self.spans[lane].0 == index).collect();
        if new.is_empty() {
            return;
        }
        let old = layer.lanes.len();
        let width = old + 2 * self.kinds;
        let mut keys = Vec::with_capacity(layer.weights.len() * (width + new.len()));
        for index in 0..layer.weights.len() {
            let key = &layer.keys[index * width..(index + 1) * width];
            keys.extend_from_slice(&key[..old]);
            // All lanes begin at their root.
            keys.extend(new.iter().map(|_| 0));
            keys.extend_from_slice(&key[old..]);
        }
        layer.keys = keys;
        layer.lanes.extend(new);
    }

    /// Lets each hypothesis pass a call. Returns the next layer, and the share that was not given
    /// up.
    fn step(
        &self,
        layer: &mut HypothesisLayer,
        index: usize,
        most: usize,
    ) -> (HypothesisLayer, f64) {
        let width = layer.lanes.len() + 2 * self.kinds;
        let lanes = layer.lanes.iter();
        let stays: Vec<bool> = lanes.map(|lane| self.spans[lane].1 != index).collect();
        let staying = layer.lanes.iter().zip(&stays).filter(|(_, stays)| **stays);
        let mut next = HypothesisLayer {
            lanes: staying.map(|(lane, _)| *lane).collect(),
            ..HypothesisLayer::default()
        };
        let mut known: HashMap<Vec<u32>, u32> = HashMap::new();
        let mut outlooks: Vec<f64> = Vec::new();
        let mut options: Vec<StepChoice> = Vec::new();
        let mut arcs = Vec::new();
        for from in 0..layer.weights.len() {
            let nodes = &layer.keys[from * width..(from + 1) * width];
            self.options(layer, nodes, index, &mut options);
            for choice in options.drain(..) {
                let after = self.after(layer, &stays, nodes, index, &choice);
                let Some((key, log_weight, outlook)) = after else {
                    continue;
                };
                let to = *known.entry(key).or_insert_with_key(|key| {
                    next.keys.extend_from_slice(key);
                    next.weights.push(f64::NEG_INFINITY);
                    outlooks.push(outlook);
                    next.weights.len() as u32 - 1
                });
                let weight = &mut next.weights[to as usize];
                *weight = log_sum(*weight, layer.weights[from] + log_weight);
                arcs.push(PathStep {
                    from: from as u32,
                    to,
                    step: choice.step,
                    log_weight,
                });
            }
        }
        layer.arcs = arcs;
        let share = prune(layer, &mut next, &outlooks, most, self.kinds);
        (next, share)
    }

    /// Returns the hypothesis after a choice, its weight, and what the rest is worth; `None` where
    /// no path goes on.
    fn after(
        &self,
        layer: &HypothesisLayer,
        stays: &[bool],
        nodes: &[u32],
        index: usize,
        choice: &StepChoice,
    ) -> Option<(Vec<u32>, f64, f64)> {
        let call = &self.calls[index];
        let mut key = Vec::with_capacity(nodes.len());
        let (mut log_weight, mut outlook) = (choice.log_weight, 0.0);
        for (at, lane) in layer.lanes.iter().enumerate() {
            let is_moved = at == choice.position;
            let node = if is_moved { choice.node } else { nodes[at] };
            if stays[at] {
                key.push(node);
                outlook += self.outlook[lane][node as usize];
            } else {
                log_weight += self.states[*lane as usize].graph.finals[node as usize].ln();
            }
        }
        key.extend_from_slice(&nodes[layer.lanes.len()..]);
        let cause = match (choice.step, &call.cause) {
            (Some((lane, _)), _) => Some(lane),
            (None, JointCause::Foreign(lane)) => Some(*lane),
            (None, JointCause::Open { .. } | JointCause::Fixed(_)) => None,
        };
        if let Some(lane) = cause.filter(|_| self.kinds > 0) {
            let slot = key.len() - 2 * self.kinds + 2 * call.kind;
            key[slot] = call.index as u32;
            key[slot + 1] = lane;
        }
        let is_possible = log_weight > f64::NEG_INFINITY && outlook > f64::NEG_INFINITY;
        is_possible.then_some((key, log_weight, outlook))
    }

    /// Returns the causes of a call under a hypothesis.
    fn options(
        &self,
        layer: &HypothesisLayer,
        nodes: &[u32],
        index: usize,
        options: &mut Vec<StepChoice>,
    ) {
        let call = &self.calls[index];
        match &call.cause {
            JointCause::Open { stray, .. } => options.push(StepChoice::none(*stray)),
            JointCause::Fixed(_) => {}
            JointCause::Foreign(lane) => {
                let factor = self.order_factor(nodes, call, *lane);
                options.push(StepChoice::none(factor));
            }
        }
        for place in call.cause.places() {
            let Some(position) = layer.lanes.iter().position(|lane| *lane == place.lane) else {
                continue;
            };
            let (first, edges) = &self.outgoing[&place.lane];
            let node = nodes[position] as usize;
            let range = first[node] as usize..first[node + 1] as usize;
            let graph = &self.states[place.lane as usize].graph;
            let factor = place.factor * self.order_factor(nodes, call, place.lane);
            for edge in &edges[range] {
                let step = &graph.edges[*edge as usize];
                if graph.nodes[step.to as usize].candidate != place.slot {
                    continue;
                }
                options.push(StepChoice {
                    step: Some((place.lane, *edge)),
                    position,
                    node: step.to,
                    log_weight: (step.weight * factor).ln(),
                });
            }
        }
    }

    /// Returns what the order of a cause and the one before it weighs.
    fn order_factor(&self, nodes: &[u32], call: &JointCall, lane: u32) -> f64 {
        let Some(pair_factor) = self.pair_factor else {
            return 1.0;
        };
        let slot = nodes.len() - 2 * self.kinds + 2 * call.kind;
        let (last, by) = (nodes[slot], nodes[slot + 1]);
        if last == NO_LANE {
            1.0
        } else {
            pair_factor((last as usize, by), (call.index, lane))
        }
    }

    fn sum_backward(&self, layers: &[HypothesisLayer], last: &HypothesisLayer) -> JointMasses {
        let empty = |lane: &u32| {
            let graph = &self.states[*lane as usize].graph;
            let masses = LaneMasses {
                edges: vec![0.0; graph.edges.len()],
                finals: vec![0.0; graph.nodes.len()],
            };
            (*lane, masses)
        };
        let mut masses = JointMasses {
            lanes: self.spans.keys().map(empty).collect(),
            none: vec![0.0; layers.len()],
            lost: 0.0,
        };
        let all = last
            .weights
            .iter()
            .copied()
            .fold(f64::NEG_INFINITY, log_sum);
        let mut after = vec![0.0; last.weights.len()];
        let mut staying: &[u32] = &last.lanes;
        for (index, layer) in layers.iter().enumerate().rev() {
            let mut before = vec![f64::NEG_INFINITY; layer.weights.len()];
            let width = layer.lanes.len() + 2 * self.kinds;
            let leaving: Vec<(usize, u32)> = layer
                .lanes
                .iter()
                .enumerate()
                .filter(|(_, lane)| !staying.contains(lane))
                .map(|(position, lane)| (position, *lane))
                .collect();
            for arc in &layer.arcs {
                let from = arc.from as usize;
                let rest = arc.log_weight + after[arc.to as usize];
                before[from] = log_sum(before[from], rest);
                let mass = (layer.weights[from] + rest - all).exp();
                let node_of = |position: usize| layer.keys[from * width + position];
                let moved = self.add_step(&mut masses, index, arc, mass);
                for (position, lane) in &leaving {
                    let moved = moved.filter(|(moved, _)| moved == lane);
                    let node = moved.map_or_else(|| node_of(*position), |(_, node)| node);
                    masses.end_at(*lane, node, mass);
                }
            }
            after = before;
            staying = &layer.lanes;
        }
        masses
    }

    /// Adds the probability of a step. Returns the lane that moved, and its new node.
    fn add_step(
        &self,
        masses: &mut JointMasses,
        index: usize,
        arc: &PathStep,
        mass: f64,
    ) -> Option<(u32, u32)> {
        let Some((lane, edge)) = arc.step else {
            masses.none[index] += mass;
            return None;
        };
        let known = masses.lanes.get_mut(&lane)?;
        known.edges[edge as usize] += mass;
        let graph = &self.states[lane as usize].graph;
        Some((lane, graph.edges[edge as usize].to))
    }
}

/// Gives up the least likely hypotheses. Returns the share of those that stay.
fn prune(
    layer: &mut HypothesisLayer,
    next: &mut HypothesisLayer,
    outlooks: &[f64],
    most: usize,
    kinds: usize,
) -> f64 {
    let count = next.weights.len();
    let value = |index: usize| next.weights[index] + outlooks[index];
    let best = (0..count).map(value).fold(f64::NEG_INFINITY, f64::max);
    let mut order: Vec<usize> = (0..count)
        .filter(|index| value(*index) >= best + MIN_LOG_SHARE)
        .collect();
    if order.len() > most {
        // The order of equals is that of their making, which the input decides.
        order.sort_by(|a, b| value(*b).total_cmp(&value(*a)).then(a.cmp(b)));
        order.truncate(most);
        order.sort_unstable();
    }
    if order.len() == count {
        return 1.0;
    }
    let share = |index: usize| (value(index) - best).exp();
    let all: f64 = (0..count).map(share).sum();
    let kept: f64 = order.iter().map(|index| share(*index)).sum();
    let mut places = vec![u32::MAX; count];
    let width = next.lanes.len() + 2 * kinds;
    let mut keys = Vec::with_capacity(order.len() * width);
    let mut weights = Vec::with_capacity(order.len());
    for (place, index) in order.iter().enumerate() {
        places[*index] = place as u32;
        keys.extend_from_slice(&next.keys[index * width..(index + 1) * width]);
        weights.push(next.weights[*index]);
    }
    next.keys = keys;
    next.weights = weights;
    layer.arcs.retain_mut(|arc| {
        arc.to = places[arc.to as usize];
        arc.to != u32::MAX
    });
    kept / all
}

/// Returns the edges of a lane by the node that they leave.
fn outgoing(state: &LaneState) -> (Vec<u32>, Vec<u32>) {
    let graph = &state.graph;
    let mut first = vec![0_u32; graph.nodes.len() + 1];
    for edge in &graph.edges {
        first[edge.from as usize + 1] += 1;
    }
    for node in 0..graph.nodes.len() {
        first[node + 1] += first[node];
    }
    let mut place = first.clone();
    let mut edges = vec![0; graph.edges.len()];
    for (index, edge) in graph.edges.iter().enumerate() {
        let slot = &mut place[edge.from as usize];
        edges[*slot as usize] = index as u32;
        *slot += 1;
    }
    (first, edges)
}

/// Returns the logarithm of the sum of two numbers given by their logarithms.
fn log_sum(a: f64, b: f64) -> f64 {
    let (high, low) = if a >= b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY {
        high
    } else {
        high + (low - high).exp().ln_1p()
    }
}
