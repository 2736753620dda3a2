//! Spans through a topic of Apache Kafka: edge collectors that write it, and the members of a group
//! that read it.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and shows what it fetches"
)]

mod bucket;
mod decisions;
mod fixture;
mod query_nodes;
mod secured;
mod span_load;
mod stock_jaeger;
mod weave_stream;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use throughline_testkit::kafka::{ApacheBroker, TopicSpec};
use throughline_testkit::wait;

use self::fixture::{GroupMember, TIMEOUT, binary, committed, edge, metric, produce, start_kafka};
use self::span_load::{SPANS, SpanLoad, request};

/// Time in which a member has to stop: the grace period of a pod is 30 seconds.
const MAX_STOP_TIME: Duration = Duration::from_secs(20);

/// Partitions of the topic.
const PARTITIONS: u16 = 4;

#[test]
fn a_group_loses_nothing_when_a_member_is_killed_and_skips_poisoned_records() {
    let kafka = start_kafka(&[TopicSpec::new("otlp_spans", PARTITIONS)]);
    let bootstrap = kafka.bootstrap();
    let edge = edge(bootstrap, &[]);
    let mut first = GroupMember::start(bootstrap, &[]);
    let second = GroupMember::start(bootstrap, &[]);
    let shared = |one: &GroupMember, other: &GroupMember| {
        let sum = one.partitions() + other.partitions();
        one.partitions() > 0 && other.partitions() > 0 && sum == u64::from(PARTITIONS)
    };
    wait::until(TIMEOUT, || shared(&first, &second).then_some(())).expect("a shared topic");
    let load = SpanLoad::start(edge.addresses().otlp_http);
    load.wait_for(50);
    for partition in 0..i32::from(PARTITIONS) {
        produce(
            bootstrap,
            "otlp_spans",
            partition,
            Some(b"\x0a\xff not a request"),
        );
        produce(bootstrap, "otlp_spans", partition, None);
    }
    load.wait_for(50);
    // Its last records are stored and not committed: they come to the other member as well.
    first.kill();
    wait::until(TIMEOUT, || {
        (second.partitions() == u64::from(PARTITIONS)).then_some(())
    })
    .expect("the partitions of the killed member");
    load.wait_for(50);
    first.restart();
    wait::until(TIMEOUT, || shared(&first, &second).then_some(())).expect("a shared topic");
    load.wait_for(50);
    let acknowledged = load.stop();
    assert!(acknowledged.len() >= 200, "{}", acknowledged.len());

    let stored = || -> BTreeSet<String> {
        let members = [&first, &second].into_iter();
        members.flat_map(|it| it.traces().into_keys()).collect()
    };
    let missing = || acknowledged.difference(&stored()).count();
    wait::until(TIMEOUT, || (missing() == 0).then_some(()))
        .unwrap_or_else(|| panic!("{} of {} are lost", missing(), acknowledged.len()));
    for member in [&first, &second] {
        for (id, spans) in member.traces() {
            assert_eq!(spans.len(), SPANS, "trace {id} has {spans:?}");
            assert_eq!(spans.iter().collect::<BTreeSet<_>>().len(), SPANS, "{id}");
        }
        let skipped = member.log_lines("record skipped");
        assert!(skipped <= 1, "{skipped} lines about poisoned records");
    }
    // Everything is committed, the poisoned records too.
    let ends = wait::until(TIMEOUT, || {
        let (committed, ends) = committed(bootstrap, "otlp_spans", "throughline");
        (committed == ends).then_some(ends)
    });
    let ends =
        ends.unwrap_or_else(|| panic!("{:?}", committed(bootstrap, "otlp_spans", "throughline")));
    let poisoned = [&first, &second].map(|it| it.metric("records_total{outcome=\"poisoned\"}"));
    assert!(poisoned.iter().sum::<u64>() > 0, "{poisoned:?}");
    assert!(
        poisoned.iter().sum::<u64>() <= 2 * u64::from(PARTITIONS),
        "{poisoned:?}"
    );
    let lag = || first.metric("consumer_lag") + second.metric("consumer_lag");
    wait::until(TIMEOUT, || (lag() == 0).then_some(())).expect("no lag");
    assert_keyed_by_process(bootstrap, ends.values().sum());
}

