//! The mock broker as a process: its topics, its readiness line, its usage errors.
#![cfg(feature = "embedded-kafka")]

use std::path::Path;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use throughline_testkit::kafka::{EmbeddedBroker, TopicSpec};
use throughline_testkit::process::ProcessSpec;

const BINARY: &str = env!("CARGO_BIN_EXE_embedded-kafka");

#[test]
fn client_finds_topics_and_partitions() {
    let broker = EmbeddedBroker::start(
        Path::new(BINARY),
        &[TopicSpec::new("a", 1), TopicSpec::new("b", 3)],
    )
    .unwrap();
    let client: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker.bootstrap())
        .create()
        .expect("a client");
    let metadata = client
        .fetch_metadata(None, Duration::from_secs(10))
        .unwrap();
    let mut topics: Vec<_> = metadata
        .topics()
        .iter()
        .map(|t| (t.name(), t.partitions().len()))
        .collect();
    topics.sort_unstable();
    assert_eq!(topics, [("a", 1), ("b", 3)]);
}

#[test]
fn sigterm_ends_the_broker() {
    let broker = EmbeddedBroker::start(Path::new(BINARY), &[]).unwrap();
    broker.process().stop(Duration::from_secs(5)).unwrap();
}

#[test]
fn usage_error_exits_with_code_64() {
    let process = ProcessSpec::new("embedded-kafka", BINARY)
        .args(["--topic", "t:0"])
        .spawn()
        .unwrap();
    let status = process.wait(Duration::from_secs(10)).unwrap();
    assert_eq!(status.code(), Some(64));
    assert!(
        process.log().join("\n").contains("a number from 1 to 1000"),
        "{:?}",
        process.log()
    );
}
