//! Consumer groups of clients: the group that a connection reads a partition for.
//!
//! Clients name their group to its coordinator, and fetch on connections of their own. The client
//! id joins the two, but it is often a library's default, which several groups of one host share.
//! A connection's group therefore follows from the first of these rules that applies:
//!
//! 1. the connection itself named one group;
//! 2. its group was found before, and its members were not silent for too long;
//! 3. one group only can read the partition: the group is assigned the partition, or its assignment
//!    is not known; the connection did not fetch the partition before the member had its offset
//!    (OffsetFetch); and no other connection to the same broker reads the partition for the group.
//!    With an unknown assignment the group must have been seen before the connection began to read;
//! 4. the client has one group only, and it was known when the connection began to read.
//!
//! Otherwise the group is unknown: a wrong group would settle the deliveries of another one.
//!
//! After a restart of the proxy, groups are known again by their heartbeats only, one after the
//! other and without their partitions. Rules 3 and 4 therefore wait once a group appears that did
//! not join: more of them may follow.

mod membership;

use std::collections::HashMap;
use std::sync::Arc;

use throughline_kafka::types::PartitionIndex;

pub(in crate::kafka) use self::membership::{Assignment, ConnectionId, MemberSign, MemberStage};

use self::membership::GroupMembership;
use super::client::ClientKey;
use crate::Timestamp;
use crate::kafka::fifo_map::FifoMap;

/// Connection of a client, as groups are found for it.
#[derive(Debug, Clone, Copy)]
pub(in crate::kafka) struct ClientConnection<'a> {
    pub(in crate::kafka) client: &'a ClientKey,
    pub(in crate::kafka) id: ConnectionId,
    /// Host and port of the broker.
    pub(in crate::kafka) broker: Option<&'a (Arc<str>, u16)>,
}

/// Partition that a connection fetches.
#[derive(Debug, Clone, Copy)]
pub(in crate::kafka) struct FetchedPartition<'a> {
    pub(in crate::kafka) topic: &'a Arc<str>,
    pub(in crate::kafka) index: PartitionIndex,
    /// Time of the first request of this connection for the partition.
    pub(in crate::kafka) since: Timestamp,
    /// Time of the request whose response is read.
    pub(in crate::kafka) requested_at: Timestamp,
}

/// Member of a group.
#[derive(Debug, Clone, Copy)]
pub(in crate::kafka) struct GroupMemberId<'a> {
    pub(in crate::kafka) group: &'a str,
    pub(in crate::kafka) member: &'a str,
}

/// Groups of all clients.
#[derive(Debug)]
pub(super) struct GroupTable {
    clients: FifoMap<ClientKey, ClientGroups>,
}

/// Groups and connections of one client.
#[derive(Debug, Default)]
struct ClientGroups {
    groups: Vec<GroupMembership>,
    /// Whether there were more groups than are remembered.
    is_overfull: bool,
    /// Time until which groups are expected that joined before the proxy saw them.
    resumes_until: Timestamp,
    connections: HashMap<ConnectionId, ConnectionGroup>,
    /// Connections that fetch a partition.
    readers: HashMap<(Arc<str>, PartitionIndex), Vec<PartitionReader>>,
}

/// Group of a connection.
#[derive(Debug, Default)]
struct ConnectionGroup {
    broker: Option<(Arc<str>, u16)>,
    named: NamedGroup,
    /// Group that was found by elimination or by a commit.
    found: Option<Arc<str>>,
    found_at: Timestamp,
    /// Whether the members of that group were silent for too long.
    is_stale: bool,
}

/// Group that a connection named itself.
#[derive(Debug, Default)]
enum NamedGroup {
    #[default]
    None,
    One(Arc<str>),
    /// Clients of several groups share the connection.
    Several,
}

/// Connection that fetches a partition, since when, and the time of its last request that brought
/// records.
#[derive(Debug, Clone, Copy)]
struct PartitionReader {
    connection: ConnectionId,
    since: Timestamp,
    requested_at: Timestamp,
}

