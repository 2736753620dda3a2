//! Batches near the limits of their topics, directly and through the sidecar: what the broker takes
//! from the client, it takes through the sidecar.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and shows its cases"
)]

#[expect(dead_code, reason = "shared with other tests, which use more of it")]
mod wire;

use std::time::Duration;

use rdkafka::Offset;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer as _};
use rdkafka::topic_partition_list::TopicPartitionList;
use throughline_testkit::build::ProjectBinaries;
use throughline_testkit::collector::CollectorInstance;
use throughline_testkit::kafka::{ApacheBroker, TopicSpec, create_topic};
use throughline_testkit::sidecar::SidecarInstance;

/// A broker, and a sidecar in front of it.
struct LimitsFixture {
    runtime: tokio::runtime::Runtime,
    // In the order in which they end.
    sidecar: SidecarInstance,
    _collector: CollectorInstance,
    kafka: ApacheBroker,
}

/// Records to send, and how.
struct LimitsCase<'a> {
    name: String,
    /// Configuration of the topic.
    topic: &'a [(&'a str, &'a str)],
    /// Configuration of the producer.
    producer: &'a [(&'a str, &'a str)],
    records: Vec<Vec<u8>>,
    /// Whether each record is acknowledged before the next one is sent.
    is_single: bool,
}

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
const SOON: Duration = Duration::from_secs(60);

/// Returns values that hardly compress, so that compressed batches are near the limit as well.
fn values(count: usize, length: usize) -> Vec<Vec<u8>> {
    let mut random = fastrand::Rng::with_seed(7);
    let value = |_| (0..length).map(|_| random.u8(b'a'..=b'z')).collect();
    (0..count).map(value).collect()
}

// === impl LimitsFixture ===

impl LimitsFixture {
    fn start() -> Self {
        let kafka = ApacheBroker::builder();
        let kafka = kafka.start(&mut |step| eprintln!("{step}")).unwrap();
        let binary = &ProjectBinaries::build().unwrap().throughline;
        let collector = CollectorInstance::start(binary).unwrap();
        let otlp = collector.addresses().otlp_http;
        let sidecar = SidecarInstance::start(binary, kafka.bootstrap(), otlp, "limits", &[]);
        Self {
            runtime: tokio::runtime::Runtime::new().unwrap(),
            sidecar: sidecar.unwrap(),
            _collector: collector,
            kafka,
        }
    }

    /// Sends the records of a case directly and through the sidecar; none may be lost.
    fn run(&self, case: &LimitsCase<'_>) {
        let paths = [
            ("direct", self.kafka.bootstrap()),
            ("through", self.sidecar.bootstrap()),
        ];
        let lost = paths.map(|(path, bootstrap)| {
            let topic = format!("{}-{path}", case.name);
            let mut spec = TopicSpec::new(&topic, 1);
            for (key, value) in case.topic {
                spec = spec.config(*key, *value);
            }
            create_topic(self.kafka.bootstrap(), &spec).unwrap();
            self.runtime.block_on(case.send(bootstrap, &topic))
        });
        eprintln!("{}: lost {lost:?}", case.name);
        assert_eq!(lost, [0, 0], "{}: direct, through", case.name);
    }

    /// Returns the number of records of a topic with a context.
    fn contexts(&self, topic: &str, count: usize) -> usize {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.kafka.bootstrap())
            .set("group.id", "contexts")
            .set("fetch.message.max.bytes", "20000000")
            .create()
            .unwrap();
        let mut partitions = TopicPartitionList::new();
        partitions
            .add_partition_offset(topic, 0, Offset::Beginning)
            .unwrap();
        consumer.assign(&partitions).unwrap();
        let records = (0..count).map(|_| consumer.poll(SOON).unwrap().unwrap());
        let has_context = |headers: Option<&rdkafka::message::BorrowedHeaders>| {
            headers.is_some_and(|it| it.iter().any(|header| header.key == "traceparent"))
        };
        records.filter(|it| has_context(it.headers())).count()
    }
}

// === impl LimitsCase ===

