//! The events that are not yet decided, in slots that are used again.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::belief::Posterior;
use crate::component::Component;
use crate::event::{InboundId, Nanos, OutboundId, QueuePosition};
use crate::problem::{Inbound, Lane, OPEN, Outbound, Problem};

/// Probability that a record made a call, for those before it to be done.
const MIN_PASSING: f64 = 0.9;

/// State of an outbound event in the window.
#[derive(Debug, Clone, Default)]
pub(crate) struct OpenOutbound {
    /// Lanes that may have caused it.
    pub(crate) lanes: Vec<u32>,
    pub(crate) posterior: Posterior,
    pub(crate) idle: bool,
    pub(crate) decided: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Window {
    pub(crate) problem: Problem,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) open: Vec<OpenOutbound>,
    /// Lane of each inbound event.
    pub(crate) lane_of: Vec<u32>,
    inbound_at: HashMap<InboundId, u32>,
    outbound_at: HashMap<OutboundId, u32>,
    free_inbound: Vec<u32>,
    free_outbound: Vec<u32>,
    free_lanes: Vec<u32>,
    queues: BTreeMap<u64, u32>,
    /// Lanes with members, by the start of the first.
    pub(crate) live_lanes: BTreeSet<(Nanos, u32)>,
    pub(crate) live_outbound: BTreeSet<(Nanos, u32)>,
}

// === impl Window ===

impl Window {
    pub(crate) fn inbound_index(&self, id: InboundId) -> Option<u32> {
        self.inbound_at.get(&id).copied()
    }

    pub(crate) fn outbound_index(&self, id: OutboundId) -> Option<u32> {
        self.outbound_at.get(&id).copied()
    }

    pub(crate) fn inbound_count(&self) -> usize {
        self.inbound_at.len()
    }

    pub(crate) fn outbound_count(&self) -> usize {
        self.outbound_at.len()
    }

    pub(crate) fn add_inbound(&mut self, inbound: Inbound) {
        let (id, position, start) = (inbound.id, inbound.position, inbound.start);
        let index = match self.free_inbound.pop() {
            Some(index) => {
                self.problem.inbound[index as usize] = inbound;
                index
            }
            None => {
                self.problem.inbound.push(inbound);
                self.lane_of.push(0);
                self.problem.inbound.len() as u32 - 1
            }
        };
        self.inbound_at.insert(id, index);
        let lane = match position {
            Some(position) => self.queue_lane(position, index, start),
            None => self.new_lane(index, false, start),
        };
        self.lane_of[index as usize] = lane;
    }

    fn new_lane(&mut self, member: u32, is_queue: bool, start: Nanos) -> u32 {
        let lane = Lane {
            members: vec![member],
            is_queue,
            candidates: Vec::new(),
        };
        let index = match self.free_lanes.pop() {
            Some(index) => {
                self.lanes[index as usize] = lane;
                index
            }
            None => {
                self.lanes.push(lane);
                self.lanes.len() as u32 - 1
            }
        };
        self.live_lanes.insert((start, index));
        index
    }

    fn queue_lane(&mut self, position: QueuePosition, member: u32, start: Nanos) -> u32 {
        let Some(lane) = self.queues.get(&position.queue).copied() else {
            let lane = self.new_lane(member, true, start);
            self.queues.insert(position.queue, lane);
            return lane;
        };
        let members = &mut self.lanes[lane as usize].members;
        // Deliveries come in the order of offsets, but for several in one fetch.
        let inbound = &self.problem.inbound;
        let at =
            members.partition_point(|other| inbound[*other as usize].position <= Some(position));
        members.insert(at, member);
        lane
    }

    pub(crate) fn add_outbound(&mut self, outbound: Outbound) -> u32 {
        let (id, start) = (outbound.id, outbound.start);
        let index = match self.free_outbound.pop() {
            Some(index) => {
                self.problem.outbound[index as usize] = outbound;
                self.open[index as usize] = OpenOutbound::default();
                index
            }
            None => {
                self.problem.outbound.push(outbound);
                self.open.push(OpenOutbound::default());
                self.problem.outbound.len() as u32 - 1
            }
        };
        self.outbound_at.insert(id, index);
        self.live_outbound.insert((start, index));
        index
    }

    /// Makes an outbound event a candidate of a lane.
    pub(crate) fn link(&mut self, outbound: u32, lane: u32) {
        let events = &self.problem.outbound;
        let key = |index: u32| (events[index as usize].start, index);
        let candidates = &mut self.lanes[lane as usize].candidates;
        let at = candidates.partition_point(|other| key(*other) <= key(outbound));
        candidates.insert(at, outbound);
        self.open[outbound as usize].lanes.push(lane);
    }

    /// Returns the latest end of a lane.
    pub(crate) fn lane_end(&self, lane: u32) -> Nanos {
        let members = self.lanes[lane as usize].members.iter();
        let ends = members.map(|member| self.problem.inbound[*member as usize].end);
        ends.max().unwrap_or(OPEN)
    }

