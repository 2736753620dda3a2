//! The shared test bench: a mock cluster, its clients, and the finished spans.

use std::fmt;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::noop::NoopMeterProvider;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData, SpanLimits};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{DefaultProducerContext, FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use throughline::kafka::{Consumer, Producer, Settings};
use throughline::{Propagation, Telemetry};

/// A broker with one topic of one partition, and the finished spans.
pub(crate) struct Bench {
    pub(crate) cluster: MockCluster<'static, DefaultProducerContext>,
    pub(crate) tracers: SdkTracerProvider,
    spans: InMemorySpanExporter,
}

/// The error of a handler.
#[derive(Debug)]
pub(crate) struct Failed;

pub(crate) const TOPIC: &str = "orders";
/// Timeout of expected events.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// A context from another service.
pub(crate) const SENDER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
pub(crate) const SENDER_TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
pub(crate) const SENDER_SPAN: &str = "b7ad6b7169203331";
/// The context of another sender, in a trace of its own.
pub(crate) const OTHER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
pub(crate) const OTHER_SPAN: &str = "00f067aa0ba902b7";

// === impl Bench ===

impl Bench {
    pub(crate) fn new() -> Self {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(TOPIC, 1, 1).unwrap();
        let spans = InMemorySpanExporter::default();
        let limits = SpanLimits {
            max_links_per_span: 1024,
            ..SpanLimits::default()
        };
        let tracers = SdkTracerProvider::builder()
            .with_simple_exporter(spans.clone())
            .with_span_limits(limits);
        Self {
            cluster,
            tracers: tracers.build(),
            spans,
        }
    }

    pub(crate) fn settings(&self) -> Settings {
        self.settings_with(Propagation::default())
    }

    pub(crate) fn settings_with(&self, propagation: Propagation) -> Settings {
        let telemetry = Telemetry::new(&self.tracers, &NoopMeterProvider::new(), Some(propagation));
        Settings::from(&self.config()).telemetry(telemetry)
    }

    pub(crate) fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.cluster.bootstrap_servers())
            .set("group.id", "testers")
            .set("client.id", "tester")
            .set("fetch.wait.max.ms", "5")
            .set("enable.auto.commit", "false")
            .set("message.timeout.ms", "5000");
        config
    }

    pub(crate) fn producer(&self, settings: Settings) -> Producer<FutureProducer> {
        Producer::new(self.config().create().unwrap(), settings)
    }

    pub(crate) fn consumer(&self, settings: Settings) -> Consumer<StreamConsumer> {
        let consumer: StreamConsumer = self.config().create().unwrap();
        consumer.assign(&from_the_start()).unwrap();
        Consumer::new(consumer, settings)
    }

    /// Sends a record without the SDK, with these headers.
    #[expect(
        clippy::future_not_send,
        reason = "the mock cluster stays on the test's thread"
    )]
    pub(crate) async fn send_plain(&self, headers: &[(&str, Option<&str>)]) {
        let producer: FutureProducer = self.config().create().unwrap();
        let record = FutureRecord::<str, str>::to(TOPIC)
            .payload("v")
            .headers(owned(headers));
        producer.send(record, SOON).await.unwrap();
    }

    /// Returns the only finished span of this name.
    pub(crate) fn span(&self, name: &str) -> SpanData {
        let mut found = self.named(name);
        assert_eq!(
            found.len(),
            1,
            "spans named {name} among {:?}",
            self.names()
        );
        found.remove(0)
    }

    pub(crate) fn named(&self, name: &str) -> Vec<SpanData> {
        self.finished()
            .into_iter()
            .filter(|span| span.name == name)
            .collect()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.finished()
            .into_iter()
            .map(|span| span.name.into_owned())
            .collect()
    }

    pub(crate) fn finished(&self) -> Vec<SpanData> {
        self.spans.get_finished_spans().unwrap()
    }
}

pub(crate) fn from_the_start() -> TopicPartitionList {
    let mut all = TopicPartitionList::new();
    all.add_partition_offset(TOPIC, 0, Offset::Beginning)
        .unwrap();
    all
}

pub(crate) fn owned(headers: &[(&str, Option<&str>)]) -> OwnedHeaders {
    headers
        .iter()
        .fold(OwnedHeaders::new(), |all, (key, value)| {
            all.insert(Header { key, value: *value })
        })
}

/// Returns the headers of a record, in order.
pub(crate) fn headers_of(message: &BorrowedMessage<'_>) -> Vec<(String, Option<String>)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = message
        .headers()
        .into_iter()
        .flat_map(|headers| headers.iter());
    headers
        .map(|header| (header.key.to_owned(), header.value.map(text)))
        .collect()
}

/// Returns the attributes as sorted text, for comparison as a whole; without the time that a record
/// waited, which differs each time.
pub(crate) fn texts(attributes: &[KeyValue]) -> Vec<String> {
    let mut all: Vec<_> = attributes
        .iter()
        .filter(|one| one.key.as_str() != "throughline.kafka.queue_time")
        .map(|one| format!("{}={}", one.key, one.value))
        .collect();
    all.sort();
    all
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("out of stock")
    }
}
