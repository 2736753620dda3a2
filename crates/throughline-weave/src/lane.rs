//! Requests and queues with their possible paths, and calls with their possible causes.

use crate::event::{InboundId, Nanos};
use crate::evidence_tier::EvidenceTier;
use crate::guard::{CONFIDENT, DecisionContext, StatedCause};
use crate::handled_records::HandledRecords;
use crate::joint_cluster::WeighedHypothesis;
use crate::lane_path::LanePath;
use crate::message::{Inbound, Outbound};
use crate::step_model::StepModel;
use crate::step_trail::mix_trails;

/// Probability that a commit covers a record that its consumer has not come to.
const AHEAD: f64 = 0.1;
/// Time from the decision to commit until the commit is seen.
const COMMIT_LAG_NS: Nanos = 2_000_000;

/// A request, or the records of one partition.
#[derive(Debug, Clone)]
pub(crate) struct Lane {
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
    /// Whether never more than one other request was in flight beside it.
    pub(crate) is_quiet: bool,
    /// The last commit of a queue: its highest offset, and its time.
    pub(crate) commit: Option<(i64, Nanos)>,
    /// Whether records were given up because too many waited: which one is handled is not known.
    pub(crate) is_lost: bool,
    /// Whether it competed for a call while something held the process up: which of its later calls
    /// are its own follows from a guess.
    pub(crate) is_held_up: bool,
    /// Where the outlooks of its paths begin, while a call is decided.
    pub(crate) outlook_from: usize,
}

/// The statement about a call at the moment when it was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallStatement {
    pub(crate) cause: StatedCause,
    pub(crate) tier: EvidenceTier,
    /// The circumstances; without any, the message named its parent.
    pub(crate) context: Option<DecisionContext>,
    /// Whether a request that competed for the call was long overdue.
    pub(crate) is_held_up: bool,
    /// Whether a proof has confirmed or refuted it.
    pub(crate) is_checked: bool,
}

/// A request or record with the probability that it made a call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CauseShare {
    pub(crate) id: InboundId,
    pub(crate) operation: u32,
    pub(crate) is_record: bool,
    pub(crate) share: f64,
}

/// A call whose possible causes are not settled.
#[derive(Debug, Clone)]
pub(crate) struct OpenCall {
    pub(crate) outbound: Outbound,
    pub(crate) lanes: Vec<u32>,
    /// Probability that a settled lane made it.
    pub(crate) owned: f64,
    /// The same, by request or record.
    pub(crate) causes: Vec<CauseShare>,
    pub(crate) statement: Option<CallStatement>,
    pub(crate) is_idle: bool,
    /// Requests that were open when it began.
    pub(crate) witnesses: Vec<InboundId>,
    /// The cause that is certain without a model: the message names it, or nothing else was open.
    pub(crate) proof: Option<InboundId>,
}

// === impl OpenCall ===

impl OpenCall {
    /// Returns its cause if that is beyond doubt.
    pub(crate) fn certain_cause(&self) -> Option<InboundId> {
        let stated = self.statement.as_ref().map(|it| it.cause);
        let certain = stated.filter(|cause| cause.confidence >= CONFIDENT);
        // The only request in flight need not be the cause: a job may run beside it.
        self.outbound
            .exact
            .or_else(|| certain.map(|cause| cause.parent))
    }
}

// === impl Lane ===

impl Lane {
    /// Notes that a record of a queue was committed.
    pub(crate) fn note_commit(&mut self, offset: i64, at: Nanos) {
        let highest = self.commit.map_or(offset, |(known, _)| known.max(offset));
        self.commit = Some((highest, at));
    }

