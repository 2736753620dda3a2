//! Requests and queues with their possible paths, and calls with their possible causes.

use std::sync::Arc;

use crate::event::{InboundId, Nanos};
use crate::joint_cluster::WeighedHypothesis;
use crate::lane_path::{LanePath, StepTrail};
use crate::problem::Outbound;

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
    /// Where the outlooks of its paths begin, while a call is decided.
    pub(crate) outlook_from: usize,
}

/// A call whose possible causes are not settled.
#[derive(Debug, Clone)]
pub(crate) struct LiveCall {
    pub(crate) outbound: Outbound,
    pub(crate) lanes: Vec<u32>,
    /// Probability that a settled lane made it.
    pub(crate) owned: f64,
    pub(crate) is_idle: bool,
    /// The likeliest cause and its probability, before the guard limited it.
    pub(crate) stated: Option<(InboundId, f64)>,
    /// Requests that were open when it began.
    pub(crate) witnesses: Vec<InboundId>,
}

// === impl LiveLane ===

impl LiveLane {
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
