//! MirrorMaker 2 between two clusters, with a sidecar in front of each: a record has one trace from
//! its producer in one cluster to its consumer in the other one. Beside it MirrorMaker copies the
//! same topic directly: both copies are the same.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[expect(dead_code, reason = "shared with other tests, which use more of it")]
mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use support::case::RoundTripCase;
use support::fixture::{KafkaFixture, full};
use support::run;
use support::spans::TopicSpans;
use throughline_testkit::build::ProjectBinaries;
use throughline_testkit::clients::{ClientLibrary, mirror_maker};
use throughline_testkit::kafka::ApacheBroker;
use throughline_testkit::sidecar::SidecarInstance;

const TOPIC: &str = "mirrored";
const RECORDS: usize = 60;
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// Returns the properties of two flows: `source->target`, and `plain->goal` beside it.
fn properties(clusters: [(&str, &str); 4]) -> String {
    let mut text = format!("clusters=source,target,plain,goal\ntopics={TOPIC}\n");
    for (alias, bootstrap) in clusters {
        writeln!(text, "{alias}.bootstrap.servers={bootstrap}").unwrap();
    }
    for flow in ["source->target", "plain->goal"] {
        writeln!(text, "{flow}.enabled=true").unwrap();
    }
    for (name, value) in [
        ("replication.factor", "1"),
        ("offset-syncs.topic.replication.factor", "1"),
        ("offset.storage.replication.factor", "1"),
        ("status.storage.replication.factor", "1"),
        ("config.storage.replication.factor", "1"),
        ("emit.checkpoints.enabled", "false"),
        ("emit.heartbeats.enabled", "false"),
        ("refresh.topics.interval.seconds", "1"),
    ] {
        writeln!(text, "{name}={value}").unwrap();
    }
    text
}

#[test]
fn record_has_one_trace_through_two_clusters() {
    if !full() {
        return;
    }
    let fixture = KafkaFixture::shared();
    let target = ApacheBroker::builder().start(&mut |_| {}).unwrap();
    let binary = &ProjectBinaries::build().unwrap().throughline;
    let collector = fixture.collector.addresses().otlp_http;
    let sidecar = |kafka: &str, service: &str| {
        SidecarInstance::start(binary, kafka, collector, service, &[]).unwrap()
    };
    let [mirror_source, mirror_target] = [
        sidecar(fixture.kafka.bootstrap(), "mirror"),
        sidecar(target.bootstrap(), "mirror"),
    ];
    let receiver = sidecar(target.bootstrap(), "mirror-receiver");
    let path = fixture.sidecar("mirror-sender", &[]);
    if path.sidecar.is_none() {
        return;
    }
    // The records have contexts, and some have those of their application.
    let case = RoundTripCase::new(&fixture, &path, TOPIC, ClientLibrary::FranzGo).records(RECORDS);
    fixture.topic(TOPIC, 3);
    let stored = case.send();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mirror.properties");
    let clusters = [
        ("source", mirror_source.bootstrap()),
        ("target", mirror_target.bootstrap()),
        ("plain", fixture.kafka.bootstrap()),
        ("goal", target.bootstrap()),
    ];
    std::fs::write(&file, properties(clusters)).unwrap();
    let mirror = mirror_maker(&file).unwrap().spawn().unwrap();
    let read = |bootstrap: &str, topic: &str| {
        let reader = fixture.client(ClientLibrary::FranzGo);
        // MirrorMaker creates the topic when it has started.
        let options = [("group", topic), ("metadata-age", "500"), ("limit", "80")];
        run::consume(reader, bootstrap, topic, RECORDS, &options)
    };
    let through = read(receiver.bootstrap(), "source.mirrored");
    let direct = read(target.bootstrap(), "plain.mirrored");
    let mut copies = [through.consumed(), direct.consumed()];
    mirror.stop(STOP_TIMEOUT).unwrap();
    for copy in &mut copies {
        copy.sort_by_key(|record| (record.partition, record.offset));
        assert_eq!(copy.len(), RECORDS);
    }
    let [through, direct] = copies;
    for (one, other) in through.iter().zip(&direct) {
        assert_eq!((one.partition, one.offset), (other.partition, other.offset));
        assert_eq!((&one.key, &one.value), (&other.key, &other.value));
        assert_eq!(one.headers, other.headers, "nothing is added by the way");
    }
    let contexts = &stored.contexts;
    let traces: BTreeSet<&str> = contexts.values().map(|it| it.trace.as_str()).collect();
    for (service, operation, topic) in [
        ("mirror-sender", "send", TOPIC),
        ("mirror", "process", TOPIC),
        ("mirror", "send", "source.mirrored"),
        ("mirror-receiver", "process", "source.mirrored"),
        ("mirror-receiver", "commit", "source.mirrored"),
    ] {
        let expected = [(operation, RECORDS)];
        let spans = TopicSpans::wait_for(&fixture.collector, service, topic, &expected);
        let spans = spans.with_operation(operation);
        let found: BTreeSet<&str> = spans.iter().map(|it| it.trace.as_str()).collect();
        assert_eq!(found, traces, "{operation} {topic} of {service}");
        assert_eq!(spans.len(), RECORDS, "{operation} {topic} of {service}");
    }
}
