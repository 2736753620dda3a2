//! Deliveries: records that a consumer has received and not yet committed or acknowledged.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::ops::RangeInclusive;
use std::sync::Arc;

use throughline_kafka::types::{Offset, PartitionIndex};

use super::client::ClientKey;
use super::delivery_queue::{DeliveryQueue, PendingDelivery};
use super::group::ConnectionId;
use crate::Timestamp;

/// Partition as one client consumes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientPartition {
    pub client: ClientKey,
    pub topic: Arc<str>,
    pub partition: PartitionIndex,
}

/// Offsets that a client reports as handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettledOffsets {
    /// All offsets before this one: an offset commit.
    Before(Offset),
    /// These offsets: an acknowledgement of a share group.
    Range(RangeInclusive<Offset>),
}

/// Consumer of deliveries.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::kafka) enum DeliveryOwner {
    /// Member of a group.
    Group(Arc<str>, ClientKey),
    /// Connection whose group was not known at the delivery.
    Connection(ClientKey, ConnectionId),
}

/// Partition as one consumer reads it. The order keeps the members of a group together, and the
/// connections of a client.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct QueueKey {
    pub(super) topic: Arc<str>,
    pub(super) partition: PartitionIndex,
    pub(super) owner: DeliveryOwner,
}

/// Table of the deliveries that wait for their commit.
#[derive(Debug, Default)]
pub(super) struct DeliveryTable {
    queues: BTreeMap<QueueKey, DeliveryQueue>,
    /// Number of deliveries by the consumers that share the capacity.
    shares: HashMap<PoolShare, usize>,
    count: usize,
    next_sweep: Timestamp,
}

/// Consumer that has a share of the capacity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum PoolShare {
    Group(Arc<str>),
    Client(ClientKey),
}

/// Interval, in nanoseconds, between two searches for deliveries that waited too long.
const SWEEP_INTERVAL: u64 = 1_000_000_000;

/// Part of the capacity that is evicted at once: the search visits every queue.
const EVICTED_PART: usize = 128;

// === impl DeliveryTable ===

impl DeliveryTable {
    /// Number of deliveries that wait.
    pub(super) const fn len(&self) -> usize {
        self.count
    }

    /// Number of queues, empty ones included.
    #[cfg(test)]
    pub(super) fn queue_count(&self) -> usize {
        self.queues.len()
    }

    /// Adds deliveries to a queue of at most `max_deliveries` in all. A record that is delivered
    /// again replaces its earlier delivery. At the limit the consumer with the most deliveries
    /// loses its oldest ones. Returns the number of deliveries that were dropped.
    pub(super) fn insert(
        &mut self,
        key: QueueKey,
        mut deliveries: Vec<PendingDelivery>,
        max_deliveries: usize,
    ) -> u32 {
        let share = PoolShare::of(&key.owner);
        let mut dropped = 0_usize;
        while self.count.saturating_add(deliveries.len()) > max_deliveries {
            let excess = self.count + deliveries.len() - max_deliveries;
            let own = self.shares.get(&share).copied().unwrap_or(0);
            let greediest = self
                .shares
                .iter()
                .max_by_key(|(share, count)| (*count, *share));
            let others = greediest.map(|(share, count)| (share.clone(), *count));
            let removed = match others {
                Some((other, count)) if count > own.saturating_add(deliveries.len()) => {
                    self.evict(&other, excess.max(max_deliveries / EVICTED_PART))
                }
                _ if own > 0 => self.evict(&share, excess),
                // The new deliveries alone are more than any other consumer has.
                _ => deliveries.drain(..excess.min(deliveries.len())).count(),
            };
            dropped += removed;
            if removed == 0 {
                break;
            }
        }
        if !deliveries.is_empty() {
            let queue = self.queues.entry(key).or_default();
            let count = deliveries.len();
            let inserted = deliveries.into_iter().map(|it| queue.insert(it));
            let replaced = inserted.filter(|is_replaced| *is_replaced).count();
            dropped += replaced;
            self.count += count - replaced;
            *self.shares.entry(share).or_default() += count - replaced;
        }
        u32::try_from(dropped).unwrap_or(u32::MAX)
    }

    /// Returns the clients that have deliveries of a partition as members of a group, and the time
    /// of the last one.
    pub(super) fn group_clients(
        &self,
        topic: &Arc<str>,
        partition: PartitionIndex,
        group: &Arc<str>,
    ) -> impl Iterator<Item = (&ClientKey, Timestamp)> {
        let first = QueueKey {
            topic: Arc::clone(topic),
            partition,
            owner: DeliveryOwner::Group(Arc::clone(group), ClientKey::default()),
        };
        let (topic, group) = (Arc::clone(topic), Arc::clone(group));
        self.queues.range(first..).map_while(move |(key, queue)| {
            let is_same = key.topic == topic && key.partition == partition;
            match &key.owner {
                DeliveryOwner::Group(owner, client) if is_same && *owner == group => {
                    Some((client, queue.last_at().unwrap_or_default()))
                }
                DeliveryOwner::Group(..) | DeliveryOwner::Connection(..) => None,
            }
        })
    }

