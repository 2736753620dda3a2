//! The possible states of a process right now: requests and queues with their possible paths, in
//! clusters of those that compete.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::event::{InboundId, Nanos, OutboundId};
use crate::joint_cluster::{JointCluster, JointHypothesis, WeighedHypothesis};
use crate::lane_path::{CallStep, LaneMembers, LanePath, PathOutlook, visit_trail};
use crate::life_table::Step;
use crate::live_lane::{LiveCall, LiveLane};
use crate::problem::{Inbound, Outbound};
use crate::step_model::StepModel;

/// Hypotheses of a cluster, and while many requests are in flight.
const MAX_HYPOTHESES: (usize, usize) = (32, 8);
/// Requests that may be in one cluster, and while many are in flight.
const MAX_LIVE_LANES: (usize, usize) = (6, 3);
/// Number in flight from which there are many.
const MANY: usize = 10;
/// Hypotheses this much lighter than the heaviest are given up at once.
const HOPELESS_SHARE: f64 = 1e-5;
/// Calls of one lane that are followed.
const MAX_CALLS: usize = 1024;
/// Clusters with a greater share of a call than this are merged, and those with a greater share
/// than the second take note of it.
const CONTENDER_SHARE: f64 = 1e-3;
const NOTED_SHARE: f64 = 1e-4;

/// The possible next steps of a cluster.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClusterOutlook {
    pub(crate) cluster: u32,
    pub(crate) hazard: f64,
}

/// The possible next steps of all clusters.
#[derive(Debug, Default)]
pub(crate) struct ProcessOutlook {
    pub(crate) clusters: Vec<ClusterOutlook>,
    /// Hazard of each inbound event.
    pub(crate) causes: Vec<(u32, f64)>,
    pub(crate) hazard: f64,
    paths: Vec<PathOutlook>,
}

/// All that is not settled.
#[derive(Debug, Default)]
pub(crate) struct LiveState {
    pub(crate) inbound: Vec<Inbound>,
    pub(crate) lane_of: Vec<u32>,
    pub(crate) lanes: Vec<LiveLane>,
    pub(crate) calls: Vec<LiveCall>,
    clusters: Vec<JointCluster>,
    /// Lanes in use.
    pub(crate) live: Vec<u32>,
    inbound_at: HashMap<InboundId, u32>,
    call_at: HashMap<OutboundId, u32>,
    queues: BTreeMap<u64, u32>,
    free_inbound: Vec<u32>,
    free_lanes: Vec<u32>,
    free_calls: Vec<u32>,
    free_clusters: Vec<u32>,
}

// === impl LiveState ===

impl LiveState {
    pub(crate) fn inbound_index(&self, id: InboundId) -> Option<u32> {
        self.inbound_at.get(&id).copied()
    }

    pub(crate) fn call_index(&self, id: OutboundId) -> Option<u32> {
        self.call_at.get(&id).copied()
    }

    pub(crate) fn inbound_count(&self) -> usize {
        self.inbound_at.len()
    }

    pub(crate) fn call_count(&self) -> usize {
        self.call_at.len()
    }

