//! The embedded broker as others use it: the binary, its line, its mistakes.
#![cfg(feature = "embedded-kafka")]

use std::path::Path;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use throughline_testkit::kafka::{EmbeddedBroker, TopicSpec};
use throughline_testkit::process::ProcessSpec;

const BINARY: &str = env!("CARGO_BIN_EXE_embedded-kafka");

#[test]
fn a_client_finds_the_topics_with_their_partitions() {
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
fn it_ends_soon_when_it_is_asked() {
    let broker = EmbeddedBroker::start(Path::new(BINARY), &[]).unwrap();
    broker.process().stop(Duration::from_secs(5)).unwrap();
}

#[test]
fn a_mistake_on_the_command_line_is_told_with_exit_code_64() {
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
