//! Real clients through the sidecar under disturbances: a broker is killed and restarted, consumers
//! join and leave, a topic is recreated under the same name, records are released and redelivered,
//! a Streams application forwards them.
//!
//! The default run has one or two clients for each; `cargo xtask test --full` has all that support
//! it.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[expect(dead_code, reason = "shared with other tests, which use more of it")]
mod support;

use std::collections::BTreeMap;

use e2e::TraceSpan;
use support::case::{BrokerPath, DeliveryGuarantee, PARTITIONS, RoundTripCase, StoredRecords};
use support::check::{self, HeaderOrder, RecordContext, RecordPosition};
use support::fixture::{KafkaFixture, full};
use support::record::TestRecord;
use support::run::{self, AckedRecord, ConsumedRecord};
use support::spans::TopicSpans;
use tempfile::TempDir;
use throughline_testkit::clients::ClientLibrary;
use throughline_testkit::kafka::{ApacheBroker, delete_topic};
use throughline_testkit::sidecar::SidecarInstance;

#[test]
fn broker_is_killed_and_restarts() {
    let mut fixture = KafkaFixture::start(ApacheBroker::builder().nodes(3));
    let path = fixture.sidecar("killed", &[]);
    let pairs = [
        (ClientLibrary::Java, ClientLibrary::FranzGo),
        (ClientLibrary::Confluent, ClientLibrary::Java),
        (ClientLibrary::FranzGo, ClientLibrary::Confluent),
    ];
    for (number, (producer, consumer)) in pairs.into_iter().enumerate() {
        if number > 0 && !full() {
            break;
        }
        let topic = format!("killed-{}-{}", producer.name(), consumer.name());
        let (records, acknowledged, consumed) = {
            let case = RoundTripCase::new(&fixture, &path, &topic, producer)
                .consumer(consumer)
                .records(300);
            let case = case.produce(&[("idempotent", "true"), ("pace", "30")]);
            fixture.topic(&topic, PARTITIONS);
            let records = case.generate();
            let consumer = case.start_consumer(records.len(), &[("distinct", "true")]);
            let producer = case.start_producer(&records);
            producer.wait_for_lines(60);
            fixture.kafka.process_of(2).unwrap().kill();
            producer.wait_for_lines(120);
            drop(case);
            fixture.kafka.start_node(2).unwrap();
            (
                records,
                producer.acknowledged(),
                check::first_deliveries(consumer.consumed()),
            )
        };
        let case = RoundTripCase::new(&fixture, &path, &topic, producer).consumer(consumer);
        let stored = case.stored(records, acknowledged);
        case.assert_arrived(&stored, &consumed);
        // Requests in flight when the broker died are sent, or fetched, once more.
        case.assert_spans(&stored, DeliveryGuarantee::AtLeastOnce, 1..=4);
    }
}

#[test]
fn consumer_joins_and_leaves_the_group() {
    let fixture = KafkaFixture::shared();
    let path = fixture.sidecar("rebalanced", &[]);
    let clients = [
        (ClientLibrary::Java, "classic"),
        (ClientLibrary::FranzGo, "consumer"),
        (ClientLibrary::Java, "consumer"),
        (ClientLibrary::Confluent, "classic"),
        (ClientLibrary::Confluent, "consumer"),
        (ClientLibrary::Rdkafka, "classic"),
        (ClientLibrary::KafkaPython, "classic"),
        (ClientLibrary::Kafkajs, "classic"),
        (ClientLibrary::FranzGo, "classic"),
    ];
    for (client, protocol) in if full() { &clients[..] } else { &clients[..2] } {
        let topic = format!("rebalanced-{}-{protocol}", client.name());
        let case = RoundTripCase::new(&fixture, &path, topic, ClientLibrary::Confluent)
            .consumer(*client)
            .records(300);
        let case = case
            .produce(&[("pace", "20")])
            .consume(&[("protocol", protocol)]);
        fixture.topic(&case.topic, PARTITIONS);
        let (records, guest_reads) = (case.generate(), 20);
        let producer = case.start_producer(&records);
        let first = case.start_consumer(records.len() - guest_reads, &[]);
        first.wait_for_lines(30);
        let mut consumed = case.start_consumer(guest_reads, &[]).consumed();
        consumed.extend(first.consumed());
        let stored = case.stored(records, producer.acknowledged());
        consumed.sort_by_key(|record| (record.partition, record.offset));
        case.assert_arrived(&stored, &consumed);
        // A leaving consumer has fetched more than it handed on; the next one fetches that again.
        case.assert_spans(&stored, DeliveryGuarantee::Once, 1..=4);
    }
}

