//! Batches near the limits of their topics, directly and through the sidecar: what the broker takes
//! from the client, it takes through the sidecar.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and shows its cases"
)]

use std::time::Duration;

use rdkafka::Offset;
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
