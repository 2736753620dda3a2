//! State that the connections of a process share.

use std::sync::Arc;

use throughline_kafka::types::{PartitionIndex, TopicId};
use throughline_model::{Span, SpanId};

use super::attempt::{AttemptKey, AttemptState, AttemptTable, BatchAttempts};
use super::batch_limits::TopicBatchLimits;
use super::capacity::ClusterCapacity;
use super::client::ClientKey;
use super::commit_cadence::CommitCadence;
use super::delivery::{ClientPartition, DeliveryOwner, DeliveryTable, QueueKey, SettledOffsets};
use super::delivery_queue::PendingDelivery;
use super::fetch_session::{FetchPositions, FetchSessionKey, FetchSessionStore};
use super::group::{
    Assignment, ClientConnection, ConnectionId, FetchedPartition, GroupMemberId, GroupTable,
    MemberSign,
};
use super::request_limits::RequestLimits;
use super::scratch::Scratch;
use super::sent_spans::SentSpans;
use crate::Timestamp;
use crate::kafka::error_code;
use crate::kafka::fifo_map::FifoMap;
use crate::kafka::settings::DEFAULT_MAX_MESSAGE_BYTES;
use crate::trace::TokenBucket;

/// Knowledge and budgets of a process, shared by its connections to one cluster.
#[derive(Debug)]
pub struct ClusterState {
    capacity: ClusterCapacity,
    cluster_id: Option<Arc<str>>,
    topics: FifoMap<TopicId, Arc<str>>,
    batch_limits: FifoMap<Arc<str>, TopicBatchLimits>,
    /// Limit of topics without a configuration of their own.
    default_limit: usize,
    request_limits: RequestLimits,
    groups: GroupTable,
    connections: u64,
    sent: SentSpans,
    attempts: AttemptTable,
    deliveries: DeliveryTable,
    cadences: FifoMap<(ClientPartition, Arc<str>), CommitCadence>,
    fetch_sessions: FetchSessionStore,
    /// Groups whose members fetch in the background (KIP-848).
    background_groups: FifoMap<Arc<str>, ()>,
    held_bytes: usize,
    span_rate: TokenBucket,
    /// Scratch that no session uses now.
    scratch: Vec<Box<Scratch>>,
}

/// Deliveries that a group has handled.
#[derive(Debug, Default)]
pub(in crate::kafka) struct SettledDeliveries {
    pub(in crate::kafka) deliveries: Vec<PendingDelivery>,
    /// Whether deliveries of the partition to an unknown group are those of this group.
    pub(in crate::kafka) is_only_group: bool,
    /// Whether the commit follows the handling of the records. If not, or if that is unknown, the
    /// time since the delivery is not that of the handling.
    pub(in crate::kafka) is_after_work: bool,
}

/// Part of the names that clients may have: each of them has groups, members and partitions.
const GROUPS_PART: usize = 16;

/// Upper bound of the scratch that is kept: about the number of threads that drive sessions.
const MAX_SCRATCH: usize = 16;

// === impl ClusterState ===

impl ClusterState {
    /// Returns the state of a process that has seen nothing yet.
    #[must_use]
    pub fn new(capacity: ClusterCapacity) -> Self {
        Self {
            capacity,
            cluster_id: None,
            topics: FifoMap::new(capacity.max_names),
            batch_limits: FifoMap::new(capacity.max_names),
            default_limit: DEFAULT_MAX_MESSAGE_BYTES,
            request_limits: RequestLimits::default(),
            groups: GroupTable::new(capacity.max_names / GROUPS_PART),
            connections: 0,
            sent: SentSpans::new(capacity.max_sent),
            attempts: AttemptTable::default(),
            deliveries: DeliveryTable::default(),
            cadences: FifoMap::new(capacity.max_names),
            fetch_sessions: FetchSessionStore::new(capacity.max_names),
            background_groups: FifoMap::new(capacity.max_names / GROUPS_PART),
            held_bytes: 0,
            span_rate: TokenBucket::full(),
            scratch: Vec::new(),
        }
    }

    // --- names ---

    /// Returns the name of the topic with this id.
    #[must_use]
    pub fn topic_name(&self, id: TopicId) -> Option<Arc<str>> {
        self.topics.get(&id).cloned()
    }

    /// Records the name of a topic. A topic that is deleted and created again gets another id.
    pub fn learn_topic(&mut self, id: TopicId, name: &str) {
        if id != TopicId::ZERO && self.topics.get(&id).is_none_or(|known| **known != *name) {
            self.topics.insert(id, name.into());
        }
    }

