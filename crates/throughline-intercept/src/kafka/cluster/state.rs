//! State that the connections of a process share.

use std::sync::Arc;

use throughline_kafka::types::TopicId;
use throughline_model::SpanId;

use super::batch_limits::TopicBatchLimits;
use super::capacity::ClusterCapacity;
use super::client::ClientKey;
use super::delivery::{ClientPartition, DeliveryTable, PendingDelivery, SettledOffsets};
use super::fifo_map::FifoMap;
use super::rate::TokenBucket;
use super::scratch::Scratch;
use crate::Timestamp;

/// Knowledge and budgets of a process, shared by its connections to one cluster.
#[derive(Debug)]
pub struct ClusterState {
    capacity: ClusterCapacity,
    cluster_id: Option<Arc<str>>,
    topics: FifoMap<TopicId, Arc<str>>,
    batch_limits: FifoMap<Arc<str>, TopicBatchLimits>,
    groups: FifoMap<ClientKey, GroupMembership>,
    sent: FifoMap<SpanId, Timestamp>,
    deliveries: DeliveryTable,
    held_bytes: usize,
    span_rate: TokenBucket,
    /// Scratch that no session uses now.
    scratch: Vec<Box<Scratch>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum GroupMembership {
    One(Arc<str>),
    /// Several groups share one address and client id.
    Several,
}

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
            groups: FifoMap::new(capacity.max_names),
            sent: FifoMap::new(capacity.max_sent),
            deliveries: DeliveryTable::default(),
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

    /// Returns the group of a client; [`None`] when it is unknown or ambiguous.
    #[must_use]
    pub fn group(&self, client: &ClientKey) -> Option<Arc<str>> {
        match self.groups.get(client) {
            Some(GroupMembership::One(group)) => Some(Arc::clone(group)),
            // A wrong group would settle the deliveries of another one.
            Some(GroupMembership::Several) | None => None,
        }
    }

    /// Records the group that a client named.
    pub fn learn_group(&mut self, client: &ClientKey, group: &str) {
        match self.groups.get_mut(client) {
            None => {
                let membership = GroupMembership::One(group.into());
                self.groups.insert(client.clone(), membership);
            }
            Some(GroupMembership::One(known)) if **known == *group => {}
            // For good: nothing shows when a client has stopped to use the other group.
            Some(known) => *known = GroupMembership::Several,
        }
    }

    /// Returns what is known about the sizes of batches that a topic accepts.
    #[must_use]
    pub fn batch_limits(&self, topic: &str) -> TopicBatchLimits {
        self.batch_limits.get(topic).copied().unwrap_or_default()
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

    // --- records in flight ---

    /// Records the end of the span that sent a record.
    pub fn record_sent(&mut self, span: SpanId, at: Timestamp) {
        self.sent.insert(span, at);
    }

    /// Returns the end of the span that sent a record.
    #[must_use]
    pub fn sent_at(&self, span: SpanId) -> Option<Timestamp> {
        self.sent.get(&span).copied()
    }

    /// Keeps deliveries to a group until they are settled. A record that is delivered again
    /// replaces its earlier delivery. Returns the number of deliveries, these or others, that were
    /// dropped.
    pub fn record_deliveries(
        &mut self,
        partition: ClientPartition,
        group: Option<Arc<str>>,
        deliveries: impl IntoIterator<Item = PendingDelivery>,
        now: Timestamp,
    ) -> u32 {
        let expired = self.deliveries.sweep(now, self.capacity.delivery_timeout);
        let max_deliveries = self.capacity.max_deliveries;
        let dropped = self
            .deliveries
            .insert((partition, group), deliveries, max_deliveries);
        expired.saturating_add(dropped)
    }

    /// Removes and returns the deliveries that this group has handled.
    pub fn settle(
        &mut self,
        partition: &ClientPartition,
        group: Option<&Arc<str>>,
        offsets: &SettledOffsets,
    ) -> Vec<PendingDelivery> {
        self.deliveries.settle(partition, group, offsets)
    }

    /// Returns the number of deliveries that wait to be settled.
    #[must_use]
    pub const fn pending_deliveries(&self) -> usize {
        self.deliveries.len()
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
