//! Limits that change while producers run, and a limit that no response names, directly and through
//! the sidecar: what the broker takes from the client, it takes through the sidecar, once and in
//! order.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and shows its cases"
)]

mod received_records;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::Message as _;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use received_records::receive;
use throughline_testkit::build::ProjectBinaries;
use throughline_testkit::collector::CollectorInstance;
use throughline_testkit::kafka::{ApacheBroker, ApacheBuilder, TopicSpec, create_topic};
use throughline_testkit::sidecar::SidecarInstance;

/// A broker, and a sidecar in front of it.
struct ChangesFixture {
    runtime: tokio::runtime::Runtime,
    // In the order in which they end.
    sidecar: SidecarInstance,
    _collector: CollectorInstance,
    kafka: ApacheBroker,
}

/// A producer, and the configurations that its topic gets in turn while it runs.
struct ChangesCase<'a> {
    name: &'a str,
    producer: &'a [(&'a str, &'a str)],
    config: &'a str,
    values: &'a [&'a str],
    /// Number of changes, at least: through the sidecar until a batch has been refused.
    changes: usize,
    /// Number of records that are sent before the results of the first of them are awaited.
    burst: usize,
    record_bytes: usize,
    /// Whether the records must be stored in their order: not of a producer without a sequence that
    /// has several requests in flight (docs/adr/0014).
    is_ordered: bool,
}

const TIMEOUT: Duration = Duration::from_secs(60);

/// Returns a value that begins with its number and hardly compresses.
fn value(number: usize, bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(number as u64);
    let mut value = format!("{number:08}").into_bytes();
    value.extend((8..bytes).map(|_| random.u8(b'a'..=b'z')));
    value
}

// === impl ChangesFixture ===

impl ChangesFixture {
    fn start(kafka: ApacheBuilder) -> Self {
        let kafka = kafka.start(&mut |step| eprintln!("{step}")).unwrap();
        let binary = &ProjectBinaries::build().unwrap().throughline;
        let collector = CollectorInstance::start(binary).unwrap();
        let otlp = collector.addresses().otlp_http;
        let sidecar = SidecarInstance::start(binary, kafka.bootstrap(), otlp, "changes", &[]);
        Self {
            runtime: tokio::runtime::Runtime::new().unwrap(),
            sidecar: sidecar.unwrap(),
            _collector: collector,
            kafka,
        }
    }