impl LimitsCase<'_> {
    /// Returns the number of records that the broker did not acknowledge.
    async fn send(&self, bootstrap: &str, topic: &str) -> usize {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", bootstrap)
            .set("queue.buffering.max.messages", "1000000")
            .set("delivery.timeout.ms", "50000");
        for (key, value) in self.producer {
            config.set(*key, *value);
        }
        let is_transactional = self
            .producer
            .iter()
            .any(|(key, _)| *key == "transactional.id");
        if is_transactional {
            config.set("transactional.id", topic);
        }
        let producer: FutureProducer = config.create().unwrap();
        if is_transactional {
            producer.init_transactions(SOON).unwrap();
            producer.begin_transaction().unwrap();
        }
        let (mut lost, mut deliveries): (usize, Vec<DeliveryFuture>) = (0, Vec::new());
        for value in &self.records {
            let record = FutureRecord::<(), _>::to(topic).payload(value);
            deliveries.push(
                producer
                    .send_result(record)
                    .map_err(|(error, _)| error)
                    .unwrap(),
            );
            if self.is_single {
                for delivery in deliveries.drain(..) {
                    lost += usize::from(delivery.await.unwrap().is_err());
                }
            }
        }
        for delivery in deliveries {
            lost += usize::from(delivery.await.unwrap().is_err());
        }
        if is_transactional {
            producer.commit_transaction(SOON).unwrap();
        }
        lost
    }
}

#[test]
fn no_record_is_lost_to_a_limit_of_the_topic() {
    let fixture = LimitsFixture::start();
    let full = std::env::var_os("THROUGHLINE_FULL").is_some_and(|full| full == "1");
    // 10,000 records of 98 bytes fill a batch; the contexts make it larger than the default limit.
    let values_98 = values(12_000, 98);
    for producer in CODECS {
        for topic in CODECS {
            if !full && producer == topic {
                continue;
            }
            let stored = if topic == "none" {
                "uncompressed"
            } else {
                topic
            };
            fixture.run(&LimitsCase {
                name: format!("{producer}-to-{topic}"),
                topic: &[("compression.type", stored)],
                producer: &[
                    ("compression.codec", producer),
                    ("linger.ms", "300"),
                    ("batch.num.messages", "100000"),
                ],
                records: values_98.clone(),
                is_single: false,
            });
        }
    }
    let replayed = || {
        fixture
            .sidecar
            .metric("throughline_kafka_batches_replayed_total")
    };
    let by_codecs = replayed();
    eprintln!("replayed: {by_codecs:?}");
    assert!(by_codecs > Some(0.0), "no batch crossed the line");
    let producers: [(&str, &[(&str, &str)]); 4] = [
        ("plain", &[]),
        ("idempotent", &[("enable.idempotence", "true")]),
        (
            "transactional",
            &[("batch.num.messages", "1"), ("transactional.id", "t")],
        ),
        (
            "pipelined",
            &[("batch.num.messages", "1"), ("enable.idempotence", "true")],
        ),
    ];
    for (name, producer) in producers {
        fixture.run(&LimitsCase {
            name: format!("narrow-{name}"),
            topic: &[("max.message.bytes", "1000")],
            producer,
            records: values(40, 900),
            is_single: name == "plain" || name == "idempotent",
        });
    }
    eprintln!("replayed: {:?}", replayed());
    assert!(replayed() > by_codecs);
}

#[test]
fn batches_above_the_default_limit_get_contexts_once_the_topic_has_taken_one() {
    let fixture = LimitsFixture::start();
    fixture.run(&LimitsCase {
        name: "wide".to_owned(),
        topic: &[("max.message.bytes", "10485760")],
        producer: &[("message.max.bytes", "10485760")],
        records: values(4, 3_000_000),
        is_single: true,
    });
    assert_eq!(fixture.contexts("wide-direct", 4), 0);
    assert_eq!(fixture.contexts("wide-through", 4), 3, "all but the first");
}