/// Groups for which a connection may read a partition.
enum CandidateGroups {
    None,
    One(Arc<str>),
    /// Several groups, or one of which it is unknown whether it was there first.
    Ambiguous,
}

/// Maximum number of groups of one client: with more, none is found.
const MAX_GROUPS: usize = 16;

/// Time after a group appeared that did not join, within which others are expected: clients connect
/// again and send heartbeats within some seconds (`reconnect.backoff.max.ms`,
/// `heartbeat.interval.ms`).
const RESUMPTION_TIMEOUT: u64 = 15_000_000_000;

/// Maximum number of other readers of a partition whose groups are looked for.
const MAX_OTHER_READERS: usize = 16;

/// Maximum number of connections of one client, and of partitions that they read.
const MAX_CONNECTIONS: usize = 4096;

// === impl GroupTable ===

impl GroupTable {
    pub(super) fn new(max_clients: usize) -> Self {
        Self {
            clients: FifoMap::new(max_clients),
        }
    }

    /// Records that a client named its group on a connection.
    pub(super) fn learn(
        &mut self,
        connection: ClientConnection<'_>,
        group: &str,
        sign: MemberSign<'_>,
        now: Timestamp,
    ) {
        let client = self.client(connection.client);
        client.name(connection, group);
        // Consumers that assign partitions to themselves have no id, and never join.
        let has_joined = sign.stage == MemberStage::Joined && !sign.member.is_empty();
        client.expire(now);
        if has_joined && !client.is_known(group) {
            client.resume(now);
        }
        if let Some(membership) = client.membership(group, now) {
            membership.see_member(sign, connection.id, now);
        }
    }

    /// Records the partitions that a member was assigned.
    pub(super) fn assign(
        &mut self,
        connection: ClientConnection<'_>,
        member: GroupMemberId<'_>,
        assignment: Assignment,
        now: Timestamp,
    ) {
        let client = self.client(connection.client);
        if let Some(membership) = client.membership(member.group, now) {
            membership.assign(member.member, connection.id, assignment, now);
        }
    }

    /// Records that a member of a group gets the offsets from which it will read, on the connection
    /// on which it was seen last.
    pub(super) fn offsets_fetched(&mut self, connection: ClientConnection<'_>, now: Timestamp) {
        if let Some(client) = self.clients.get_mut(connection.client) {
            for membership in &mut client.groups {
                membership.offsets_fetched(connection.id, now);
            }
        }
    }

    /// Records that a member left its group.
    pub(super) fn leave(&mut self, client: &ClientKey, member: GroupMemberId<'_>) {
        if let Some(client) = self.clients.get_mut(client) {
            for membership in &mut client.groups {
                if *membership.group == *member.group {
                    membership.remove_member(member.member);
                }
            }
            client.retain_groups();
        }
    }

    /// Records that a group committed a partition. If one connection only reads the partition, and
    /// its group is not known yet, it is that of the group, unless another group may be the reader.
    pub(super) fn commit(
        &mut self,
        client: &ClientKey,
        group: &str,
        topic: &Arc<str>,
        partition: PartitionIndex,
        now: Timestamp,
    ) {
        let Some(client) = self.clients.get_mut(client) else {
            return;
        };
        // Consumers commit what they have read before, while another group fetches. A group without
        // a connection is leaving, or has left.
        let is_other = |other: &GroupMembership| {
            *other.group != *group
                && other.is_connected()
                && other.may_be_assigned(topic, partition)
        };
        if client.is_incomplete(now) || client.groups.iter().any(is_other) {
            return;
        }
        let key = (Arc::clone(topic), partition);
        let Some([reader]) = client.readers.get(&key).map(Vec::as_slice) else {
            return;
        };
        // A member may commit before its first fetch is answered: a group that was found stays.
        if let Some(connection) = client.connections.get_mut(&reader.connection)
            && connection.found.is_none()
            && let Some(membership) = client.groups.iter().find(|it| *it.group == *group)
        {
            connection.find(&membership.group, now);
        }
    }

