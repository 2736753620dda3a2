//! The possible states of a process right now: requests and queues with their possible paths, in
//! clusters of those that compete.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::event::{InboundId, Nanos, OutboundId};
use crate::joint_cluster::{JointCluster, WeighedHypothesis};
use crate::lane::{Lane, OpenCall};
use crate::lane_path::{CallStep, LaneMembers, LanePath, PathOutlook};
use crate::life_table::Step;
use crate::message::{Inbound, Outbound};
use crate::step_model::StepModel;
use crate::step_trail::visit_trail;
use crate::turns::{Turn, Turns};

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
    pub(crate) paths: Vec<PathOutlook>,
    pub(crate) turns: Turns,
}

/// All that is not settled.
#[derive(Debug, Default)]
pub(crate) struct ProcessState {
    pub(crate) inbound: Vec<Inbound>,
    pub(crate) lane_of: Vec<u32>,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) calls: Vec<OpenCall>,
    pub(crate) clusters: Vec<JointCluster>,
    /// Lanes in use.
    pub(crate) live: Vec<u32>,
    inbound_at: HashMap<InboundId, u32>,
    call_at: HashMap<OutboundId, u32>,
    queues: BTreeMap<u64, u32>,
    free_inbound: Vec<u32>,
    free_lanes: Vec<u32>,
    free_calls: Vec<u32>,
    pub(crate) free_clusters: Vec<u32>,
}

// === impl ProcessState ===

impl ProcessState {
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

    /// Weighs the paths of a queue by how likely they make its last commit, and learns from that.
    pub(crate) fn weigh_commit(&mut self, lane: u32, now: Nanos, model: &mut StepModel) {
        let weighed = self.lanes[lane as usize].commit_factors(&self.inbound, model);
        let shares = self.shares(lane, now, model);
        let (mut total, mut left_out) = (0.0, 0.0);
        for (share, (factor, left)) in shares.iter().zip(&weighed) {
            total += share * factor;
            left_out += share * factor * left;
        }
        model
            .commits
            .observe(left_out / total.max(f64::MIN_POSITIVE));
        let factors: Vec<f64> = weighed.into_iter().map(|(factor, _)| factor).collect();
        self.weigh_paths(lane, &factors, now, model);
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
        let lane = Lane {
            cluster: 0,
            is_queue: queue.is_some(),
            queue,
            members: Vec::new(),
            paths: vec![path],
            calls: Vec::new(),
            last_step: start,
            is_open: true,
            is_quiet: true,
            commit: None,
            is_lost: false,
            is_held_up: false,
            outlook_from: 0,
        };
        let index = put(&mut self.lanes, &mut self.free_lanes, lane);
        let cluster = JointCluster::single(index);
        let cluster = put(&mut self.clusters, &mut self.free_clusters, cluster);
        self.lanes[index as usize].cluster = cluster;
        self.live.push(index);
        index
    }

    pub(crate) fn add_call(&mut self, call: OpenCall) -> u32 {
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
        turn_factor: f64,
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
            outlook.clusters.push(ClusterOutlook {
                cluster,
                hazard: 0.0,
            });
        }
        if turn_factor < 1.0 {
            let clusters = outlook.clusters.iter().map(|one| one.cluster);
            outlook.turns = self.turns(
                clusters,
                outbound.start,
                Turn::Call(outbound.kind),
                turn_factor,
                model,
            );
        }
        for index in 0..outlook.clusters.len() {
            self.sum_up(index, &mut outlook);
        }
        outlook
    }

    /// Adds up the hazards of a cluster over its hypotheses.
    fn sum_up(&self, place: usize, outlook: &mut ProcessOutlook) {
        let cluster = &self.clusters[outlook.clusters[place].cluster as usize];
        let from = |column: usize| self.lanes[cluster.lanes[column] as usize].outlook_from;
        let at = |column: usize, path: u16| &outlook.paths[from(column) + usize::from(path)];
        let masses = cluster.masses(|column, path| at(column, path).survival);
        let total = masses.iter().sum::<f64>().max(f64::MIN_POSITIVE);
        let mut hazard = 0.0;
        let first_cause = outlook.causes.len();
        for (hypothesis, mass) in cluster.hypotheses.iter().zip(&masses) {
            for (column, path) in hypothesis.paths.iter().enumerate() {
                let of_path = at(column, *path);
                let beside = hypothesis.paths.iter().enumerate();
                let beside = beside.map(|(other, path)| from(other) + usize::from(*path));
                let turn = outlook
                    .turns
                    .factor(from(column) + usize::from(*path), beside);
                let share = turn * mass / total / of_path.survival.max(f64::MIN_POSITIVE);
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
        outlook.clusters[place].hazard = hazard;
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

    pub(crate) fn masses(&self, cluster: u32, at: Nanos, model: &mut StepModel) -> Vec<f64> {
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

    /// Notes that several requests are in flight.
    pub(crate) fn end_quiet(&mut self) {
        for lane in &self.live {
            let lane = &mut self.lanes[*lane as usize];
            lane.is_quiet &= !lane.is_open;
        }
    }

    /// Returns whether another lane of the cluster is open.
    pub(crate) fn has_open_rivals(&self, lane: u32) -> bool {
        let cluster = &self.clusters[self.lanes[lane as usize].cluster as usize];
        let mut rivals = cluster.lanes.iter().filter(|other| **other != lane);
        rivals.any(|other| self.lanes[*other as usize].is_open)
    }
}

/// Puts an element into a free slot.
pub(crate) fn put<T>(slots: &mut Vec<T>, free: &mut Vec<u32>, element: T) -> u32 {
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
