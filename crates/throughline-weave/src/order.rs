//! Whether a process takes requests in turn: an event loop does not overtake.
//!
//! Two neighbouring calls of one kind whose causes could be exchanged are compared in the order of
//! their starts, and of their ends. Only pairs count that the *rest* of the evidence decides,
//! whatever the timing of the compared side says: choosing pairs by all evidence would be biased,
//! because inverted pairs are seldom certain. Where practically none of them is inverted, an
//! inversion weighs as much less as the timing alone would have predicted more of them.

use std::collections::VecDeque;

use crate::event::Nanos;
use crate::problem::{Inbound, OPEN, Outbound, Problem};
use crate::step_model::{Standing, StepModel};

/// Inversions that are taken as given before anything was seen.
const PRIOR_INVERSIONS: f64 = 0.5;
/// Inversions are never ruled out.
const MIN_FACTOR: f64 = 0.002;
/// A process takes requests in turn if it shows fewer than this share of the inversions that
/// independent delays would show.
const MAX_INVERTED: f64 = 0.35;
/// Pairs that are remembered.
const MAX_PAIRS: usize = 2048;

/// Two neighbouring calls whose causes are known from the rest of the evidence.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OrderPair {
    /// Probability that these are the causes.
    pub(crate) weight: f64,
    pub(crate) is_inverted: bool,
    /// Probability of an inversion by the timing of the compared side alone.
    pub(crate) predicted: f64,
}

/// How inversions are weighed in one process.
#[derive(Debug, Clone)]
pub(crate) struct ProcessOrder {
    factor: f64,
    pairs: VecDeque<OrderPair>,
}

// === impl ProcessOrder ===

impl Default for ProcessOrder {
    fn default() -> Self {
        Self {
            factor: 1.0,
            pairs: VecDeque::new(),
        }
    }
}

impl ProcessOrder {
    /// Returns what an arrangement of two causes weighs.
    pub(crate) fn weight_of(&self, order: Order) -> f64 {
        if order == Order::Inverted {
            self.factor
        } else {
            1.0
        }
    }

    pub(crate) fn is_neutral(&self) -> bool {
        self.factor >= 1.0
    }

    pub(crate) fn observe(&mut self, pair: OrderPair) {
        if self.pairs.len() >= MAX_PAIRS {
            self.pairs.pop_front();
        }
        self.pairs.push_back(pair);
    }

    pub(crate) fn forget_pairs(&mut self) {
        self.pairs.clear();
    }

    /// Computes the factor from the pairs; it says something once `min_predicted` inversions were
    /// to be expected.
    pub(crate) fn refresh(&mut self, min_predicted: f64) {
        let (mut inverted, mut predicted) = (0.0, 0.0);
        for pair in &self.pairs {
            inverted += pair.weight * f64::from(u8::from(pair.is_inverted));
            predicted += pair.weight * pair.predicted;
        }
        let ratio = (inverted + PRIOR_INVERSIONS) / (predicted + PRIOR_INVERSIONS);
        self.factor = if predicted >= min_predicted && ratio < MAX_INVERTED {
            ratio.max(MIN_FACTOR)
        } else {
            1.0
        };
    }
}

/// A request that most likely made a call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LikelyCause {
    pub(crate) outbound: u32,
    pub(crate) inbound: u32,
    pub(crate) share: f64,
    /// Where the request stood before the call.
    pub(crate) before: Standing,
    /// Where it stood after the call, if that was its last.
    pub(crate) last: Option<Standing>,
    pub(crate) is_proven: bool,
}

/// Whether two causes are in the order of their calls.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Order {
    Unknown,
    Kept,
    Inverted,
}

/// Two neighbouring calls of one kind with their causes.
struct CausePair<'a> {
    problem: &'a Problem,
    first: &'a LikelyCause,
    second: &'a LikelyCause,
}

