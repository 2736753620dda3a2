//! Apache Kafka starts, keeps its data over a restart on the same port, and cleans up.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use throughline_testkit::kafka::{ApacheBroker, TopicSpec, create_topic, delete_topic};

fn ignore_progress(_: &str) {}

fn accepts(address: &str) -> bool {
    address
        .parse()
        .is_ok_and(|address| TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok())
}

/// Returns the working directory of the broker.
fn home(broker: &ApacheBroker) -> PathBuf {
    std::fs::read_link(format!("/proc/{}/cwd", broker.process().unwrap().id())).unwrap()
}

#[test]
fn broker_restarts_with_its_data_and_cleans_up() {
    let mut broker = ApacheBroker::builder()
        .topic(TopicSpec::new("kept", 3))
        .start(&mut ignore_progress)
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
fn existing_topic_is_kept_and_a_refusal_is_an_error() {
    let broker = ApacheBroker::builder().start(&mut ignore_progress).unwrap();
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
fn invalid_property_fails_with_the_broker_log() {
    let error = ApacheBroker::builder()
        .property("message.max.bytes", "many")
        .start(&mut ignore_progress)
        .unwrap_err()
        .to_string();
    assert!(error.contains("message.max.bytes"), "{error}");
}

#[test]
fn cluster_survives_the_loss_of_one_of_three_brokers() {
    let mut kafka = ApacheBroker::builder()
        .nodes(3)
        .topic(TopicSpec::new("kept", 3))
        .start(&mut ignore_progress)
        .unwrap();
    let addresses: Vec<String> = kafka.bootstrap().split(',').map(str::to_owned).collect();
    assert_eq!(addresses.len(), 3);
    let all =
        |open: [bool; 3]| assert_eq!([0, 1, 2].map(|node: usize| accepts(&addresses[node])), open);
    all([true; 3]);

    kafka.process_of(2).unwrap().kill();
    all([true, false, true]);
    // The two remaining controllers are a majority.
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