    /// Returns the id of the cluster, `messaging.kafka.cluster.id`.
    #[must_use]
    pub fn cluster_id(&self) -> Option<Arc<str>> {
        self.cluster_id.clone()
    }

    /// Records the id of the cluster.
    pub fn learn_cluster_id(&mut self, id: &str) {
        if self.cluster_id.as_deref() != Some(id) {
            self.cluster_id = Some(id.into());
        }
    }

    /// Returns what is known about the sizes of batches that a topic accepts.
    #[must_use]
    pub fn batch_limits(&self, topic: &str) -> TopicBatchLimits {
        self.batch_limits.get(topic).copied().unwrap_or_default()
    }

    /// Returns the maximum size of a batch in topics without a configuration of their own.
    #[must_use]
    pub const fn default_limit(&self) -> usize {
        self.default_limit
    }

    /// Records the maximum size of a batch in the configuration of a broker.
    pub const fn learn_default_limit(&mut self, bytes: usize) {
        self.default_limit = bytes;
    }

    /// Changes what is known about the sizes of batches that a topic accepts.
    pub fn learn_batch_limits(&mut self, topic: &str, learn: impl FnOnce(&mut TopicBatchLimits)) {
        if let Some(limits) = self.batch_limits.get_mut(topic) {
            return learn(limits);
        }
        let mut limits = TopicBatchLimits::default();
        learn(&mut limits);
        self.batch_limits.insert(topic.into(), limits);
    }

    /// Returns the size from which on a request is not enlarged.
    #[must_use]
    pub fn refused_request_bytes(&self, now: Timestamp) -> Option<usize> {
        self.request_limits.refused_bytes(now)
    }

    /// Records that a request that was enlarged to this size was answered.
    pub(in crate::kafka) fn accept_request(&mut self, bytes: usize) {
        self.request_limits.accept(bytes);
    }

    /// Records that a broker closed the connection at a request that was enlarged to this size.
    /// Returns whether that limits what follows.
    pub(in crate::kafka) fn refuse_request(
        &mut self,
        original_bytes: usize,
        bytes: usize,
        now: Timestamp,
    ) -> bool {
        self.request_limits.refuse(original_bytes, bytes, now)
    }

    // --- records in flight ---

    /// Records the end of the span that sent a record.
    pub fn record_sent(&mut self, span: SpanId, at: Timestamp) {
        self.sent.insert(span, at);
    }

    /// Returns the end of the span that sent a record.
    #[must_use]
    pub fn sent_at(&self, span: SpanId) -> Option<Timestamp> {
        self.sent.get(span)
    }

    /// Returns the number of deliveries that wait to be settled.
    #[must_use]
    pub const fn pending_deliveries(&self) -> usize {
        self.deliveries.len()
    }

    /// Returns the span of a record that failed, once its producer can not send it again any more.
    /// A driver polls it every second or so, and with the greatest time at its end.
    pub fn poll_abandoned_span(&mut self, now: Timestamp) -> Option<Span> {
        let timeout = self.capacity.retry_timeout;
        self.attempts.poll_abandoned(now, timeout)
    }

    // --- budgets ---

    /// Reserves bytes for a buffered frame until [`Self::release_bytes`]. Returns whether the
    /// budget allows it.
    pub fn reserve_bytes(&mut self, bytes: usize) -> bool {
        let held_bytes = self.held_bytes.saturating_add(bytes);
        let is_allowed = held_bytes <= self.capacity.max_held_bytes;
        if is_allowed {
            self.held_bytes = held_bytes;
        }
        is_allowed
    }

    /// Reserves bytes for a frame that must be buffered, whatever the budget: other frames get
    /// less.
    pub fn force_reserve_bytes(&mut self, bytes: usize) {
        self.held_bytes = self.held_bytes.saturating_add(bytes);
    }

    /// Releases reserved bytes.
    pub fn release_bytes(&mut self, bytes: usize) {
        self.held_bytes = self.held_bytes.saturating_sub(bytes);
    }

    /// Returns the number of bytes that are reserved now.
    #[must_use]
    pub const fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Takes permits for up to `spans` spans. Returns the number of permits taken.
    pub fn take_span_permits(&mut self, now: Timestamp, spans: u32) -> u32 {
        let rate = self.capacity.max_spans_per_second;
        self.span_rate.take(now, rate, spans)
    }

    /// Gives back permits that were taken and not used.
    pub fn return_span_permits(&mut self, spans: u32) {
        let rate = self.capacity.max_spans_per_second;
        self.span_rate.give_back(rate, spans);
    }
}

