use std::ops::RangeInclusive;

use throughline_kafka::types::{Offset, PartitionIndex};
use throughline_model::TraceId;
use throughline_model::context::TraceState;

use super::*;

const SECOND: u64 = 1_000_000_000;

fn delivery(offset: i64, at: Timestamp) -> PendingDelivery {
    let (trace_id, span_id) = (
        TraceId::from_hex("1").unwrap(),
        SpanId::from_hex("2").unwrap(),
    );
    PendingDelivery {
        offset: Offset(offset),
        trace_id,
        span_id,
        trace_state: TraceState::default(),
        flags: 1,
        at,
    }
}

fn partition(index: i32) -> ClientPartition {
    ClientPartition {
        client: ClientKey::default(),
        topic: "t".into(),
        partition: PartitionIndex(index),
    }
}

fn before(offset: i64) -> SettledOffsets {
    SettledOffsets::Before(Offset(offset))
}

fn range(first: i64, last: i64) -> SettledOffsets {
    SettledOffsets::Range(RangeInclusive::new(Offset(first), Offset(last)))
}

#[test]
fn buffered_bytes_are_bounded_and_can_be_reserved_again_after_release() {
    let mut state = ClusterState::new(ClusterCapacity {
        max_held_bytes: 10,
        ..ClusterCapacity::default()
    });
    assert!(state.reserve_bytes(6) && !state.reserve_bytes(5) && state.reserve_bytes(4));
    state.release_bytes(6);
    assert!(state.reserve_bytes(6) && !state.reserve_bytes(1) && state.held_bytes() == 10);
    assert!(!state.reserve_bytes(usize::MAX));
}

#[test]
fn deliveries_are_settled_once_or_expire() {
    let mut state = ClusterState::new(ClusterCapacity {
        delivery_timeout: 10 * SECOND,
        ..ClusterCapacity::default()
    });
    let deliveries = (0..6).map(|offset| delivery(offset, 0));
    assert_eq!(
        state.record_deliveries(partition(0), None, deliveries, 0),
        0
    );
    let mut settle = |index, offsets: SettledOffsets| -> Vec<i64> {
        let settled = state.settle(&partition(index), None, &offsets);
        settled.iter().map(|delivery| delivery.offset.0).collect()
    };
    assert_eq!(settle(0, range(5, 2)), [0; 0], "an inverted range is empty");
    assert_eq!(settle(0, range(2, 3)), [2, 3]);
    assert_eq!(settle(0, before(5)), [0, 1, 4]);
    assert_eq!(settle(1, before(9)), [0; 0]);
    assert_eq!(state.pending_deliveries(), 1);
    let mut deliver = |at| state.record_deliveries(partition(1), None, [delivery(0, at)], at);
    assert_eq!(
        deliver(20 * SECOND),
        1,
        "the delivery to partition 0 expires"
    );
    assert_eq!(
        deliver(21 * SECOND),
        1,
        "a redelivery replaces the delivery"
    );
    assert_eq!(state.pending_deliveries(), 1);
    let settled = state.settle(&partition(1), None, &before(1));
    assert_eq!(settled[0].at, 21 * SECOND);
    assert_eq!(state.pending_deliveries(), 0);
}

#[test]
fn groups_under_one_client_id_settle_their_own_and_unowned_deliveries() {
    let mut state = ClusterState::new(ClusterCapacity {
        max_deliveries: 4,
        ..ClusterCapacity::default()
    });
    let (g, h): (Arc<str>, Arc<str>) = ("g".into(), "h".into());
    for group in [Some(&g), Some(&h), None] {
        state.record_deliveries(partition(0), group.cloned(), [delivery(0, 0)], 0);
    }
    let mut settled = |group| state.settle(&partition(0), Some(group), &before(9)).len();
    assert_eq!((settled(&g), settled(&g), settled(&h)), (2, 0, 1));
    assert_eq!(
        state.deliveries.queue_count(),
        0,
        "empty queues are removed"
    );
    // A full table creates no queue that would hold nothing.
    let deliveries = (0..4).map(|offset| delivery(offset, 0));
    assert_eq!(
        state.record_deliveries(partition(0), None, deliveries, 0),
        0
    );
    let dropped = state.record_deliveries(partition(1), None, [delivery(0, 0)], 0);
    assert_eq!((dropped, state.deliveries.queue_count()), (1, 1));
}

#[test]
fn recreated_topic_has_another_id_and_a_client_of_two_groups_has_none() {
    let mut state = ClusterState::default();
    let id = |byte| TopicId([byte; 16]);
    state.learn_topic(id(1), "t");
    state.learn_topic(id(2), "t");
    state.learn_topic(id(0), "none");
    let name = |byte| state.topic_name(id(byte));
    assert_eq!(name(1).as_deref(), Some("t"));
    assert_eq!(name(2).as_deref(), Some("t"));
    assert_eq!(name(0), None);
    let client = ClientKey::default();
    state.learn_group(&client, "g");
    assert_eq!(state.group(&client).as_deref(), Some("g"));
    state.learn_group(&client, "h");
    assert_eq!(state.group(&client), None);
}
