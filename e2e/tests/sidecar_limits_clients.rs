//! Batches near the limits of their topics, of clients in several languages, directly and through
//! the sidecar: what the broker takes from the client, it takes through the sidecar, once and in
//! order. `sidecar_limits.rs` has the same with librdkafka.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
#![expect(clippy::print_stderr, reason = "shows the result of each case")]

#[expect(dead_code, reason = "shared with other tests, which use more of it")]
mod support;

use std::path::Path;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use support::case::BrokerPath;
use support::fixture::{KafkaFixture, full};
use support::record::TestRecord;
use support::run;
use throughline_testkit::clients::ClientLibrary;
use throughline_testkit::kafka::{ApacheBroker, EARLIER_VERSION, TopicSpec, create_topic};
use throughline_testkit::wait;

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// Clients that run with every pair of codecs; the others run with the pairs of neighbors.
const EVERY_PAIR: [ClientLibrary; 2] = [ClientLibrary::Java, ClientLibrary::FranzGo];

/// Options under which a batch of any client holds up to 1,000,000 bytes, and so becomes larger
/// than the default limit of a topic by its contexts.
const LARGE_BATCHES: [(&str, &str); 2] = [("batch-size", "1000000"), ("linger", "300")];

/// Options under which a batch has one record of 900 bytes, and is below a limit of 1,000 bytes.
const SINGLE_BATCHES: [(&str, &str); 2] = [("batch-size", "1000"), ("linger", "0")];

/// Java's producer sends the batches of several partitions in one request.
const PARTITIONS: u16 = 3;

const ADMIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Names and values of client options.
type ClientOptions = Vec<(&'static str, &'static str)>;

/// Records to send, and how.
struct ClientLimitsCase<'a> {
    name: String,
    client: ClientLibrary,
    /// Configuration of the topic.
    topic: &'a [(&'a str, &'a str)],
    /// Options of the client.
    producer: Vec<(&'a str, &'a str)>,
    records: Vec<TestRecord>,
    partitions: u16,
    /// Configuration of the topic from the middle of the records on.
    later: Option<(&'a str, &'a str)>,
}

/// The running parts.
struct ClientLimitsFixture<'a> {
    kafka: &'a KafkaFixture,
    path: BrokerPath,
    runtime: tokio::runtime::Runtime,
}

/// Returns records for these partitions in turn. They hardly compress, so that compressed batches
/// are near the limit as well.
fn records(count: usize, length: usize, partitions: u16) -> Vec<TestRecord> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut value = || (0..length).map(|_| random.u8(b'a'..=b'z')).collect();
    let partition = |number| i32::try_from(number % usize::from(partitions)).unwrap();
    let record = |number| TestRecord {
        partition: partition(number),
        timestamp: None,
        key: None,
        value: Some(value()),
        headers: Vec::new(),
    };
    (0..count).map(record).collect()
}

/// Returns whether a client can compress with a codec.
fn has_codec(client: ClientLibrary, codec: &str) -> bool {
    codec != "zstd" || !ClientLibrary::EARLIER.contains(&client)
}

/// Returns the guarantees that a client can give, and the options for each.
fn guarantees(client: ClientLibrary) -> Vec<(&'static str, ClientOptions)> {
    let mut found = vec![
        ("acks-0", vec![("acks", "0")]),
        ("acks-1", vec![("acks", "1")]),
    ];
    let is_old = ClientLibrary::EARLIER.contains(&client);
    let has_sequence = client != ClientLibrary::KafkaGo && client != ClientLibrary::KafkaPython14;
    if has_sequence {
        // Clients before 1.0 send one request at a time with idempotence.
        let in_flight = if is_old { "1" } else { "5" };
        found.push((
            "idempotent",
            vec![("idempotent", "true"), ("in-flight", in_flight)],
        ));
        found.push((
            "transactional",
            vec![("transactional", "t"), ("in-flight", in_flight)],
        ));
    }
    found
}

// === impl ClientLimitsFixture ===

impl<'a> ClientLimitsFixture<'a> {
    fn new(kafka: &'a KafkaFixture) -> Self {
        Self {
            kafka,
            path: kafka.sidecar("client-limits", &[]),
            runtime: tokio::runtime::Runtime::new().unwrap(),
        }
    }

    /// Returns the number of batches that the sidecar sent again without contexts.
    fn replayed(&self) -> f64 {
        let name = "throughline_kafka_batches_replayed_total";
        let sidecar = self.path.sidecar.as_ref();
        sidecar.and_then(|it| it.metric(name)).unwrap_or_default()
    }

    /// Sends the records of a case directly and through the sidecar; none may be lost, repeated or
    /// moved.
    fn run(&self, case: &ClientLimitsCase<'_>) {
        if std::env::var("THROUGHLINE_CASE").is_ok_and(|wanted| !case.name.contains(&wanted)) {
            return;
        }
        let before = self.replayed();
        let paths = [
            ("direct", self.kafka.kafka.bootstrap()),
            ("through", &*self.path.bootstrap),
        ];
        let lost = paths.map(|(path, bootstrap)| self.lost(case, bootstrap, path));
        let replayed = self.replayed() - before;
        eprintln!(
            "{}: lost {lost:?}, {replayed} batches sent again",
            case.name
        );
        assert_eq!(lost, [0, 0], "{}: direct, through", case.name);
    }

