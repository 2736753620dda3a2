//! Two consumer groups of one host under librdkafka's default client id, on one topic: each has its
//! own lag and its own commits, and the records are those of consumers without the sidecar.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod named_spans;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use e2e::{TraceSpan, count_by_group};
use named_spans::named_spans;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use throughline_testkit::build::ProjectBinaries;
use throughline_testkit::collector::CollectorInstance;
use throughline_testkit::kafka::{ApacheBroker, TopicSpec, create_topic};
use throughline_testkit::sidecar::SidecarInstance;

const TOPIC: &str = "shared-orders";
const SERVICE: &str = "groups";
const TIMEOUT: Duration = Duration::from_secs(60);

/// Records of each of the two rounds.
const ROUND: usize = 10;

#[test]
fn two_groups_under_one_default_client_id_have_their_own_lag_and_commits() {
    let binary = &ProjectBinaries::build().unwrap().throughline;
    let mut progress = |step: &str| eprintln!("{step}");
    let kafka = ApacheBroker::builder().start(&mut progress).unwrap();
    create_topic(kafka.bootstrap(), &TopicSpec::new(TOPIC, 1)).unwrap();
    let collector = CollectorInstance::start(binary).unwrap();
    let address = collector.addresses().otlp_http;
    let sidecar = SidecarInstance::start(binary, kafka.bootstrap(), address, SERVICE, &[]).unwrap();
    send(sidecar.bootstrap(), 0);
    // The groups join one after the other, each with records to read from its first fetch on.
    let mut consumers: Vec<(BaseConsumer, Vec<Vec<u8>>)> = Vec::new();
    for (bootstrap, group) in [
        (sidecar.bootstrap(), "grp-A"),
        (sidecar.bootstrap(), "grp-B"),
        (kafka.bootstrap(), "direct-A"),
        (kafka.bootstrap(), "direct-B"),
    ] {
        let consumer = join(bootstrap, group);
        let received = poll(&consumer, ROUND);
        consumers.push((consumer, received));
    }
    send(sidecar.bootstrap(), ROUND);
    let expected: Vec<Vec<u8>> = (0..2 * ROUND).map(value).collect();
    for (consumer, received) in &mut consumers {
        received.extend(poll(consumer, ROUND));
        assert_eq!(*received, expected);
        consumer.commit_consumer_state(CommitMode::Sync).unwrap();
    }
    let groups = BTreeMap::from([("grp-A".to_owned(), 20), ("grp-B".to_owned(), 20)]);
    let processed = spans(&collector, "process", 4 * ROUND);
    assert_eq!(count_by_group(&processed), groups);
    let committed = spans(&collector, "commit", 4 * ROUND);
    assert_eq!(count_by_group(&committed), groups);
    for commit in &committed {
        let (_, _, parent) = commit.references.first().unwrap();
        let parent = processed.iter().find(|span| span.id == *parent).unwrap();
        assert_eq!(parent.group(), commit.group());
    }
    let metrics = sidecar.get("/metrics").unwrap().body;
    for group in ["grp-A", "grp-B"] {
        let lag = format!("consumer_lag{{group=\"{group}\",topic=\"{TOPIC}\"}} 0");
        assert!(metrics.contains(&lag), "no {lag} in {metrics}");
    }
    assert!(!metrics.contains("consumer_lag{group=\"\""), "{metrics}");
}

fn value(number: usize) -> Vec<u8> {
    format!("order {number}").into_bytes()
}

/// Sends one round of records.
fn send(bootstrap: &str, first: usize) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    let producer: BaseProducer = config.create().unwrap();
    for number in first..first + ROUND {
        let value = value(number);
        let record = BaseRecord::<(), Vec<u8>>::to(TOPIC).payload(&value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(TIMEOUT).unwrap();
}

/// Returns a consumer with the client id that librdkafka gives to all that have none.
fn join(bootstrap: &str, group: &str) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("group.id", group)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().unwrap();
    consumer.subscribe(&[TOPIC]).unwrap();
    consumer
}

fn poll(consumer: &BaseConsumer, count: usize) -> Vec<Vec<u8>> {
    let begin = Instant::now();
    let mut received = Vec::new();
    while received.len() < count {
        assert!(begin.elapsed() < TIMEOUT, "{} of {count}", received.len());
        if let Some(Ok(record)) = consumer.poll(Duration::from_millis(100)) {
            received.extend(record.payload().map(<[u8]>::to_vec));
        }
    }
    received
}

/// Waits for spans of an operation, and returns them.
fn spans(collector: &CollectorInstance, operation: &str, count: usize) -> Vec<TraceSpan> {
    named_spans(collector, SERVICE, &format!("{operation} {TOPIC}"), count)
}
