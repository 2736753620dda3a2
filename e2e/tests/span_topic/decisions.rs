//! Records whose producer's span is read by one member and whose consumer's by another: joined by
//! their offsets, which the members share.

use std::collections::BTreeSet;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::{Value, json};
use throughline_testkit::collector::CollectorInstance;
use throughline_testkit::kafka::{ApacheBroker, TopicSpec};
use throughline_testkit::wait;

use crate::fixture::{GroupMember, TIMEOUT, client, metric, produce, query_node, start_kafka};
use crate::start_error;

const SPANS_TOPIC: &str = "otlp_spans";
const DECISIONS: &str = "throughline_decisions";

/// Begin of the first trace.
const BEGIN: u64 = 1_790_000_000_000_000_000;

/// The side of a record, which is the partition of its spans.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    Producer = 0,
    Consumer = 1,
}

pub(crate) fn trace_id(number: u64, side: Side) -> String {
    format!("{:016x}{:016x}", side as u64 + 1, number + 1)
}

/// Returns the spans of one side of a record, without a context in the record.
fn request(number: u64, side: Side) -> Value {
    let (service, kind, local) = match side {
        Side::Producer => ("shop", 4, 2),
        Side::Consumer => ("mail", 5, 3),
    };
    let attribute = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let start = BEGIN + number * 1_000_000 + side as u64 * 1_000;
    let offset =
        json!({"key": "messaging.kafka.offset", "value": {"intValue": number.to_string()}});
    let id = |step: u64| format!("{:016x}", (side as u64 + 1) << 32 | step);
    let span = |step: u64, kind: u8, parent: Option<u64>, attributes: Vec<Value>| {
        json!({
            "traceId": trace_id(number, side),
            "spanId": id(step),
            "parentSpanId": parent.map(id).unwrap_or_default(),
            "name": format!("{service} {step}"),
            "kind": kind,
            "startTimeUnixNano": (start + step).to_string(),
            "endTimeUnixNano": (start + 100).to_string(),
            "attributes": attributes,
        })
    };
    let record = vec![
        attribute("messaging.kafka.cluster.id", "c1"),
        attribute("messaging.destination.name", "orders"),
        attribute("messaging.destination.partition.id", "3"),
        offset,
    ];
    // A producer has a parent, and a consumer a child.
    let spans = match side {
        Side::Producer => [
            span(1, 2, None, Vec::new()),
            span(local, kind, Some(1), record),
        ],
        Side::Consumer => [
            span(1, kind, None, record),
            span(local, 3, Some(1), Vec::new()),
        ],
    };
    json!({"resourceSpans": [{
        "resource": {"attributes": [attribute("service.name", service)]},
        "scopeSpans": [{"spans": spans}],
    }]})
}

pub(crate) fn send(kafka: &ApacheBroker, numbers: std::ops::Range<u64>, side: Side) {
    for number in numbers {
        let value = request(number, side).to_string();
        let partition = side as i32;
        produce(
            kafka.bootstrap(),
            SPANS_TOPIC,
            partition,
            Some(value.as_bytes()),
        );
    }
}

/// Writes a record to the topic of decisions, which takes none without a key.
fn produce_keyed(bootstrap: &str, partition: i32, value: Option<&[u8]>) {
    let producer: BaseProducer = client(bootstrap).create().unwrap();
    let key = format!("poisoned {partition} {}", value.is_some());
    let mut record = BaseRecord::<str, [u8]>::to(DECISIONS).partition(partition);
    record = record.key(&key);
    record.payload = value;
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(TIMEOUT).unwrap();
}

/// Returns the span ids and the trace ids of a trace that is asked for by this id.
pub(crate) fn shown(
    collector: &CollectorInstance,
    id: &str,
) -> (BTreeSet<String>, BTreeSet<String>) {
    let reply = collector.get(&format!("/api/traces/{id}")).unwrap();
    let body: Value = serde_json::from_str(&reply.body).unwrap_or_default();
    let spans = body["data"][0]["spans"].as_array().cloned();
    let spans = spans.unwrap_or_default();
    let texts = |key: &str| {
        let texts = spans.iter().map(|span| span[key].as_str().unwrap());
        texts.map(str::to_owned).collect()
    };
    (texts("spanID"), texts("traceID"))
}

