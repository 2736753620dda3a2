//! Queues of delivered records, in the order of their offsets, until the records are settled.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::RangeInclusive;

use super::activity::ActivityId;
use super::activity_map::ActivityMap;

/// Identifier of an ordered stream of records as one consumer receives it: a hash over the consumer
/// and the partition, made before the lock of the correlator is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordQueueId(u64);

/// All queues that have records.
#[derive(Debug, Default)]
pub(super) struct RecordQueues {
    /// By offset. A consumer that never commits has as many records in a queue as the limits allow,
    /// so that nothing here may take time in proportion to them.
    queues: HashMap<RecordQueueId, BTreeMap<i64, ActivityId>>,
    places: ActivityMap<RecordPlace>,
}

/// Where a record waits.
#[derive(Debug, Clone, Copy)]
struct RecordPlace {
    queue_id: RecordQueueId,
    offset: i64,
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
    /// Adds a record and returns the earlier delivery of the same offset that it replaces. With
    /// `max_records` in all queues it takes the place of the first in its own queue, if any.
    pub(super) fn push(
        &mut self,
        queue_id: RecordQueueId,
        offset: i64,
        id: ActivityId,
        max_records: usize,
    ) -> Option<ActivityId> {
        let records = self.queues.entry(queue_id).or_default();
        let replaced = records.remove(&offset);
        if let Some(replaced) = &replaced {
            self.places.remove(replaced);
        }
        // Only the queue itself gives up a record, so one partition cannot displace those of
        // others.
        if self.places.len() >= max_records {
            let Some((_, first)) = records.pop_first() else {
                self.queues.remove(&queue_id);
                return replaced;
            };
            self.places.remove(&first);
        }
        records.insert(offset, id);
        self.places.insert(id, RecordPlace { queue_id, offset });
        replaced
    }

    /// Returns the number of records in all queues.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Removes the records for which `is_waiting` is false.
    pub(super) fn retain(&mut self, is_waiting: impl Fn(ActivityId) -> bool) {
        self.places.retain(|id, _| is_waiting(*id));
        self.queues.retain(|_, records| {
            records.retain(|_, id| is_waiting(*id));
            !records.is_empty()
        });
    }

    /// Removes and returns the records with these offsets.
    pub(super) fn take_offsets(
        &mut self,
        queue_id: RecordQueueId,
        offsets: RangeInclusive<i64>,
    ) -> Vec<ActivityId> {
        let Some(records) = self.queues.get_mut(&queue_id) else {
            return Vec::new();
        };
        // The map panics at a range that ends before it starts.
        if offsets.is_empty() {
            return Vec::new();
        }
        let taken: Vec<_> = records.extract_if(offsets, |_, _| true).collect();
        // Empty queues are dropped, which bounds the map by the number of records.
        if records.is_empty() {
            self.queues.remove(&queue_id);
        }
        taken
            .into_iter()
            .map(|(_, id)| {
                self.places.remove(&id);
                id
            })
            .collect()
    }

    /// Removes and returns the records before this one in its queue.
    pub(super) fn take_preceding(&mut self, id: ActivityId) -> Vec<ActivityId> {
        let Some(RecordPlace { queue_id, offset }) = self.places.get(&id).copied() else {
            return Vec::new();
        };
        match offset.checked_sub(1) {
            Some(last) => self.take_offsets(queue_id, i64::MIN..=last),
            None => Vec::new(),
        }
    }

    /// Returns the queue and the offset of a record.
    pub(super) fn place(&self, id: ActivityId) -> Option<(RecordQueueId, i64)> {
        let place = self.places.get(&id)?;
        Some((place.queue_id, place.offset))
    }

    /// Returns whether all of these are records of one queue.
    pub(super) fn share_queue(&self, ids: &[ActivityId]) -> bool {
        let mut places = ids.iter().map(|id| self.places.get(id));
        let Some(Some(first)) = places.next() else {
            return false;
        };
        places.all(|place| place.is_some_and(|place| place.queue_id == first.queue_id))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn records_are_in_the_order_of_their_offsets_after_a_seek_back() {
        let mut queues = RecordQueues::default();
        let queue_id = RecordQueueId::new(&"orders-0");
        let ids: Vec<_> = (0..6).map(ActivityId).collect();
        for (offset, id) in [(5, ids[0]), (6, ids[1]), (3, ids[2]), (4, ids[3])] {
            assert_eq!(queues.push(queue_id, offset, id, 10), None);
        }
        assert_eq!(queues.push(queue_id, 5, ids[4], 10), Some(ids[0]));
        assert_eq!(queues.take_preceding(ids[4]), [ids[2], ids[3]]);
        assert_eq!(queues.take_offsets(queue_id, 5..=9), [ids[4], ids[1]]);
        assert_eq!(queues.len(), 0);
    }

    #[test]
    fn full_queue_gives_up_its_own_first_record_only() {
        let mut queues = RecordQueues::default();
        let [own, other] = ["a", "b"].map(|key| RecordQueueId::new(&key));
        let ids: Vec<_> = (0..4).map(ActivityId).collect();
        queues.push(own, 1, ids[0], 2);
        queues.push(own, 2, ids[1], 2);
        queues.push(other, 1, ids[2], 2);
        queues.push(own, 3, ids[3], 2);
        assert_eq!(queues.take_offsets(other, 0..=9), []);
        assert_eq!(queues.take_offsets(own, 0..=9), [ids[1], ids[3]]);
    }

    /// A consumer without commits leaves every record in its queue. With a search through the queue
    /// for each record this took minutes, and a proxied consumer got a twentieth of its throughput.
    #[test]
    fn time_for_a_record_does_not_grow_with_the_queue() {
        const RECORDS: i64 = 200_000;
        let mut queues = RecordQueues::default();
        let queue_id = RecordQueueId::new(&"orders-0");
        let begin = Instant::now();
        for offset in 0..RECORDS {
            let id = ActivityId(offset.cast_unsigned());
            assert_eq!(queues.push(queue_id, offset, id, usize::MAX), None);
        }
        assert!(begin.elapsed() < Duration::from_secs(20));
        assert_eq!(queues.take_offsets(queue_id, 0..=RECORDS).len(), 200_000);
    }
}
