//! Real clients in several languages on Apache Kafka, through the sidecar: every record arrives
//! unchanged, once and in order, and has its producer and consumer span in one trace.
//!
//! The default run covers every client and every codec once; `cargo xtask test --full` covers all
//! combinations.
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

use support::case::{BrokerPath, RoundTripCase};
use support::fixture::{KafkaFixture, full};
use throughline_testkit::clients::ClientLibrary;
use throughline_testkit::kafka::{ApacheBroker, EARLIER_VERSION, MECHANISMS, SecurityProtocol};

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// Runs a case and prints its name and duration. `THROUGHLINE_CASE=kafkajs-lz4` skips all cases
/// whose names do not contain that.
fn run_case(case: &RoundTripCase<'_>) {
    if std::env::var("THROUGHLINE_CASE").is_ok_and(|wanted| !case.topic.contains(&wanted)) {
        return;
    }
    let begin = Instant::now();
    eprintln!("{} ...", case.topic);
    case.run();
    eprintln!("{}: {:.1} s", case.topic, begin.elapsed().as_secs_f32());
}

/// Returns the clients of the everyday run, or all that a current Kafka accepts.
fn clients_or(everyday: &[ClientLibrary]) -> Vec<ClientLibrary> {
    if full() {
        [&ClientLibrary::ALL[..], &ClientLibrary::FURTHER].concat()
    } else {
        everyday.to_vec()
    }
}

#[test]
fn every_client_with_every_codec() {
    let fixture = KafkaFixture::shared();
    let path = fixture.sidecar("codecs", &[]);
    run_codecs(&fixture, &path, &ClientLibrary::ALL);
}

/// Returns whether a client has a codec: zstd came with Kafka 2.1.
fn has_codec(client: ClientLibrary, codec: &str) -> bool {
    codec != "zstd" || !ClientLibrary::EARLIER.contains(&client)
}

#[test]
fn further_clients_with_every_codec() {
    let fixture = KafkaFixture::shared();
    let path = fixture.sidecar("further-codecs", &[]);
    run_codecs(
        &fixture,
        &path,
        if full() {
            &ClientLibrary::FURTHER
        } else {
            &[ClientLibrary::Sarama, ClientLibrary::KafkaGo]
        },
    );
}

#[test]
fn earlier_clients_with_every_codec() {
    if !full() {
        return;
    }
    let kafka = ApacheBroker::builder().version(EARLIER_VERSION);
    let fixture = KafkaFixture::start(kafka);
    let path = fixture.sidecar("earlier-codecs", &[]);
    run_codecs(&fixture, &path, &ClientLibrary::EARLIER);
}

/// Runs clients with one codec each, in the full run with every codec.
fn run_codecs(fixture: &KafkaFixture, path: &BrokerPath, clients: &[ClientLibrary]) {
    let each = if full() { CODECS.len() } else { 1 };
    for (number, client) in clients.iter().enumerate() {
        for further in 0..each {
            let codec = CODECS[(number + further + 4) % CODECS.len()];
            if !has_codec(*client, codec) {
                continue;
            }
            let topic = format!("{}-{codec}", client.name());
            let case = RoundTripCase::new(fixture, path, topic, *client);
            // kafka-go takes the complete records of a batch that is cut at the end of a response:
            // more records than fit into one.
            let is_large = full() || *client == ClientLibrary::KafkaGo;
            let case = case.records(if is_large { 400 } else { 60 });
            run_case(&case.produce(&[("codec", codec)]));
        }
    }
}

#[test]
fn every_acks_setting() {
    let fixture = KafkaFixture::shared();
    let path = fixture.sidecar("acknowledgements", &[]);
    let clients = clients_or(&[ClientLibrary::Java, ClientLibrary::Confluent]);
    for client in &clients {
        for (name, options) in [
            ("0", ("acks", "0")),
            ("1", ("acks", "1")),
            ("idempotent", ("idempotent", "true")),
        ] {
            // kafka-go has no idempotent producer.
            if *client == ClientLibrary::KafkaGo && name == "idempotent" {
                continue;
            }
            run_case(
                &RoundTripCase::new(
                    &fixture,
                    &path,
                    format!("{}-acks-{name}", client.name()),
                    *client,
                )
                .produce(&[options]),
            );
        }
    }
}

#[test]
fn record_is_read_by_a_client_of_another_language() {
    let fixture = KafkaFixture::shared();
    let path = fixture.sidecar("mixed", &[]);
    let pairs = [
        (ClientLibrary::FranzGo, ClientLibrary::Java, "snappy"),
        (ClientLibrary::Java, ClientLibrary::Kafkajs, "lz4"),
        (ClientLibrary::Java, ClientLibrary::KafkaPython, "snappy"),
        (ClientLibrary::Kafkajs, ClientLibrary::Rdkafka, "lz4"),
        (ClientLibrary::KafkaPython, ClientLibrary::FranzGo, "zstd"),
        (ClientLibrary::Rdkafka, ClientLibrary::Java, "lz4"),
    ];
    let pairs = if full() { &pairs[..] } else { &pairs[..2] };
    for (producer, consumer, codec) in pairs {
        let topic = format!("{}-to-{}", producer.name(), consumer.name());
        let case = RoundTripCase::new(&fixture, &path, topic, *producer).consumer(*consumer);
        run_case(&case.produce(&[("codec", codec)]));
    }
}

