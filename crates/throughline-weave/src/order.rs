//! Whether a process takes requests in turn: an event loop does not overtake.
//!
//! Two neighbouring calls of one kind whose causes could be exchanged are compared in the order of
//! their starts, and of their ends. Only pairs count that the *rest* of the evidence decides,
//! whatever the timing of the compared side says: choosing pairs by all evidence would be biased,
//! because inverted pairs are seldom certain. Where practically none of them is inverted, an
//! inversion weighs as much less as the timing alone would have predicted more of them.

use std::collections::{BTreeMap, VecDeque};

use crate::event::{InboundId, Nanos};
use crate::message::OPEN;
use crate::step_model::{Standing, StepModel};

/// Inversions that are taken as given before anything was seen.
const PRIOR_INVERSIONS: f64 = 0.5;
/// Inversions are never ruled out.
const MIN_FACTOR: f64 = 0.002;
/// A process takes requests in turn if it shows fewer than this share of the inversions that
/// independent delays would show.
const MAX_INVERTED: f64 = 0.35;
/// Inversions that independent delays would have shown, before their absence means something.
const MIN_PREDICTED: f64 = 1.0;
/// Calls of a kind that a settled one is compared with.
const NEIGHBORS: usize = 8;
/// Growth of the number of requests after which the order is judged again.
const REFRESH_GROWTH: f64 = 1.1;
const REFRESH_REQUESTS: f64 = 10.0;
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
    /// Returns the factor to use for an inverted pair.
    pub(crate) const fn weight(&self) -> f64 {
        self.factor
    }

    /// Learns from two neighbouring calls of one kind.
    pub(crate) fn compare(
        &mut self,
        model: &mut StepModel,
        earlier: &CausedCall,
        later: &CausedCall,
    ) {
        if earlier.request_id == later.request_id {
            return;
        }
        let (first, second) = if earlier.call.0 <= later.call.0 {
            (earlier, later)
        } else {
            (later, earlier)
        };
        let pair = CausePair { first, second };
        let pairs = [pair.compare_starts(model), pair.compare_ends(model)];
        pairs
            .into_iter()
            .flatten()
            .for_each(|pair| self.observe(pair));
    }

    fn observe(&mut self, pair: OrderPair) {
        if self.pairs.len() >= MAX_PAIRS {
            self.pairs.pop_front();
        }
        self.pairs.push_back(pair);
    }

    /// Computes the factor from the pairs.
    fn refresh(&mut self) {
        let (mut inverted, mut predicted) = (0.0, 0.0);
        for pair in &self.pairs {
            inverted += pair.weight * f64::from(u8::from(pair.is_inverted));
            predicted += pair.weight * pair.predicted;
        }
        let ratio = (inverted + PRIOR_INVERSIONS) / (predicted + PRIOR_INVERSIONS);
        self.factor = if predicted >= MIN_PREDICTED && ratio < MAX_INVERTED {
            ratio.max(MIN_FACTOR)
        } else {
            1.0
        };
    }
}

/// A call with the request that made it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CausedCall {
    pub(crate) kind: u32,
    pub(crate) call: (Nanos, Nanos),
    pub(crate) request: (Nanos, Nanos),
    pub(crate) request_id: InboundId,
    pub(crate) share: f64,
    /// Where the request stood before the call.
    pub(crate) before: Standing,
    /// Where it stood after the call, if that was its last.
    pub(crate) last: Option<Standing>,
    pub(crate) is_proven: bool,
}

/// The latest calls of each kind with their causes.
#[derive(Debug, Default)]
pub(crate) struct RecentCalls {
    of_kind: BTreeMap<u32, VecDeque<CausedCall>>,
    requests: f64,
    /// Number of requests after which the order is judged again.
    due: f64,
}

/// Two neighbouring calls of one kind with their causes.
struct CausePair<'a> {
    first: &'a CausedCall,
    second: &'a CausedCall,
}

// === impl RecentCalls ===

impl RecentCalls {
    /// Compares the calls of a request with those before, and learns about the order.
    pub(crate) fn observe(
        &mut self,
        calls: Vec<CausedCall>,
        order: &mut ProcessOrder,
        model: &mut StepModel,
    ) {
        for call in calls {
            let latest = self.of_kind.entry(call.kind).or_default();
            for other in latest.iter() {
                order.compare(model, other, &call);
            }
            if latest.len() >= NEIGHBORS {
                latest.pop_front();
            }
            latest.push_back(call);
        }
        self.requests += 1.0;
        if self.requests >= self.due {
            self.due = self.requests * REFRESH_GROWTH + REFRESH_REQUESTS;
            order.refresh();
        }
    }
}

// === impl CausePair ===

impl CausePair<'_> {
    /// Compares starts, if both requests could have made both calls, as far as starts go, and
    /// something else decides.
    fn compare_starts(&self, model: &mut StepModel) -> Option<OrderPair> {
        let (a, b) = (self.first, self.second);
        let is_open =
            a.request.0.max(b.request.0) <= a.call.0 && b.call.0 <= a.request.1.min(b.request.1);
        let is_decided = b.call.1 > a.request.1 || a.call.1 > b.request.1 || self.is_proven();
        let is_tied = a.request.0 == b.request.0 || a.call.0 == b.call.0;
        if !is_open || !is_decided || is_tied || b.before.last_start > a.call.0 {
            return None;
        }
        let mut density = |cause: &CausedCall, call: &CausedCall| {
            model.likelihood_of(&cause.before.stays(call.call.0, Some(call.kind)))
        };
        let as_is = density(a, a) * density(b, b);
        let exchanged = density(a, b) * density(b, a);
        Some(self.pair(a.request.0 < b.request.0, as_is, exchanged))
    }

    /// Compares ends, if both requests could have waited for both calls, as far as ends go, and
    /// something else decides.
    fn compare_ends(&self, model: &mut StepModel) -> Option<OrderPair> {
        let (a, b) = (self.first, self.second);
        let ends = [a.request.1, b.request.1, a.call.1, b.call.1];
        let is_open =
            a.call.1.max(b.call.1) <= a.request.1.min(b.request.1) && !ends.contains(&OPEN);
        let is_decided = b.request.0 > a.call.0 || self.is_proven();
        if !is_open || !is_decided || a.request.1 == b.request.1 || a.call.1 == b.call.1 {
            return None;
        }
        let (last_a, last_b) = (a.last?, b.last?);
        let mut density = |last: &Standing, call: &CausedCall, end: Nanos| {
            let last = Standing {
                last_start: call.call.0,
                free_since: call.call.1,
                ..*last
            };
            model.likelihood_of(&last.stays_to_end(end))
        };
        let as_is = density(&last_a, a, a.request.1) * density(&last_b, b, b.request.1);
        let exchanged = density(&last_a, b, a.request.1) * density(&last_b, a, b.request.1);
        let is_kept = (a.call.1 < b.call.1) == (a.request.1 < b.request.1);
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

    const fn is_proven(&self) -> bool {
        self.first.is_proven && self.second.is_proven
    }
}
