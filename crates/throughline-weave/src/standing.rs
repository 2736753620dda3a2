//! The stays of a request between its steps.

use crate::event::Nanos;
use crate::life_table::{END, Step};
use crate::step_model::{HistoryId, Phase, Standing, Stay, Stays};

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
