//! Calls without a cause: how often a process makes each kind of call on its own.

use crate::event::Nanos;

/// How much a busy second says about strays, compared with an idle one.
const BUSY_SHARE: f64 = 0.1;
/// Strays of a kind that are assumed before any was seen; more once any kind has strayed. The first
/// is that of timers whose intervals are anything from a tenth of a second to an hour, in one
/// process of three.
const PRIOR: (f64, f64) = (0.03, 0.5);
/// Seconds of observation that the prior stands for.
const PRIOR_S: f64 = 3.0;
/// After a stray the next one is close: jobs make many calls.
const BURST_NS: Nanos = 1_000_000_000;
/// Rate right after a stray, per second, relative to one.
const BURST_RATE: f64 = 5.0;

/// Strays of a kind before their share means something.
const MIN_STRAYS: f64 = 2.0;
/// How much a call that no open request explains counts as a stray.
const UNEXPLAINED_SHARE: f64 = 0.25;
/// Idle calls of a kind that say how often it is made without a cause.
const MIN_IDLE_CALLS: f64 = 5.0;
/// How much rarer a cause is for a kind that is made as often while idle as while busy.
const INDEPENDENT_FACTOR: f64 = 100.0;

/// Returns what the rate of strays of a kind is multiplied by: a kind that is made no more often
/// while requests are open than while none is has nothing to do with them.
pub(crate) fn independence_factor(idle: (f64, f64), busy: (f64, f64)) -> f64 {
    let ((idle_calls, idle_s), (busy_calls, busy_s)) = (idle, busy);
    if idle_calls < MIN_IDLE_CALLS || idle_s <= 0.0 {
        return 1.0;
    }
    let expected = idle_calls / idle_s * busy_s;
    // Three standard deviations of a Poisson count.
    if busy_calls <= expected + 3.0 * (expected + 1.0).sqrt() {
        INDEPENDENT_FACTOR
    } else {
        1.0
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct KindStrays {
    /// Calls of the kind, with a cause or without.
    idle_calls: f64,
    busy_calls: f64,
    idle: f64,
    busy: f64,
    last: Option<Nanos>,
}

/// Counts of strays with the time in which they were seen. They never fade: an hourly job is as
/// likely after an hour as after a minute.
#[derive(Debug, Clone, Default)]
pub(crate) struct StrayModel {
    kinds: Vec<KindStrays>,
    pub(crate) idle_s: f64,
    pub(crate) busy_s: f64,
}

// === impl StrayModel ===

impl StrayModel {
    /// Records the probability that a call of `kind` had no cause.
    pub(crate) fn observe(&mut self, kind: u32, idle: bool, probability: f64, at: Nanos) {
        let slot = self.slot(kind);
        if idle {
            slot.idle_calls += 1.0;
            slot.idle += probability;
        } else {
            slot.busy_calls += 1.0;
            slot.busy += probability;
        }
        if probability > 0.5 {
            slot.last = Some(slot.last.map_or(at, |last| last.max(at)));
        }
    }

    fn slot(&mut self, kind: u32) -> &mut KindStrays {
        let index = kind as usize;
        if self.kinds.len() <= index {
            self.kinds.resize(index + 1, KindStrays::default());
        }
        &mut self.kinds[index]
    }

    /// Returns the calls of `kind` that had no cause.
    pub(crate) fn count(&self, kind: u32) -> f64 {
        self.kinds
            .get(kind as usize)
            .map_or(0.0, |strays| strays.idle + strays.busy)
    }

    /// Returns the share of calls of `kind` that are expected to have no cause.
    pub(crate) fn share(&self, kind: u32) -> f64 {
        let Some(strays) = self.kinds.get(kind as usize) else {
            return 0.0;
        };
        let calls = strays.idle_calls + strays.busy_calls;
        // Calls not explained while requests are open are only partly without a cause: no more
        // than the time in which none was open allows.
        let bound = (strays.idle + 1.0) / (self.idle_s + PRIOR_S) * self.busy_s;
        let unexplained = (strays.busy * UNEXPLAINED_SHARE).min(bound);
        if strays.idle + unexplained < MIN_STRAYS {
            return 0.0;
        }
        let expected = if self.idle_s > 0.0 {
            strays.idle / self.idle_s * self.busy_s / (strays.busy_calls + 1.0)
        } else {
            0.0
        };
        expected.max((strays.idle + unexplained) / (calls + 1.0))
    }

    /// Returns the rate of strays of `kind` per second.
    pub(crate) fn rate(&self, kind: u32, at: Nanos) -> f64 {
        let strays = self.kinds.get(kind as usize).copied().unwrap_or_default();
        let any = self.kinds.iter().any(|strays| strays.idle >= 0.9);
        let prior = if any { PRIOR.1 } else { PRIOR.0 };
        let exposure = self.idle_s + BUSY_SHARE * self.busy_s + PRIOR_S;
        let mut rate = (strays.idle + BUSY_SHARE * strays.busy + prior) / exposure;
        if strays.idle < 0.5 {
            // Never seen idle: busy strays are rather calls whose cause was not recognized.
            let bound = (1.0 + prior) / (self.idle_s + PRIOR_S);
            rate = rate.min(bound).max(0.1 * rate);
        }
        if strays.last.is_some_and(|last| at - last < BURST_NS) {
            rate += BURST_RATE;
        }
        let (idle, busy) = (strays.idle_calls, strays.busy_calls);
        rate * independence_factor((idle, self.idle_s), (busy, self.busy_s))
    }
}