    /// Returns the connections of a client that have deliveries of a partition to an unknown group.
    pub(super) fn connections(&self, partition: &ClientPartition) -> Vec<ConnectionId> {
        let key = |connection| QueueKey {
            topic: Arc::clone(&partition.topic),
            partition: partition.partition,
            owner: DeliveryOwner::Connection(partition.client.clone(), connection),
        };
        let range = key(ConnectionId(0))..=key(ConnectionId(u64::MAX));
        self.queues
            .range(range)
            .filter_map(|(key, _)| match &key.owner {
                DeliveryOwner::Connection(_, connection) => Some(*connection),
                DeliveryOwner::Group(..) => None,
            })
            .collect()
    }

    /// Moves the deliveries of a queue that are handled to `settled`.
    pub(super) fn settle(
        &mut self,
        key: &QueueKey,
        offsets: &SettledOffsets,
        settled: &mut Vec<PendingDelivery>,
    ) {
        let Some(queue) = self.queues.get_mut(key) else {
            return;
        };
        let before = settled.len();
        match offsets {
            SettledOffsets::Before(end) => queue.settle_before(*end, settled),
            SettledOffsets::Range(range) => queue.settle_range(range, settled),
        }
        if queue.is_empty() {
            self.queues.remove(key);
        }
        self.subtract(&PoolShare::of(&key.owner), settled.len() - before);
    }

    /// Drops deliveries that waited longer than `timeout`. Returns their number.
    pub(super) fn sweep(&mut self, now: Timestamp, timeout: u64) -> u32 {
        if now < self.next_sweep {
            return 0;
        }
        // A sweep visits every queue, and this runs for each delivery of a partition.
        self.next_sweep = now.saturating_add(SWEEP_INTERVAL);
        let mut expired = Vec::new();
        self.queues.retain(|key, queue| {
            // The first is nearly always the oldest; a record that was delivered again is examined
            // once it is the first.
            let has_expired = |it: &PendingDelivery| it.at.saturating_add(timeout) <= now;
            let count = queue.drop_front(usize::MAX, has_expired);
            if count > 0 {
                expired.push((PoolShare::of(&key.owner), count));
            }
            !queue.is_empty()
        });
        let before = self.count;
        for (share, count) in expired {
            self.subtract(&share, count);
        }
        u32::try_from(before - self.count).unwrap_or(u32::MAX)
    }

    /// Drops up to `count` deliveries of a consumer, the oldest first. Returns their number.
    fn evict(&mut self, share: &PoolShare, count: usize) -> usize {
        let queues = self.queues.iter_mut();
        let mut queues: Vec<&mut DeliveryQueue> = queues
            .filter(|(key, _)| PoolShare::of(&key.owner) == *share)
            .map(|(_, queue)| queue)
            .collect();
        let mut heap: BinaryHeap<Reverse<(Timestamp, usize)>> = (0..)
            .zip(&queues)
            .filter_map(|(index, queue)| Some(Reverse((queue.first_at()?, index))))
            .collect();
        let mut evicted = 0;
        while evicted < count
            && let Some(Reverse((oldest, index))) = heap.pop()
        {
            let Some(queue) = queues.get_mut(index) else {
                break;
            };
            // All that are as old as this, or older than the first of the next queue.
            let next = heap.peek().map_or(Timestamp::MAX, |Reverse((at, _))| *at);
            evicted += queue.drop_front(count - evicted, |it| it.at == oldest || it.at < next);
            heap.extend(queue.first_at().map(|at| Reverse((at, index))));
        }
        self.queues.retain(|_, queue| !queue.is_empty());
        self.subtract(share, evicted);
        evicted
    }

    /// Records that a consumer has fewer deliveries.
    fn subtract(&mut self, share: &PoolShare, count: usize) {
        self.count = self.count.saturating_sub(count);
        if let Some(held) = self.shares.get_mut(share) {
            *held = held.saturating_sub(count);
            if *held == 0 {
                self.shares.remove(share);
            }
        }
    }
}

// === impl PoolShare ===

impl PoolShare {
    fn of(owner: &DeliveryOwner) -> Self {
        match owner {
            DeliveryOwner::Group(group, _) => Self::Group(Arc::clone(group)),
            DeliveryOwner::Connection(client, _) => Self::Client(client.clone()),
        }
    }
}