    /// Returns the group for which a connection reads a partition; [`None`] when it is unknown or
    /// ambiguous.
    pub(super) fn reader_group(
        &mut self,
        connection: ClientConnection<'_>,
        partition: FetchedPartition<'_>,
        now: Timestamp,
    ) -> Option<Arc<str>> {
        let client = self.client(connection.client);
        client.expire(now);
        client.record_reader(connection, partition);
        client.find(connection, partition, now)
    }

    /// Returns the group that was found for a connection.
    pub(super) fn connection_group(
        &self,
        client: &ClientKey,
        connection: ConnectionId,
    ) -> Option<&Arc<str>> {
        let connection = self.clients.get(client)?.connections.get(&connection)?;
        match &connection.named {
            NamedGroup::One(group) => Some(group),
            NamedGroup::None => connection.found.as_ref(),
            NamedGroup::Several => None,
        }
    }

    /// Returns whether another group than this one, or an unknown one, may read a partition.
    pub(super) fn may_be_read_by_others(
        &self,
        client: &ClientKey,
        group: &str,
        topic: &str,
        partition: PartitionIndex,
        now: Timestamp,
    ) -> bool {
        self.clients.get(client).is_some_and(|client| {
            let mut others = client.groups.iter().filter(|it| *it.group != *group);
            client.is_incomplete(now) || others.any(|other| other.may_be_assigned(topic, partition))
        })
    }

    /// Records that a connection does not fetch a partition any more.
    pub(super) fn release(
        &mut self,
        connection: ClientConnection<'_>,
        topic: &Arc<str>,
        partition: PartitionIndex,
    ) {
        let Some(client) = self.clients.get_mut(connection.client) else {
            return;
        };
        let key = (Arc::clone(topic), partition);
        if let Some(readers) = client.readers.get_mut(&key) {
            readers.retain(|reader| reader.connection != connection.id);
            if readers.is_empty() {
                client.readers.remove(&key);
            }
        }
    }

    /// Records the end of a connection. Members that it spoke for have to be seen on another one.
    pub(super) fn close(&mut self, client: &ClientKey, connection: ConnectionId, now: Timestamp) {
        let Some(client) = self.clients.get_mut(client) else {
            return;
        };
        client.connections.remove(&connection);
        client.readers.retain(|_, readers| {
            readers.retain(|reader| reader.connection != connection);
            !readers.is_empty()
        });
        for membership in &mut client.groups {
            membership.close_connection(connection, now);
        }
    }

    fn client(&mut self, client: &ClientKey) -> &mut ClientGroups {
        self.clients.get_or_insert_default(client)
    }
}

// === impl ClientGroups ===

impl ClientGroups {
    /// Records the group that a connection named.
    fn name(&mut self, connection: ClientConnection<'_>, group: &str) {
        let Some(entry) = self.connection(connection) else {
            return;
        };
        match &entry.named {
            NamedGroup::None => entry.named = NamedGroup::One(group.into()),
            NamedGroup::One(known) if **known == *group => {}
            NamedGroup::One(_) => entry.named = NamedGroup::Several,
            NamedGroup::Several => {}
        }
    }

    /// Returns the entry of a connection; [`None`] when there are too many.
    fn connection(&mut self, connection: ClientConnection<'_>) -> Option<&mut ConnectionGroup> {
        let has_room = self.connections.len() < MAX_CONNECTIONS;
        if !has_room && !self.connections.contains_key(&connection.id) {
            return None;
        }
        let entry = self.connections.entry(connection.id);
        Some(entry.or_insert_with(|| ConnectionGroup {
            broker: connection.broker.cloned(),
            ..ConnectionGroup::default()
        }))
    }

