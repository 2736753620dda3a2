//! Deliveries: records that a consumer has received and not yet committed or acknowledged.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::sync::Arc;

use throughline_kafka::types::{Offset, PartitionIndex};
use throughline_model::context::TraceState;
use throughline_model::{SpanId, TraceId};

use super::client::ClientKey;
use crate::Timestamp;

/// Partition as one client consumes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientPartition {
    pub client: ClientKey,
    pub topic: Arc<str>,
    pub partition: PartitionIndex,
}

/// Record that was delivered and waits for its commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingDelivery {
    pub offset: Offset,
    /// Trace of the consumer span.
    pub trace_id: TraceId,
    /// Id of the consumer span.
    pub span_id: SpanId,
    pub trace_state: TraceState,
    /// W3C trace flags.
    pub flags: u8,
    /// Time of the delivery.
    pub at: Timestamp,
}

/// Offsets that a client reports as handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettledOffsets {
    /// All offsets before this one: an offset commit.
    Before(Offset),
    /// These offsets: an acknowledgement of a share group.
    Range(RangeInclusive<Offset>),
}

/// Table of the deliveries that wait for their commit.
#[derive(Debug, Default)]
pub(super) struct DeliveryTable {
    queues: HashMap<QueueKey, DeliveryQueue>,
    count: usize,
    next_sweep: Timestamp,
}

/// Client partition, and the group that records were delivered to if it was known then.
type QueueKey = (ClientPartition, Option<Arc<str>>);

type DeliveryQueue = BTreeMap<Offset, PendingDelivery>;

/// Interval, in nanoseconds, between two searches for deliveries that waited too long.
const SWEEP_INTERVAL: u64 = 1_000_000_000;

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
    /// again replaces its earlier delivery. Returns the number of deliveries that were dropped.
    pub(super) fn insert(
        &mut self,
        key: QueueKey,
        deliveries: impl IntoIterator<Item = PendingDelivery>,
        max_deliveries: usize,
    ) -> u32 {
        let mut dropped = 0_u32;
        let mut queue = self.queues.remove(&key).unwrap_or_default();
        for delivery in deliveries {
            if queue.insert(delivery.offset, delivery).is_some() {
                dropped = dropped.saturating_add(1);
            } else if self.count < max_deliveries {
                self.count += 1;
            } else {
                // The oldest of this queue makes room: the new one itself, if other partitions
                // hold all the capacity.
                queue.pop_first();
                dropped = dropped.saturating_add(1);
            }
        }
        if !queue.is_empty() {
            self.queues.insert(key, queue);
        }
        dropped
    }

    /// Removes and returns the deliveries that a group has handled.
    pub(super) fn settle(
        &mut self,
        partition: &ClientPartition,
        group: Option<&Arc<str>>,
        offsets: &SettledOffsets,
    ) -> Vec<PendingDelivery> {
        let mut settled = Vec::new();
        // Deliveries to another group under the same client id belong to that group; those to an
        // unknown group belong to whoever commits first.
        let groups = [group.cloned(), None];
        for group in groups.into_iter().skip(usize::from(group.is_none())) {
            let key = (partition.clone(), group);
            let Some(queue) = self.queues.get_mut(&key) else {
                continue;
            };
            offsets.drain(queue, &mut settled);
            if queue.is_empty() {
                self.queues.remove(&key);
            }
        }
        self.count = self.count.saturating_sub(settled.len());
        settled
    }

    /// Drops deliveries that waited longer than `timeout`. Returns their number.
    pub(super) fn sweep(&mut self, now: Timestamp, timeout: u64) -> u32 {
        if now < self.next_sweep {
            return 0;
        }
        self.next_sweep = now.saturating_add(SWEEP_INTERVAL);
        let before = self.count;
        let Self { queues, count, .. } = self;
        queues.retain(|_, queue| {
            // The first is nearly always the oldest; a record that was delivered again is examined
            // once it is the first.
            let has_expired = |first: &PendingDelivery| first.at.saturating_add(timeout) <= now;
            while let Some(first) = queue.first_entry().filter(|it| has_expired(it.get())) {
                first.remove();
                *count = count.saturating_sub(1);
            }
            !queue.is_empty()
        });
        u32::try_from(before - self.count).unwrap_or(u32::MAX)
    }
}

// === impl SettledOffsets ===

impl SettledOffsets {
    /// Moves the deliveries that are covered from `queue` to `settled`.
    fn drain(&self, queue: &mut DeliveryQueue, settled: &mut Vec<PendingDelivery>) {
        match self {
            Self::Before(end) => {
                while let Some(first) = queue.first_entry().filter(|first| first.key() < end) {
                    settled.push(first.remove());
                }
            }
            // `BTreeMap::range` panics on a range that is the wrong way round.
            Self::Range(range) if range.is_empty() => {}
            Self::Range(range) => {
                let covered = queue.range(range.clone());
                let offsets: Vec<Offset> = covered.map(|(offset, _)| *offset).collect();
                settled.extend(offsets.iter().filter_map(|offset| queue.remove(offset)));
            }
        }
    }
}
