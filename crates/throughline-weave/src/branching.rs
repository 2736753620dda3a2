//! How a call splits the hypotheses of the requests that may have made it.

use std::collections::BTreeMap;

use crate::joint_cluster::{JointCluster, JointHypothesis, WeighedHypothesis};
use crate::lane_path::{CallStep, LanePath};
use crate::process_state::{ClusterOutlook, ProcessOutlook, ProcessState, put};
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

impl ProcessState {
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
            self.branch(contender.cluster, outlook, others, call, is_many, model);
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
        outlook: &ProcessOutlook,
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
        let at = |column: usize, path: u16| &outlook.paths[from[column] + usize::from(path)];
        let masses = cluster.masses(|column, path| at(column, path).survival);
        // Hypothesis, column and option of the lane that makes the call, mass and weight.
        let mut children: Vec<(usize, Option<(usize, usize)>, f64, f64)> = Vec::new();
        for (number, (hypothesis, mass)) in cluster.hypotheses.iter().zip(masses).enumerate() {
            children.push((number, None, mass * others, hypothesis.weight * others));
            for (column, path) in hypothesis.paths.iter().enumerate() {
                let of_path = at(column, *path);
                let beside = hypothesis.paths.iter().enumerate();
                let beside = beside.map(|(other, path)| from[other] + usize::from(*path));
                let turn = outlook
                    .turns
                    .factor(from[column] + usize::from(*path), beside);
                for (option, step) in of_path.options().iter().enumerate() {
                    let density = turn * step.density;
                    let mass = mass * density / of_path.survival.max(f64::MIN_POSITIVE);
                    let weight = hypothesis.weight * density;
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
    pub(crate) fn settle_cluster(
        &mut self,
        index: u32,
        weighed: Vec<WeighedHypothesis>,
        is_many: bool,
    ) {
        let mut cluster = std::mem::take(&mut self.clusters[index as usize]);
        let mut weighed = self.merge_equal_states(&cluster.lanes, weighed);
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

    /// Makes one of the hypotheses in which all lanes go on in the same way. Where only some lanes
    /// do, what follows may still decide between the hypotheses.
    fn merge_equal_states(
        &mut self,
        lanes: &[u32],
        weighed: Vec<WeighedHypothesis>,
    ) -> Vec<WeighedHypothesis> {
        if weighed.len() == 1 {
            return weighed;
        }
        let classes: Vec<Vec<u16>> = lanes
            .iter()
            .map(|lane| self.lanes[*lane as usize].state_classes())
            .collect();
        let mut groups: BTreeMap<Vec<u16>, Vec<WeighedHypothesis>> = BTreeMap::new();
        for one in weighed {
            let paths = one.hypothesis.paths.iter().zip(&classes);
            let key = paths.map(|(path, classes)| classes[usize::from(*path)]);
            groups.entry(key.collect()).or_default().push(one);
        }
        groups
            .into_values()
            .map(|group| self.merge_group(lanes, &group))
            .collect()
    }

    fn merge_group(&mut self, lanes: &[u32], group: &[WeighedHypothesis]) -> WeighedHypothesis {
        let mut paths = Vec::with_capacity(lanes.len());
        for (column, lane) in lanes.iter().enumerate() {
            let mut parts: Vec<(u16, f64)> = Vec::new();
            for one in group {
                let path = one.hypothesis.paths[column];
                match parts.iter_mut().find(|(known, _)| *known == path) {
                    Some((_, mass)) => *mass += one.mass,
                    None => parts.push((path, one.mass)),
                }
            }
            parts.sort_by(|a, b| b.1.total_cmp(&a.1));
            paths.push(if parts.len() == 1 {
                parts[0].0
            } else {
                self.lanes[*lane as usize].push_mixture(&parts)
            });
        }
        let weights = group.iter().map(|one| one.hypothesis.weight);
        WeighedHypothesis {
            hypothesis: JointHypothesis {
                weight: weights.sum(),
                paths,
            },
            mass: group.iter().map(|one| one.mass).sum(),
        }
    }
}