    /// Returns the number of records that are not acknowledged, or not stored in their order.
    fn lost(&self, case: &ClientLimitsCase<'_>, bootstrap: &str, path: &str) -> usize {
        let topic = format!("{}-{path}", case.name);
        let mut spec = TopicSpec::new(&topic, case.partitions);
        for (key, value) in case.topic {
            spec = spec.config(*key, *value);
        }
        create_topic(self.kafka.kafka.bootstrap(), &spec).unwrap();
        self.wait_for_leaders(&topic, case.partitions);
        let gate = tempfile::tempdir().unwrap();
        let gate = gate.path().join("open");
        let (gate_path, half) = (gate.display().to_string(), case.records.len() / 2);
        let half_text = half.to_string();
        let mut options = case.producer.clone();
        for option in &mut options {
            if option.0 == "transactional" {
                option.1 = &topic;
            }
        }
        if case.later.is_some() {
            options.extend([("gate-at", &*half_text), ("gate", &*gate_path)]);
        }
        let client = self.kafka.client(case.client);
        let producer = run::produce(client, bootstrap, &topic, &case.records, &options);
        if let Some(later) = case.later {
            producer.wait_for_lines(half);
            self.runtime.block_on(self.configure(&topic, later));
            std::fs::write(Path::new(&gate), "").unwrap();
        }
        let acknowledged = producer.acknowledged_in_part();
        if case.is_counted_by_acks() {
            return case.records.len() - acknowledged.len();
        }
        self.misplaced(case, &topic)
    }

    /// Waits until the broker leads all partitions: without acknowledgements, records that come
    /// earlier are lost.
    fn wait_for_leaders(&self, topic: &str, partitions: u16) {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.kafka.kafka.bootstrap())
            .create()
            .unwrap();
        for partition in 0..i32::from(partitions) {
            let offsets = || {
                consumer
                    .fetch_watermarks(topic, partition, ADMIN_TIMEOUT)
                    .ok()
            };
            assert!(wait::until(ADMIN_TIMEOUT, offsets).is_some(), "{topic}");
        }
    }

    /// Returns the number of records that are not in the log once; of a producer with a sequence,
    /// at their place.
    fn misplaced(&self, case: &ClientLimitsCase<'_>, topic: &str) -> usize {
        let count = case.records.len();
        let reader = self.kafka.client(ClientLibrary::FranzGo);
        let options = [("isolation", "read_committed"), ("limit", "30")];
        let bootstrap = self.kafka.kafka.bootstrap();
        let stored = run::consume(reader, bootstrap, topic, count, &options).consumed();
        let sent = case.records.iter();
        let sent = sent.map(|it| (it.partition, it.value.as_deref()));
        let stored = stored.iter().map(|it| (it.partition, it.value.as_deref()));
        let mut stored: Vec<(i32, Option<&[u8]>)> = stored.collect();
        let mut sent: Vec<(i32, Option<&[u8]>)> = sent.collect();
        if case.has_sequence() {
            // In the order of each partition.
            stored.sort_by_key(|(partition, _)| *partition);
            sent.sort_by_key(|(partition, _)| *partition);
        } else {
            // Retries of such a producer may change the order (docs/adr/0014).
            stored.sort_unstable();
            sent.sort_unstable();
        }
        let in_place = sent.iter().zip(&stored).filter(|(one, other)| one == other);
        count.max(stored.len()) - in_place.count()
    }

    /// Changes the configuration of a topic.
    async fn configure(&self, topic: &str, (key, value): (&str, &str)) {
        let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
            .set("bootstrap.servers", self.kafka.kafka.bootstrap())
            .create()
            .unwrap();
        let topic = ResourceSpecifier::Topic(topic);
        let config = AlterConfig::new(topic).set(key, value);
        let options = AdminOptions::new().operation_timeout(Some(ADMIN_TIMEOUT));
        for result in admin.alter_configs(&[config], &options).await.unwrap() {
            result.unwrap();
        }
    }

    /// Runs pairs of the codecs of producer and topic. The contexts make each batch larger than the
    /// default limit, before or after the broker has compressed it again.
    fn run_codecs(&self, client: ClientLibrary, pairs: &[(&str, &str)]) {
        let records = records(12_000, 98, 1);
        for (codec, stored) in pairs {
            if !has_codec(client, codec) {
                continue;
            }
            let is_plain = *stored == "none";
            let compression = if is_plain { "uncompressed" } else { *stored };
            self.run(&ClientLimitsCase {
                name: format!("{}-{codec}-to-{stored}", client.name()),
                client,
                topic: &[("compression.type", compression)],
                producer: [&[("codec", *codec)][..], &LARGE_BATCHES].concat(),
                records: records.clone(),
                partitions: 1,
                later: None,
            });
        }
    }

    /// Runs every guarantee on topics with a small limit, and with one that is lowered or raised.
    fn run_guarantees(&self, client: ClientLibrary) {
        let small = ("max.message.bytes", "1000");
        let large = ("max.message.bytes", "1048588");
        for (guarantee, options) in guarantees(client) {
            let cases = [
                ("small", [small], None),
                ("lowered", [large], Some(small)),
                ("raised", [small], Some(large)),
            ];
            for (limit, topic, later) in cases {
                // Transactions have no gate, and without acknowledgements a client writes no line
                // that the test could wait for.
                if later.is_some() && matches!(guarantee, "transactional" | "acks-0") {
                    continue;
                }
                self.run(&ClientLimitsCase {
                    name: format!("{}-{guarantee}-{limit}", client.name()),
                    client,
                    topic: &topic,
                    producer: [&options[..], &SINGLE_BATCHES].concat(),
                    records: records(60, 900, PARTITIONS),
                    partitions: PARTITIONS,
                    later,
                });
            }
        }
    }

    /// Runs a producer that divides a batch which the broker refuses (KIP-126). The batches of the
    /// client are above the limit, and parts of them are only above it with contexts. Java's client
    /// 2.4 sends the same batch again for ever, without the sidecar as well.
    fn run_division(&self, client: ClientLibrary) {
        for (guarantee, options) in guarantees(client) {
            if matches!(guarantee, "transactional" | "acks-0") {
                continue;
            }
            let batches = [("batch-size", "16384"), ("linger", "100")];
            self.run(&ClientLimitsCase {
                name: format!("{}-{guarantee}-divided", client.name()),
                client,
                topic: &[("max.message.bytes", "5000")],
                producer: [&options[..], &batches].concat(),
                records: records(600, 100, PARTITIONS),
                partitions: PARTITIONS,
                later: None,
            });
        }
    }
}

