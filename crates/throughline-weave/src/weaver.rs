//! Decisions a little after the events: what followed a call has been seen as well.

use crate::decision::Decision;
use crate::event::{Nanos, WeaveEvent};
use crate::live_decider::LiveDecider;
use crate::plan::ProcessPlan;
use crate::weaver_settings::{WeaverLosses, WeaverSettings};

/// Decides which inbound message of a process caused an outbound one, once their requests have
/// ended.
#[derive(Debug)]
pub struct Weaver {
    decider: LiveDecider,
}

// === impl Weaver ===

impl Weaver {
    /// Creates the engine of a process about which nothing is known.
    #[must_use]
    pub fn new(settings: WeaverSettings) -> Self {
        Self {
            decider: LiveDecider::new(settings).with_settled(),
        }
    }

    /// Creates the engine of a process that was known before. The plan counts as a few requests: it
    /// says what to expect, and is soon outweighed.
    #[must_use]
    pub fn with_plan(settings: WeaverSettings, plan: ProcessPlan) -> Self {
        Self {
            decider: LiveDecider::with_plan(settings, plan).with_settled(),
        }
    }

    /// Creates the engine of another pass over a recording.
    pub(crate) fn with_known(settings: WeaverSettings, plan: ProcessPlan) -> Self {
        Self {
            decider: LiveDecider::with_known(settings, plan).with_settled(),
        }
    }

    /// Returns what was learned so far.
    #[must_use]
    pub const fn plan(&self) -> &ProcessPlan {
        self.decider.plan()
    }

    /// Returns what could not be considered.
    #[must_use]
    pub const fn losses(&self) -> WeaverLosses {
        self.decider.losses()
    }

    /// Takes an event. Events may be late by as much as connections reorder them.
    pub fn push(&mut self, event: WeaveEvent) {
        self.decider.push(event);
    }

    /// Returns the decisions that have become final: their requests have ended.
    pub fn poll(&mut self, now: Nanos) -> Vec<Decision> {
        self.decider.take_settled(now)
    }
}