/// Reads the topic: all records of a process are in one partition.
fn assert_keyed_by_process(bootstrap: &str, records: i64) {
    let mut partitions: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
    let consumer: BaseConsumer = fixture::client(bootstrap)
        .set("group.id", "reader-of-keys")
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    consumer.subscribe(&["otlp_spans"]).unwrap();
    let mut read = 0;
    wait::until(TIMEOUT, || {
        while let Some(Ok(record)) = consumer.poll(Duration::from_millis(50)) {
            read += 1;
            if let Some(key) = record.key() {
                let key = String::from_utf8(key.to_vec()).unwrap();
                partitions
                    .entry(key)
                    .or_default()
                    .insert(record.partition());
            }
        }
        (read == records).then_some(())
    })
    .unwrap_or_else(|| panic!("{read} of {records} records"));
    let keys: Vec<&str> = partitions.keys().map(String::as_str).collect();
    let expected: Vec<String> = (0..span_load::PROCESSES)
        .map(|it| format!("shop/{it}"))
        .collect();
    assert_eq!(keys, expected);
    assert!(
        partitions.values().all(|own| own.len() == 1),
        "{partitions:?}"
    );
    let used: BTreeSet<i32> = partitions.into_values().flatten().collect();
    assert!(used.len() > 1, "all processes are in {used:?}");
}

#[test]
fn reading_is_paused_while_the_store_refuses_spans() {
    let kafka = start_kafka(&[TopicSpec::new("spans-json", 1)]);
    let bootstrap = kafka.bootstrap();
    let topic = ["--topic", "spans-json", "--group", "json"];
    // No disk has so much room, so that every record is refused.
    let mut member = GroupMember::start(
        bootstrap,
        &[&topic[..], &["--min-free", "1000000GiB"]].concat(),
    );
    for number in 0..20 {
        let value = request(number).to_string();
        produce(bootstrap, "spans-json", 0, Some(value.as_bytes()));
    }
    wait::until(TIMEOUT, || {
        (member.metric("records_total{outcome=\"refused\"}") == 1).then_some(())
    })
    .expect("a refused record");
    wait::until(TIMEOUT, || {
        (member.log_lines("reading from Kafka paused") == 1).then_some(())
    })
    .expect("a pause");
    // It stays in the group, and commits nothing.
    wait::until(TIMEOUT, || {
        (member.metric("consumer_lag") == 20).then_some(())
    })
    .expect("a lag");
    assert_eq!(member.partitions(), 1);
    assert_eq!(
        committed(bootstrap, "spans-json", "json").0,
        BTreeMap::new()
    );
    member.kill();
    member.set_args(&topic);
    member.restart();
    wait::until(TIMEOUT, || (member.traces().len() == 20).then_some(())).expect("all traces");
    // A graceful stop commits what is stored.
    member.stop();
    let (committed, ends) = committed(bootstrap, "spans-json", "json");
    assert_eq!(committed, ends);
}

#[test]
fn a_member_stops_while_kafka_is_away_and_continues_where_it_was() {
    let mut kafka = start_kafka(&[TopicSpec::new("otlp_spans", 2)]);
    let mut member = GroupMember::start(kafka.bootstrap(), &[]);
    for number in 0..5 {
        let value = request(number).to_string();
        produce(kafka.bootstrap(), "otlp_spans", 0, Some(value.as_bytes()));
    }
    wait::until(TIMEOUT, || (member.traces().len() == 5).then_some(())).expect("five traces");
    kafka.stop().unwrap();
    let begin = Instant::now();
    member.stop();
    assert!(begin.elapsed() < MAX_STOP_TIME, "{:?}", begin.elapsed());
    kafka.start().unwrap();
    let value = request(5).to_string();
    produce(kafka.bootstrap(), "otlp_spans", 0, Some(value.as_bytes()));
    member.restart();
    wait::until(TIMEOUT, || (member.traces().len() == 6).then_some(())).expect("six traces");
    assert!(member.traces().values().all(|spans| spans.len() == SPANS));
}

