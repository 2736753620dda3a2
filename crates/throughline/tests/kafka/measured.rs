//! The metrics of the messaging conventions.

use std::collections::BTreeMap;

use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use rdkafka::consumer::{CommitMode, Consumer as _, ConsumerContext, StreamConsumer};
use rdkafka::producer::FutureRecord;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{ClientContext, Statistics};
use throughline::Telemetry;
use throughline::kafka::{Consumer, Settings};

use crate::bench::{Bench, Failed, SOON, TOPIC, from_the_start, texts};

/// Returns every data point: name and attributes of the metric, with its count.
fn points(exporter: &InMemoryMetricExporter) -> BTreeMap<String, u64> {
    let mut points = BTreeMap::new();
    for metrics in exporter.get_finished_metrics().unwrap() {
        for metric in metrics.scope_metrics().flat_map(|scope| scope.metrics()) {
            let mut note = |attributes: Vec<_>, count| {
                points.insert(
                    format!("{} {}", metric.name(), texts(&attributes).join(" ")),
                    count,
                );
            };
            match metric.data() {
                AggregatedMetrics::U64(MetricData::Sum(sum)) => {
                    sum.data_points().for_each(|point| {
                        note(point.attributes().cloned().collect(), point.value());
                    });
                }
                AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
                    histogram.data_points().for_each(|point| {
                        note(point.attributes().cloned().collect(), point.count());
                    });
                }
                AggregatedMetrics::I64(MetricData::Gauge(gauge)) => {
                    gauge.data_points().for_each(|point| {
                        let value = u64::try_from(point.value()).unwrap();
                        note(point.attributes().cloned().collect(), value);
                    });
                }
                AggregatedMetrics::F64(_)
                | AggregatedMetrics::U64(_)
                | AggregatedMetrics::I64(_) => {}
            }
        }
    }
    points
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sent_and_consumed_messages_and_processing_time_are_measured() {
    let bench = Bench::new();
    let exporter = InMemoryMetricExporter::default();
    let meters = SdkMeterProvider::builder()
        .with_reader(PeriodicReader::builder(exporter.clone()).build())
        .build();
    let settings = bench
        .settings()
        .telemetry(Telemetry::new(&bench.tracers, &meters, None));
    let (producer, consumer) = (bench.producer(settings.clone()), bench.consumer(settings));
    let record = || FutureRecord::<str, str>::to(TOPIC).payload("v");
    producer.send(record(), SOON).await.unwrap();
    producer.send(record(), SOON).await.unwrap();
    let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    bench
        .cluster
        .request_errors(RDKafkaApiKey::Produce, &[refusal]);
    producer.send(record(), SOON).await.unwrap_err();
    consumer
        .recv()
        .await
        .unwrap()
        .handle(async { Ok::<_, Failed>(()) })
        .await
        .unwrap();
    drop(consumer.recv().await.unwrap());
    meters.force_flush().unwrap();

    let (consumed, sent) = (
        "messaging.client.consumed.messages",
        "messaging.client.sent.messages",
    );
    let processed = "messaging.process.duration";
    let of = "messaging.destination.name=orders";
    let name = "messaging.operation.name";
    let (group, kafka) = (
        "messaging.consumer.group.name=testers",
        "messaging.system=kafka",
    );
    let refused = "error.type=TOPIC_AUTHORIZATION_FAILED";
    let took = "messaging.client.operation.duration";
    let expected = [
        (format!("{took} {refused} {of} {name}=send {kafka}"), 1),
        (format!("{took} {of} {name}=send {kafka}"), 2),
        (format!("{took} {group} {of} {name}=poll {kafka}"), 2),
        (format!("{consumed} {group} {of} {name}=poll {kafka}"), 2),
        (format!("{sent} {refused} {of} {name}=send {kafka}"), 1),
        (format!("{sent} {of} {name}=send {kafka}"), 2),
        (
            format!("{processed} {group} {of} {name}=process {kafka}"),
            1,
        ),
        // The second record was dropped unhandled.
        (
            format!("{processed} error.type=cancelled {group} {of} {name}=process {kafka}"),
            1,
        ),
    ];
    let found: BTreeMap<_, _> = points(&exporter)
        .into_iter()
        .filter(|(name, _)| name.starts_with("messaging"))
        .collect();
    assert_eq!(found, BTreeMap::from(expected));
}

/// A context that records librdkafka's statistics.
struct MeasuredContext(Settings);

impl ClientContext for MeasuredContext {
    fn stats(&self, statistics: Statistics) {
        self.0.record_statistics(&statistics);
    }
}

impl ConsumerContext for MeasuredContext {}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lag_of_a_consumer_is_measured_by_the_statistics_of_librdkafka() {
    let bench = Bench::new();
    for _ in 0..3 {
        bench.send_plain(&[]).await;
    }
    let exporter = InMemoryMetricExporter::default();
    let meters = SdkMeterProvider::builder()
        .with_reader(PeriodicReader::builder(exporter.clone()).build())
        .build();
    let telemetry = Telemetry::new(&bench.tracers, &meters, None);
    let settings = bench.settings().telemetry(telemetry);
    let mut config = bench.config();
    config.set("statistics.interval.ms", "20");
    let inner: StreamConsumer<MeasuredContext> = config
        .create_with_context(MeasuredContext(settings.clone()))
        .unwrap();
    inner.assign(&from_the_start()).unwrap();
    let consumer = Consumer::new(inner, settings);
    let delivery = consumer.recv().await.unwrap();
    consumer.settle(&delivery, CommitMode::Sync).unwrap();
    let lag = "throughline.kafka.consumer.lag messaging.client.id=tester \
               messaging.consumer.group.name=testers messaging.destination.name=orders \
               messaging.destination.partition.id=0 messaging.system=kafka";
    let deadline = std::time::Instant::now() + SOON;
    while points(&exporter).get(lag) != Some(&2) {
        assert!(
            std::time::Instant::now() < deadline,
            "{:?}",
            points(&exporter)
        );
        // The consumer reads its statistics while it waits for records.
        let wait = std::time::Duration::from_millis(20);
        drop(tokio::time::timeout(wait, consumer.recv()).await);
        meters.force_flush().unwrap();
    }
}