// Batches that may be sent again.
impl ClusterState {
    /// Returns whether any batch may be sent again.
    pub(in crate::kafka) fn has_attempts(&self) -> bool {
        !self.attempts.is_empty()
    }

    /// Returns the attempts of a batch that is sent again now; [`None`] when it is not known.
    pub(in crate::kafka) fn claim_attempts(
        &mut self,
        key: &AttemptKey,
        now: Timestamp,
    ) -> Option<BatchAttempts> {
        let (timeout, error) = (self.capacity.retry_timeout, error_code::NETWORK_EXCEPTION);
        self.attempts.claim(key, error, now, timeout)
    }

    /// Returns whether a later attempt than this one has the spans.
    pub(in crate::kafka) fn is_superseded(&self, key: &AttemptKey, count: u32) -> bool {
        self.attempts.is_superseded(key, count)
    }

    /// Records the outcome of an attempt. Its spans are dropped if a later attempt has them.
    pub(in crate::kafka) fn record_attempt(
        &mut self,
        key: AttemptKey,
        attempts: BatchAttempts,
        state: AttemptState,
        now: Timestamp,
    ) {
        let max_records = self.capacity.max_attempted;
        self.attempts.insert(key, attempts, state, now, max_records);
    }
}

// Groups of clients, and what they have received.
impl ClusterState {
    /// Returns the number of a connection that has just been opened.
    pub(in crate::kafka) const fn next_connection_id(&mut self) -> ConnectionId {
        self.connections = self.connections.saturating_add(1);
        ConnectionId(self.connections)
    }

    /// Records that a client named its group on a connection.
    pub(in crate::kafka) fn learn_group(
        &mut self,
        connection: ClientConnection<'_>,
        group: &str,
        sign: MemberSign<'_>,
        now: Timestamp,
    ) {
        self.groups.learn(connection, group, sign, now);
    }

    /// Records that the members of a group fetch in the background.
    pub(in crate::kafka) fn learn_background_fetches(&mut self, group: &str) {
        if self.background_groups.get(group).is_none() {
            self.background_groups.insert(group.into(), ());
        }
    }

    /// Returns whether the members of a group are known to fetch in the background.
    pub(in crate::kafka) fn fetches_in_background(&self, group: &str) -> bool {
        self.background_groups.get(group).is_some()
    }

    /// Records the partitions that a member of a group was assigned.
    pub(in crate::kafka) fn assign_partitions(
        &mut self,
        connection: ClientConnection<'_>,
        member: GroupMemberId<'_>,
        assignment: Assignment,
        now: Timestamp,
    ) {
        self.groups.assign(connection, member, assignment, now);
    }

    /// Records that a member of a group gets the offsets from which it will read.
    pub(in crate::kafka) fn offsets_fetched(
        &mut self,
        connection: ClientConnection<'_>,
        now: Timestamp,
    ) {
        self.groups.offsets_fetched(connection, now);
    }

    /// Records that a member left its group.
    pub(in crate::kafka) fn leave_group(&mut self, client: &ClientKey, member: GroupMemberId<'_>) {
        self.groups.leave(client, member);
    }

    /// Returns the group for which a connection reads a partition; [`None`] when it is unknown or
    /// ambiguous.
    pub(in crate::kafka) fn reader_group(
        &mut self,
        connection: ClientConnection<'_>,
        partition: FetchedPartition<'_>,
        now: Timestamp,
    ) -> Option<Arc<str>> {
        self.groups.reader_group(connection, partition, now)
    }

    /// Records that a connection does not fetch a partition any more.
    pub(in crate::kafka) fn release_partition(
        &mut self,
        connection: ClientConnection<'_>,
        topic: &Arc<str>,
        partition: PartitionIndex,
    ) {
        self.groups.release(connection, topic, partition);
    }

    /// Records the end of a connection, or that another client uses it.
    pub(in crate::kafka) fn close_connection(
        &mut self,
        client: &ClientKey,
        connection: ConnectionId,
        now: Timestamp,
    ) {
        self.groups.close(client, connection, now);
    }

    /// Keeps the positions of a fetch session whose connection was closed.
    pub(in crate::kafka) fn keep_fetch_session(
        &mut self,
        key: FetchSessionKey,
        positions: FetchPositions,
    ) {
        self.fetch_sessions.insert(key, positions);
    }

    /// Removes and returns the positions of a fetch session.
    pub(in crate::kafka) fn take_fetch_session(
        &mut self,
        key: &FetchSessionKey,
    ) -> Option<FetchPositions> {
        self.fetch_sessions.remove(key)
    }

