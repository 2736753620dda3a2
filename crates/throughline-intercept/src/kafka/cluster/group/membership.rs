//! Membership of one client in one group: its members, and the partitions that they are assigned.

use std::collections::HashMap;
use std::sync::Arc;

use throughline_kafka::types::PartitionIndex;

use crate::Timestamp;

/// Number of a connection within the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(in crate::kafka) struct ConnectionId(pub(in crate::kafka) u64);

/// Partitions of a member of a group.
pub(in crate::kafka) type Assignment = Vec<(Arc<str>, PartitionIndex)>;

/// Members of a group that have the same client key.
#[derive(Debug)]
pub(super) struct GroupMembership {
    pub(super) group: Arc<str>,
    first_seen: Timestamp,
    members: HashMap<Arc<str>, GroupMember>,
    /// Time since which each partition has been assigned.
    assigned: HashMap<Arc<str>, HashMap<PartitionIndex, Timestamp>>,
    /// Time of the last assignment to any member.
    assigned_at: Timestamp,
}

/// Member of a group.
#[derive(Debug)]
struct GroupMember {
    /// Connection on which the member was seen last.
    connection: ConnectionId,
    last_seen: Timestamp,
    is_closed: bool,
    /// Partitions of the member; [`None`] while they are not known.
    assignment: Option<Assignment>,
    /// Time of the assignment, until the member has fetched the offsets of its partitions.
    awaits_offsets: Option<Timestamp>,
}

/// Sign of life of a member.
#[derive(Debug, Clone, Copy)]
pub(in crate::kafka) struct MemberSign<'a> {
    /// Empty for a consumer that assigns partitions to itself.
    pub(in crate::kafka) member: &'a str,
    pub(in crate::kafka) stage: MemberStage,
}

/// Stage of a member that a request shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kafka) enum MemberStage {
    /// The member joins: if it is new, it has no partitions yet.
    Joining,
    /// The member joins, and is assigned tasks, whose partitions are unknown.
    JoiningTasks,
    /// The member has joined before.
    Joined,
}

/// Maximum number of members of one group with the same client key.
const MAX_MEMBERS: usize = 64;

/// Maximum number of partitions of one member.
const MAX_ASSIGNED: usize = 4096;

const SECOND: u64 = 1_000_000_000;

/// Time after an assignment within which a member fetches the offsets of its new partitions. Later
/// OffsetFetch requests are for the application.
const OFFSETS_TIMEOUT: u64 = 10 * SECOND;

/// Time after which a member counts as gone that sends no heartbeats. Clients send them every three
/// to ten seconds; sessions time out after 45 seconds.
const MEMBER_TIMEOUT: u64 = 60 * SECOND;

/// The same for a consumer that assigns partitions to itself, and is seen with its commits only.
const COMMITTER_TIMEOUT: u64 = 600 * SECOND;

/// The same after its connection was closed: clients connect again for the next heartbeat.
const CLOSED_TIMEOUT: u64 = 15 * SECOND;

// === impl GroupMembership ===

