//! The order of the requests in flight, and whether one of them is long overdue.

use crate::event::Nanos;
use crate::lane_path::LanePath;
use crate::message::Outbound;
use crate::process_state::{ProcessOutlook, ProcessState};
use crate::step_model::StepModel;
use crate::turns::{Turn, TurnPath, TurnPlace, Turns};

/// A request is overdue if so few have waited as long for their next step.
const OVERDUE_SURVIVAL: f64 = 0.003;
/// Standard deviations by which the waits of competing requests together exceed what is usual when
/// something holds the process up.
const HELD_UP_DEVIATIONS: f64 = 4.8;
/// Probability that a request makes a call next, below which it does not compete for it.
const MIN_EXPECTING: f64 = 0.001;
/// Share of a call from which on it decides what its request did afterwards.
const GUESSED_SHARE: f64 = 0.2;

impl ProcessState {
    /// Returns whose turn it is at `at`; paths are in the order of the clusters and their lanes.
    pub(crate) fn turns(
        &self,
        clusters: impl Iterator<Item = u32>,
        at: Nanos,
        turn: Turn,
        factor: f64,
        model: &mut StepModel,
    ) -> Turns {
        let mut paths = Vec::new();
        for cluster in clusters {
            for lane in &self.clusters[cluster as usize].lanes {
                let shares = self.shares(*lane, at, model);
                let of_lane = self.lanes[*lane as usize].paths.iter().zip(shares);
                paths.extend(of_lane.map(|(path, share)| TurnPath {
                    lane: *lane,
                    cluster,
                    share,
                    place: self.turn_place(*lane, path, at, turn, model),
                }));
            }
        }
        Turns::new(factor, paths)
    }

    fn turn_place(
        &self,
        lane: u32,
        path: &LanePath,
        at: Nanos,
        turn: Turn,
        model: &StepModel,
    ) -> Option<TurnPlace> {
        let of_lane = &self.lanes[lane as usize];
        if !of_lane.is_open || of_lane.is_queue {
            return None;
        }
        let standing = &path.standing;
        match turn {
            Turn::Call(kind) => {
                let inbound = &self.inbound[*of_lane.members.first()? as usize];
                (!model.has_made(standing.history, kind)).then_some(TurnPlace {
                    group: inbound.operation,
                    since: inbound.start,
                })
            }
            Turn::End => (standing.free_since <= at).then_some(TurnPlace {
                group: standing.history,
                since: standing.free_since,
            }),
        }
    }

    /// Weighs the hypotheses of a lane's cluster by whether its end overtakes other requests.
    pub(crate) fn weigh_end_order(
        &mut self,
        lane: u32,
        at: Nanos,
        factor: f64,
        model: &mut StepModel,
    ) {
        let index = self.lanes[lane as usize].cluster;
        let cluster = &self.clusters[index as usize];
        if factor >= 1.0 || cluster.hypotheses.len() == 1 {
            return;
        }
        let Some(column) = cluster.column(lane) else {
            return;
        };
        // Its own cluster first, so that its paths have known places.
        let mut place = 0;
        let own_lanes = cluster.lanes.iter().map(|lane| {
            let first = place;
            place += self.lanes[*lane as usize].paths.len();
            first
        });
        let from: Vec<usize> = own_lanes.collect();
        let others = self
            .live
            .iter()
            .map(|lane| self.lanes[*lane as usize].cluster);
        let mut clusters: Vec<u32> = others.filter(|other| *other != index).collect();
        clusters.sort_unstable();
        clusters.dedup();
        let clusters = std::iter::once(index).chain(clusters);
        let turns = self.turns(clusters, at, Turn::End, factor, model);
        for hypothesis in &mut self.clusters[index as usize].hypotheses {
            let paths = hypothesis.paths.iter().zip(&from);
            let places: Vec<usize> = paths
                .map(|(path, from)| from + usize::from(*path))
                .collect();
            hypothesis.weight *= turns.factor(places[column], places.iter().copied());
        }
    }

    /// Returns whether requests compete for a call that are overdue: one of them for very long, or
    /// all of them for long. The logarithm of the share that waits as long is exponentially
    /// distributed, so its sum over `n` requests is usually `n`, give or take its square root.
    pub(crate) fn is_held_up(
        &self,
        candidates: &[u32],
        outlook: &ProcessOutlook,
        outbound: &Outbound,
        model: &mut StepModel,
    ) -> bool {
        let (mut competing, mut waits, mut longest) = (0, 0.0, 0.0_f64);
        for lane in candidates {
            if let Some(wait) = self.expected_wait(*lane, outlook, outbound, model) {
                competing += 1;
                waits += wait;
                longest = longest.max(wait);
            }
        }
        let usual = f64::from(competing);
        let is_overdue = longest > -OVERDUE_SURVIVAL.ln();
        let is_long = waits > usual + HELD_UP_DEVIATIONS * usual.sqrt();
        competing > 1 && (is_overdue || is_long)
    }

    /// Notes the requests that a call was most likely made by, while something held the process up.
    pub(crate) fn note_held_up(&mut self, outlook: &ProcessOutlook) {
        for (member, hazard) in &outlook.causes {
            let lane = &mut self.lanes[self.lane_of[*member as usize] as usize];
            lane.is_held_up |= !lane.is_queue && *hazard > GUESSED_SHARE * outlook.hazard;
        }
    }

    /// Returns how long a request has waited for a call, as the negative logarithm of the share
    /// that waits as long: the mean over the paths on which such a call is next, by their
    /// probability. `None` if that is hardly possible, or if it is the records of a partition.
    fn expected_wait(
        &self,
        lane: u32,
        outlook: &ProcessOutlook,
        outbound: &Outbound,
        model: &mut StepModel,
    ) -> Option<f64> {
        let of_lane = &self.lanes[lane as usize];
        if of_lane.is_queue {
            return None;
        }
        let outlooks = &outlook.paths[of_lane.outlook_from..][..of_lane.paths.len()];
        let shares = self.shares(lane, outbound.start, model);
        let (mut expecting, mut sum) = (0.0, 0.0);
        for ((path, outlook), share) in of_lane.paths.iter().zip(outlooks).zip(shares) {
            if model.has_followed(path.standing.history, outbound.kind) {
                expecting += share;
                sum -= share * outlook.survival.max(f64::MIN_POSITIVE).ln();
            }
        }
        (expecting > MIN_EXPECTING).then(|| sum / expecting)
    }
}
