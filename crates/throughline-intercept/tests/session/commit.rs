//! Commits and acknowledgements: spans that show how long the handling took.

use bytes::Bytes;
use kafka_protocol::messages as km;
use kafka_protocol::messages::GroupId;
use kafka_protocol::protocol::StrBytes;
use throughline_intercept::Side;
use throughline_intercept::kafka::{
    ApiKey, ClusterCapacity, DeliveryMode, SessionEvent, Settings, TopicSettings,
};
use throughline_kafka::message::ApiMessage as _;
use throughline_kafka::message::share::ShareFetchResponse;
use throughline_model::{SpanId, SpanKind, Value};
use uuid::Uuid;

use crate::support::pair::{MILLISECOND, Pair, Process, SECOND, int, text};
use crate::support::wire::{
    BatchSpec, FetchSpec, RecordSpec, TOPIC_ID, commit, committed, metadata, metadata_answer,
    read_records, request, response,
};

fn records(count: usize) -> Vec<RecordSpec> {
    (0..count)
        .map(|number| RecordSpec::of(&format!("value {number}")))
        .collect()
}

/// Returns the connection of a consumer that has fetched the records from offset 0 on.
fn consumer(process: &Process, count: usize) -> Pair {
    let mut pair = Pair::of(process, Settings::default());
    let ask = FetchSpec::default();
    pair.client(ask.frame());
    pair.broker(ask.answer(BatchSpec::of(records(count)).bytes(), count as i64, &[]));
    assert_eq!(pair.spans.len(), count);
    pair
}

#[test]
fn commit_on_another_connection_settles_earlier_deliveries() {
    let process = Process::default();
    let consumer = consumer(&process, 3);
    let mut coordinator = Pair::of(&process, Settings::default());
    coordinator.now += SECOND;
    coordinator.client(commit(1, "g", 2));
    assert_eq!(coordinator.spans.len(), 0, "the broker has not answered");
    coordinator.now += 10 * MILLISECOND;
    coordinator.broker(committed(1, 0));
    let [first, second] = &coordinator.spans[..] else {
        panic!("{} spans", coordinator.spans.len())
    };
    assert_eq!(
        (first.name.as_str(), first.kind),
        ("commit orders", SpanKind::Client)
    );
    let delivered = &consumer.spans[0];
    assert_eq!(
        (first.trace_id, first.parent_span_id),
        (delivered.trace_id, Some(delivered.span_id))
    );
    assert_eq!(
        (first.end - first.start, first.flags),
        (10 * MILLISECOND, 0x101)
    );
    assert_eq!(
        first.attribute("throughline.kafka.handled"),
        None,
        "the first commit may be one on a timer"
    );
    assert_eq!(text(first, "messaging.operation.type"), "settle");
    assert_eq!(text(first, "messaging.consumer.group.name"), "g");
    assert_eq!(
        (
            int(first, "messaging.kafka.offset"),
            int(second, "messaging.kafka.offset")
        ),
        (0, 1)
    );
    // A later commit settles only the rest.
    coordinator.client(commit(2, "g", 3));
    coordinator.broker(committed(2, 0));
    coordinator.client(commit(3, "g", 3));
    coordinator.broker(committed(3, 0));
    assert_eq!(coordinator.spans.len(), 3);
}

#[test]
fn rejected_commit_settles_nothing() {
    let process = Process::default();
    consumer(&process, 1);
    let mut coordinator = Pair::of(&process, Settings::default());
    coordinator.client(commit(1, "g", 1));
    coordinator.broker(committed(1, 22));
    assert_eq!(coordinator.spans.len(), 0);
    coordinator.client(commit(2, "g", 1));
    coordinator.broker(committed(2, 0));
    assert_eq!(coordinator.spans.len(), 1);
}

/// Has a member of a group join on a connection and be assigned partition 0.
fn assign(coordinator: &mut Pair, group: &'static str) {
    let group_id = || GroupId(StrBytes::from_static_str(group));
    let member = || StrBytes::from_static_str("m");
    let join = km::JoinGroupRequest::default()
        .with_group_id(group_id())
        .with_member_id(member())
        .with_protocol_type(StrBytes::from_static_str("consumer"));
    coordinator.client(request(ApiKey::JOIN_GROUP, 7, 1, &join));
    let joined = km::JoinGroupResponse::default();
    coordinator.broker(response(ApiKey::JOIN_GROUP, 7, 1, &joined));
    let sync = km::SyncGroupRequest::default()
        .with_group_id(group_id())
        .with_member_id(member());
    coordinator.client(request(ApiKey::SYNC_GROUP, 5, 2, &sync));
    let mut assignment = vec![0, 3, 0, 0, 0, 1, 0, 6];
    assignment.extend(b"orders");
    assignment.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    let synced = km::SyncGroupResponse::default().with_assignment(assignment.into());
    coordinator.broker(response(ApiKey::SYNC_GROUP, 5, 2, &synced));
}