    /// Keeps deliveries until they are settled. A record that is delivered again replaces its
    /// earlier delivery. Returns the number of deliveries, these or others, that were dropped.
    pub(in crate::kafka) fn record_deliveries(
        &mut self,
        topic: Arc<str>,
        partition: PartitionIndex,
        owner: DeliveryOwner,
        deliveries: Vec<PendingDelivery>,
    ) -> u32 {
        let now = deliveries.last().map_or(0, |delivery| delivery.at);
        let expired = self.deliveries.sweep(now, self.capacity.delivery_timeout);
        let max_deliveries = self.capacity.max_deliveries;
        let key = QueueKey {
            topic,
            partition,
            owner,
        };
        let dropped = self.deliveries.insert(key, deliveries, max_deliveries);
        expired.saturating_add(dropped)
    }

    /// Removes and returns the deliveries that this client has handled for its group. The commit
    /// was sent at `sent_at`.
    pub(in crate::kafka) fn settle(
        &mut self,
        partition: &ClientPartition,
        group: Option<&Arc<str>>,
        offsets: &SettledOffsets,
        sent_at: Timestamp,
    ) -> SettledDeliveries {
        let ClientPartition {
            client,
            topic,
            partition: index,
        } = partition;
        let mut settled = SettledDeliveries::default();
        if let Some(group) = group {
            self.groups.commit(client, group, topic, *index, sent_at);
        }
        let others = |group: &Arc<str>| {
            let groups = &self.groups;
            groups.may_be_read_by_others(client, group, topic, *index, sent_at)
        };
        settled.is_only_group = !group.is_some_and(others);
        let connections = self.deliveries.connections(partition);
        // Of several connections with unknown groups, one may be that of a reader without a group.
        let is_unambiguous = settled.is_only_group && connections.len() == 1;
        let key = |owner| QueueKey {
            topic: Arc::clone(topic),
            partition: *index,
            owner,
        };
        for connection in connections {
            let is_own = match self.groups.connection_group(client, connection) {
                Some(known) => Some(known) == group,
                None => is_unambiguous,
            };
            if is_own {
                let key = key(DeliveryOwner::Connection(client.clone(), connection));
                self.deliveries
                    .settle(&key, offsets, &mut settled.deliveries);
            }
        }
        if let Some(group) = group {
            let key = key(DeliveryOwner::Group(Arc::clone(group), client.clone()));
            self.deliveries
                .settle(&key, offsets, &mut settled.deliveries);
            let key = (partition.clone(), Arc::clone(group));
            let cadence = self.cadences.get_or_insert_default(&key);
            cadence.record(sent_at, &settled.deliveries);
            settled.is_after_work = cadence.is_after_work(&settled.deliveries);
        }
        settled
    }

    /// The same for the offsets of a transaction, which the producer of the group's consumer
    /// commits under a client id of its own.
    pub(in crate::kafka) fn settle_transaction(
        &mut self,
        partition: &ClientPartition,
        group: &Arc<str>,
        offsets: &SettledOffsets,
        sent_at: Timestamp,
    ) -> SettledDeliveries {
        let ClientPartition {
            client,
            topic,
            partition: index,
        } = partition;
        let clients: Vec<(&ClientKey, Timestamp)> = self
            .deliveries
            .group_clients(topic, *index, group)
            .collect();
        let of_host = clients
            .iter()
            .filter(|(known, _)| known.address == client.address);
        // A partition has one owner in a group: the consumer that received records last. Others
        // have lost it.
        let latest = of_host.max_by_key(|(_, delivered_at)| *delivered_at);
        let consumer = match (latest, clients.as_slice()) {
            (Some((consumer, _)), _) | (None, [(consumer, _)]) => (*consumer).clone(),
            (None, []) => client.clone(),
            // Consumers of several other hosts: their producer is unknown.
            (None, _) => return SettledDeliveries::default(),
        };
        let partition = ClientPartition {
            client: consumer,
            topic: Arc::clone(topic),
            partition: *index,
        };
        self.settle(&partition, Some(group), offsets, sent_at)
    }
}

// Compressors take megabytes: the pool holds as many as are used at once, not one per connection.
impl ClusterState {
    pub(in crate::kafka) fn take_scratch(&mut self) -> Option<Box<Scratch>> {
        self.scratch.pop()
    }

    pub(in crate::kafka) fn return_scratch(&mut self, scratch: Box<Scratch>) {
        if self.scratch.len() < MAX_SCRATCH {
            self.scratch.push(scratch);
        }
    }
}

impl Default for ClusterState {
    fn default() -> Self {
        Self::new(ClusterCapacity::default())
    }
}

#[cfg(test)]
mod tests;