#[test]
fn a_member_stops_while_kafka_gives_no_answer() {
    let kafka = start_kafka(&[TopicSpec::new("otlp_spans", 1)]);
    let mut member = GroupMember::start(kafka.bootstrap(), &[]);
    let send = |number: u64| {
        let value = request(number).to_string();
        produce(kafka.bootstrap(), "otlp_spans", 0, Some(value.as_bytes()));
    };
    (0..5).for_each(send);
    wait::until(TIMEOUT, || (member.traces().len() == 5).then_some(())).expect("five traces");
    // The connections stay open, so that the client does not know.
    let broker = kafka.process_of(1).unwrap();
    broker.suspend();
    let begin = Instant::now();
    member.stop();
    assert!(begin.elapsed() < MAX_STOP_TIME, "{:?}", begin.elapsed());
    broker.resume();
    send(5);
    member.restart();
    wait::until(TIMEOUT, || (member.traces().len() == 6).then_some(())).expect("six traces");
}

#[test]
fn an_edge_collector_refuses_spans_while_kafka_is_away() {
    let mut kafka = start_kafka(&[TopicSpec::new("otlp_spans", 1)]);
    let config = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&config, "message.timeout.ms=1000\n").unwrap();
    let edge = edge(
        kafka.bootstrap(),
        &["--kafka-config", config.path().to_str().unwrap()],
    );
    let url = format!("http://{}/v1/traces", edge.addresses().otlp_http);
    let send = |number| span_load::send(&url, number);
    assert_eq!(send(1), 200);
    // An edge collector has no traces and says so.
    let reply = edge.get("/api/services").unwrap();
    assert_eq!(reply.status, 404);
    assert!(reply.body.contains("forwards all spans"), "{}", reply.body);
    kafka.stop().unwrap();
    assert_eq!(send(2), 503);
    kafka.start().unwrap();
    wait::until(TIMEOUT, || (send(3) == 200).then_some(())).expect("an accepted request");
    let received = "throughline_spans_received_total{door=\"otlp_http\"}";
    assert_eq!(metric(&edge, received), 2 * SPANS as u64);
}

#[test]
fn wrong_addresses_and_topics_are_errors_at_the_start() {
    let kafka: ApacheBroker = start_kafka(&[]);
    let run = |option, brokers| start_error(&[option, brokers, "--topic", "absent"]);
    for option in ["--from-kafka", "--to-kafka"] {
        let (code, stderr) = run(option, kafka.bootstrap());
        assert_eq!(code, Some(1), "{stderr}");
        assert!(
            stderr.contains("the topic absent does not exist"),
            "{stderr}"
        );
    }
    let (code, stderr) = run("--to-kafka", "127.0.0.1:1");
    assert_eq!(code, Some(1), "{stderr}");
    assert!(
        stderr.contains("no Kafka broker answers at 127.0.0.1:1"),
        "{stderr}"
    );
    assert!(stderr.contains("Connection refused"), "{stderr}");
}

/// Starts a collector that cannot start; returns its exit code and stderr.
fn start_error(args: &[&str]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary());
    command.env("XDG_DATA_HOME", folder.path());
    command.arg("up").args(args);
    for port in [
        "--otlp-grpc-port",
        "--otlp-http-port",
        "--zipkin-port",
        "--query-port",
    ] {
        command.args([port, "0"]);
    }
    let output = command.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), stderr)
}