/// Returns a connection that fetches a record at offset 0 after a pause.
fn read(process: &Process, after: u64) -> Pair {
    let mut pair = Pair::of(process, Settings::default());
    pair.now += after;
    let ask = FetchSpec::default();
    pair.client(ask.frame());
    pair.broker(ask.answer(BatchSpec::of(records(1)).bytes(), 1, &[]));
    pair
}

/// Commits offset 1 for a group. Returns the parents of the commit spans.
fn commit_parents(coordinator: &mut Pair, group: &str) -> Vec<Option<SpanId>> {
    coordinator.client(commit(3, group, 1));
    coordinator.broker(committed(3, 0));
    let spans = coordinator.take_spans();
    spans.iter().map(|span| span.parent_span_id).collect()
}

#[test]
fn groups_under_one_client_id_keep_their_names_and_commits() {
    let process = Process::default();
    let group = |pair: &Pair| text(&pair.spans[0], "messaging.consumer.group.name").to_owned();
    let mut first = Pair::of(&process, Settings::default());
    assign(&mut first, "g");
    let reader = read(&process, MILLISECOND);
    assert_eq!(group(&reader), "g");
    let mut second = Pair::of(&process, Settings::default());
    second.now += 2 * MILLISECOND;
    assign(&mut second, "h");
    let other_reader = read(&process, 3 * MILLISECOND);
    assert_eq!(
        (group(&reader), group(&other_reader)),
        ("g".to_owned(), "h".to_owned())
    );
    let own = |pair: &Pair| vec![Some(pair.spans[0].span_id)];
    assert_eq!(commit_parents(&mut second, "h"), own(&other_reader));
    assert_eq!(commit_parents(&mut first, "g"), own(&reader));
}

#[test]
fn records_of_an_ambiguous_group_have_no_group_and_no_commits() {
    let process = Process::default();
    let mut first = Pair::of(&process, Settings::default());
    assign(&mut first, "g");
    let mut second = Pair::of(&process, Settings::default());
    assign(&mut second, "h");
    let readers = [read(&process, MILLISECOND), read(&process, MILLISECOND)];
    for reader in &readers {
        let group = reader.spans[0].attribute("messaging.consumer.group.name");
        assert_eq!(group, None);
    }
    assert_eq!(commit_parents(&mut first, "g"), []);
    assert_eq!(commit_parents(&mut second, "h"), []);
    // Without the other group, what is delivered from there on has an owner again.
    let leave = km::LeaveGroupRequest::default()
        .with_group_id(GroupId(StrBytes::from_static_str("h")))
        .with_members(vec![
            km::leave_group_request::MemberIdentity::default()
                .with_member_id(StrBytes::from_static_str("m")),
        ]);
    second.client(request(ApiKey::LEAVE_GROUP, 4, 4, &leave));
    let [mut reader, mut gone] = readers;
    gone.close(Side::Client);
    let ask = FetchSpec {
        offset: Some(1),
        ..FetchSpec::default()
    };
    reader.client(ask.frame());
    reader.broker(ask.answer(BatchSpec::of(records(1)).at(1).bytes(), 2, &[]));
    assert_eq!(text(&reader.spans[1], "messaging.consumer.group.name"), "g");
}

#[test]
fn handling_time_is_known_for_commits_that_follow_the_work() {
    let process = Process::default();
    let mut pair = Pair::of(&process, Settings::default());
    let mut handle = |offset: i64, work: u64| {
        pair.now += SECOND;
        let ask = FetchSpec {
            offset: Some(offset),
            ..FetchSpec::default()
        };
        pair.client(ask.frame());
        let batch = BatchSpec::of(records(1)).at(offset).bytes();
        pair.broker(ask.answer(batch, offset + 1, &[]));
        pair.now += work;
        pair.client(commit(2, "g", offset + 1));
        pair.broker(committed(2, 0));
        let span = pair.take_spans().pop().unwrap();
        span.attribute("throughline.kafka.handled").cloned()
    };
    let handled: Vec<_> = (0..4)
        .map(|offset| handle(offset, 80 * MILLISECOND))
        .collect();
    assert_eq!(handled, [None, None, None, Some(Value::Double(0.08))]);
}