    pub(crate) fn members(&self, lane: u32) -> LaneMembers<'_> {
        let lane = &self.lanes[lane as usize];
        LaneMembers {
            members: &lane.members,
            inbound: &self.inbound,
            is_queue: lane.is_queue,
        }
    }

    /// Returns how likely the paths of a queue make its last commit.
    pub(crate) fn commit_factors(&self, lane: u32) -> Vec<f64> {
        self.lanes[lane as usize].commit_factors(&self.inbound)
    }

    /// Returns the lane of a queue.
    pub(crate) fn queue_lane(&self, queue: u64) -> Option<u32> {
        self.queues.get(&queue).copied()
    }

    pub(crate) fn add_inbound(&mut self, inbound: Inbound, model: &mut StepModel) -> u32 {
        let (id, operation, start) = (inbound.id, inbound.operation, inbound.start);
        let position = inbound.position;
        let index = put(&mut self.inbound, &mut self.free_inbound, inbound);
        self.lane_of.resize(self.inbound.len(), 0);
        self.inbound_at.insert(id, index);
        let known = position.and_then(|position| self.queue_lane(position.queue));
        let lane = known.unwrap_or_else(|| {
            let member = position.is_none().then_some(index);
            let path = LanePath::new(member, model.fresh(operation), start);
            let queue = position.map(|position| position.queue);
            self.add_lane(path, queue, start)
        });
        if let Some(position) = position {
            self.queues.insert(position.queue, lane);
        }
        self.lane_of[index as usize] = lane;
        let inbound = &self.inbound;
        let members = &mut self.lanes[lane as usize].members;
        let at = members.partition_point(|other| inbound[*other as usize].position <= position);
        members.insert(at, index);
        index
    }

    fn add_lane(&mut self, path: LanePath, queue: Option<u64>, start: Nanos) -> u32 {
        let lane = LiveLane {
            cluster: 0,
            is_queue: queue.is_some(),
            queue,
            members: Vec::new(),
            paths: vec![path],
            calls: Vec::new(),
            last_step: start,
            is_open: true,
            commit: None,
            is_lost: false,
            outlook_from: 0,
        };
        let index = put(&mut self.lanes, &mut self.free_lanes, lane);
        let cluster = JointCluster::single(index);
        let cluster = put(&mut self.clusters, &mut self.free_clusters, cluster);
        self.lanes[index as usize].cluster = cluster;
        self.live.push(index);
        index
    }

    pub(crate) fn add_call(&mut self, call: LiveCall) -> u32 {
        let id = call.outbound.id;
        let index = put(&mut self.calls, &mut self.free_calls, call);
        self.call_at.insert(id, index);
        index
    }

    pub(crate) fn remove_call(&mut self, call: u32) {
        self.call_at.remove(&self.calls[call as usize].outbound.id);
        self.free_calls.push(call);
    }

    pub(crate) fn remove_inbound(&mut self, index: u32) {
        let lane = self.lane_of[index as usize];
        let members = &mut self.lanes[lane as usize].members;
        members.retain(|other| *other != index);
        self.inbound_at.remove(&self.inbound[index as usize].id);
        self.free_inbound.push(index);
    }

    pub(crate) fn remove_lane(&mut self, lane: u32) {
        for member in self.lanes[lane as usize].members.clone() {
            self.remove_inbound(member);
        }
        if let Some(queue) = self.lanes[lane as usize].queue {
            self.queues.remove(&queue);
        }
        self.leave_cluster(lane);
        self.lanes[lane as usize].paths.clear();
        self.live.retain(|other| *other != lane);
        self.free_lanes.push(lane);
    }

    fn leave_cluster(&mut self, lane: u32) {
        let index = self.lanes[lane as usize].cluster;
        let cluster = &mut self.clusters[index as usize];
        cluster.remove(lane);
        if cluster.lanes.is_empty() {
            self.free_clusters.push(index);
        }
    }

    fn path_outlook(
        &self,
        path: &LanePath,
        members: LaneMembers<'_>,
        outbound: &Outbound,
        model: &mut StepModel,
    ) -> PathOutlook {
        let mut outlook = path.outlook(members, outbound.start, outbound.kind, model);
        if !outbound.tokens.is_empty() {
            outlook.scale(|member| {
                model
                    .tokens
                    .factor(&self.inbound[member as usize], outbound)
            });
        }
        outlook
    }

    /// Computes which of `candidates` may make a call now.
    pub(crate) fn look(
        &mut self,
        candidates: &[u32],
        outbound: &Outbound,
        model: &mut StepModel,
    ) -> ProcessOutlook {
        let mut outlook = ProcessOutlook::default();
        let mut clusters: Vec<u32> = candidates
            .iter()
            .map(|lane| self.lanes[*lane as usize].cluster)
            .collect();
        clusters.sort_unstable();
        clusters.dedup();
        for cluster in clusters {
            let is_single = self.clusters[cluster as usize].hypotheses.len() == 1;
            for column in 0..self.clusters[cluster as usize].lanes.len() {
                let lane = self.clusters[cluster as usize].lanes[column];
                self.lanes[lane as usize].outlook_from = outlook.paths.len();
                let is_candidate = candidates.contains(&lane);
                let members = self.members(lane);
                let paths = self.lanes[lane as usize].paths.iter();
                outlook
                    .paths
                    .extend(paths.map(|path| match (is_candidate, is_single) {
                        (true, _) => self.path_outlook(path, members, outbound, model),
                        (false, true) => PathOutlook::surviving(1.0),
                        (false, false) => {
                            PathOutlook::surviving(path.survival(members, outbound.start, model))
                        }
                    }));
            }
            self.sum_up(cluster, &mut outlook);
        }
        outlook
    }

    /// Adds up the hazards of a cluster over its hypotheses.
    fn sum_up(&self, index: u32, outlook: &mut ProcessOutlook) {
        let cluster = &self.clusters[index as usize];
        let from = |column: usize| self.lanes[cluster.lanes[column] as usize].outlook_from;
        let at = |column: usize, path: u16| &outlook.paths[from(column) + usize::from(path)];
        let masses = cluster.masses(|column, path| at(column, path).survival);
        let total = masses.iter().sum::<f64>().max(f64::MIN_POSITIVE);
        let mut hazard = 0.0;
        let first_cause = outlook.causes.len();
        for (hypothesis, mass) in cluster.hypotheses.iter().zip(&masses) {
            for (column, path) in hypothesis.paths.iter().enumerate() {
                let of_path = at(column, *path);
                let share = mass / total / of_path.survival.max(f64::MIN_POSITIVE);
                for option in of_path.options() {
                    let part = share * option.density;
                    hazard += part;
                    let causes = &mut outlook.causes;
                    let mut of_cluster = causes[first_cause..].iter_mut();
                    match of_cluster.find(|(cause, _)| *cause == option.member) {
                        Some((_, sum)) => *sum += part,
                        None => causes.push((option.member, part)),
                    }
                }
            }
        }
        outlook.hazard += hazard;
        outlook.clusters.push(ClusterOutlook {
            cluster: index,
            hazard,
        });
    }

    /// Takes a call into the paths that may have made it; `rest` is the hazard of all else.
    pub(crate) fn take_call(
        &mut self,
        outlook: &ProcessOutlook,
        rest: f64,
        call: CallStep,
        in_flight: usize,
        model: &mut StepModel,
    ) {
        let total = (outlook.hazard + rest).max(f64::MIN_POSITIVE);
        let is_many = in_flight > MANY;
        let mut contenders: Vec<ClusterOutlook> = outlook
            .clusters
            .iter()
            .filter(|one| one.hazard > NOTED_SHARE * total)
            .cloned()
            .collect();
        contenders.sort_by(|a, b| b.hazard.total_cmp(&a.hazard));
        let strong = contenders.partition_point(|one| one.hazard > CONTENDER_SHARE * total);
        let live = contenders[..strong].iter().map(|one| {
            let lanes = &self.clusters[one.cluster as usize].lanes;
            let open = lanes
                .iter()
                .filter(|lane| self.lanes[**lane as usize].is_open);
            open.count()
        });
        let max_lanes = if is_many {
            MAX_LIVE_LANES.1
        } else {
            MAX_LIVE_LANES.0
        };
        if strong > 1 && live.sum::<usize>() <= max_lanes {
            let merged: Vec<ClusterOutlook> = contenders.drain(..strong).collect();
            contenders.insert(0, self.merge(&merged));
        }
        for contender in contenders {
            let others = (total - contender.hazard).max(0.0);
            self.branch(
                contender.cluster,
                &outlook.paths,
                others,
                call,
                is_many,
                model,
            );
        }
    }

    fn merge(&mut self, clusters: &[ClusterOutlook]) -> ClusterOutlook {
        let into = clusters[0].cluster;
        for other in &clusters[1..] {
            let other = std::mem::take(&mut self.clusters[other.cluster as usize]);
            let combined = self.clusters[into as usize].combine(&other, 4 * MAX_HYPOTHESES.0);
            for lane in &other.lanes {
                self.lanes[*lane as usize].cluster = into;
            }
            self.clusters[into as usize] = combined;
        }
        for other in &clusters[1..] {
            self.free_clusters.push(other.cluster);
        }
        ClusterOutlook {
            cluster: into,
            hazard: clusters.iter().map(|one| one.hazard).sum(),
        }
    }

    /// Splits the hypotheses of a cluster by which lane made a call, if any of them did.
    fn branch(
        &mut self,
        index: u32,
        paths: &[PathOutlook],
        others: f64,
        call: CallStep,
        is_many: bool,
        model: &mut StepModel,
    ) {
        let cluster = std::mem::take(&mut self.clusters[index as usize]);
        let lanes = cluster.lanes.iter();
        let from: Vec<usize> = lanes
            .map(|lane| self.lanes[*lane as usize].outlook_from)
            .collect();
        let at = |column: usize, path: u16| &paths[from[column] + usize::from(path)];
        let masses = cluster.masses(|column, path| at(column, path).survival);
        // Hypothesis, column and option of the lane that makes the call, mass and weight.
        let mut children: Vec<(usize, Option<(usize, usize)>, f64, f64)> = Vec::new();
        for (number, (hypothesis, mass)) in cluster.hypotheses.iter().zip(masses).enumerate() {
            children.push((number, None, mass * others, hypothesis.weight * others));
            for (column, path) in hypothesis.paths.iter().enumerate() {
                let of_path = at(column, *path);
                for (option, step) in of_path.options().iter().enumerate() {
                    let mass = mass * step.density / of_path.survival.max(f64::MIN_POSITIVE);
                    let weight = hypothesis.weight * step.density;
                    children.push((number, Some((column, option)), mass, weight));
                }
            }
        }
        let most = children.iter().map(|child| child.2).fold(0.0, f64::max);
        children.retain(|child| child.2 >= HOPELESS_SHARE * most);
        children.sort_by(|a, b| b.2.total_cmp(&a.2));
        children.truncate(Self::max_hypotheses(is_many));
        let least = NOTED_SHARE * children.iter().map(|child| child.2).sum::<f64>();
        let mut made: Vec<(usize, u16, usize, u16)> = Vec::new();
        let mut weighed = Vec::with_capacity(children.len());
        for (place, (number, step, mass, weight)) in children.into_iter().enumerate() {
            if place > 0 && mass < least {
                break;
            }
            let mut hypothesis = JointHypothesis {
                weight,
                paths: cluster.hypotheses[number].paths.clone(),
            };
            if let Some((column, option)) = step {
                let (lane, path) = (cluster.lanes[column], hypothesis.paths[column]);
                let known = made
                    .iter()
                    .find(|one| (one.0, one.1, one.2) == (column, path, option));
                hypothesis.paths[column] = if let Some(known) = known {
                    known.3
                } else {
                    let member = at(column, path).options()[option].member;
                    let next = self.lanes[lane as usize].paths[usize::from(path)].after_call(
                        self.members(lane),
                        member,
                        call,
                        model,
                    );
                    made.push((column, path, option, self.push_path(lane, next, call)));
                    made[made.len() - 1].3
                };
            }
            weighed.push(WeighedHypothesis { hypothesis, mass });
        }
        self.clusters[index as usize] = cluster;
        self.settle_cluster(index, weighed, is_many);
    }

    fn push_path(&mut self, lane: u32, path: LanePath, call: CallStep) -> u16 {
        let of_lane = &mut self.lanes[lane as usize];
        of_lane.paths.push(path);
        of_lane.last_step = of_lane.last_step.max(call.at);
        if of_lane.calls.len() >= MAX_CALLS {
            // A request with more is not learned from.
            self.calls[call.slot as usize].owned = 1.0;
        } else if !of_lane.calls.contains(&call.slot) {
            of_lane.calls.push(call.slot);
            self.calls[call.slot as usize].lanes.push(lane);
        }
        self.lanes[lane as usize].paths.len() as u16 - 1
    }

    const fn max_hypotheses(is_many: bool) -> usize {
        if is_many {
            MAX_HYPOTHESES.1
        } else {
            MAX_HYPOTHESES.0
        }
    }

    /// Gives a cluster its new hypotheses; paths that none of them has are dropped, and lanes that
    /// all agree on leave.
    fn settle_cluster(&mut self, index: u32, weighed: Vec<WeighedHypothesis>, is_many: bool) {
        let mut cluster = std::mem::take(&mut self.clusters[index as usize]);
        let mut weighed = weighed;
        for (column, lane) in cluster.lanes.iter().enumerate() {
            self.lanes[*lane as usize].keep_paths(column, &mut weighed);
        }
        cluster.replace(weighed, Self::max_hypotheses(is_many));
        let certain: Vec<u32> = cluster
            .lanes
            .iter()
            .copied()
            .filter(|lane| self.lanes[*lane as usize].paths.len() == 1)
            .collect();
        for lane in certain {
            if cluster.lanes.len() > 1 {
                cluster.remove(lane);
                let alone = JointCluster::single(lane);
                let alone = put(&mut self.clusters, &mut self.free_clusters, alone);
                self.lanes[lane as usize].cluster = alone;
            }
        }
        self.clusters[index as usize] = cluster;
    }

    /// Weighs the hypotheses of a lane's cluster again, each by a factor for the lane's path.
    pub(crate) fn weigh_paths(
        &mut self,
        lane: u32,
        factors: &[f64],
        at: Nanos,
        model: &mut StepModel,
    ) {
        let index = self.lanes[lane as usize].cluster;
        if self.clusters[index as usize].hypotheses.len() == 1 {
            return;
        }
        let cluster = &mut self.clusters[index as usize];
        let Some(column) = cluster.column(lane) else {
            return;
        };
        for hypothesis in &mut cluster.hypotheses {
            hypothesis.weight *= factors[usize::from(hypothesis.paths[column])];
        }
        let masses = self.masses(index, at, model);
        let hypotheses = self.clusters[index as usize].hypotheses.iter().cloned();
        let weighed = hypotheses
            .zip(masses)
            .map(|(hypothesis, mass)| WeighedHypothesis { hypothesis, mass })
            .collect();
        self.settle_cluster(index, weighed, false);
    }

    fn masses(&self, cluster: u32, at: Nanos, model: &mut StepModel) -> Vec<f64> {
        let cluster = &self.clusters[cluster as usize];
        let survivals: Vec<Vec<f64>> = cluster
            .lanes
            .iter()
            .map(|lane| {
                let paths = &self.lanes[*lane as usize].paths;
                let survival = |path: &LanePath| path.survival(self.members(*lane), at, model);
                paths.iter().map(survival).collect()
            })
            .collect();
        cluster.masses(|column, path| survivals[column][usize::from(path)])
    }

    /// Returns the probability of each path of a lane.
    pub(crate) fn shares(&self, lane: u32, at: Nanos, model: &mut StepModel) -> Vec<f64> {
        let count = self.lanes[lane as usize].paths.len();
        if count == 1 {
            return vec![1.0];
        }
        let index = self.lanes[lane as usize].cluster;
        let masses = self.masses(index, at, model);
        let total = masses.iter().sum::<f64>().max(f64::MIN_POSITIVE);
        let cluster = &self.clusters[index as usize];
        let mut shares = vec![0.0; count];
        if let Some(column) = cluster.column(lane) {
            for (hypothesis, mass) in cluster.hypotheses.iter().zip(masses) {
                shares[usize::from(hypothesis.paths[column])] += mass / total;
            }
        }
        shares
    }

    /// Is done with the records of a queue up to one that was committed a while ago.
    pub(crate) fn expire_records(&mut self, lane: u32, last: usize, model: &mut StepModel) {
        let mut paths = std::mem::take(&mut self.lanes[lane as usize].paths);
        for path in &mut paths {
            path.pass_records(self.members(lane), last, model);
        }
        self.lanes[lane as usize].paths = paths;
    }

    /// Removes the records that no path of a queue can still handle, and returns the calls of those
    /// that are being handled.
    pub(crate) fn trim_queue(&mut self, lane: u32, expired: Option<usize>) -> BTreeSet<u32> {
        let of_lane = &self.lanes[lane as usize];
        let first_of = |path: &LanePath| match path.member {
            Some(member) => of_lane.members.iter().position(|other| *other == member),
            None => None,
        };
        let current = of_lane.paths.iter().map(first_of);
        let passed = current.map(|first| first.unwrap_or(0)).min().unwrap_or(0);
        let passed = passed.max(expired.map_or(0, |last| last + 1));
        let mut open = BTreeSet::new();
        for path in &of_lane.paths {
            visit_trail(&path.trail, 1.0, &mut |_, call, _, _| {
                open.insert(call);
            });
        }
        let finished = of_lane.members[..passed.min(of_lane.members.len())].to_vec();
        for member in finished {
            self.remove_inbound(member);
        }
        open
    }

    /// Returns whether another lane of the cluster is open.
    pub(crate) fn has_open_rivals(&self, lane: u32) -> bool {
        let cluster = &self.clusters[self.lanes[lane as usize].cluster as usize];
        let mut rivals = cluster.lanes.iter().filter(|other| **other != lane);
        rivals.any(|other| self.lanes[*other as usize].is_open)
    }
}

/// Puts an element into a free slot.
fn put<T>(slots: &mut Vec<T>, free: &mut Vec<u32>, element: T) -> u32 {
    match free.pop() {
        Some(index) => {
            slots[index as usize] = element;
            index
        }
        None => {
            slots.push(element);
            slots.len() as u32 - 1
        }
    }
}

/// A step that is not taken yet.
pub(crate) const fn call_step(slot: u32, outbound: &Outbound, kind: Step) -> CallStep {
    CallStep {
        slot,
        kind,
        at: outbound.start,
        is_record: outbound.is_record,
    }
}
