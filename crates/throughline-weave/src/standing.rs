//! The stays of a request between its steps.

use crate::event::Nanos;
use crate::life_table::{END, Step};
use crate::message::OPEN;
use crate::step_model::{HistoryId, Phase, Standing, Stay, Stays, StepModel};

/// Moments of a tick at which the density of a call is taken.
const TICK_SAMPLES: Nanos = 4;

// === impl Standing ===

impl Standing {
    /// Returns the stays up to a step at `at`, or, without a step, up to then.
    pub(crate) fn stays(&self, at: Nanos, step: Option<Step>) -> Stays {
        let stay = |phase, gap_ns, step| {
            Some(Stay {
                history: self.history,
                phase,
                gap_ns,
                step,
            })
        };
        let mut stays = Stays { stays: [None; 3] };
        if self.ended {
            stays.stays[0] = stay(Phase::Ended, at - self.last_start, step);
        } else if at < self.free_since {
            stays.stays[0] = stay(Phase::Waiting, at - self.last_start, step);
        } else {
            if self.free_since > self.last_start {
                stays.stays[0] = stay(Phase::Waiting, self.free_since - self.last_start, None);
            }
            stays.stays[1] = stay(Phase::Idle, at - self.free_since, step);
        }
        stays
    }

    /// Returns the density of a call of `kind` that was made during the tick before `at`.
    pub(crate) fn density(
        &self,
        at: Nanos,
        tick_ns: Nanos,
        kind: Step,
        model: &mut StepModel,
    ) -> f64 {
        let samples = if tick_ns > 0 { TICK_SAMPLES } else { 1 };
        let (mut sum, mut count) = (0.0, 0);
        for number in 0..samples {
            let sample = at - tick_ns * number / TICK_SAMPLES;
            // Of a call from before its last event, only the order is wrong.
            if number == 0 || sample >= self.last_event() {
                sum += model.likelihood_of(&self.stays(sample, Some(kind)));
            }
            count += 1;
        }
        sum / f64::from(count)
    }

    /// Returns the time of the last step, or of the last response to a call.
    pub(crate) fn last_event(&self) -> Nanos {
        if self.free_since == OPEN {
            self.last_start
        } else {
            self.free_since.max(self.last_start)
        }
    }

    /// Returns the standing after a call.
    pub(crate) fn after_call(&self, history: HistoryId, start: Nanos, end: Nanos) -> Self {
        Self {
            history,
            last_start: start,
            free_since: self.free_since.max(end),
            ended: self.ended,
        }
    }

    /// Returns the standing after the end of the request.
    pub(crate) const fn after_end(&self, end: Nanos) -> Self {
        Self {
            history: self.history,
            last_start: end,
            free_since: end,
            ended: true,
        }
    }

    /// Returns the stays up to the end of the request.
    pub(crate) fn stays_to_end(&self, end: Nanos) -> Stays {
        self.stays(end, Some(END))
    }
}
