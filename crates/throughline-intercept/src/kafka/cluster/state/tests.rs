use std::ops::RangeInclusive;

use throughline_kafka::types::{Offset, PartitionIndex};
use throughline_model::TraceId;
use throughline_model::context::TraceState;

use super::*;
use crate::kafka::cluster::MemberStage;

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

fn owner(group: Option<&str>) -> DeliveryOwner {
    let client = ClientKey::default();
    match group {
        Some(group) => DeliveryOwner::Group(group.into(), client),
        None => DeliveryOwner::Connection(client, ConnectionId(1)),
    }
}

/// Delivers records with these offsets of a partition. Returns the number that was dropped.
fn deliver(
    state: &mut ClusterState,
    index: i32,
    owner: DeliveryOwner,
    offsets: std::ops::Range<i64>,
    at: Timestamp,
) -> u32 {
    let deliveries = offsets.map(|offset| delivery(offset, at)).collect();
    state.record_deliveries("t".into(), PartitionIndex(index), owner, deliveries)
}

/// Returns the offsets that a group settles.
fn settle(
    state: &mut ClusterState,
    index: i32,
    group: Option<&str>,
    offsets: &SettledOffsets,
) -> Vec<i64> {
    let group = group.map(Arc::from);
    let settled = state.settle(&partition(index), group.as_ref(), offsets, 0);
    settled.deliveries.iter().map(|it| it.offset.0).collect()
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
    assert_eq!(deliver(&mut state, 0, owner(None), 0..6, 0), 0);
    let mut settled = |index, offsets| settle(&mut state, index, None, &offsets);
    assert_eq!(
        settled(0, range(5, 2)),
        [0; 0],
        "an inverted range is empty"
    );
    assert_eq!(settled(0, range(2, 3)), [2, 3]);
    assert_eq!(settled(0, before(5)), [0, 1, 4]);
    assert_eq!(settled(1, before(9)), [0; 0]);
    assert_eq!(state.pending_deliveries(), 1);
    let late = deliver(&mut state, 1, owner(None), 0..1, 20 * SECOND);
    assert_eq!(late, 1, "the delivery to partition 0 expires");
    let again = deliver(&mut state, 1, owner(None), 0..1, 21 * SECOND);
    assert_eq!(again, 1, "a redelivery replaces the delivery");
    assert_eq!(state.pending_deliveries(), 1);
    assert_eq!(settle(&mut state, 1, None, &before(1)), [0]);
    assert_eq!(state.pending_deliveries(), 0);
}

#[test]
fn groups_under_one_client_id_settle_their_own_and_unowned_deliveries() {
    let mut state = ClusterState::default();
    for group in [Some("g"), Some("h"), None] {
        deliver(&mut state, 0, owner(group), 0..1, 0);
    }
    let mut settled = |group| settle(&mut state, 0, Some(group), &before(9)).len();
    assert_eq!((settled("g"), settled("g"), settled("h")), (2, 0, 1));
    assert_eq!(
        state.deliveries.queue_count(),
        0,
        "empty queues are removed"
    );
}

#[test]
fn deliveries_to_an_ambiguous_group_are_settled_by_none() {
    let mut state = ClusterState::default();
    let client = ClientKey::default();
    for (connection, group) in [(7, "g"), (8, "h")] {
        let connection = ClientConnection {
            client: &client,
            id: ConnectionId(connection),
            broker: None,
        };
        let sign = MemberSign {
            member: "m",
            stage: MemberStage::Joined,
        };
        state.learn_group(connection, group, sign, 0);
    }
    deliver(&mut state, 0, owner(None), 0..1, 0);
    assert_eq!(settle(&mut state, 0, Some("g"), &before(9)), [0; 0]);
    assert_eq!(settle(&mut state, 0, Some("h"), &before(9)), [0; 0]);
}

#[test]
fn consumer_that_never_commits_loses_its_own_deliveries_when_the_table_is_full() {
    let mut state = ClusterState::new(ClusterCapacity {
        max_deliveries: 10,
        ..ClusterCapacity::default()
    });
    let greedy = || owner(Some("greedy"));
    assert_eq!(deliver(&mut state, 0, greedy(), 0..5, 1), 0);
    assert_eq!(deliver(&mut state, 1, greedy(), 0..4, 0), 0);
    // Three of the greedy consumer make room, the oldest first.
    assert_eq!(deliver(&mut state, 0, owner(Some("g")), 0..4, 2), 3);
    assert_eq!(settle(&mut state, 1, Some("greedy"), &before(9)), [3]);
    assert_eq!(deliver(&mut state, 2, greedy(), 0..30, 3), 29);
    assert_eq!(settle(&mut state, 0, Some("g"), &before(9)), [0, 1, 2, 3]);
    assert_eq!(state.pending_deliveries(), 6);
}

#[test]
fn transaction_settles_the_deliveries_of_its_group_under_another_client_id() {
    let mut state = ClusterState::default();
    let named = |id: &str| ClientKey {
        address: None,
        client_id: Some(id.into()),
    };
    let consumer = DeliveryOwner::Group("g".into(), named("consumer"));
    deliver(&mut state, 0, consumer, 0..3, 0);
    let producer = ClientPartition {
        client: named("producer"),
        ..partition(0)
    };
    let settled = |state: &mut ClusterState, group: &str| {
        let settled = state.settle_transaction(&producer, &group.into(), &before(2), 0);
        settled.deliveries.len()
    };
    assert_eq!(settled(&mut state, "h"), 0);
    assert_eq!(settled(&mut state, "g"), 2);
    // After a rebalance, the commit is that of the new owner.
    let successor = DeliveryOwner::Group("g".into(), named("successor"));
    deliver(&mut state, 0, successor, 0..1, 5);
    assert_eq!(settled(&mut state, "g"), 1);
    assert_eq!(state.pending_deliveries(), 1);
}

#[test]
fn recreated_topic_has_another_id() {
    let mut state = ClusterState::default();
    let id = |byte| TopicId([byte; 16]);
    state.learn_topic(id(1), "t");
    state.learn_topic(id(2), "t");
    state.learn_topic(id(0), "none");
    let name = |byte| state.topic_name(id(byte));
    assert_eq!(name(1).as_deref(), Some("t"));
    assert_eq!(name(2).as_deref(), Some("t"));
    assert_eq!(name(0), None);
}
