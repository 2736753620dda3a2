//! Requests and queues with their possible paths, and calls with their possible causes.

use std::sync::Arc;

use crate::event::{InboundId, Nanos};
use crate::joint_cluster::WeighedHypothesis;
use crate::lane_path::{LanePath, StepTrail};
use crate::problem::{Inbound, Outbound};

/// Probability that a commit leaves out a record although its consumer is done with it.
const LEFT_OUT: f64 = 0.2;
/// Time from the decision to commit until the commit is seen.
const COMMIT_LAG_NS: Nanos = 2_000_000;

/// A request, or the records of one partition.
#[derive(Debug, Clone)]
pub(crate) struct LiveLane {
    pub(crate) cluster: u32,
    pub(crate) is_queue: bool,
    /// The queue of a lane of records.
    pub(crate) queue: Option<u64>,
    /// Inbound events that are not settled; records in the order of their offsets.
    pub(crate) members: Vec<u32>,
    pub(crate) paths: Vec<LanePath>,
    /// Calls that a path has, or had.
    pub(crate) calls: Vec<u32>,
    pub(crate) last_step: Nanos,
    pub(crate) is_open: bool,
    /// The last commit of a queue: its highest offset, and its time.
    pub(crate) commit: Option<(i64, Nanos)>,
    /// Whether records were given up because too many waited: which one is handled is not known.
    pub(crate) is_lost: bool,
    /// Where the outlooks of its paths begin, while a call is decided.
    pub(crate) outlook_from: usize,
}

/// The likeliest cause of a call when it was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StatedCause {
    pub(crate) parent: InboundId,
    /// Its probability, before the guard limited it.
    pub(crate) raw: f64,
    pub(crate) confidence: f64,
}

/// A call whose possible causes are not settled.
#[derive(Debug, Clone)]
pub(crate) struct LiveCall {
    pub(crate) outbound: Outbound,
    pub(crate) lanes: Vec<u32>,
    /// Probability that a settled lane made it.
    pub(crate) owned: f64,
    pub(crate) is_idle: bool,
    pub(crate) stated: Option<StatedCause>,
    /// Requests that were open when it began.
    pub(crate) witnesses: Vec<InboundId>,
    /// The cause that is certain without a model: the message names it, or nothing else was open.
    pub(crate) proof: Option<InboundId>,
}

// === impl LiveLane ===

impl LiveLane {
    /// Notes that a record of a queue was committed.
    pub(crate) fn note_commit(&mut self, offset: i64, at: Nanos) {
        let highest = self.commit.map_or(offset, |(known, _)| known.max(offset));
        self.commit = Some((highest, at));
    }

    /// Returns how likely each path makes the last commit: a consumer that is done with a record
    /// commits it as well.
    pub(crate) fn commit_factors(&self, inbound: &[Inbound]) -> Vec<f64> {
        let offset_of = |member: u32| {
            let position = inbound[member as usize].position;
            position.map_or(i64::MIN, |position| position.offset)
        };
        let factor = |path: &LanePath| {
            let (Some((committed, at)), Some(current)) = (self.commit, path.member) else {
                return 1.0;
            };
            let current = offset_of(current);
            let is_done = |member: &u32| {
                let offset = offset_of(*member);
                offset > committed && offset < current
            };
            let has_moved_on = path.standing.last_start.saturating_add(COMMIT_LAG_NS) <= at;
            if has_moved_on && self.members.iter().any(is_done) {
                LEFT_OUT
            } else {
                1.0
            }
        };
        self.paths.iter().map(factor).collect()
    }

    /// Drops the paths that no hypothesis has, and makes one of those that go on in the same way.
    pub(crate) fn keep_paths(&mut self, column: usize, weighed: &mut [WeighedHypothesis]) {
        if self.paths.len() == 1 {
            return;
        }
        let mut masses = vec![None; self.paths.len()];
        for one in weighed.iter() {
            let mass = &mut masses[usize::from(one.hypothesis.paths[column])];
            *mass = Some(mass.unwrap_or(0.0) + one.mass);
        }
        let mut kept: Vec<(LanePath, Vec<(f64, Arc<StepTrail>)>)> = Vec::new();
        let mut places = vec![0_u16; masses.len()];
        for (index, path) in std::mem::take(&mut self.paths).into_iter().enumerate() {
            let Some(mass) = masses[index] else { continue };
            let same = kept
                .iter()
                .position(|(other, _)| other.is_same_state(&path));
            let place = same.unwrap_or(kept.len());
            let part = (mass, Arc::clone(&path.trail));
            if same.is_none() {
                kept.push((path, Vec::new()));
            }
            kept[place].1.push(part);
            places[index] = place as u16;
        }
        self.paths = kept
            .into_iter()
            .map(|(path, parts)| mix(path, parts))
            .collect();
        for one in weighed {
            let path = &mut one.hypothesis.paths[column];
            *path = places[usize::from(*path)];
        }
    }
}

/// Returns a path with the trails of all paths that led to it.
fn mix(mut path: LanePath, mut parts: Vec<(f64, Arc<StepTrail>)>) -> LanePath {
    if parts.len() > 1 {
        let total = parts.iter().map(|part| part.0).sum::<f64>();
        let count = parts.len() as f64;
        for part in &mut parts {
            part.0 = if total > 0.0 {
                part.0 / total
            } else {
                1.0 / count
            };
        }
        path.trail = Arc::new(StepTrail::Mixture(parts));
    }
    path
}
