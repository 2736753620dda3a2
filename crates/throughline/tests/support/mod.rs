//! What the Kafka tests share: a mock cluster, clients for it, and the spans that came out.
#![allow(dead_code, clippy::allow_attributes, clippy::mod_module_files, reason = "each test file uses a part")]

use std::fmt;
use std::time::Duration;

use opentelemetry::metrics::noop::NoopMeterProvider;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{DefaultProducerContext, FutureProducer};
use throughline::kafka::{Consumer, Producer, Settings};
use throughline::{Propagation, Telemetry};

/// A broker, a topic, and a place where finished spans gather.
pub(crate) struct Bench {
    pub(crate) cluster: MockCluster<'static, DefaultProducerContext>,
    topic: String,
    pub(crate) spans: InMemorySpanExporter,
    pub(crate) tracers: SdkTracerProvider,
}

/// The error of a handler.
#[derive(Debug)]
pub(crate) struct Failed(pub(crate) &'static str);

impl Bench {
    pub(crate) fn new(topic: &str) -> Self {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(topic, 1, 1).unwrap();
        let spans = InMemorySpanExporter::default();
        let tracers = SdkTracerProvider::builder().with_simple_exporter(spans.clone()).build();
        Self { cluster, topic: topic.to_owned(), spans, tracers }
    }

    pub(crate) fn telemetry(&self) -> Telemetry {
        self.telemetry_with(Propagation::default())
    }

    pub(crate) fn telemetry_with(&self, propagation: Propagation) -> Telemetry {
        Telemetry::new(&self.tracers, &NoopMeterProvider::new(), Some(propagation))
    }

    pub(crate) fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.cluster.bootstrap_servers())
            .set("group.id", "testers")
            .set("client.id", "tester")
            .set("auto.offset.reset", "earliest")
            .set("fetch.wait.max.ms", "5")
            .set("message.timeout.ms", "5000");
        config
    }

    pub(crate) fn producer(&self, settings: &Settings) -> Producer<FutureProducer> {
        Producer::new(self.config().create().unwrap(), settings.clone())
    }

    /// A consumer that is assigned the whole topic at once, without a group's rebalance.
    pub(crate) fn consumer(&self, settings: &Settings) -> Consumer<StreamConsumer> {
        let consumer: StreamConsumer = self.config().create().unwrap();
        consumer.subscribe(&[self.topic.as_str()]).unwrap();
        Consumer::new(consumer, settings.clone())
    }

    /// The one finished span of this name.
    pub(crate) fn span(&self, name: &str) -> SpanData {
        let mut found = self.named(name);
        assert_eq!(found.len(), 1, "spans named {name} among {:?}", self.names());
        found.remove(0)
    }

    pub(crate) fn named(&self, name: &str) -> Vec<SpanData> {
        self.finished().into_iter().filter(|span| span.name == name).collect()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.finished().into_iter().map(|span| span.name.into_owned()).collect()
    }

    pub(crate) fn finished(&self) -> Vec<SpanData> {
        self.spans.get_finished_spans().unwrap()
    }
}

/// The attributes as sorted text, for comparison as a whole.
pub(crate) fn attributes(span: &SpanData) -> Vec<String> {
    let mut all: Vec<_> = span.attributes.iter().map(|one| format!("{}={}", one.key, one.value)).collect();
    all.sort();
    all
}

/// How long a test waits for what must come.
pub(crate) const SOON: Duration = Duration::from_secs(20);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}