    fn paths(&self) -> [(&'static str, &str); 2] {
        [
            ("direct", self.kafka.bootstrap()),
            ("through", self.sidecar.bootstrap()),
        ]
    }

    fn metric(&self, name: &str) -> f64 {
        self.sidecar.metric(name).unwrap_or_default()
    }

    /// Runs a case on both paths: each record is acknowledged, and stored once, at its place.
    fn run(&self, case: &ChangesCase<'_>) {
        let replayed = || self.metric("throughline_kafka_batches_replayed_total");
        let before = replayed();
        for (path, bootstrap) in self.paths() {
            let topic = format!("{}-{path}", case.name);
            create_topic(self.kafka.bootstrap(), &TopicSpec::new(&topic, 1)).unwrap();
            let is_over = AtomicBool::new(false);
            let (sent, lost) = thread::scope(|scope| {
                let producer = scope.spawn(|| self.send(case, bootstrap, &topic, &is_over));
                let is_refused = || path == "direct" || replayed() > before;
                self.change(case, &topic, is_refused);
                is_over.store(true, Ordering::SeqCst);
                producer.join().unwrap()
            });
            let replayed = replayed() - before;
            eprintln!("{topic}: lost {lost} of {sent}, {replayed} sent again");
            assert_eq!(lost, 0, "{topic}: of {sent}");
            let stored = receive(self.kafka.bootstrap(), &topic, sent);
            let numbers = stored.iter().map(|record| {
                let number = record.payload().unwrap().get(..8).unwrap();
                std::str::from_utf8(number).unwrap().parse().unwrap()
            });
            let mut numbers: Vec<usize> = numbers.collect();
            if !case.is_ordered {
                numbers.sort_unstable();
            }
            assert_eq!(numbers, (0..sent).collect::<Vec<_>>(), "{topic}");
        }
        assert!(replayed() > before, "{}: no batch was refused", case.name);
    }

    /// Changes the configuration of a topic, past the sidecar, until that had its effect.
    fn change(&self, case: &ChangesCase<'_>, topic: &str, has_effect: impl Fn() -> bool) {
        let begin = Instant::now();
        for (number, value) in case.values.iter().cycle().enumerate() {
            if number >= case.changes && (has_effect() || begin.elapsed() > TIMEOUT) {
                return;
            }
            let alter = alter(self.kafka.bootstrap(), topic, case.config, value);
            self.runtime.block_on(alter);
        }
    }

    /// Sends records until the changes are over. Returns their number, and that of those without
    /// an acknowledgement.
    fn send(
        &self,
        case: &ChangesCase<'_>,
        bootstrap: &str,
        topic: &str,
        is_over: &AtomicBool,
    ) -> (usize, usize) {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", bootstrap)
            .set("queue.buffering.max.messages", "1000000")
            .set("delivery.timeout.ms", "50000");
        for (key, value) in case.producer {
            config.set(*key, *value);
        }
        let is_transactional = config.get("transactional.id").is_some();
        if is_transactional {
            config.set("transactional.id", topic);
        }
        let producer: FutureProducer = config.create().unwrap();
        if is_transactional {
            producer.init_transactions(TIMEOUT).unwrap();
        }
        let (mut sent, mut lost) = (0, 0);
        loop {
            if is_transactional {
                producer.begin_transaction().unwrap();
            }
            let deliveries: Vec<_> = (sent..sent + case.burst)
                .map(|number| {
                    let value = value(number, case.record_bytes);
                    let record = FutureRecord::<(), _>::to(topic).payload(&value);
                    let sent = producer.send_result(record);
                    sent.map_err(|(error, _)| error).unwrap()
                })
                .collect();
            sent += case.burst;
            for delivery in deliveries {
                let delivered = self.runtime.block_on(delivery).unwrap();
                lost += usize::from(delivered.is_err());
            }
            if is_transactional {
                producer.commit_transaction(TIMEOUT).unwrap();
            }
            if is_over.load(Ordering::SeqCst) {
                return (sent, lost);
            }
        }
    }
}

async fn alter(bootstrap: &str, topic: &str, config: &str, value: &str) {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", bootstrap);
    let client: AdminClient<DefaultClientContext> = client.create().unwrap();
    let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(config, value);
    let options = AdminOptions::new();
    for altered in client.alter_configs([&change], &options).await.unwrap() {
        altered.unwrap();
    }
}

#[test]
fn no_record_is_lost_or_moved_while_the_configuration_of_its_topic_changes() {
    let full = std::env::var_os("THROUGHLINE_FULL").is_some_and(|full| full == "1");
    let fixture = ChangesFixture::start(ApacheBroker::builder());
    // A record of 900 bytes is below the small limit without a context, and above it with one.
    let producers: [(&str, &[(&str, &str)]); 5] = [
        (
            "limit-acks-0",
            &[("batch.num.messages", "1"), ("acks", "0")],
        ),
        ("limit-pipelined", &[("batch.num.messages", "1")]),
        (
            "limit-plain",
            &[("batch.num.messages", "1"), ("max.in.flight", "1")],
        ),
        (
            "limit-idempotent",
            &[("batch.num.messages", "1"), ("enable.idempotence", "true")],
        ),
        (
            "limit-transactional",
            &[("batch.num.messages", "1"), ("transactional.id", "t")],
        ),
    ];
    for (name, producer) in producers {
        fixture.run(&ChangesCase {
            name,
            producer,
            config: "max.message.bytes",
            values: &["1000", "1048588"],
            changes: if full { 60 } else { 12 },
            burst: 20,
            record_bytes: 900,
            is_ordered: !matches!(name, "limit-acks-0" | "limit-pipelined"),
        });
    }
    // Batches that are near the limit before the broker has compressed them again, and above it
    // afterwards.
    let producers: [(&str, &[(&str, &str)]); 2] = [
        ("codec-idempotent", &[("enable.idempotence", "true")]),
        ("codec-transactional", &[("transactional.id", "t")]),
    ];
    for (name, producer) in producers {
        let batches = [
            ("compression.codec", "zstd"),
            ("linger.ms", "100"),
            ("batch.num.messages", "100000"),
        ];
        fixture.run(&ChangesCase {
            name,
            producer: &[producer, &batches].concat(),
            config: "compression.type",
            values: &["uncompressed", "lz4", "gzip", "snappy", "zstd", "producer"],
            changes: if full { 60 } else { 12 },
            burst: 20_000,
            record_bytes: 98,
            is_ordered: true,
        });
    }
}

/// The broker closes the connection at a request that is longer than `socket.request.max.bytes`,
/// without a response.
#[test]
fn no_record_is_lost_to_a_broker_that_closes_the_connection_at_a_long_request() {
    let limit = "1002000";
    let kafka = ApacheBroker::builder().property("socket.request.max.bytes", limit);
    let fixture = ChangesFixture::start(kafka);
    for (name, producer) in [
        ("plain", ("max.in.flight", "1")),
        ("idempotent", ("enable.idempotence", "true")),
    ] {
        for (path, bootstrap) in fixture.paths() {
            let topic = format!("request-{name}-{path}");
            create_topic(fixture.kafka.bootstrap(), &TopicSpec::new(&topic, 1)).unwrap();
            // Batches of 500 records and 1,000,000 bytes, which 500 contexts make too long.
            let case = ChangesCase {
                name,
                producer: &[
                    producer,
                    ("linger.ms", "300"),
                    ("batch.num.messages", "100000"),
                ],
                config: "",
                values: &[],
                changes: 0,
                burst: 3000,
                record_bytes: 2000,
                is_ordered: true,
            };
            let is_over = AtomicBool::new(true);
            let (sent, lost) = fixture.send(&case, bootstrap, &topic, &is_over);
            eprintln!("{topic}: lost {lost} of {sent}");
            assert_eq!(lost, 0, "{topic}: of {sent}");
            assert_eq!(receive(fixture.kafka.bootstrap(), &topic, sent).len(), sent);
        }
    }
    // The first enlarged request costs a connection, and no other one.
    let refused = fixture.metric("throughline_kafka_batches_refused_total");
    assert!((refused - 1.0).abs() < 0.5, "{refused}");
}
