//! The offset join: a record's producer and consumer have the same cluster, topic, partition and
//! offset, so the producer's span is the parent of the consumer's. That is exact, whether or not
//! the record carried a context.
//!
//! The spans come from two sidecars in either order. Both sides are remembered, the oldest are
//! forgotten first.

use std::collections::{HashMap, VecDeque};

use throughline_store::{SpanKey, WovenEdge, WovenEvidence};

use super::record_endpoint::{OffsetPosition, RecordEndpoint, RecordPartition, RecordSide};

/// Records that are remembered on each side.
const MAX_RECORDS: usize = 262_144;

/// Maximum number of partitions.
const MAX_PARTITIONS: usize = 65_536;

/// Consumers of one record that wait for its producer: each consumer group has one.
const MAX_WAITING: usize = 64;

/// Difference between the clocks of two machines that is tolerated. A record that was made later
/// than this after a producer's span is another one: its topic was deleted and created again.
const MAX_CLOCK_SKEW: u64 = 60_000_000_000;

/// The producers and consumers of recent records.
#[derive(Debug)]
pub(super) struct OffsetJoin {
    partitions: HashMap<RecordPartition, u32>,
    producers: RecordTable<PositionProducers>,
    consumers: RecordTable<Vec<RecordEndpoint>>,
}

/// Number of a partition, and offset.
type RecordNumber = (u32, i64);

/// Records by position, with a bound on their number.
#[derive(Debug)]
struct RecordTable<T> {
    records: HashMap<RecordNumber, T>,
    /// In the order of arrival. May have records that are not in the map any more.
    arrivals: VecDeque<RecordNumber>,
    max_records: usize,
}

/// The producer's span of a record.
#[derive(Debug, Clone, Copy)]
struct ProducedRecord {
    key: SpanKey,
    start: u64,
    end: u64,
}

/// The producers' spans of one position: a topic that was created again begins at offset 0, and
/// clusters made from one image may have one id.
#[derive(Debug, Clone, Copy)]
struct PositionProducers {
    latest: ProducedRecord,
    former: Option<ProducedRecord>,
}

// === impl OffsetJoin ===

impl Default for OffsetJoin {
    fn default() -> Self {
        Self::with_limit(MAX_RECORDS)
    }
}

impl OffsetJoin {
    pub(super) fn with_limit(max_records: usize) -> Self {
        Self {
            partitions: HashMap::new(),
            producers: RecordTable::new(max_records),
            consumers: RecordTable::new(max_records),
        }
    }

    /// Takes a span; adds the joins that it completes.
    pub(super) fn push(&mut self, span: RecordEndpoint, edges: &mut Vec<WovenEdge>) {
        let Some(number) = self.number(&span.position) else {
            return;
        };
        match span.side {
            RecordSide::Producer => {
                let producer = ProducedRecord {
                    key: span.key,
                    start: span.start,
                    end: span.end,
                };
                let known = self.producers.records.get(&number).copied();
                let producers = PositionProducers::with_latest(known, producer);
                if let Some(waiting) = self.consumers.records.get_mut(&number) {
                    let joined = waiting.extract_if(.., |consumer| {
                        let sender = producers.sender_of(consumer);
                        sender.is_some_and(|sender| sender.key == producer.key)
                    });
                    edges.extend(joined.map(|consumer| producer.edge(consumer.key)));
                }
                self.producers.insert(number, producers);
            }
            RecordSide::Consumer => {
                let producers = self.producers.records.get(&number);
                let sender = producers.and_then(|producers| producers.sender_of(&span));
                if let Some(sender) = sender {
                    edges.push(sender.edge(span.key));
                } else if let Some(waiting) = self.consumers.records.get_mut(&number) {
                    if waiting.len() < MAX_WAITING {
                        waiting.push(span);
                    }
                } else {
                    self.consumers.insert(number, vec![span]);
                }
            }
        }
    }

    fn number(&mut self, position: &OffsetPosition) -> Option<RecordNumber> {
        if let Some(partition) = self.partitions.get(&position.partition) {
            return Some((*partition, position.offset));
        }
        // Beyond the limit only the known partitions are joined.
        let next = u32::try_from(self.partitions.len()).ok();
        let next = next.filter(|_| self.partitions.len() < MAX_PARTITIONS)?;
        self.partitions.insert(position.partition.clone(), next);
        Some((next, position.offset))
    }
}

// === impl PositionProducers ===

impl PositionProducers {
    fn with_latest(known: Option<Self>, latest: ProducedRecord) -> Self {
        let former = known.and_then(|known| {
            // A span may be sent again.
            let is_again = known.latest.key == latest.key;
            if is_again {
                known.former
            } else {
                Some(known.latest)
            }
        });
        Self { latest, former }
    }

    /// Returns the only producer that can have sent the record.
    fn sender_of(&self, consumer: &RecordEndpoint) -> Option<ProducedRecord> {
        let senders = [Some(self.latest), self.former].into_iter().flatten();
        let mut senders = senders.filter(|producer| producer.sent(consumer));
        let first = senders.next();
        first.filter(|_| senders.next().is_none())
    }
}

// === impl ProducedRecord ===

impl ProducedRecord {
    /// Returns whether the consumer's record is the one that was sent here.
    fn sent(&self, consumer: &RecordEndpoint) -> bool {
        let latest = self.end.saturating_add(MAX_CLOCK_SKEW);
        let is_received_later = consumer.end.saturating_add(MAX_CLOCK_SKEW) >= self.start;
        is_received_later && consumer.made_at.is_none_or(|made_at| made_at <= latest)
    }

