//! Queues of delivered records, in the order of their offsets, until the records are settled.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::RangeInclusive;

use super::activity::ActivityId;

/// Identifier of an ordered stream of records as one consumer receives it: a hash over the consumer
/// and the partition, made before the lock of the correlator is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordQueueId(u64);

/// All queues that have records.
#[derive(Debug, Default)]
pub(super) struct RecordQueues {
    queues: HashMap<RecordQueueId, VecDeque<(i64, ActivityId)>>,
    queue_of: HashMap<ActivityId, RecordQueueId>,
}

// === impl RecordQueueId ===

impl RecordQueueId {
    /// Creates the identifier of the queue with this key.
    #[must_use]
    pub fn new(key: &impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        Self(hasher.finish())
    }

    pub(super) const fn value(self) -> u64 {
        self.0
    }
}

// === impl RecordQueues ===

impl RecordQueues {
    /// Appends a record and returns the earlier deliveries of the same offset that it replaces.
    /// With `max_records` in all queues it takes the place of the oldest in its own queue, if any.
    pub(super) fn push(
        &mut self,
        queue_id: RecordQueueId,
        offset: i64,
        id: ActivityId,
        max_records: usize,
    ) -> Vec<ActivityId> {
        let replaced = self.take_offsets(queue_id, &(offset..=offset));
        // Only the queue itself gives up a record, so one partition cannot displace those of
        // others.
        let is_full = self.queue_of.len() >= max_records;
        let records = self.queues.entry(queue_id).or_default();
        if is_full {
            let Some((_, oldest)) = records.pop_front() else {
                self.queues.remove(&queue_id);
                return replaced;
            };
            self.queue_of.remove(&oldest);
        }
        records.push_back((offset, id));
        self.queue_of.insert(id, queue_id);
        replaced
    }

    /// Returns the number of records in all queues.
    pub(super) fn len(&self) -> usize {
        self.queue_of.len()
    }

    /// Removes the records for which `is_waiting` is false.
    pub(super) fn retain(&mut self, is_waiting: impl Fn(ActivityId) -> bool) {
        self.queue_of.retain(|id, _| is_waiting(*id));
        self.queues.retain(|_, records| {
            records.retain(|(_, id)| is_waiting(*id));
            !records.is_empty()
        });
    }

    /// Removes and returns the records with these offsets.
    pub(super) fn take_offsets(
        &mut self,
        queue_id: RecordQueueId,
        offsets: &RangeInclusive<i64>,
    ) -> Vec<ActivityId> {
        let Some(records) = self.queues.get_mut(&queue_id) else {
            return Vec::new();
        };
        let mut taken = Vec::new();
        // Offsets need not be ascending: a consumer can seek back.
        records.retain(|(offset, id)| {
            let is_taken = offsets.contains(offset);
            if is_taken {
                taken.push(*id);
            }
            !is_taken
        });
        // Empty queues are dropped, which bounds the map by the number of records.
        if records.is_empty() {
            self.queues.remove(&queue_id);
        }
        for id in &taken {
            self.queue_of.remove(id);
        }
        taken
    }

    /// Removes and returns the records before this one in its queue.
    pub(super) fn take_preceding(&mut self, id: ActivityId) -> Vec<ActivityId> {
        let queue_id = self.queue_of.get(&id);
        let Some(records) = queue_id.and_then(|queue_id| self.queues.get_mut(queue_id)) else {
            return Vec::new();
        };
        let position = records
            .iter()
            .position(|(_, other)| *other == id)
            .unwrap_or_default();
        let preceding: Vec<ActivityId> = records.drain(..position).map(|(_, id)| id).collect();
        for id in &preceding {
            self.queue_of.remove(id);
        }
        preceding
    }

    /// Returns whether all of these are records of one queue.
    pub(super) fn share_queue(&self, ids: &[ActivityId]) -> bool {
        let mut queue_ids = ids.iter().map(|id| self.queue_of.get(id));
        let Some(Some(first)) = queue_ids.next() else {
            return false;
        };
        queue_ids.all(|queue_id| queue_id == Some(first))
    }
}
