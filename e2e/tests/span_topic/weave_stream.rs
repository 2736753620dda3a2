//! `throughline weave --from-kafka`: spans of a topic are woven and sent on, at least once, though
//! the weaver is killed.

use std::collections::BTreeMap;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use throughline_testkit::collector::{CollectorInstance, CollectorPorts};
use throughline_testkit::kafka::{ApacheBroker, TopicSpec};
use throughline_testkit::process::{ChildProcess, ProcessSpec};
use throughline_testkit::wait;

use crate::decisions::{Side, send, shown, trace_id};
use crate::fixture::{GroupMember, TIMEOUT, binary, client, committed, start_kafka};

const SPANS_TOPIC: &str = "otlp_spans";
const WOVEN_TOPIC: &str = "woven_spans";
const DECISIONS: &str = "decisions";
const GROUP: &str = "weavers";

/// The weavers of a test, one at a time.
struct WeaverFixture {
    args: Vec<String>,
    config: NamedTempFile,
}

// === impl WeaverFixture ===

impl WeaverFixture {
    fn new(kafka: &ApacheBroker, target: &[&str]) -> Self {
        let config = NamedTempFile::new().unwrap();
        // The least that a broker allows: a killed member is missed after it.
        let properties = "session.timeout.ms=6000\nheartbeat.interval.ms=1000\n";
        std::fs::write(&config, properties).unwrap();
        let own = [
            "weave",
            "--from-kafka",
            kafka.bootstrap(),
            "--group",
            GROUP,
            "--decisions-topic",
            DECISIONS,
            "--wait",
            "300ms",
            "--kafka-config",
            config.path().to_str().unwrap(),
        ];
        let args = own.iter().chain(target).map(|it| (*it).to_owned());
        Self {
            args: args.collect(),
            config,
        }
    }

    fn start(&self) -> ChildProcess {
        assert!(self.config.path().exists());
        let spec = ProcessSpec::new("weaver", binary()).args(self.args.iter().cloned());
        spec.spawn().unwrap()
    }
}

fn topics() -> [TopicSpec; 3] {
    [
        TopicSpec::new(SPANS_TOPIC, 2),
        TopicSpec::new(WOVEN_TOPIC, 2),
        TopicSpec::new(DECISIONS, 1).config("cleanup.policy", "compact,delete"),
    ]
}

/// Waits until all offsets of the group are committed.
fn expect_committed(kafka: &ApacheBroker) {
    let offsets = || committed(kafka.bootstrap(), SPANS_TOPIC, GROUP);
    wait::until(TIMEOUT, || {
        let (committed, ends) = offsets();
        (committed == ends).then_some(())
    })
    .unwrap_or_else(|| panic!("{:?}", offsets()));
}

#[test]
fn spans_are_woven_from_topic_to_topic_though_the_weaver_is_killed() {
    let kafka = start_kafka(&topics());
    let bootstrap = kafka.bootstrap();
    let target = ["--to-kafka", bootstrap, "--to-topic", WOVEN_TOPIC];
    let fixture = WeaverFixture::new(&kafka, &target);
    let weaver = fixture.start();
    let args = [
        "--topic",
        WOVEN_TOPIC,
        "--group",
        "reader",
        "--weave",
        "off",
    ];
    let reader = GroupMember::start(bootstrap, &args);
    send(&kafka, 0..5, Side::Producer);
    send(&kafka, 0..5, Side::Consumer);
    expect_one_trace(reader.collector(), 0..5);
    expect_committed(&kafka);
    // The producers' spans are sent and committed; then it dies before those of the consumers.
    send(&kafka, 5..10, Side::Producer);
    expect_committed(&kafka);
    weaver.kill();
    weaver.wait(TIMEOUT).unwrap();
    send(&kafka, 5..10, Side::Consumer);
    let weaver = fixture.start();
    expect_one_trace(reader.collector(), 0..10);
    // Not settled yet: they are sent and committed before the end.
    send(&kafka, 10..15, Side::Producer);
    send(&kafka, 10..15, Side::Consumer);
    wait::until(TIMEOUT, || {
        let (committed, ends) = committed(bootstrap, SPANS_TOPIC, GROUP);
        (ends == BTreeMap::from([(0, 15), (1, 15)]) && !committed.is_empty()).then_some(())
    })
    .expect("all records");
    let status = weaver.stop(TIMEOUT).unwrap();
    assert!(status.success(), "{status}: {:?}", weaver.log());
    let last = weaver.log().pop().unwrap();
    assert!(last.contains("0 dropped, 0 records skipped"), "{last}");
    let weaver = fixture.start();
    expect_one_trace(reader.collector(), 0..15);
    expect_committed(&kafka);
    assert!(weaver.stop(TIMEOUT).unwrap().success());
}