#[test]
fn transactional_commit_settles_deliveries() {
    use km::txn_offset_commit_request::{
        TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
    };
    use km::txn_offset_commit_response::{
        TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
    };
    let process = Process::default();
    consumer(&process, 2);
    let mut coordinator = Pair::of(&process, Settings::default());
    let name = || km::TopicName(StrBytes::from_static_str("orders"));
    let partition = TxnOffsetCommitRequestPartition::default().with_committed_offset(2);
    let topic = TxnOffsetCommitRequestTopic::default()
        .with_name(name())
        .with_partitions(vec![partition]);
    let body = km::TxnOffsetCommitRequest::default().with_topics(vec![topic]);
    coordinator.client(request(ApiKey::TXN_OFFSET_COMMIT, 3, 1, &body));
    let partition = TxnOffsetCommitResponsePartition::default();
    let topic = TxnOffsetCommitResponseTopic::default()
        .with_name(name())
        .with_partitions(vec![partition]);
    let body = km::TxnOffsetCommitResponse::default().with_topics(vec![topic]);
    coordinator.broker(response(ApiKey::TXN_OFFSET_COMMIT, 3, 1, &body));
    assert_eq!(coordinator.spans.len(), 2);
}

#[test]
fn commit_spans_can_be_disabled() {
    let process = Process::default();
    let quiet = TopicSettings {
        settle: false,
        ..TopicSettings::default()
    };
    let mut pair = Pair::of(
        &process,
        Settings {
            default: quiet,
            ..Settings::default()
        },
    );
    let ask = FetchSpec::default();
    pair.client(ask.frame());
    pair.broker(ask.answer(BatchSpec::of(records(1)).bytes(), 1, &[]));
    assert_eq!(process.known.borrow().pending_deliveries(), 0);
    pair.client(commit(2, "g", 1));
    pair.broker(committed(2, 0));
    assert_eq!(pair.spans.len(), 1);
}

#[test]
fn uncommitted_deliveries_expire_and_are_counted() {
    let process = Process::with(ClusterCapacity {
        max_deliveries: 2,
        delivery_timeout: 60 * SECOND,
        ..ClusterCapacity::default()
    });
    let mut pair = consumer(&process, 3);
    assert!(
        pair.events
            .contains(&SessionEvent::Unsettled { records: 1 }),
        "{:?}",
        pair.events
    );
    assert_eq!(process.known.borrow().pending_deliveries(), 2);
    pair.now += 61 * SECOND;
    let ask = FetchSpec {
        offset: Some(3),
        ..FetchSpec::default()
    };
    pair.client(ask.frame());
    pair.broker(ask.answer(BatchSpec::of(records(1)).at(3).bytes(), 4, &[]));
    assert!(
        pair.events
            .contains(&SessionEvent::Unsettled { records: 2 }),
        "{:?}",
        pair.events
    );
    assert_eq!(process.known.borrow().pending_deliveries(), 1);
}

// --- share groups ---

fn share_fetch(correlation: i32, acknowledged: Option<(i64, i64, Vec<i8>)>) -> Bytes {
    use km::share_fetch_request::{AcknowledgementBatch, FetchPartition, FetchTopic};
    let batches = acknowledged.into_iter().map(|(first, last, types)| {
        AcknowledgementBatch::default()
            .with_first_offset(first)
            .with_last_offset(last)
            .with_acknowledge_types(types)
    });
    let partition = FetchPartition::default().with_acknowledgement_batches(batches.collect());
    let topic = FetchTopic::default()
        .with_topic_id(Uuid::from_bytes(TOPIC_ID))
        .with_partitions(vec![partition]);
    let body = km::ShareFetchRequest::default()
        .with_group_id(Some(GroupId(StrBytes::from_static_str("sharers"))))
        .with_member_id(Some(StrBytes::from_static_str("m")))
        .with_topics(vec![topic]);
    request(ApiKey::SHARE_FETCH, 1, correlation, &body)
}

fn share_fetched(correlation: i32, batch: &BatchSpec, acquired: &[(i64, i64, i16)]) -> Bytes {
    use km::share_fetch_response::{AcquiredRecords, PartitionData, ShareFetchableTopicResponse};
    let acquired = acquired.iter().map(|(first, last, count)| {
        AcquiredRecords::default()
            .with_first_offset(*first)
            .with_last_offset(*last)
            .with_delivery_count(*count)
    });
    let partition = PartitionData::default()
        .with_records(Some(batch.bytes().into()))
        .with_acquired_records(acquired.collect());
    let topic = ShareFetchableTopicResponse::default()
        .with_topic_id(Uuid::from_bytes(TOPIC_ID))
        .with_partitions(vec![partition]);
    let body = km::ShareFetchResponse::default().with_responses(vec![topic]);
    response(ApiKey::SHARE_FETCH, 1, correlation, &body)
}