    const fn edge(&self, consumer: SpanKey) -> WovenEdge {
        WovenEdge {
            child: consumer,
            parent: Some(self.key),
            evidence: WovenEvidence::Offset,
            confidence: 1.0,
            alternatives: Vec::new(),
            is_joined: true,
        }
    }
}

// === impl RecordTable ===

impl<T> RecordTable<T> {
    fn new(max_records: usize) -> Self {
        Self {
            records: HashMap::new(),
            arrivals: VecDeque::new(),
            max_records,
        }
    }

    fn insert(&mut self, number: RecordNumber, record: T) {
        if self.records.insert(number, record).is_none() {
            self.arrivals.push_back(number);
        }
        while self.arrivals.len() > self.max_records {
            if let Some(oldest) = self.arrivals.pop_front() {
                self.records.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use throughline_model::{SpanId, TraceId};

    use super::*;

    fn key(number: u64) -> SpanKey {
        SpanKey {
            trace_id: TraceId::from_bytes(u128::from(number).to_be_bytes()).unwrap(),
            span_id: SpanId::from_bytes(number.to_be_bytes()).unwrap(),
        }
    }

    fn record(side: RecordSide, id: u64, cluster: &str, index: i64, offset: i64) -> RecordEndpoint {
        RecordEndpoint {
            key: key(id),
            side,
            position: OffsetPosition {
                partition: RecordPartition {
                    cluster: Arc::from(cluster),
                    topic: Arc::from("orders"),
                    index,
                },
                offset,
            },
            start: 1_000,
            end: 2_000,
            made_at: None,
        }
    }

    fn joins(join: &mut OffsetJoin, spans: Vec<RecordEndpoint>) -> Vec<(SpanKey, Option<SpanKey>)> {
        let mut edges = Vec::new();
        for span in spans {
            join.push(span, &mut edges);
        }
        edges.iter().map(|edge| (edge.child, edge.parent)).collect()
    }

    #[test]
    fn only_equal_clusters_partitions_and_offsets_join() {
        use RecordSide::{Consumer, Producer};
        let mut join = OffsetJoin::default();
        let joined = joins(
            &mut join,
            vec![
                record(Producer, 1, "a", 0, 7),
                record(Consumer, 2, "b", 0, 7),
                record(Consumer, 3, "a", 1, 7),
                record(Consumer, 4, "a", 0, 8),
                record(Consumer, 5, "a", 0, 7),
                // A second group.
                record(Consumer, 6, "a", 0, 7),
            ],
        );
        assert_eq!(joined, [(key(5), Some(key(1))), (key(6), Some(key(1)))]);
    }

    #[test]
    fn record_of_a_topic_that_was_created_again_waits_for_its_own_producer() {
        let mut join = OffsetJoin::default();
        let late = 10 * MAX_CLOCK_SKEW;
        let at = |mut span: RecordEndpoint| {
            (span.start, span.end) = (late, late + 1_000);
            span.made_at = (span.side == RecordSide::Consumer).then_some(late);
            span
        };
        let joined = joins(
            &mut join,
            vec![
                record(RecordSide::Producer, 1, "a", 0, 0),
                at(record(RecordSide::Consumer, 2, "a", 0, 0)),
                at(record(RecordSide::Producer, 3, "a", 0, 0)),
            ],
        );
        assert_eq!(joined, [(key(2), Some(key(3)))]);
    }

    /// Two environments whose clusters have one id.
    #[test]
    fn record_that_two_producers_may_have_sent_is_not_joined() {
        let mut join = OffsetJoin::default();
        let consumer = |id: u64| record(RecordSide::Consumer, id, "a", 0, 0);
        let joined = joins(
            &mut join,
            vec![
                record(RecordSide::Producer, 1, "a", 0, 0),
                // The same span again is no other producer.
                record(RecordSide::Producer, 1, "a", 0, 0),
                consumer(2),
                record(RecordSide::Producer, 3, "a", 0, 0),
                consumer(4),
            ],
        );
        assert_eq!(joined, [(key(2), Some(key(1)))]);
    }

    proptest! {
        #[test]
        fn any_order_of_arrival_joins_the_same_spans(
            order in Just((0..40usize).collect::<Vec<_>>()).prop_shuffle()
        ) {
            let spans: Vec<RecordEndpoint> = (0..20i64)
                .flat_map(|offset| {
                    let id = 1 + offset.cast_unsigned() * 2;
                    [
                        record(RecordSide::Producer, id, "a", offset % 3, offset / 3),
                        record(RecordSide::Consumer, id + 1, "a", offset % 3, offset / 3),
                    ]
                })
                .collect();
            let mut join = OffsetJoin::default();
            let shuffled = order.iter().map(|at| spans[*at].clone()).collect();
            let mut joined = joins(&mut join, shuffled);
            joined.sort();
            let expected: Vec<_> =
                (0..20).map(|offset| (key(2 + offset * 2), Some(key(1 + offset * 2)))).collect();
            prop_assert_eq!(joined, expected);
        }

        #[test]
        fn memory_is_bounded(
            offsets in proptest::collection::vec((any::<bool>(), 0i64..500), 0..400)
        ) {
            let mut join = OffsetJoin::with_limit(16);
            for (is_producer, offset) in offsets {
                let side = if is_producer { RecordSide::Producer } else { RecordSide::Consumer };
                joins(&mut join, vec![record(side, 1, "a", 0, offset)]);
                for (records, arrivals) in [
                    (join.producers.records.len(), join.producers.arrivals.len()),
                    (join.consumers.records.len(), join.consumers.arrivals.len()),
                ] {
                    prop_assert!(records <= 16 && arrivals <= 16);
                }
            }
        }
    }
}