// === impl ClientLimitsCase ===

impl ClientLimitsCase<'_> {
    /// Returns whether the producer numbers its batches.
    fn has_sequence(&self) -> bool {
        let mut options = self.producer.iter();
        options.any(|(name, _)| matches!(*name, "idempotent" | "transactional"))
    }

    /// Returns whether acknowledgements show everything; else the log is read.
    fn is_counted_by_acks(&self) -> bool {
        self.producer.iter().any(|(name, _)| *name == "codec")
    }
}

/// Returns all pairs of codecs, or the pairs of each codec with the next one.
fn pairs(is_every: bool) -> Vec<(&'static str, &'static str)> {
    let mut pairs = Vec::new();
    for (number, codec) in CODECS.into_iter().enumerate() {
        let next = CODECS[(number + 1) % CODECS.len()];
        let others = CODECS.into_iter().filter(|it| is_every || *it == next);
        pairs.extend(others.map(|other| (codec, other)));
    }
    pairs
}

/// Returns the clients that a current Kafka accepts, without kafkajs: it has no limit for a batch.
fn all() -> Vec<ClientLibrary> {
    let mut clients = [&ClientLibrary::ALL[..], &ClientLibrary::FURTHER].concat();
    clients.retain(|client| *client != ClientLibrary::Kafkajs);
    clients
}

#[test]
fn no_record_of_any_client_is_lost_to_a_codec_of_the_topic() {
    let kafka = KafkaFixture::shared();
    let fixture = ClientLimitsFixture::new(&kafka);
    if full() {
        for client in EVERY_PAIR {
            fixture.run_codecs(client, &pairs(true));
        }
        for client in all().into_iter().filter(|it| !EVERY_PAIR.contains(it)) {
            fixture.run_codecs(client, &pairs(false));
        }
    } else {
        fixture.run_codecs(ClientLibrary::Java, &[("lz4", "none")]);
        fixture.run_codecs(
            ClientLibrary::FranzGo,
            &[("zstd", "lz4"), ("gzip", "snappy")],
        );
    }
    if fixture.path.sidecar.is_some() {
        assert!(fixture.replayed() > 0.0, "no batch crossed the line");
    }
}

#[test]
fn no_record_of_any_client_is_lost_to_a_small_or_changing_limit() {
    let kafka = KafkaFixture::shared();
    let fixture = ClientLimitsFixture::new(&kafka);
    if full() {
        for client in all() {
            fixture.run_guarantees(client);
        }
    } else {
        fixture.run_guarantees(ClientLibrary::FranzGo);
    }
    fixture.run_division(ClientLibrary::Java);
    if fixture.path.sidecar.is_some() {
        assert!(fixture.replayed() > 0.0, "no batch crossed the line");
    }
}

#[test]
fn no_record_of_an_earlier_client_is_lost_to_a_limit() {
    if !full() {
        return;
    }
    let kafka = KafkaFixture::start(ApacheBroker::builder().version(EARLIER_VERSION));
    let fixture = ClientLimitsFixture::new(&kafka);
    for client in ClientLibrary::EARLIER {
        fixture.run_codecs(client, &pairs(false));
        fixture.run_guarantees(client);
    }
}