#[test]
fn topic_is_deleted_and_recreated_between_two_records() {
    let fixture = KafkaFixture::shared();
    let path = fixture.sidecar("recreated", &[]);
    // Not franz-go: it gives up when a topic id changes, with or without a sidecar.
    let clients = [
        ClientLibrary::Java,
        ClientLibrary::Confluent,
        ClientLibrary::Rdkafka,
        ClientLibrary::KafkaPython,
        ClientLibrary::Kafkajs,
    ];
    for client in if full() { &clients[..] } else { &clients[..1] } {
        // The new topic has far fewer records per partition, so that the consumer's old position
        // does not exist there.
        let (old, new) = (120, 15);
        // kafkajs sends twice, because its retry repeats the whole request; kafka-python's producer
        // sometimes never continues.
        let only_consumes = matches!(client, ClientLibrary::Kafkajs | ClientLibrary::KafkaPython);
        let producer = if only_consumes {
            ClientLibrary::Java
        } else {
            *client
        };
        let case = RoundTripCase::new(
            &fixture,
            &path,
            format!("recreated-{}", client.name()),
            producer,
        )
        .consumer(*client);
        let case = case.records(old + new);
        fixture.topic(&case.topic, PARTITIONS);
        let folder = TempDir::new().unwrap();
        let gate = folder.path().join("gate");
        let path = gate.display().to_string();
        // kafka-python continues at the end of a new topic that is shorter than the old one
        // (KIP-320), with or without a sidecar. The new topic stays empty until kafka-python has
        // found it, so that its end is also its beginning.
        let goes_to_end = *client == ClientLibrary::KafkaPython;
        let case = case
            .produce(&[("gate-at", "120"), ("gate", &path), ("in-flight", "1")])
            .consume(&[
                ("metadata-age", "1000"),
                ("returns", if goes_to_end { "true" } else { "false" }),
            ]);
        let records = case.generate();
        let (producer, consumer) = (
            case.start_producer(&records),
            case.start_consumer(records.len(), &[]),
        );
        producer.wait_for_lines(old);
        consumer.wait_for_lines(old);
        delete_topic(fixture.kafka.bootstrap(), &case.topic).unwrap();
        fixture.topic(&case.topic, PARTITIONS);
        if goes_to_end {
            consumer.wait_for_lines(old + usize::from(PARTITIONS));
        }
        std::fs::write(&gate, "").unwrap();
        let (acknowledged, consumed) = (producer.acknowledged(), consumer.consumed());
        assert_recreated(&case, old, &records, &acknowledged, &consumed);
    }
}

/// Checks that both halves arrived, and that their spans share the topic name.
fn assert_recreated(
    case: &RoundTripCase<'_>,
    old: usize,
    records: &[TestRecord],
    acknowledged: &[AckedRecord],
    consumed: &[ConsumedRecord],
) {
    let (before, after): (Vec<_>, Vec<_>) = acknowledged
        .iter()
        .cloned()
        .partition(|ack| ack.index < old);
    let after: Vec<_> = after
        .into_iter()
        .map(|ack| AckedRecord {
            index: ack.index - old,
            ..ack
        })
        .collect();
    // The first topic is gone, so only the consumer has seen its records.
    let order = if case.consumer == ClientLibrary::Kafkajs {
        HeaderOrder::WithinName
    } else {
        HeaderOrder::Kept
    };
    let positions = check::positions_of(&before);
    let contexts = check::arrived(
        &records[..old],
        &positions,
        &consumed[..old],
        order,
        case.path.contexts(),
    );
    let first = StoredRecords {
        records: records[..old].to_vec(),
        acknowledged: before,
        positions,
        contexts,
    };
    let second = case.stored(records[old..].to_vec(), after);
    case.assert_arrived(&second, &consumed[old..]);
    let Some(sidecar) = &case.path.sidecar else {
        return;
    };
    let wanted = [("send", records.len()), ("process", records.len())];
    let spans = TopicSpans::wait_for(
        &case.fixture.collector,
        sidecar.service(),
        &case.topic,
        &wanted,
    );
    for half in [&first, &second] {
        spans.assert_sent(&half.contexts, &case.topic, 1..=2);
        // A consumer that resets its position in the new topic may fetch its beginning more than
        // once.
        spans.assert_processed(&half.contexts, [&case.topic, &case.topic], 1..=4);
    }
}