    /// Returns the membership in a group, a new one if it is not known; [`None`] when there are too
    /// many groups.
    fn membership(&mut self, group: &str, now: Timestamp) -> Option<&mut GroupMembership> {
        self.expire(now);
        let position = self.groups.iter().position(|it| *it.group == *group);
        if let Some(position) = position {
            return self.groups.get_mut(position);
        }
        if self.groups.len() >= MAX_GROUPS {
            self.is_overfull = true;
            return None;
        }
        self.groups.push(GroupMembership::new(group, now));
        self.groups.last_mut()
    }

    /// Removes members that were not seen for too long.
    fn expire(&mut self, now: Timestamp) {
        let mut has_expired = false;
        for membership in &mut self.groups {
            has_expired |= membership.expire(now);
        }
        if !has_expired {
            return;
        }
        let is_empty = |membership: &&GroupMembership| membership.is_empty();
        for silent in self.groups.iter().filter(is_empty) {
            let connections = self.connections.values_mut();
            for connection in connections.filter(|it| it.is_of(&silent.group)) {
                connection.is_stale = true;
            }
        }
        self.retain_groups();
    }

    fn retain_groups(&mut self) {
        self.groups.retain(|membership| !membership.is_empty());
    }

    /// Records that a connection fetches a partition.
    fn record_reader(&mut self, connection: ClientConnection<'_>, partition: FetchedPartition<'_>) {
        if self.connection(connection).is_none() {
            return;
        }
        let key = (Arc::clone(partition.topic), partition.index);
        if self.readers.len() >= MAX_CONNECTIONS && !self.readers.contains_key(&key) {
            return;
        }
        let readers = self.readers.entry(key).or_default();
        let known = readers
            .iter_mut()
            .find(|reader| reader.connection == connection.id);
        if let Some(reader) = known {
            reader.requested_at = partition.requested_at;
        } else {
            readers.push(PartitionReader {
                connection: connection.id,
                since: partition.since,
                requested_at: partition.requested_at,
            });
        }
    }

    /// Records that a group appeared that had joined before: what was found while it was unknown
    /// may be its own, and more of its kind may follow.
    fn resume(&mut self, now: Timestamp) {
        self.resumes_until = now.saturating_add(RESUMPTION_TIMEOUT);
        for connection in self.connections.values_mut() {
            if connection.found_at.saturating_add(RESUMPTION_TIMEOUT) > now {
                connection.found = None;
            }
        }
    }

    /// Returns whether there may be groups that are not known.
    const fn is_incomplete(&self, now: Timestamp) -> bool {
        self.is_overfull || now < self.resumes_until
    }

    /// Finds the group for which a connection reads a partition.
    fn find(
        &mut self,
        connection: ClientConnection<'_>,
        partition: FetchedPartition<'_>,
        now: Timestamp,
    ) -> Option<Arc<str>> {
        let entry = self.connections.get(&connection.id)?;
        let is_shared = match &entry.named {
            NamedGroup::One(group) => return Some(Arc::clone(group)),
            NamedGroup::None => false,
            NamedGroup::Several => true,
        };
        if let Some(found) = entry.found.as_ref().filter(|_| !is_shared) {
            // A connection never changes its group: after the departure of the last member, the
            // records that it had requested are still those of the group, and none of another one.
            let is_of_group = !entry.is_stale || self.is_known(found);
            return is_of_group.then(|| Arc::clone(found));
        }
        if self.is_incomplete(now) {
            return None;
        }
        self.find_other_readers(connection, partition, now);
        let group = match self.candidates(connection, partition) {
            CandidateGroups::None => return self.only_group_since(partition.since),
            CandidateGroups::Ambiguous => return None,
            CandidateGroups::One(group) => group,
        };
        if !is_shared && let Some(entry) = self.connections.get_mut(&connection.id) {
            entry.find(&group, now);
        }
        Some(group)
    }