/// Waits until a trace is whole by either id.
fn expect_whole(collector: &CollectorInstance, numbers: std::ops::Range<u64>, spans: usize) {
    for number in numbers {
        let ids = [Side::Producer, Side::Consumer].map(|side| trace_id(number, side));
        let found = || ids.each_ref().map(|id| shown(collector, id));
        let is_whole = || {
            let [one, other] = found();
            (one.0.len() == spans && one.1.len() == 1 && one == other).then_some(())
        };
        wait::until(TIMEOUT, is_whole).unwrap_or_else(|| panic!("{number}: {:?}", found()));
    }
}

#[test]
fn records_are_joined_across_members_through_the_death_of_each() {
    let decisions = TopicSpec::new(DECISIONS, 2).config("cleanup.policy", "compact,delete");
    let kafka = start_kafka(&[TopicSpec::new(SPANS_TOPIC, 2), decisions]);
    let bootstrap = kafka.bootstrap();
    // A member that starts reads past it.
    produce_keyed(bootstrap, 0, Some(b"{\"v\":1}"));
    let folder = tempfile::tempdir().unwrap();
    let member = |name: &str| {
        let data = folder.path().join(name);
        let args = ["--seal-interval", "1s", "--decisions-topic", DECISIONS];
        GroupMember::start_in(bootstrap, &data, &args)
    };
    let mut members = [member("member-1"), member("member-2")];
    let is_shared = |members: &[GroupMember; 2]| members.iter().all(|it| it.partitions() == 1);
    wait::until(TIMEOUT, || is_shared(&members).then_some(())).expect("a partition for each");
    let nodes = [query_node(folder.path()), query_node(folder.path())];
    produce_keyed(bootstrap, 1, Some(b"\xff not an entry"));
    produce_keyed(bootstrap, 1, None);
    send(&kafka, 0..5, Side::Producer);
    send(&kafka, 0..10, Side::Consumer);
    send(&kafka, 5..10, Side::Producer);
    for node in &nodes {
        expect_whole(node, 0..10, 4);
    }
    // A member has one of the sides, and knows it by the id of the other.
    for member in &members {
        expect_whole(member.collector(), 0..10, 2);
        let poisoned = || {
            metric(
                member.collector(),
                "throughline_decisions_total{outcome=\"poisoned\"}",
            )
        };
        wait::until(TIMEOUT, || (poisoned() == 3).then_some(())).expect("three poisoned");
        assert_eq!(member.log_lines("record skipped"), 1);
    }
    // The consumers' member dies before the producers' spans come, and knows of them later.
    send(&kafka, 10..15, Side::Consumer);
    let has_consumers = |member: &GroupMember| {
        let id = trace_id(14, Side::Consumer);
        member.traces_of("mail").contains_key(&id)
    };
    let consumer = wait::until(TIMEOUT, || members.iter().position(has_consumers)).unwrap();
    let consumer_sealed = || shown(&nodes[0], &trace_id(14, Side::Consumer)).0.len() == 2;
    wait::until(TIMEOUT, || consumer_sealed().then_some(())).expect("sealed spans");
    members[consumer].kill();
    send(&kafka, 10..15, Side::Producer);
    for node in &nodes {
        expect_whole(node, 10..15, 4);
    }
    members[consumer].restart();
    wait::until(TIMEOUT, || is_shared(&members).then_some(())).expect("a partition for each");
    expect_whole(members[consumer].collector(), 0..15, 2);
    // The other one dies; its producers are known by then.
    let other = 1 - consumer;
    send(&kafka, 15..20, Side::Producer);
    let producer_sealed = || shown(&nodes[0], &trace_id(19, Side::Producer)).0.len() == 2;
    wait::until(TIMEOUT, || producer_sealed().then_some(())).expect("sealed spans");
    members[other].kill();
    send(&kafka, 15..20, Side::Consumer);
    for node in &nodes {
        expect_whole(node, 0..20, 4);
    }
}

#[test]
fn a_topic_of_decisions_must_exist_and_be_compacted() {
    let plain = TopicSpec::new("plain", 1);
    let kafka = start_kafka(&[TopicSpec::new(SPANS_TOPIC, 1), plain]);
    for (topic, expected) in [
        ("absent", "the topic absent for decisions does not exist"),
        ("plain", "the topic plain for decisions is not compacted"),
    ] {
        let args = [
            "--from-kafka",
            kafka.bootstrap(),
            "--decisions-topic",
            topic,
        ];
        let (code, stderr) = start_error(&args);
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
        assert!(stderr.contains("compact,delete"), "{stderr}");
    }
}
