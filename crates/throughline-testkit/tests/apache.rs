//! A real Apache Kafka starts, keeps its data over a restart on the same port, and leaves nothing behind.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use throughline_testkit::kafka::{ApacheBroker, TopicSpec, create_topic, delete_topic};

fn quietly(_: &str) {}

fn accepts(address: &str) -> bool {
    address
        .parse()
        .is_ok_and(|address| TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok())
}

/// The folder that the broker was told to work in.
fn home(broker: &ApacheBroker) -> PathBuf {
    std::fs::read_link(format!("/proc/{}/cwd", broker.process().unwrap().id())).unwrap()
}

#[test]
fn a_broker_is_stopped_and_started_again_as_the_same_one_and_leaves_nothing() {
    let mut broker = ApacheBroker::builder()
        .topic(TopicSpec::new("kept", 3))
        .start(&mut quietly)
        .unwrap();
    let (address, home) = (broker.bootstrap().to_owned(), home(&broker));
    assert!(accepts(&address));

    broker.stop().unwrap();
    assert!(!accepts(&address));
    broker.start().unwrap();
    assert_eq!(broker.bootstrap(), address);
    assert!(accepts(&address));
    assert!(
        home.join("data/kept-2").is_dir(),
        "the topic's partitions are still there"
    );

    // The same after a crash.
    broker.process().unwrap().kill();
    assert!(!accepts(&address));
    broker.start().unwrap();
    assert!(accepts(&address));

    drop(broker);
    assert!(!accepts(&address));
    assert!(!home.exists(), "the broker's folder is gone with it");
}

#[test]
fn a_topic_that_exists_is_left_and_one_that_is_refused_is_told() {
    let broker = ApacheBroker::builder().start(&mut quietly).unwrap();
    let bootstrap = broker.bootstrap();
    create_topic(bootstrap, &TopicSpec::new("twice", 1)).unwrap();
    create_topic(bootstrap, &TopicSpec::new("twice", 1)).unwrap();
    let refused = create_topic(
        bootstrap,
        &TopicSpec::new("t", 1).config("no.such.setting", "1"),
    )
    .unwrap_err()
    .to_string();
    assert!(
        refused.contains("refused to create topic t: error 40"),
        "{refused}"
    );
    delete_topic(bootstrap, "twice").unwrap();
    let refused = delete_topic(bootstrap, "twice").unwrap_err().to_string();
    assert!(
        refused.contains("refused to delete topic twice: error 3"),
        "{refused}"
    );
}

#[test]
fn a_property_that_kafka_refuses_ends_with_kafkas_own_words() {
    let error = ApacheBroker::builder()
        .property("message.max.bytes", "many")
        .start(&mut quietly)
        .unwrap_err()
        .to_string();
    assert!(error.contains("message.max.bytes"), "{error}");
}

#[test]
fn three_brokers_go_on_when_one_is_killed_and_take_it_back() {
    let mut kafka = ApacheBroker::builder()
        .nodes(3)
        .topic(TopicSpec::new("kept", 3))
        .start(&mut quietly)
        .unwrap();
    let addresses: Vec<String> = kafka.bootstrap().split(',').map(str::to_owned).collect();
    assert_eq!(addresses.len(), 3);
    let all =
        |open: [bool; 3]| assert_eq!([0, 1, 2].map(|node: usize| accepts(&addresses[node])), open);
    all([true; 3]);

    kafka.process_of(2).unwrap().kill();
    all([true, false, true]);
    // The controllers that are left are a majority.
    create_topic(kafka.bootstrap(), &TopicSpec::new("meanwhile", 1)).unwrap();
    kafka.start_node(2).unwrap();
    all([true; 3]);
    assert!(
        kafka
            .start_node(2)
            .unwrap_err()
            .to_string()
            .contains("running already")
    );
}