    /// Finds the groups of the other connections to the same broker that read a partition: a group
    /// that has its reader cannot have another one.
    fn find_other_readers(
        &mut self,
        connection: ClientConnection<'_>,
        partition: FetchedPartition<'_>,
        now: Timestamp,
    ) {
        let key = (Arc::clone(partition.topic), partition.index);
        let readers = self.readers.get(&key).into_iter().flatten();
        let is_unknown = |reader: &&PartitionReader| {
            reader.connection != connection.id
                && self.connections.get(&reader.connection).is_some_and(|it| {
                    it.broker.as_ref() == connection.broker
                        && it.found.is_none()
                        && matches!(it.named, NamedGroup::None)
                })
        };
        let others: Vec<PartitionReader> = readers
            .filter(is_unknown)
            .take(MAX_OTHER_READERS)
            .copied()
            .collect();
        for other in others {
            let reader = ClientConnection {
                id: other.connection,
                ..connection
            };
            let read = FetchedPartition {
                since: other.since,
                requested_at: other.requested_at,
                ..partition
            };
            if let CandidateGroups::One(group) = self.candidates(reader, read)
                && let Some(entry) = self.connections.get_mut(&other.connection)
            {
                entry.find(&group, now);
            }
        }
    }

    /// Returns the groups for which a connection may read a partition.
    fn candidates(
        &self,
        connection: ClientConnection<'_>,
        partition: FetchedPartition<'_>,
    ) -> CandidateGroups {
        let mut candidates = self
            .groups
            .iter()
            .filter(|group| self.may_read_for(group, connection, partition));
        let (topic, index, since) = (partition.topic, partition.index, partition.since);
        match (candidates.next(), candidates.next()) {
            (None, _) => CandidateGroups::None,
            (Some(only), None) if only.is_known_by(topic, index, since) => {
                CandidateGroups::One(Arc::clone(&only.group))
            }
            _ => CandidateGroups::Ambiguous,
        }
    }

    /// Returns the only group of the client, if it was known when a connection began to read. While
    /// members join and leave, a partition is read that is assigned to nobody for a moment.
    fn only_group_since(&self, since: Timestamp) -> Option<Arc<str>> {
        match self.groups.as_slice() {
            [only] if only.first_seen() <= since => Some(Arc::clone(&only.group)),
            _ => None,
        }
    }

    fn is_known(&self, group: &str) -> bool {
        self.groups.iter().any(|known| *known.group == *group)
    }

    /// Returns whether a connection may read a partition for a group.
    fn may_read_for(
        &self,
        group: &GroupMembership,
        connection: ClientConnection<'_>,
        partition: FetchedPartition<'_>,
    ) -> bool {
        if !group.may_be_read_since(partition.topic, partition.index, partition.since) {
            return false;
        }
        let key = (Arc::clone(partition.topic), partition.index);
        let mut readers = self.readers.get(&key).into_iter().flatten();
        // A partition has one owner in a group, and one leader. After a rebalance or at another
        // broker the earlier owner may only look as if it still read the partition.
        let is_taken = readers.any(|reader| {
            reader.connection != connection.id
                && reader.requested_at > group.assigned_at()
                && self.connections.get(&reader.connection).is_some_and(|it| {
                    it.broker.as_ref() == connection.broker && it.is_of(&group.group)
                })
        });
        !is_taken
    }
}

// === impl ConnectionGroup ===

impl ConnectionGroup {
    fn find(&mut self, group: &Arc<str>, now: Timestamp) {
        self.found = Some(Arc::clone(group));
        self.found_at = now;
    }

    /// Returns whether the connection is that of a consumer of this group.
    fn is_of(&self, group: &str) -> bool {
        match &self.named {
            NamedGroup::One(named) => **named == *group,
            NamedGroup::None => self.found.as_deref() == Some(group),
            NamedGroup::Several => false,
        }
    }
}

#[cfg(test)]
mod tests;
