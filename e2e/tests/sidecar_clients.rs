//! Real clients of every language on a real Apache Kafka, through the sidecar: every record arrives as it was sent, once and in
//! order, and has its producer's and its consumer's span in one trace.
//!
//! The everyday run puts every client and every codec through once; `cargo xtask test --full` puts each with each.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
#![expect(clippy::print_stderr, reason = "tells what takes long")]

#[expect(
    dead_code,
    reason = "shared with the other tests, which use more of it"
)]
mod support;

use std::time::Instant;

use support::case::RoundTripCase;
use support::fixture::{KafkaFixture, full};
use throughline_testkit::clients::ClientLibrary;
use throughline_testkit::kafka::{MECHANISMS, SecurityProtocol};

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// Says which case runs, and how long it took. `THROUGHLINE_CASE=kafkajs-lz4` leaves out all whose names do not contain that.
fn told(case: &RoundTripCase<'_>) {
    if std::env::var("THROUGHLINE_CASE").is_ok_and(|wanted| !case.topic.contains(&wanted)) {
        return;
    }
    let begin = Instant::now();
    eprintln!("{} ...", case.topic);
    case.run();
    eprintln!("{}: {:.1} s", case.topic, begin.elapsed().as_secs_f32());
}

#[test]
fn every_client_and_every_codec() {
    let fixture = KafkaFixture::shared();
    let path = fixture.sidecar("codecs", &[]);
    let each = if full() { CODECS.len() } else { 1 };
    for (number, client) in ClientLibrary::ALL.into_iter().enumerate() {
        for further in 0..each {
            let codec = CODECS[(number + further + 4) % CODECS.len()];
            let case = RoundTripCase::new(
                &fixture,
                &path,
                format!("{}-{codec}", client.name()),
                client,
            );
            told(
                &case
                    .records(if full() { 400 } else { 60 })
                    .produce(&[("codec", codec)]),
            );
        }
    }
}

#[test]
fn every_way_to_be_acknowledged() {
    let fixture = KafkaFixture::shared();
    let path = fixture.sidecar("acknowledgements", &[]);
    let clients: &[ClientLibrary] = if full() {
        &ClientLibrary::ALL
    } else {
        &[ClientLibrary::Java, ClientLibrary::Confluent]
    };
    for client in clients {
        for (name, options) in [
            ("0", ("acks", "0")),
            ("1", ("acks", "1")),
            ("idempotent", ("idempotent", "true")),
        ] {
            told(
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
fn a_record_is_read_by_clients_of_another_language() {
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
        told(&case.produce(&[("codec", codec)]));
    }
}

#[test]
fn transactions_that_were_aborted_are_sent_and_never_processed() {
    let fixture = KafkaFixture::shared();
    let path = fixture.sidecar("transactions", &[]);
    let clients: &[ClientLibrary] = if full() {
        &ClientLibrary::ALL
    } else {
        &[ClientLibrary::Java, ClientLibrary::FranzGo]
    };
    for client in clients {
        let topic = format!("{}-transactions", client.name());
        let case = RoundTripCase::new(&fixture, &path, topic.clone(), *client);
        let case = case.produce(&[
            ("transactional", &topic),
            ("abort-every", "3"),
            ("codec", "lz4"),
        ]);
        told(&case.consume(&[("isolation", "read_committed")]));
    }
}

#[test]
fn groups_of_the_new_protocol() {
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
        told(&case.consume(&[("protocol", "consumer")]));
    }
}

#[test]
fn logins_of_every_kind_pass_through() {
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
                told(
                    &RoundTripCase::new(&fixture, &path, topic, client)
                        .produce(&login)
                        .consume(&login),
                );
            }
        }
    }
}

#[test]
fn the_sidecar_speaks_tls_to_the_broker_and_shows_its_certificate() {
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
    told(
        &RoundTripCase::new(&fixture, &path, "tls-to-the-broker", ClientLibrary::Java)
            .produce(&[("codec", "zstd")]),
    );
    let path = fixture.sidecar_to(SecurityProtocol::SaslSsl, "tls-and-login", &tls[..3]);
    let login = [("mechanism", "SCRAM-SHA-512")];
    told(
        &RoundTripCase::new(&fixture, &path, "tls-and-login", ClientLibrary::FranzGo)
            .produce(&login)
            .consume(&login),
    );
}

#[test]
fn clients_speak_tls_to_the_sidecar() {
    let fixture = KafkaFixture::shared();
    let certificates = fixture.kafka.certificates().unwrap();
    let (cert, key) = (
        certificates.server.display().to_string(),
        certificates.server_key.display().to_string(),
    );
    let mut way = fixture.sidecar(
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
        told(&RoundTripCase::new(
            &fixture,
            &path,
            format!("{}-tls", client.name()),
            *client,
        ));
    }
}