#[test]
fn share_group_receives_acquired_records_and_settles_each_of_them() {
    let mut pair = Pair::new(Settings::default());
    pair.client(metadata(12, 9));
    pair.broker(metadata_answer(12, 9));
    pair.client(share_fetch(1, None));
    pair.broker(share_fetched(
        1,
        &BatchSpec::of(records(5)).at(10),
        &[(13, 13, 2), (11, 12, 1)],
    ));
    let delivered: Vec<_> = pair
        .spans
        .iter()
        .map(|span| {
            (
                int(span, "messaging.kafka.offset"),
                int(span, "throughline.kafka.delivery_count"),
            )
        })
        .collect();
    assert_eq!(delivered, [(11, 1), (12, 1), (13, 2)]);
    assert_eq!(
        text(&pair.spans[0], "messaging.consumer.group.name"),
        "sharers"
    );
    assert_eq!(pair.spans[0].attribute("throughline.kafka.lag"), None);
    let delivered = pair.take_spans();
    // Accepted, rejected, and one that is renewed.
    pair.now += SECOND;
    pair.client(share_fetch(2, Some((11, 13, vec![1, 3, 4]))));
    pair.broker(share_fetched(2, &BatchSpec::of(records(1)).at(15), &[]));
    let settled: Vec<_> = pair
        .take_spans()
        .iter()
        .map(|span| {
            (
                span.parent_span_id.unwrap(),
                text(span, "throughline.kafka.acknowledged").to_owned(),
            )
        })
        .collect();
    assert_eq!(
        settled,
        [
            (delivered[0].span_id, "accept".to_owned()),
            (delivered[1].span_id, "reject".to_owned())
        ]
    );
    // The last one is acknowledged by a ShareAcknowledge.
    let batch = km::share_acknowledge_request::AcknowledgementBatch::default()
        .with_first_offset(11)
        .with_last_offset(13)
        .with_acknowledge_types(vec![2]);
    let partition = km::share_acknowledge_request::AcknowledgePartition::default()
        .with_acknowledgement_batches(vec![batch]);
    let topic = km::share_acknowledge_request::AcknowledgeTopic::default()
        .with_topic_id(Uuid::from_bytes(TOPIC_ID))
        .with_partitions(vec![partition]);
    let body = km::ShareAcknowledgeRequest::default().with_topics(vec![topic]);
    pair.client(request(ApiKey::SHARE_ACKNOWLEDGE, 1, 3, &body));
    pair.broker(response(
        ApiKey::SHARE_ACKNOWLEDGE,
        1,
        3,
        &km::ShareAcknowledgeResponse::default(),
    ));
    let last = pair.take_spans();
    assert_eq!(
        (last.len(), last[0].parent_span_id),
        (1, Some(delivered[2].span_id))
    );
    assert_eq!(text(&last[0], "throughline.kafka.acknowledged"), "release");
}

#[test]
fn record_of_a_share_group_is_patched_where_the_group_has_acquired_it() {
    let sender = "b7ad6b7169203331";
    let context = format!("00-0af7651916cd43dd8448eb211c80319c-{sender}-01");
    for codec in [0, 1, 4] {
        let patching = TopicSettings {
            deliver: DeliveryMode::Patch,
            ..TopicSettings::default()
        };
        let mut pair = Pair::new(Settings {
            default: patching,
            ..Settings::default()
        });
        let mut records = records(3);
        for record in &mut records {
            *record = record.clone().with("traceparent", &context);
        }
        let batch = BatchSpec::of(records).at(10).attributes(codec);
        pair.client(share_fetch(1, None));
        pair.broker(share_fetched(1, &batch, &[(11, 12, 1)]));
        let mut expected = batch;
        let acquired = expected.records.iter_mut().skip(1);
        for (record, span) in acquired.zip(&pair.spans) {
            let patched = context.replace(sender, &span.span_id.to_string());
            record.headers[0].1 = Some(patched.into());
        }
        assert_eq!(pair.spans.len(), 2);
        let sent = pair.take_client();
        // Compressed again, the batch has the same records in bytes of its own.
        if codec == 0 {
            assert_eq!(sent, share_fetched(1, &expected, &[(11, 12, 1)]));
        }
        let answer = ShareFetchResponse::parse(&sent[9..], 1).unwrap().parsed();
        let answer = answer.unwrap();
        let topic = answer.topics.iter().next().unwrap();
        let partition = topic.partitions.iter().next().unwrap();
        let received = read_records(partition.records.unwrap().bytes());
        assert_eq!(received, expected.records, "codec {codec}");
    }
}