#[test]
fn released_records_of_a_share_group_are_redelivered() {
    let fixture = KafkaFixture::shared();
    let path = fixture.sidecar("shared", &[]);
    let clients = [
        ClientLibrary::Java,
        ClientLibrary::FranzGo,
        ClientLibrary::Confluent,
    ];
    for client in if full() { &clients[..] } else { &clients[..2] } {
        let case = RoundTripCase::new(
            &fixture,
            &path,
            format!("shared-{}", client.name()),
            *client,
        );
        let case = case.consume(&[("protocol", "share"), ("release-every", "5")]);
        fixture.topic(&case.topic, PARTITIONS);
        let stored = case.send();
        let consumed = case.read(case.records);
        let (given_back, mut kept): (Vec<_>, Vec<_>) =
            consumed.into_iter().partition(|record| record.released);
        kept.sort_by_key(|record| (record.partition, record.offset));
        case.assert_arrived(&stored, &kept);
        let again: Vec<RecordPosition> = given_back
            .iter()
            .map(|record| (record.partition, record.offset))
            .collect();
        let wanted: Vec<RecordPosition> = stored
            .positions
            .keys()
            .filter(|(_, offset)| offset % 5 == 0)
            .copied()
            .collect();
        assert!(
            again.len() == wanted.len() && wanted.iter().all(|place| again.contains(place)),
            "{again:?}"
        );
        for record in &kept {
            let deliveries = if record.offset % 5 == 0 { 2 } else { 1 };
            assert_eq!(
                record.delivery_count,
                deliveries,
                "{:?}",
                (record.partition, record.offset)
            );
        }
        let Some(sidecar) = &path.sidecar else {
            continue;
        };
        let wanted = [
            ("send", stored.positions.len()),
            ("process", stored.positions.len() + again.len()),
        ];
        let spans =
            TopicSpans::wait_for(&fixture.collector, sidecar.service(), &case.topic, &wanted);
        spans.assert_sent(&stored.contexts, &case.topic, 1..=1);
        let (twice, once): (
            BTreeMap<RecordPosition, RecordContext>,
            BTreeMap<RecordPosition, RecordContext>,
        ) = stored
            .contexts
            .clone()
            .into_iter()
            .partition(|(place, _)| again.contains(place));
        spans.assert_processed(&once, [&case.topic, &case.topic], 1..=1);
        spans.assert_processed(&twice, [&case.topic, &case.topic], 2..=2);
        spans.assert_delivery_counts(&twice, &[1, 2]);
    }
}

#[test]
fn records_of_a_share_group_are_delivered_with_the_context_of_their_consumer_span() {
    let fixture = KafkaFixture::shared();
    let path = fixture.sidecar("shared-patched", &["--deliver", "patch"]);
    for codec in ["none", "zstd"] {
        let topic = format!("shared-patched-{codec}");
        let case = RoundTripCase::new(&fixture, &path, topic, ClientLibrary::Java)
            .produce(&[("codec", codec)])
            .consume(&[("protocol", "share")]);
        fixture.topic(&case.topic, PARTITIONS);
        let stored = case.send();
        let consumed = case.read(case.records);
        let Some(sidecar) = &path.sidecar else {
            continue;
        };
        let wanted = [("process", case.records)];
        let service = sidecar.service();
        let spans = TopicSpans::wait_for(&fixture.collector, service, &case.topic, &wanted);
        let spans = spans.with_operation("process");
        assert_eq!((consumed.len(), spans.len()), (case.records, case.records));
        for record in &consumed {
            let place = (record.partition, record.offset);
            assert_eq!(record.value, stored.records[stored.positions[&place]].value);
            let sender = &stored.contexts[&place];
            let is_child = |span: &&TraceSpan| span.references[0].2 == sender.span;
            let span = spans.iter().find(is_child).unwrap();
            let values = record.headers.iter().filter_map(|(_, it)| it.as_deref());
            let texts: String = values.map(String::from_utf8_lossy).collect();
            assert!(texts.contains(&span.id), "{place:?}: {texts}");
            assert!(!texts.contains(&sender.span), "{place:?}: {texts}");
        }
    }
}