#[test]
fn offsets_wait_for_a_back_end_that_is_away() {
    let kafka = start_kafka(&topics());
    let back_end = |port| {
        let ports = CollectorPorts {
            otlp_http: port,
            ..CollectorPorts::default()
        };
        CollectorInstance::start_on(binary(), ports, &["--weave", "off"]).unwrap()
    };
    let away = back_end(0);
    let port = away.addresses().otlp_http.port();
    away.process().kill();
    away.process().wait(TIMEOUT).unwrap();
    let url = format!("http://127.0.0.1:{port}");
    let fixture = WeaverFixture::new(&kafka, &["--forward", &url]);
    let weaver = fixture.start();
    send(&kafka, 0..10, Side::Producer);
    send(&kafka, 0..10, Side::Consumer);
    let is_away = |weaver: &ChildProcess| {
        let log = weaver.log();
        log.iter()
            .any(|line| line.contains(&format!("127.0.0.1:{port}")))
    };
    wait::until(TIMEOUT, || is_away(&weaver).then_some(())).expect("a line about the back end");
    let (offsets, _) = committed(kafka.bootstrap(), SPANS_TOPIC, GROUP);
    assert_eq!(offsets, BTreeMap::new());
    weaver.kill();
    weaver.wait(TIMEOUT).unwrap();
    let back_end = back_end(port);
    let weaver = fixture.start();
    expect_one_trace(&back_end, 0..10);
    expect_committed(&kafka);
    assert!(weaver.stop(TIMEOUT).unwrap().success());
}

#[test]
fn more_is_read_than_memory_holds_and_nothing_is_lost() {
    const REQUESTS: u64 = 400;
    const SPANS: u64 = 50;
    let kafka = start_kafka(&topics());
    let bootstrap = kafka.bootstrap();
    let producer: BaseProducer = client(bootstrap).create().unwrap();
    for number in 0..REQUESTS {
        let value = request_of_traces(number, SPANS).to_string();
        let record = BaseRecord::<(), str>::to(SPANS_TOPIC).payload(&value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(TIMEOUT).unwrap();
    let target = ["--to-kafka", bootstrap, "--to-topic", WOVEN_TOPIC];
    // A tenth of it is for records that are not delivered: less than a third of all.
    let target = [&target[..], &["--memory", "16MiB"]].concat();
    let fixture = WeaverFixture::new(&kafka, &target);
    let weaver = fixture.start();
    expect_committed(&kafka);
    assert!(weaver.stop(TIMEOUT).unwrap().success());
    let (spans, last) = (REQUESTS * SPANS, weaver.log().pop().unwrap());
    let expected = format!(
        "{spans} spans of {REQUESTS} records read, 0 woven, {spans} sent, 0 dropped, 0 records \
         skipped"
    );
    assert_eq!(last, expected);
}

/// Returns a request with spans that are each a trace.
fn request_of_traces(number: u64, spans: u64) -> Value {
    let spans = (0..spans).map(|index| {
        let id = 1 + number * spans + index;
        json!({
            "traceId": format!("{id:032x}"),
            "spanId": format!("{id:016x}"),
            "name": "work",
            "kind": 1,
            "startTimeUnixNano": "1790000000000000000",
            "endTimeUnixNano": "1790000000000001000",
        })
    });
    json!({"resourceSpans": [{
        "resource": {"attributes": []},
        "scopeSpans": [{"spans": spans.collect::<Vec<_>>()}],
    }]})
}

/// Waits until the two reported traces of each record are one, with the producer's id.
fn expect_one_trace(collector: &CollectorInstance, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let [one, other] = [Side::Producer, Side::Consumer].map(|side| trace_id(number, side));
        let found = || (shown(collector, &one).0, shown(collector, &other).0);
        let is_one = || {
            let (spans, others) = found();
            (spans.len() == 4 && others.is_empty()).then_some(())
        };
        wait::until(TIMEOUT, is_one).unwrap_or_else(|| panic!("{number}: {:?}", found()));
    }
}
