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
/// Numbers of the latest events of which the rate is taken, with the shortest time that they stand
/// for. The highest rate counts: within a burst many calls are close to an event.
const RATE_WINDOWS: [(usize, Nanos); 3] = [(4, 50_000_000), (16, 250_000_000), (64, 250_000_000)];
/// Compared calls from which older ones count half: a job may begin late.
const MEMORY_COMPARED: f64 = 1_000.0;
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
    /// Whether it comes sooner than one unrelated call in five does.
    pub(crate) is_close: bool,
    /// Whether its cause has a certain event, and no event of another was so near that it could
    /// hide that the call is close.
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
        let is_older = |first: &RequestEvent| at < first.at;
        let is_full = self.events.len() == MAX_EVENTS;
        if is_full && self.events.front().is_some_and(is_older) {
            return;
        }
        if is_full {
            self.events.pop_front();
        }
        let later = self.events.iter().rev().take_while(|event| event.at > at);
        let index = self.events.len() - later.count();
        self.events.insert(index, RequestEvent { at, request });
    }

    /// Records the delivery of a record; those of one response count once.
    pub(crate) fn push_delivery(&mut self, at: Nanos) {
        let is_known = |last: &RequestEvent| last.at == at && last.request.is_none();
        if !self.events.back().is_some_and(is_known) {
            self.push(at, None);
        }
    }

    /// Returns how a call at `at` follows the events of `request`. Times are exact to `tick_ns`.
    pub(crate) fn coincidence(&self, request: InboundId, at: Nanos, tick_ns: Nanos) -> Coincidence {
        let since = |event: &RequestEvent| at.saturating_sub(event.at).max(tick_ns) as f64;
        let before = || self.events.iter().rev().skip_while(|event| event.at > at);
        let last_of = |is_own: bool| {
            let mut events = before();
            let last = events.find(|event| (event.request == Some(request)) == is_own);
            last.map_or(f64::INFINITY, since)
        };
        let rates = RATE_WINDOWS.map(|(number, least)| {
            let (mut count, mut oldest) = (0.0, at);
            for event in before().take(number) {
                (count, oldest) = (count + 1.0, event.at);
            }
            count / at.saturating_sub(oldest).max(least) as f64
        });
        let rate = rates.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let usual_rate = rates[rates.len() - 1].max(f64::MIN_POSITIVE);
        let (gap, nearest_other) = (last_of(true), last_of(false));
        let close_gap = -(1.0 - CLOSE).ln() / usual_rate;
        Coincidence {
            is_exclusive: gap.is_finite() && nearest_other >= EXCLUSIVE_FACTOR * gap,
            chance: 1.0 - (-rate * gap).exp(),
            is_close: gap <= close_gap,
            is_comparable: gap.is_finite() && nearest_other >= EXCLUSIVE_FACTOR * close_gap,
        }
    }
}

// === impl CoincidenceCount ===

impl CoincidenceCount {
    pub(crate) fn observe(&mut self, coincidence: &Coincidence) {
        if coincidence.is_comparable {
            if self.compared >= MEMORY_COMPARED {
                self.compared *= 0.5;
                self.close *= 0.5;
            }
            self.compared += 1.0;
            self.close += f64::from(u8::from(coincidence.is_close));
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
        let after = |request, at| events.coincidence(InboundId(request), at, 1);
        let close = after(2, 5_001 * MS);
        assert!(close.is_exclusive && close.chance < 0.02, "{close:?}");
        let late = after(2, 5_080 * MS);
        assert!(!late.is_exclusive && late.chance > 0.5, "{late:?}");
        assert!(!after(1, 5_001 * MS).is_exclusive);
    }

    #[test]
    fn request_without_a_certain_event_shows_nothing() {
        let mut events = RequestEvents::default();
        events.push(0, Some(InboundId(1)));
        let other = events.coincidence(InboundId(3), 500 * MS, 1);
        assert!(!other.is_exclusive && !other.is_comparable, "{other:?}");
        let mut count = CoincidenceCount::default();
        (0..10).for_each(|_| count.observe(&other));
        assert_eq!(count.proofs(), 0.0);
    }

    #[test]
    fn two_events_in_the_tick_of_the_call_are_not_exclusive() {
        let mut events = RequestEvents::default();
        events.push(10 * MS, Some(InboundId(1)));
        events.push(10 * MS, Some(InboundId(2)));
        let tied = events.coincidence(InboundId(1), 10 * MS, MS);
        assert!(!tied.is_exclusive && tied.chance > 0.0, "{tied:?}");
    }

    #[test]
    fn burst_after_a_quiet_hour_is_judged_by_the_rate_of_the_burst() {
        let mut events = RequestEvents::default();
        (0..60).for_each(|minute| events.push(minute * 60_000 * MS, Some(InboundId(0))));
        let burst = 3_600_000 * MS;
        for (at, request) in [(0, 1), (2, 2), (4, 1), (10, 2)] {
            events.push(burst + at * MS, Some(InboundId(request)));
        }
        let coincidence = events.coincidence(InboundId(2), burst + 13 * MS, 1);
        assert!(coincidence.chance > 0.1, "{coincidence:?}");
    }

    #[test]
    fn deliveries_of_one_response_are_one_event() {
        let mut events = RequestEvents::default();
        events.push(8 * MS, Some(InboundId(1)));
        (0..500).for_each(|_| events.push_delivery(9 * MS));
        assert_eq!(events.events.len(), 2);
        let after = events.coincidence(InboundId(1), 10 * MS, 1);
        assert!(!after.is_exclusive, "a delivery is as close");
    }

    #[test]
    fn kind_that_was_always_close_is_doubted_once_its_calls_are_not() {
        let at = |is_close: bool| Coincidence {
            is_exclusive: is_close,
            chance: if is_close { 0.01 } else { 0.9 },
            is_close,
            is_comparable: true,
        };
        let mut count = CoincidenceCount::default();
        (0..100_000).for_each(|_| count.observe(&at(true)));
        assert!(count.unrelated_share(0.05) < 0.001);
        (0..1_000).for_each(|_| count.observe(&at(false)));
        assert!(count.unrelated_share(0.05) > 0.5);
    }

    #[test]
    fn events_after_the_call_do_not_count() {
        let mut events = RequestEvents::default();
        events.push(10 * MS, Some(InboundId(1)));
        events.push(14 * MS, Some(InboundId(2)));
        events.push(12 * MS, None);
        assert!(events.coincidence(InboundId(1), 11 * MS, MS).is_exclusive);
        let after = events.coincidence(InboundId(1), 13 * MS, MS);
        assert!(!after.is_exclusive, "another's event is as close");
    }

    #[test]
    fn events_are_bounded() {
        let mut events = RequestEvents::default();
        (0..10_000).for_each(|at| events.push(at, None));
        events.push(5, None);
        assert_eq!(events.events.len(), MAX_EVENTS);
        assert_eq!(events.events[0].at, 9_936);
    }
}