#[test]
fn streams_application_forwards_records_and_traces() {
    let fixture = KafkaFixture::shared();
    let path = fixture.sidecar("streams", &[]);
    let everyday = [("exactly_once_v2", "classic")];
    let further = [
        ("at_least_once", "classic"),
        ("at_least_once", "streams"),
        ("exactly_once_v2", "streams"),
    ];
    let further = if full() { &further[..] } else { &[] };
    for (guarantee, protocol) in everyday.iter().chain(further) {
        stream_records(&fixture, &path, guarantee, protocol);
    }
}

/// Runs the application once with this processing guarantee and group protocol (KIP-1071 for
/// `streams`).
fn stream_records(fixture: &KafkaFixture, path: &BrokerPath, guarantee: &str, protocol: &str) {
    let name = format!("{guarantee}-{protocol}");
    let (from, to) = (format!("streams-from-{name}"), format!("streams-to-{name}"));
    let first = RoundTripCase::new(fixture, path, &from, ClientLibrary::Java);
    fixture.topic(&from, 1);
    fixture.topic(&to, 1);
    let records: Vec<TestRecord> = first
        .generate()
        .into_iter()
        .map(|record| TestRecord {
            partition: 0,
            ..record
        })
        .collect();
    let acknowledged = first.start_producer(&records).acknowledged();
    let stored = first.stored(records, acknowledged);
    let options = [
        ("group", from.as_str()),
        ("guarantee", guarantee),
        ("protocol", protocol),
    ];
    let topics = [from.as_str(), to.as_str()];
    run::streams(
        fixture.clients.streams().unwrap(),
        &path.bootstrap,
        topics,
        stored.records.len(),
        &options,
    )
    .lines();

    // The application forwards the record with its headers, so the context is among them.
    let isolation = [("isolation", "read_committed")];
    let eye = run::consume(
        fixture.client(ClientLibrary::FranzGo),
        fixture.kafka.bootstrap(),
        &from,
        stored.records.len(),
        &[],
    );
    let carried: Vec<TestRecord> = eye.consumed().into_iter().map(TestRecord::from).collect();
    let second = RoundTripCase::new(fixture, path, &to, ClientLibrary::Java).consume(&isolation);
    let consumed = second.read(carried.len());
    let next = check::in_order(&consumed);
    let contexts = check::arrived(
        &carried,
        &next,
        &consumed,
        HeaderOrder::Kept,
        path.contexts(),
    );
    if let Some(sidecar) = &path.sidecar {
        assert_stream_spans(fixture, sidecar, topics, [&stored.contexts, &contexts]);
    }
}

/// Checks that the spans on both topics continue the contexts of their records.
fn assert_stream_spans(
    fixture: &KafkaFixture,
    sidecar: &SidecarInstance,
    [from, to]: [&str; 2],
    [sent, contexts]: [&BTreeMap<RecordPosition, RecordContext>; 2],
) {
    assert!(contexts.values().all(|context| context.from_producer));
    let spans = |topic: &str, wanted: &[(&str, usize)]| {
        TopicSpans::wait_for(&fixture.collector, sidecar.service(), topic, wanted)
    };
    let count = sent.len();
    let (here, there) = (
        spans(
            from,
            &[("send", count), ("process", count), ("commit", count)],
        ),
        spans(to, &[("send", count), ("process", count)]),
    );
    here.assert_sent(sent, from, 1..=1);
    here.assert_continued("process", sent, 1..=1);
    // In a transaction the offsets are committed by the producer (TxnOffsetCommit).
    here.assert_committed(sent, &(1..=1));
    // The application id is the group.
    here.assert_group(&["process", "commit"], from);
    there.assert_continued("send", contexts, 1..=1);
    there.assert_processed(contexts, [to, to], 1..=1);
}