/// The sidecar reads limits in the configurations that pass: no batch has to be refused first.
#[test]
fn limits_in_configurations_are_known_before_a_batch_is_refused() {
    let fixture = LimitsFixture::start();
    let through = fixture.sidecar.bootstrap().to_owned();
    let run = |name: &str, length: usize| {
        let case = LimitsCase {
            name: name.to_owned(),
            topic: &[],
            producer: &[("message.max.bytes", "10485760")],
            records: values(4, length),
            is_single: true,
        };
        let lost = fixture.runtime.block_on(case.send(&through, name));
        assert_eq!(lost, 0, "{name}");
    };
    let replayed = || {
        let name = "throughline_kafka_batches_replayed_total ";
        let metrics = fixture.sidecar.get("/metrics").unwrap().body;
        let value = metrics.lines().find_map(|line| line.strip_prefix(name));
        value.map_or(0, |it| it.parse::<u64>().unwrap())
    };
    // A record of 900 bytes fits into a batch of 1,000, with a context it does not.
    create_by_version_5(&through, "created", "1000");
    run("created", 900);
    let narrow = TopicSpec::new("described", 1).config("max.message.bytes", "1000");
    create_topic(fixture.kafka.bootstrap(), &narrow).unwrap();
    fixture.runtime.block_on(describe(&through, "described"));
    run("described", 900);
    assert_eq!(replayed(), 0, "a limit was not known");
    for topic in ["created", "described"] {
        assert_eq!(fixture.contexts(topic, 4), 0, "{topic}");
    }
    // A limit that is raised: the very first batch gets a context.
    let limit = [("max.message.bytes", "10485760")];
    fixture
        .runtime
        .block_on(alter(&through, "described", limit));
    run("described", 3_000_000);
    assert_eq!(fixture.contexts("described", 8), 4);
    // And one that is lowered.
    let limit = [("max.message.bytes", "1000")];
    fixture
        .runtime
        .block_on(alter(&through, "described", limit));
    run("described", 900);
    assert_eq!(fixture.contexts("described", 12), 4);
    assert_eq!(replayed(), 0, "a limit was not known");
    // Without a configuration, the first batch is refused and sent again.
    let unseen = TopicSpec::new("unseen", 1).config("max.message.bytes", "1000");
    create_topic(fixture.kafka.bootstrap(), &unseen).unwrap();
    run("unseen", 900);
    assert_eq!(replayed(), 1);
}

fn admin(bootstrap: &str) -> AdminClient<DefaultClientContext> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    config.create().unwrap()
}

async fn describe(bootstrap: &str, topic: &str) {
    let (client, options) = (admin(bootstrap), AdminOptions::new());
    let topics = [ResourceSpecifier::Topic(topic)];
    for described in client.describe_configs(&topics, &options).await.unwrap() {
        described.unwrap();
    }
}

async fn alter(bootstrap: &str, topic: &str, configs: [(&str, &str); 1]) {
    let (client, options) = (admin(bootstrap), AdminOptions::new());
    let mut change = AlterConfig::new(ResourceSpecifier::Topic(topic));
    for (name, value) in configs {
        change = change.set(name, value);
    }
    for altered in client.alter_configs([&change], &options).await.unwrap() {
        altered.unwrap();
    }
}

/// Creates a topic by CreateTopics version 5, whose response holds the configuration (KIP-525).
/// librdkafka and the testkit use earlier versions.
fn create_by_version_5(bootstrap: &str, topic: &str, limit: &str) {
    let text = |text: &str| [&[u8::try_from(text.len() + 1).unwrap()], text.as_bytes()].concat();
    let body = [
        // Tagged fields of the header; one topic.
        &[0, 2][..],
        &text(topic),
        // Partitions, replication factor: the default; no assignments; one configuration.
        &1_i32.to_be_bytes(),
        &(-1_i16).to_be_bytes(),
        &[1, 2],
        &text("max.message.bytes"),
        &text(limit),
        // Tagged fields of the configuration and the topic; timeout, validate_only, tagged fields.
        &[0, 0],
        &20_000_i32.to_be_bytes(),
        &[0, 0],
    ];
    let mut connection = wire::RawConnection::connect(bootstrap);
    connection.send(&wire::request(19, 5, 7, &body.concat()));
    let response = connection.receive();
    // Correlation id, tagged fields, throttle time, one topic, its name, error code.
    let error_code = response.get(4 + 1 + 4 + 1 + 1 + topic.len()..).unwrap();
    assert_eq!(error_code.first_chunk(), Some(&[0, 0]), "{response:?}");
}
