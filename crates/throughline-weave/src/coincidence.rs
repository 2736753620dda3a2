//! Calls that begin just after something happened to a request: chance explains few of these.
//!
//! Life tables say which request most likely made a call, provided that requests make calls of the
//! kind at all. A job that runs beside them breaks that, and so does a model that has started one
//! request behind. Neither begins its calls just after an event of the request that is taken for
//! their cause.

use std::collections::VecDeque;

use crate::event::{InboundId, Nanos};

/// Events of requests that are remembered.
const MAX_EVENTS: usize = 64;
/// Shortest time over which the rate of events is taken.
const MIN_SPAN_NS: Nanos = 250_000_000;
/// Nothing else happened for this many times the gap: the call follows this event only.
const EXCLUSIVE_FACTOR: f64 = 3.0;
/// Chance below which a call counts as close to an event.
const CLOSE: f64 = 0.2;
/// Standard deviations by which close calls must exceed chance to be taken as proofs.
const SIGNIFICANCE: f64 = 2.0;

/// The start of a request, or the response to a call.
#[derive(Debug, Clone, Copy)]
struct RequestEvent {
    at: Nanos,
    /// The request, if it is beyond doubt.
    request: Option<InboundId>,
}

/// The latest events after which requests go on.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestEvents {
    events: VecDeque<RequestEvent>,
}

/// How a call follows the events of its likely cause.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Coincidence {
    /// Whether it comes just after one of them, and long after those of all others.
    pub(crate) is_exclusive: bool,
    /// Probability that a call that has nothing to do with them is as close.
    pub(crate) chance: f64,
    /// Whether no event of another was so near that it could hide that the call is close.
    pub(crate) is_comparable: bool,
}

/// How often calls of a kind came just after an event of their likely cause.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CoincidenceCount {
    compared: f64,
    close: f64,
}

// === impl RequestEvents ===

impl RequestEvents {
    /// Records an event of a request, or of one that is not known for certain.
    pub(crate) fn push(&mut self, at: Nanos, request: Option<InboundId>) {
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        let later = self.events.iter().rev().take_while(|event| event.at > at);
        let index = self.events.len() - later.count();
        self.events.insert(index, RequestEvent { at, request });
    }

    /// Returns how a call at `at` follows the events of `request`. Times are exact to `tick_ns`.
    pub(crate) fn coincidence(
        &self,
        request: InboundId,
        at: Nanos,
        tick_ns: Nanos,
    ) -> Option<Coincidence> {
        let before = || self.events.iter().rev().skip_while(|event| event.at > at);
        let last_of = |is_own: bool| {
            let mut events = before();
            events.find(|event| (event.request == Some(request)) == is_own)
        };
        let gap = (at - last_of(true)?.at).max(tick_ns) as f64;
        let nearest_other = last_of(false).map_or(f64::INFINITY, |event| (at - event.at) as f64);
        let span = (at - self.events.front()?.at).max(MIN_SPAN_NS);
        let rate = before().count() as f64 / span as f64;
        let close_gap = -(1.0 - CLOSE).ln() / rate;
        Some(Coincidence {
            is_exclusive: nearest_other >= EXCLUSIVE_FACTOR * gap,
            chance: 1.0 - (-rate * gap).exp(),
            is_comparable: nearest_other >= EXCLUSIVE_FACTOR * close_gap,
        })
    }
}

// === impl CoincidenceCount ===

impl CoincidenceCount {
    pub(crate) fn observe(&mut self, coincidence: &Coincidence) {
        if coincidence.is_comparable {
            self.compared += 1.0;
            self.close += f64::from(u8::from(coincidence.chance <= CLOSE));
        }
    }

    /// Returns the calls that chance does not explain.
    pub(crate) fn proofs(&self) -> f64 {
        let expected = CLOSE * self.compared;
        let deviation = (expected * (1.0 - CLOSE)).sqrt();
        ((self.close - expected - SIGNIFICANCE * deviation) / (1.0 - CLOSE)).max(0.0)
    }

    /// Returns the share of calls that have nothing to do with their likely cause; `first` before
    /// any call was seen.
    pub(crate) fn unrelated_share(&self, first: f64) -> f64 {
        let unrelated = (self.compared - self.close) / (1.0 - CLOSE);
        (unrelated.min(self.compared) + first) / (self.compared + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;

    #[test]
    fn call_just_after_one_request_is_hardly_by_chance() {
        let mut events = RequestEvents::default();
        for number in 0..50 {
            events.push(number * 100 * MS, Some(InboundId(1)));
        }
        events.push(5_000 * MS, Some(InboundId(2)));
        let after = |request, at| events.coincidence(InboundId(request), at, 0).unwrap();
        let close = after(2, 5_001 * MS);
        assert!(close.is_exclusive && close.chance < 0.02, "{close:?}");
        let late = after(2, 5_080 * MS);
        assert!(!late.is_exclusive && late.chance > 0.5, "{late:?}");
        assert!(!after(1, 5_001 * MS).is_exclusive);
        assert_eq!(events.coincidence(InboundId(3), 5_001 * MS, 0), None);
    }

    #[test]
    fn events_after_the_call_do_not_count() {
        let mut events = RequestEvents::default();
        events.push(10 * MS, Some(InboundId(1)));
        events.push(14 * MS, Some(InboundId(2)));
        events.push(12 * MS, None);
        let before = events.coincidence(InboundId(1), 11 * MS, MS).unwrap();
        assert!(before.is_exclusive);
        let after = events.coincidence(InboundId(1), 13 * MS, MS).unwrap();
        assert!(!after.is_exclusive, "another's event is as close");
    }

    #[test]
    fn events_are_bounded() {
        let mut events = RequestEvents::default();
        (0..10_000).for_each(|at| events.push(at, None));
        assert_eq!(events.events.len(), MAX_EVENTS);
    }
}
