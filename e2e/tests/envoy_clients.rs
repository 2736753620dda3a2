//! Real clients in several languages on Apache Kafka, directly and through a stock Envoy with our
//! module: every record arrives unchanged, once and in order, and has its spans in one trace.
//!
//! The default run covers two clients; `cargo xtask test --full` covers every client and every
//! codec, as for the sidecar.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
#![expect(clippy::print_stderr, reason = "shows the duration of each case")]

#[expect(dead_code, reason = "shared with other tests, which use more of it")]
mod support;

use std::time::Instant;

use support::case::RoundTripCase;
use support::fixture::{KafkaFixture, full};
use throughline_testkit::clients::ClientLibrary;

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

#[test]
fn clients_work_directly_and_through_envoy() {
    let fixture = KafkaFixture::shared();
    let paths = [
        ("direct", fixture.direct()),
        ("envoy", fixture.envoy("envoy-clients")),
    ];
    for (number, client) in clients().into_iter().enumerate() {
        let codecs = if full() { CODECS.len() } else { 1 };
        for further in 0..codecs {
            let codec = CODECS[(number + further + 3) % CODECS.len()];
            for (name, path) in &paths {
                let topic = format!("{}-{codec}-{name}", client.name());
                let case = RoundTripCase::new(&fixture, path, topic, client);
                let case = case.records(if full() { 400 } else { 60 });
                run(&case.produce(&[("codec", codec)]));
            }
        }
    }
    assert_no_panic(&paths[1].1);
}

#[test]
fn transactions_and_idempotence_work_through_envoy() {
    let fixture = KafkaFixture::shared();
    let path = fixture.envoy("envoy-transactions");
    let mut clients = if full() {
        clients()
    } else {
        vec![ClientLibrary::Java]
    };
    // kafka-go has neither.
    clients.retain(|client| *client != ClientLibrary::KafkaGo);
    for client in clients {
        let topic = format!("{}-envoy-idempotent", client.name());
        let case = RoundTripCase::new(&fixture, &path, topic, client);
        run(&case.produce(&[("idempotent", "true")]));
        let topic = format!("{}-envoy-transactions", client.name());
        let case = RoundTripCase::new(&fixture, &path, topic.clone(), client);
        let transactional = [("transactional", topic.as_str()), ("abort-every", "3")];
        let case = case
            .produce(&transactional)
            .consume(&[("isolation", "read_committed")]);
        run(&case);
    }
    assert_no_panic(&path);
}

/// Returns the clients of the everyday run, or all that a current Kafka accepts.
fn clients() -> Vec<ClientLibrary> {
    if full() {
        [&ClientLibrary::ALL[..], &ClientLibrary::FURTHER].concat()
    } else {
        vec![ClientLibrary::Java, ClientLibrary::FranzGo]
    }
}

fn run(case: &RoundTripCase<'_>) {
    let begin = Instant::now();
    case.run();
    eprintln!("{}: {:.1} s", case.topic, begin.elapsed().as_secs_f32());
}

fn assert_no_panic(path: &support::case::BrokerPath) {
    let (_, envoy) = path.envoy.as_ref().unwrap();
    let stats = envoy.stats().unwrap();
    assert!(stats["kafka_records_injected"] > 0, "{stats:?}");
    assert_eq!(stats.get("panics"), None, "{stats:?}");
}