    /// Returns what is connected with `lanes` through undecided outbound events.
    pub(crate) fn component(&self, lanes: &[u32], max_lanes: usize) -> Option<Component> {
        let mut found: BTreeSet<(Nanos, u32)> = BTreeSet::new();
        let mut outbound: BTreeSet<(Nanos, u32)> = BTreeSet::new();
        let mut pending: Vec<u32> = lanes.to_vec();
        while let Some(lane) = pending.pop() {
            let members = &self.lanes[lane as usize].members;
            let Some(first) = members.first() else {
                continue;
            };
            if !found.insert((self.problem.inbound[*first as usize].start, lane)) {
                continue;
            }
            if found.len() > max_lanes {
                return None;
            }
            for candidate in &self.lanes[lane as usize].candidates {
                let start = self.problem.outbound[*candidate as usize].start;
                if outbound.insert((start, *candidate)) {
                    pending.extend(&self.open[*candidate as usize].lanes);
                }
            }
        }
        Some(Component {
            lanes: found.into_iter().map(|(_, lane)| lane as usize).collect(),
            outbound: outbound.into_iter().map(|(_, index)| index).collect(),
        })
    }

    /// Keeps the beliefs about an outbound event, and gives up causes below `min_cause`.
    pub(crate) fn believe(&mut self, outbound: u32, posterior: Posterior, min_cause: f64) {
        let mut shares: Vec<(u32, f64)> = Vec::new();
        for belief in &posterior.causes {
            let lane = self.lane_of[belief.inbound as usize];
            match shares.iter_mut().find(|(known, _)| *known == lane) {
                Some((_, share)) => *share += belief.probability,
                None => shares.push((lane, belief.probability)),
            }
        }
        let likely = |lane: &u32| {
            shares
                .iter()
                .any(|(known, share)| known == lane && *share >= min_cause)
        };
        let lanes = std::mem::take(&mut self.open[outbound as usize].lanes);
        for lane in lanes.iter().filter(|lane| !likely(lane)) {
            self.lanes[*lane as usize]
                .candidates
                .retain(|other| *other != outbound);
        }
        let open = &mut self.open[outbound as usize];
        open.lanes = lanes;
        open.lanes.retain(likely);
        open.posterior = posterior;
    }

    /// Returns the records of a queue before the latest that is known to have made a decided call.
    pub(crate) fn passed_members(&self, lane: u32) -> Option<Vec<u32>> {
        let lane = &self.lanes[lane as usize];
        let decided = lane.candidates.iter().rev().find_map(|candidate| {
            let open = &self.open[*candidate as usize];
            let cause = open.posterior.causes.first()?;
            let is_known = open.decided && cause.probability > MIN_PASSING;
            (is_known && lane.members.contains(&cause.inbound)).then_some(cause.inbound)
        })?;
        let at = lane.members.iter().position(|member| *member == decided)?;
        lane.members.get(..at).map(<[u32]>::to_vec)
    }

    /// Takes an outbound event from the candidates of a lane.
    pub(crate) fn unlink(&mut self, outbound: u32, lane: u32) {
        self.lanes[lane as usize]
            .candidates
            .retain(|other| *other != outbound);
        self.open[outbound as usize]
            .lanes
            .retain(|other| *other != lane);
    }

    /// Removes an outbound event.
    pub(crate) fn remove_outbound(&mut self, index: u32) {
        for lane in std::mem::take(&mut self.open[index as usize].lanes) {
            self.lanes[lane as usize]
                .candidates
                .retain(|other| *other != index);
        }
        let outbound = &self.problem.outbound[index as usize];
        self.live_outbound.remove(&(outbound.start, index));
        self.outbound_at.remove(&outbound.id);
        self.free_outbound.push(index);
    }

    /// Removes an inbound event, and its lane if it was the only member.
    pub(crate) fn remove_inbound(&mut self, index: u32) {
        let lane_index = self.lane_of[index as usize];
        let inbound = &self.problem.inbound[index as usize];
        let (id, position) = (inbound.id, inbound.position);
        let lane = &mut self.lanes[lane_index as usize];
        let first = lane.members.first().copied().unwrap_or(index);
        let key = (self.problem.inbound[first as usize].start, lane_index);
        self.live_lanes.remove(&key);
        lane.members.retain(|member| *member != index);
        match lane.members.first() {
            Some(first) => {
                let start = self.problem.inbound[*first as usize].start;
                self.live_lanes.insert((start, lane_index));
            }
            None => {
                for candidate in std::mem::take(&mut lane.candidates) {
                    let lanes = &mut self.open[candidate as usize].lanes;
                    lanes.retain(|lane| *lane != lane_index);
                }
                if let Some(position) = position {
                    self.queues.remove(&position.queue);
                }
                self.free_lanes.push(lane_index);
            }
        }
        self.inbound_at.remove(&id);
        self.free_inbound.push(index);
    }
}
