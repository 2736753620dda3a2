//! Deliveries of one partition to one consumer, in the order of their offsets.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use throughline_kafka::types::Offset;
use throughline_model::context::TraceState;
use throughline_model::{SpanId, TraceId};

use crate::Timestamp;

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

/// Queue of deliveries with ascending offsets. Records mostly arrive in this order, and are settled
/// from the front.
#[derive(Debug, Default)]
pub(super) struct DeliveryQueue(VecDeque<PendingDelivery>);

// === impl DeliveryQueue ===

impl DeliveryQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the time of the first delivery.
    pub(super) fn first_at(&self) -> Option<Timestamp> {
        self.0.front().map(|first| first.at)
    }

    /// Returns the time of the last delivery.
    pub(super) fn last_at(&self) -> Option<Timestamp> {
        self.0.back().map(|last| last.at)
    }

    /// Adds a delivery. Returns whether it replaces an earlier one of the same record.
    pub(super) fn insert(&mut self, delivery: PendingDelivery) -> bool {
        if self
            .0
            .back()
            .is_none_or(|last| last.offset < delivery.offset)
        {
            self.0.push_back(delivery);
            return false;
        }
        let at = self.position(delivery.offset);
        match self.0.get_mut(at) {
            Some(known) if known.offset == delivery.offset => {
                *known = delivery;
                true
            }
            _ => {
                self.0.insert(at, delivery);
                false
            }
        }
    }

    /// Removes deliveries from the front as long as `is_due` holds, up to `max` of them. Returns
    /// their number.
    pub(super) fn drop_front(
        &mut self,
        max: usize,
        is_due: impl Fn(&PendingDelivery) -> bool,
    ) -> usize {
        let due = self.0.iter().take(max).take_while(|it| is_due(it)).count();
        self.0.drain(..due);
        due
    }

    /// Moves the deliveries before an offset to `settled`.
    pub(super) fn settle_before(&mut self, end: Offset, settled: &mut Vec<PendingDelivery>) {
        let end = self.position(end);
        settled.extend(self.0.drain(..end));
    }

    /// Moves the deliveries of a range of offsets to `settled`.
    pub(super) fn settle_range(
        &mut self,
        range: &RangeInclusive<Offset>,
        settled: &mut Vec<PendingDelivery>,
    ) {
        let begin = self.position(*range.start());
        let end = self.0.partition_point(|it| it.offset <= *range.end());
        // A range that is the wrong way round is empty.
        settled.extend(self.0.drain(begin..end.max(begin)));
    }

    /// Returns the number of deliveries before an offset.
    fn position(&self, offset: Offset) -> usize {
        self.0.partition_point(|it| it.offset < offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(offset: i64, at: Timestamp) -> PendingDelivery {
        PendingDelivery {
            offset: Offset(offset),
            trace_id: TraceId::from_bytes([1; 16]).unwrap(),
            span_id: SpanId::from_bytes([2; 8]).unwrap(),
            trace_state: TraceState::default(),
            flags: 1,
            at,
        }
    }

    fn queue() -> DeliveryQueue {
        let mut queue = DeliveryQueue::default();
        for offset in [3, 5, 9, 4, 1] {
            assert!(!queue.insert(delivery(offset, 10)));
        }
        queue
    }

    fn offsets(deliveries: &[PendingDelivery]) -> Vec<i64> {
        deliveries.iter().map(|it| it.offset.0).collect()
    }

    #[test]
    fn deliveries_are_settled_in_order_and_once() {
        let (mut queue, mut settled) = (queue(), Vec::new());
        assert!(queue.insert(delivery(4, 20)));
        queue.settle_before(Offset(5), &mut settled);
        assert_eq!(offsets(&settled), [1, 3, 4]);
        assert_eq!(settled[2].at, 20);
        queue.settle_before(Offset(100), &mut settled);
        assert_eq!(offsets(&settled), [1, 3, 4, 5, 9]);
        assert!(queue.is_empty());
    }

    #[test]
    fn range_settles_only_its_offsets() {
        for (first, last, expected) in [(2, 5, vec![3, 4, 5]), (5, 2, vec![]), (6, 8, vec![])] {
            let (mut queue, mut settled) = (queue(), Vec::new());
            let range = Offset(first)..=Offset(last);
            queue.settle_range(&range, &mut settled);
            assert_eq!(offsets(&settled), expected);
        }
    }

    #[test]
    fn front_is_dropped_as_long_as_it_is_due() {
        let mut queue = queue();
        assert!(queue.insert(delivery(4, 20)));
        assert_eq!(queue.drop_front(1, |it| it.at == 10), 1);
        assert_eq!(queue.drop_front(10, |it| it.at == 10), 1);
        assert_eq!((queue.first_at(), queue.last_at()), (Some(20), Some(10)));
    }
}
