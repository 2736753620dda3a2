//! Weaving of a whole recording: what the process does is learned from the recording itself, in
//! several passes.

use std::collections::{HashMap, HashSet};

use crate::decision::Decision;
use crate::event::{Nanos, OutboundId, WeaveEvent};
use crate::plan::ProcessPlan;
use crate::weaver::Weaver;
use crate::weaver_settings::WeaverSettings;

/// Passes over a recording; each begins with what the one before has learned.
const PASSES: usize = 3;
/// Requests and partitions that are weighed together: nobody waits for the decision.
const MAX_COMPETING: usize = 256;
/// Time between the looks for decisions after the last event, and the time up to which all are
/// final.
const AFTER_STEP_NS: Nanos = 1_000_000_000;
const AFTER_NS: Nanos = 120_000_000_000;

/// Results for a recording.
#[derive(Debug, Clone)]
pub struct WovenRecording {
    /// One for each outbound event, in the order of their starts.
    pub decisions: Vec<Decision>,
    /// The plan that was learned, to begin the next recording of the process with.
    pub plan: ProcessPlan,
}

/// Finds the causes of all outbound events of one process. A plan from a quieter time helps where
/// many requests are in flight at once.
#[must_use]
pub fn weave_recording(events: &[WeaveEvent], plan: Option<&ProcessPlan>) -> WovenRecording {
    let mut events = events.to_vec();
    sort(&mut events);
    let tick = clock_tick(&events);
    let known = plan.cloned().unwrap_or_else(|| ProcessPlan::new(tick));
    let settings = WeaverSettings {
        clock_tick_ns: tick,
        max_inbound: usize::MAX,
        max_outbound: usize::MAX,
        max_competing: MAX_COMPETING,
    };
    let (mut decisions, mut plan) = pass(&events, Weaver::with_plan(settings, known));
    for number in 1..PASSES {
        plan.begin_pass(number);
        (decisions, plan) = pass(&events, Weaver::with_known(settings, plan));
    }
    let mut seen = HashSet::new();
    let outbound = events.iter().filter_map(|event| match event {
        WeaveEvent::OutboundStarted(start) => Some(start.id),
        WeaveEvent::InboundStarted(_)
        | WeaveEvent::InboundEnded { .. }
        | WeaveEvent::OutboundEnded { .. } => None,
    });
    let mut decide = |id| {
        decisions
            .remove(&id)
            .unwrap_or_else(|| Decision::undecided(id))
    };
    let decisions = outbound.filter(|id| seen.insert(*id)).map(&mut decide);
    let decisions = decisions.collect();
    WovenRecording { decisions, plan }
}

fn pass(events: &[WeaveEvent], mut weaver: Weaver) -> (HashMap<OutboundId, Decision>, ProcessPlan) {
    for event in events {
        weaver.push(event.clone());
    }
    let last = events.last().map_or(0, WeaveEvent::at);
    let mut decisions = HashMap::new();
    for after in (0..=AFTER_NS).step_by(AFTER_STEP_NS as usize) {
        let settled = weaver.poll(last.saturating_add(after)).into_iter();
        decisions.extend(settled.map(|decision| (decision.outbound, decision)));
    }
    (decisions, weaver.plan().clone())
}

/// Sorts events by time. At one time the response to a call comes first, and the end of a request
/// last; the order in which equal events were given makes no difference.
fn sort(events: &mut [WeaveEvent]) {
    events.sort_by_cached_key(|event| {
        let (rank, operation, id) = match event {
            WeaveEvent::OutboundEnded { id, .. } => (0, 0, id.0),
            WeaveEvent::InboundStarted(start) => (1, start.operation.0, start.id.0),
            WeaveEvent::OutboundStarted(start) => (2, start.operation.0, start.id.0),
            WeaveEvent::InboundEnded { id, .. } => (3, 0, id.0),
        };
        let position = match event {
            WeaveEvent::InboundStarted(start) => start.position,
            WeaveEvent::OutboundStarted(_)
            | WeaveEvent::InboundEnded { .. }
            | WeaveEvent::OutboundEnded { .. } => None,
        };
        (event.at(), rank, position, operation, scatter(id))
    });
}

/// Spreads ids, so that the order among equals is none that an id could give away.
const fn scatter(id: u64) -> u64 {
    let mixed = (id ^ (id >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// Returns the resolution of the clock that stamped the events.
fn clock_tick(events: &[WeaveEvent]) -> Nanos {
    let base = events.first().map_or(0, WeaveEvent::at);
    let gaps = events.iter().map(|event| (event.at() - base).abs());
    gaps.fold(0, greatest_common_divisor).max(1)
}

const fn greatest_common_divisor(mut a: Nanos, mut b: Nanos) -> Nanos {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