/// Compares the order of two calls with that of their causes.
pub(crate) fn compare(calls: (Nanos, Nanos), causes: (Nanos, Nanos)) -> Order {
    let is_open = [calls.0, calls.1, causes.0, causes.1].contains(&OPEN);
    if is_open || calls.0 == calls.1 || causes.0 == causes.1 {
        Order::Unknown
    } else if (calls.0 < calls.1) == (causes.0 < causes.1) {
        Order::Kept
    } else {
        Order::Inverted
    }
}

/// Learns from two neighbouring calls of one kind.
pub(crate) fn observe_pair(
    problem: &Problem,
    model: &mut StepModel,
    order: &mut ProcessOrder,
    (first, second): (&LikelyCause, &LikelyCause),
) {
    if first.inbound == second.inbound {
        return;
    }
    let pair = CausePair {
        problem,
        first,
        second,
    };
    let pairs = [pair.compare_starts(model), pair.compare_ends(model)];
    pairs
        .into_iter()
        .flatten()
        .for_each(|pair| order.observe(pair));
}

// === impl CausePair ===

impl CausePair<'_> {
    /// Compares starts, if both requests could have made both calls, as far as starts go, and
    /// something else decides.
    fn compare_starts(&self, model: &mut StepModel) -> Option<OrderPair> {
        let [(a, call_a), (b, call_b)] = self.sides();
        let is_open = a.start.max(b.start) <= call_a.start && call_b.start <= a.end.min(b.end);
        let is_decided = call_b.end > a.end || call_a.end > b.end || self.is_proven();
        if !is_open || !is_decided || a.start == b.start || call_a.start == call_b.start {
            return None;
        }
        if self.second.before.last_start > call_a.start {
            return None;
        }
        let mut density = |before: &Standing, call: &Outbound| {
            model.likelihood_of(&before.stays(call.start, Some(call.kind)))
        };
        let (before_a, before_b) = (&self.first.before, &self.second.before);
        let as_is = density(before_a, call_a) * density(before_b, call_b);
        let exchanged = density(before_a, call_b) * density(before_b, call_a);
        Some(self.pair(a.start < b.start, as_is, exchanged))
    }

    /// Compares ends, if both requests could have waited for both calls, as far as ends go, and
    /// something else decides.
    fn compare_ends(&self, model: &mut StepModel) -> Option<OrderPair> {
        let [(a, call_a), (b, call_b)] = self.sides();
        let ends = [a.end, b.end, call_a.end, call_b.end];
        let is_open = call_a.end.max(call_b.end) <= a.end.min(b.end) && !ends.contains(&OPEN);
        let is_decided = b.start > call_a.start || self.is_proven();
        if !is_open || !is_decided || a.end == b.end || call_a.end == call_b.end {
            return None;
        }
        let (last_a, last_b) = (self.first.last?, self.second.last?);
        let mut density = |last: &Standing, call: &Outbound, end: Nanos| {
            let last = Standing {
                last_start: call.start,
                free_since: call.end,
                ..*last
            };
            model.likelihood_of(&last.stays_to_end(end))
        };
        let as_is = density(&last_a, call_a, a.end) * density(&last_b, call_b, b.end);
        let exchanged = density(&last_a, call_b, a.end) * density(&last_b, call_a, b.end);
        let is_kept = (call_a.end < call_b.end) == (a.end < b.end);
        Some(self.pair(is_kept, as_is, exchanged))
    }

    fn pair(&self, is_kept: bool, as_is: f64, exchanged: f64) -> OrderPair {
        let exchange = exchanged / (as_is + exchanged).max(f64::MIN_POSITIVE);
        OrderPair {
            weight: self.first.share * self.second.share,
            is_inverted: !is_kept,
            predicted: if is_kept { exchange } else { 1.0 - exchange },
        }
    }

    fn is_proven(&self) -> bool {
        self.first.is_proven && self.second.is_proven
    }

    fn sides(&self) -> [(&Inbound, &Outbound); 2] {
        [self.first, self.second].map(|cause| {
            (
                &self.problem.inbound[cause.inbound as usize],
                &self.problem.outbound[cause.outbound as usize],
            )
        })
    }
}