    /// Returns how likely each path makes the last commit: a consumer commits the records that it
    /// is done with, and no others. One that commits what it has only received does so on every
    /// path. Returns as well how likely the commit has left a record out on each path.
    pub(crate) fn commit_factors(
        &self,
        inbound: &[Inbound],
        model: &mut StepModel,
    ) -> Vec<(f64, f64)> {
        let left_out = model.commits.left_out();
        let offset_of = |member: u32| {
            let position = inbound[member as usize].position;
            position.map_or(i64::MIN, |position| position.offset)
        };
        let mut factor = |path: &LanePath| {
            let (Some((committed, at)), Some(current)) = (self.commit, path.member) else {
                return (1.0, 0.0);
            };
            let current = offset_of(current);
            let is_done = |member: &u32| {
                let offset = offset_of(*member);
                offset > committed && offset < current
            };
            let is_ahead = |member: &u32| {
                let offset = offset_of(*member);
                offset <= committed && offset > current
            };
            let is_free = path.standing.free_since <= at;
            let has_moved_on = path.done_since.saturating_add(COMMIT_LAG_NS) <= at;
            if has_moved_on && self.members.iter().any(is_done) {
                (left_out, 1.0)
            } else if current > committed && is_free {
                let done = path.done_probability(path.standing.history, model);
                let factor = 1.0 - done + done * left_out;
                (factor, done * left_out / factor)
            } else if self.members.iter().any(is_ahead) {
                let ahead = self.members.iter().filter(|member| is_ahead(member));
                let done = path.done_probability(path.standing.history, model);
                let reached = ahead.fold(done, |reached, member| {
                    let fresh = model.fresh(inbound[*member as usize].operation);
                    reached * path.done_probability(fresh, model)
                });
                (AHEAD + (1.0 - AHEAD) * reached, 0.0)
            } else {
                (1.0, 0.0)
            }
        };
        self.paths.iter().map(&mut factor).collect()
    }

    /// Returns for each path the first one that goes on in the same way.
    pub(crate) fn state_classes(&self) -> Vec<u16> {
        let paths = self.paths.iter();
        let class = |path: &LanePath| self.paths.iter().position(|it| it.is_same_state(path));
        paths.map(|path| class(path).unwrap_or(0) as u16).collect()
    }

    /// Adds a path for several that go on in the same way, with their masses, the heaviest first.
    pub(crate) fn push_mixture(&mut self, parts: &[(u16, f64)]) -> u16 {
        let parts = parts.iter();
        let parts = parts.map(|(path, mass)| (*mass, &self.paths[usize::from(*path)]));
        let parts: Vec<(f64, &LanePath)> = parts.collect();
        let path = mix(&parts);
        self.paths.push(path);
        self.paths.len() as u16 - 1
    }

    /// Drops the paths that no hypothesis has.
    pub(crate) fn keep_paths(&mut self, column: usize, weighed: &mut [WeighedHypothesis]) {
        let mut is_used = vec![false; self.paths.len()];
        for one in weighed.iter() {
            is_used[usize::from(one.hypothesis.paths[column])] = true;
        }
        let mut places = vec![0_u16; is_used.len()];
        let mut kept = 0;
        for (place, is_used) in places.iter_mut().zip(&is_used) {
            *place = kept;
            kept += u16::from(*is_used);
        }
        let mut used = is_used.iter();
        self.paths.retain(|_| used.next() == Some(&true));
        for one in weighed {
            let path = &mut one.hypothesis.paths[column];
            *path = places[usize::from(*path)];
        }
    }
}

/// Returns the path that several ones, with their masses and the heaviest first, have become.
fn mix(parts: &[(f64, &LanePath)]) -> LanePath {
    let mut path = parts[0].1.clone();
    let total = parts.iter().map(|part| part.0).sum::<f64>();
    let count = parts.len() as f64;
    let shared = parts.iter().map(|(mass, part)| {
        let share = if total > 0.0 {
            mass / total
        } else {
            1.0 / count
        };
        (share, *part)
    });
    let trails = shared.clone().map(|(share, part)| (share, &part.trail));
    path.trail = mix_trails(&trails.collect::<Vec<_>>());
    let handled = shared.map(|(share, part)| (share, &part.handled));
    path.handled = HandledRecords::mix(&handled.collect::<Vec<_>>());
    path
}