#[test]
fn aborted_records_have_producer_spans_only() {
    let fixture = KafkaFixture::shared();
    let path = fixture.sidecar("transactions", &[]);
    let mut clients = clients_or(&[ClientLibrary::Java, ClientLibrary::FranzGo]);
    // kafka-go has no transactions.
    clients.retain(|client| *client != ClientLibrary::KafkaGo);
    for client in &clients {
        let topic = format!("{}-transactions", client.name());
        let case = RoundTripCase::new(&fixture, &path, topic.clone(), *client);
        let case = case.produce(&[
            ("transactional", &topic),
            ("abort-every", "3"),
            ("codec", "lz4"),
        ]);
        run_case(&case.consume(&[("isolation", "read_committed")]));
    }
}

#[test]
fn consumer_groups_of_kip_848() {
    let fixture = KafkaFixture::shared();
    let path = fixture.sidecar("groups", &[]);
    let clients = [
        ClientLibrary::Java,
        ClientLibrary::FranzGo,
        ClientLibrary::Confluent,
        ClientLibrary::Rdkafka,
    ];
    for client in if full() { &clients[..] } else { &clients[..2] } {
        let case = RoundTripCase::new(
            &fixture,
            &path,
            format!("{}-consumer-group", client.name()),
            *client,
        );
        run_case(&case.consume(&[("protocol", "consumer")]));
    }
}

#[test]
fn commits_on_a_timer_settle_every_record() {
    let fixture = KafkaFixture::shared();
    let path = fixture.sidecar("automatic-commits", &[]);
    let clients = [
        ClientLibrary::Java,
        ClientLibrary::KafkaPython,
        ClientLibrary::Confluent,
        ClientLibrary::Aiokafka,
    ];
    for client in if full() { &clients[..] } else { &clients[..2] } {
        let topic = format!("{}-automatic-commits", client.name());
        let case = RoundTripCase::new(&fixture, &path, topic, *client);
        run_case(&case.consume(&[("auto-commit", "true")]));
    }
}

#[test]
fn every_sasl_mechanism_passes_through() {
    let fixture = KafkaFixture::shared();
    let path = fixture.sidecar_to(SecurityProtocol::SaslPlaintext, "logins", &[]);
    let clients = [
        ClientLibrary::Java,
        ClientLibrary::Confluent,
        ClientLibrary::KafkaPython,
        ClientLibrary::Kafkajs,
        ClientLibrary::FranzGo,
    ];
    for (number, client) in clients.into_iter().enumerate() {
        for (other, mechanism) in MECHANISMS.into_iter().enumerate() {
            if full() || number % MECHANISMS.len() == other {
                let topic = format!("{}-{}", client.name(), mechanism.to_lowercase());
                let login = [("mechanism", mechanism)];
                run_case(
                    &RoundTripCase::new(&fixture, &path, topic, client)
                        .produce(&login)
                        .consume(&login),
                );
            }
        }
    }
}

#[test]
fn sidecar_connects_to_the_broker_by_mutual_tls() {
    let fixture = KafkaFixture::shared();
    let certificates = fixture.kafka.certificates().unwrap();
    let path = |path: &std::path::Path| path.display().to_string();
    let (ca, cert, key) = (
        path(&certificates.ca),
        path(&certificates.client),
        path(&certificates.client_key),
    );
    let tls = [
        "--broker-tls",
        "--broker-tls-ca",
        &ca,
        "--broker-tls-cert",
        &cert,
        "--broker-tls-key",
        &key,
    ];
    let path = fixture.sidecar_to(SecurityProtocol::Ssl, "tls", &tls);
    run_case(
        &RoundTripCase::new(&fixture, &path, "tls-to-the-broker", ClientLibrary::Java)
            .produce(&[("codec", "zstd")]),
    );
    let path = fixture.sidecar_to(SecurityProtocol::SaslSsl, "tls-and-login", &tls[..3]);
    let login = [("mechanism", "SCRAM-SHA-512")];
    run_case(
        &RoundTripCase::new(&fixture, &path, "tls-and-login", ClientLibrary::FranzGo)
            .produce(&login)
            .consume(&login),
    );
}

#[test]
fn clients_connect_to_the_sidecar_by_tls() {
    let fixture = KafkaFixture::shared();
    let certificates = fixture.kafka.certificates().unwrap();
    let (cert, key) = (
        certificates.server.display().to_string(),
        certificates.server_key.display().to_string(),
    );
    let mut path = fixture.sidecar(
        "tls-from-the-client",
        &["--client-tls-cert", &cert, "--client-tls-key", &key],
    );
    if path.sidecar.is_some() {
        path.security = fixture.security(SecurityProtocol::Ssl);
    }
    let clients = [
        ClientLibrary::Confluent,
        ClientLibrary::Java,
        ClientLibrary::KafkaPython,
        ClientLibrary::Kafkajs,
        ClientLibrary::FranzGo,
    ];
    for client in if full() { &clients[..] } else { &clients[..2] } {
        run_case(&RoundTripCase::new(
            &fixture,
            &path,
            format!("{}-tls", client.name()),
            *client,
        ));
    }
}
