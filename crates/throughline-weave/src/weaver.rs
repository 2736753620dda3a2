//! Decisions a little after the events: what followed a call has been seen as well.

use std::collections::{HashSet, VecDeque};

use crate::decision::Decision;
use crate::event::{InboundId, Nanos, OutboundId, QueuePosition, WeaveEvent};
use crate::live_decider::LiveDecider;
use crate::plan::ProcessPlan;
use crate::weaver_settings::{LiveChecks, WeaverLosses, WeaverSettings};

/// Time and number of events for which a process is new: then all is decided again, with the
/// knowledge of by then.
const OPENING_NS: Nanos = 10_000_000_000;
const OPENING_EVENTS: usize = 8_192;
/// Rest after which a new process is not waited for.
const OPENING_REST_NS: Nanos = 2_000_000_000;

/// The events of a new process.
#[derive(Debug, Default)]
struct Opening {
    events: VecDeque<WeaveEvent>,
    /// When it first made a call whose cause the message does not name. Events before that, such
    /// as the probes of its health, say little about how well it is known.
    since: Option<Nanos>,
}

/// Decides which inbound message of a process caused an outbound one, once their requests have
/// ended.
///
/// A process about which nothing is known is decided about twice: what it does first is also what
/// the engine learns from, and it may be learned wrong.
#[derive(Debug)]
pub struct Weaver {
    settings: WeaverSettings,
    decider: LiveDecider,
    opening: Option<Opening>,
}

// === impl Weaver ===

impl Weaver {
    /// Creates the engine of a process about which nothing is known.
    #[must_use]
    pub fn new(settings: WeaverSettings) -> Self {
        Self {
            settings,
            decider: LiveDecider::new(settings).with_settled(),
            opening: Some(Opening::default()),
        }
    }

    /// Creates the engine of a process that was known before. The plan counts as a few requests: it
    /// says what to expect, and is soon outweighed.
    #[must_use]
    pub fn with_plan(settings: WeaverSettings, plan: ProcessPlan) -> Self {
        Self {
            settings,
            decider: LiveDecider::with_plan(settings, plan).with_settled(),
            opening: None,
        }
    }

    /// Creates the engine of another pass over a recording.
    pub(crate) fn with_known(settings: WeaverSettings, plan: ProcessPlan) -> Self {
        Self {
            settings,
            decider: LiveDecider::with_known(settings, plan).with_settled(),
            opening: None,
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

    /// Returns how often a decision at the moment of a call was confirmed or refuted by a later
    /// proof; the count begins again when a new process is decided about again.
    #[must_use]
    pub const fn checks(&self) -> LiveChecks {
        self.decider.checks()
    }

    /// Takes an event. Events may be late by as much as connections reorder them.
    pub fn push(&mut self, event: WeaveEvent) {
        if let Some(opening) = &mut self.opening {
            opening.push(event.clone());
        }
        self.decider.push(event);
    }

    /// Takes a commit that covers a record which this engine has not seen delivered: the process is
    /// older than what is known of it. Its calls so far may all be about earlier records, and
    /// nobody can know; from here on the consumer is at the record after `done`. Returns the calls
    /// that are given up: none once the process is new no longer.
    pub fn begin_behind(&mut self, done: QueuePosition) -> Vec<OutboundId> {
        let Some(mut opening) = self.opening.take() else {
            return Vec::new();
        };
        let now = opening.events.back().map_or(Nanos::MIN, WeaveEvent::at);
        let mut decider = LiveDecider::new(self.settings).with_settled();
        let given_up: Vec<OutboundId> = opening.open_calls().collect();
        decider.give_up_all(self.decider.take_settled(now), &given_up);
        opening.keep_in_flight(done);
        opening.since = Some(now);
        for event in &opening.events {
            decider.push(event.clone());
        }
        (self.decider, self.opening) = (decider, Some(opening));
        given_up
    }

    /// Returns whether the decisions so far will be made again.
    #[must_use]
    pub const fn is_opening(&self) -> bool {
        self.opening.is_some()
    }

    /// Returns the decisions that have become final: their requests have ended. Those about a new
    /// process come twice.
    pub fn poll(&mut self, now: Nanos) -> Vec<Decision> {
        if let Some(opening) = self.opening.take_if(|opening| opening.is_over(now)) {
            self.look_again(opening.events);
        }
        self.decider.take_settled(now)
    }

    /// Begins again with what was learned from these events.
    fn look_again(&mut self, events: VecDeque<WeaveEvent>) {
        self.decider = self.decider.second_look(self.settings);
        events
            .into_iter()
            .for_each(|event| self.decider.push(event));
        self.decider.end_pass();
    }
}

// === impl Opening ===

impl Opening {
    fn push(&mut self, event: WeaveEvent) {
        if let WeaveEvent::OutboundStarted(start) = &event
            && start.exact.is_none()
        {
            self.since.get_or_insert(start.at);
        } else if self.since.is_none() && self.events.len() >= OPENING_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    fn open_calls(&self) -> impl Iterator<Item = OutboundId> {
        self.events.iter().filter_map(|event| match event {
            WeaveEvent::OutboundStarted(start) if start.exact.is_none() => Some(start.id),
            WeaveEvent::InboundStarted(_)
            | WeaveEvent::InboundEnded { .. }
            | WeaveEvent::OutboundStarted(_)
            | WeaveEvent::OutboundEnded { .. } => None,
        })
    }

    /// Forgets all but the requests that have not ended, and the records after `done`.
    fn keep_in_flight(&mut self, done: QueuePosition) {
        let ended = self.events.iter().filter_map(|event| match event {
            WeaveEvent::InboundEnded { id, .. } => Some(*id),
            WeaveEvent::InboundStarted(_)
            | WeaveEvent::OutboundStarted(_)
            | WeaveEvent::OutboundEnded { .. } => None,
        });
        let ended: HashSet<InboundId> = ended.collect();
        let is_done = |position: QueuePosition| {
            position.queue == done.queue && position.offset <= done.offset
        };
        self.events.retain(|event| match event {
            WeaveEvent::InboundStarted(start) => {
                !ended.contains(&start.id) && !start.position.is_some_and(is_done)
            }
            WeaveEvent::InboundEnded { .. }
            | WeaveEvent::OutboundStarted(_)
            | WeaveEvent::OutboundEnded { .. } => false,
        });
    }

    /// Returns whether the process is new no longer.
    fn is_over(&self, now: Nanos) -> bool {
        let (Some(since), Some(last)) = (self.since, self.events.back()) else {
            return false;
        };
        self.events.len() >= OPENING_EVENTS
            || now >= since.saturating_add(OPENING_NS)
            || now >= last.at().saturating_add(OPENING_REST_NS)
    }
}