impl GroupMembership {
    pub(super) fn new(group: &str, now: Timestamp) -> Self {
        Self {
            group: group.into(),
            first_seen: now,
            members: HashMap::new(),
            assigned: HashMap::new(),
            assigned_at: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Returns the time at which the group was named first.
    pub(super) const fn first_seen(&self) -> Timestamp {
        self.first_seen
    }

    /// Returns the time of the last assignment to any member.
    pub(super) const fn assigned_at(&self) -> Timestamp {
        self.assigned_at
    }

    /// Records that a member named the group.
    pub(super) fn see_member(
        &mut self,
        sign: MemberSign<'_>,
        connection: ConnectionId,
        now: Timestamp,
    ) {
        let member = sign.member;
        // A member without an id gets one in the response to its first request.
        if member.is_empty() && !self.members.is_empty() {
            return;
        }
        if !member.is_empty() {
            self.members.remove("");
        }
        if let Some(known) = self.members.get_mut(member) {
            known.connection = connection;
            known.last_seen = known.last_seen.max(now);
            known.is_closed = false;
        } else if self.members.len() < MAX_MEMBERS {
            let known = GroupMember {
                connection,
                last_seen: now,
                is_closed: false,
                assignment: (sign.stage == MemberStage::Joining).then(Assignment::new),
                awaits_offsets: None,
            };
            self.members.insert(member.into(), known);
        }
    }

    /// Records the partitions of a member.
    pub(super) fn assign(
        &mut self,
        member: &str,
        connection: ConnectionId,
        mut assignment: Assignment,
        now: Timestamp,
    ) {
        let sign = MemberSign {
            member,
            stage: MemberStage::Joined,
        };
        self.see_member(sign, connection, now);
        let Some(known) = self.members.get_mut(member) else {
            return;
        };
        // A longer assignment is not remembered: the member may then read anything.
        let is_complete = assignment.len() <= MAX_ASSIGNED;
        assignment.shrink_to_fit();
        known.assignment = is_complete.then_some(assignment);
        known.awaits_offsets = Some(now);
        self.assigned_at = now;
        self.update_assigned(now);
    }

    /// Records that the members of a connection get the offsets of their partitions. They fetch
    /// new partitions after that only, so that these count as assigned from then on.
    pub(super) fn offsets_fetched(&mut self, connection: ConnectionId, now: Timestamp) {
        for member in self.members.values_mut() {
            if member.connection != connection {
                continue;
            }
            let awaited = member.awaits_offsets.take();
            let is_current = |since: &Timestamp| since.saturating_add(OFFSETS_TIMEOUT) > now;
            let Some(since) = awaited.filter(is_current) else {
                continue;
            };
            for (topic, partition) in member.assignment.iter().flatten() {
                let assigned = self.assigned.get_mut(topic);
                if let Some(assigned) = assigned.and_then(|it| it.get_mut(partition))
                    // Partitions that the member had before are read already.
                    && *assigned == since
                {
                    *assigned = now;
                }
            }
        }
    }

    pub(super) fn remove_member(&mut self, member: &str) {
        self.members.remove(member);
        self.update_assigned(self.assigned_at);
    }

    pub(super) fn close_connection(&mut self, connection: ConnectionId, now: Timestamp) {
        for member in self.members.values_mut() {
            if member.connection == connection {
                member.is_closed = true;
                member.last_seen = now;
            }
        }
    }

    /// Removes members that were not seen for too long. Returns whether there were any.
    pub(super) fn expire(&mut self, now: Timestamp) -> bool {
        let before = self.members.len();
        self.members.retain(|id, member| {
            let timeout = match (member.is_closed, id.is_empty()) {
                (_, true) => COMMITTER_TIMEOUT,
                (true, false) => CLOSED_TIMEOUT,
                (false, false) => MEMBER_TIMEOUT,
            };
            member.last_seen.saturating_add(timeout) > now
        });
        let has_expired = self.members.len() < before;
        if has_expired {
            self.update_assigned(self.assigned_at);
        }
        has_expired
    }

    /// Returns whether a member may have this partition.
    pub(super) fn may_be_assigned(&self, topic: &str, partition: PartitionIndex) -> bool {
        self.has_unknown_assignment() || self.assigned_since(topic, partition).is_some()
    }

    /// Returns whether a connection that has fetched the partition since this time may have done so
    /// for the group.
    pub(super) fn may_be_read_since(
        &self,
        topic: &str,
        partition: PartitionIndex,
        since: Timestamp,
    ) -> bool {
        self.has_unknown_assignment() || self.is_assigned_by(topic, partition, since)
    }

    /// Returns whether it is known of the group that it reads the partition, or that it was there,
    /// when a connection began to fetch it. A group that was seen later may only look as if the
    /// connection were its own.
    pub(super) fn is_known_by(
        &self,
        topic: &str,
        partition: PartitionIndex,
        since: Timestamp,
    ) -> bool {
        self.first_seen <= since || self.is_assigned_by(topic, partition, since)
    }

    /// Returns whether any member is connected.
    pub(super) fn is_connected(&self) -> bool {
        self.members.values().any(|member| !member.is_closed)
    }

    fn is_assigned_by(&self, topic: &str, partition: PartitionIndex, time: Timestamp) -> bool {
        // Consumers fetch a partition after they were assigned it, never before.
        self.assigned_since(topic, partition)
            .is_some_and(|assigned| assigned <= time)
    }

    fn has_unknown_assignment(&self) -> bool {
        self.members.values().any(|it| it.assignment.is_none())
    }

    fn assigned_since(&self, topic: &str, partition: PartitionIndex) -> Option<Timestamp> {
        self.assigned.get(topic)?.get(&partition).copied()
    }

    /// Derives the partitions of the group from those of its members. Partitions that were
    /// assigned before keep their time.
    fn update_assigned(&mut self, now: Timestamp) {
        let before = std::mem::take(&mut self.assigned);
        for member in self.members.values() {
            for (topic, partition) in member.assignment.iter().flatten() {
                let since = before.get(topic).and_then(|it| it.get(partition));
                let partitions = self.assigned.entry(Arc::clone(topic)).or_default();
                partitions.insert(*partition, since.copied().unwrap_or(now));
            }
        }
    }
}
