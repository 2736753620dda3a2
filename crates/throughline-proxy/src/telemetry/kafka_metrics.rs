//! Metrics of Kafka connections, in the OpenMetrics text format.

mod label;
mod lag;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use throughline_intercept::Side;
use throughline_intercept::kafka::{ApiKey, PartitionIndex, SkipReason};

use self::label::{ApiLabels, ByteLabels, KafkaReasonLabels, LagLabels, LatencyLabels, side_label};
use self::lag::{LagKey, LagTable};

pub(crate) use self::label::ConnectionFailure;

/// The reason of spans that the exporter's queue had no room for.
const QUEUE_FULL: &str = "queue_full";

/// The metrics of all Kafka connections.
#[derive(Debug)]
pub(crate) struct KafkaMetrics {
    registry: Registry,
    bytes: Family<ByteLabels, Counter>,
    requests: Family<ApiLabels, Counter>,
    pub(crate) records_injected: Counter,
    pub(crate) batches_replayed: Counter,
    pub(crate) records_retried: Counter,
    pub(crate) records_unsampled: Counter,
    passed: Family<KafkaReasonLabels, Counter>,
    pub(crate) spans: Counter,
    spans_dropped: Family<KafkaReasonLabels, Counter>,
    spans_sent: Counter,
    spans_queued: Gauge,
    pub(crate) records_unsettled: Counter,
    pub(crate) batches_refused: Counter,
    pub(crate) connections: Counter,
    pub(crate) connections_open: Gauge,
    connections_failed: Family<KafkaReasonLabels, Counter>,
    added_latency: Family<LatencyLabels, Histogram, fn() -> Histogram>,
    frame_held: Histogram,
    held_bytes: Gauge,
    deliveries_open: Gauge,
    consumer_lag: Family<LagLabels, Gauge>,
    lag_table: Mutex<LagTable>,
    /// Serialises scrapes: each clears and rebuilds the lag of all groups.
    scrape: Mutex<()>,
}

/// The counters of one side, updated with each read and write of a connection.
#[derive(Debug, Clone)]
pub(crate) struct SideCounters {
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
    /// Time from a read on the other side to the end of the write on this side.
    pub(crate) latency: Histogram,
}

/// The counters of the span exporter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExporterCounts {
    /// Spans accepted by the collector.
    pub sent: u64,
    /// Spans in the queue.
    pub queued: u64,
    /// Spans lost behind the queue, by reason.
    pub dropped: Vec<(&'static str, u64)>,
}

/// Values that are read from the clusters at each scrape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ClusterGauges {
    pub(crate) held_bytes: usize,
    pub(crate) deliveries_open: usize,
}

// === impl KafkaMetrics ===

impl KafkaMetrics {
    pub(crate) fn new() -> Self {
        // Buckets from 10 µs to 1.3 s, each twice the one before.
        let latency: fn() -> Histogram = || Histogram::new(exponential_buckets(10e-6, 2.0, 18));
        let mut metrics = Self {
            registry: Registry::default(),
            bytes: Family::default(),
            requests: Family::default(),
            records_injected: Counter::default(),
            batches_replayed: Counter::default(),
            records_retried: Counter::default(),
            records_unsampled: Counter::default(),
            passed: Family::default(),
            spans: Counter::default(),
            spans_dropped: Family::default(),
            spans_sent: Counter::default(),
            spans_queued: Gauge::default(),
            records_unsettled: Counter::default(),
            batches_refused: Counter::default(),
            connections: Counter::default(),
            connections_open: Gauge::default(),
            connections_failed: Family::default(),
            added_latency: Family::new_with_constructor(latency),
            frame_held: latency(),
            held_bytes: Gauge::default(),
            deliveries_open: Gauge::default(),
            consumer_lag: Family::default(),
            lag_table: Mutex::default(),
            scrape: Mutex::default(),
        };
        let mut registry = Registry::with_prefix("throughline_kafka");
        metrics.register_traffic(&mut registry);
        metrics.register_spans(&mut registry);
        metrics.registry = registry;
        metrics.create_zeros();
        metrics
    }

    fn register_traffic(&self, r: &mut Registry) {
        r.register(
            "bytes",
            "Bytes read and written, by side and direction",
            self.bytes.clone(),
        );
        r.register(
            "requests",
            "Requests of clients, by API",
            self.requests.clone(),
        );
        r.register(
            "connections",
            "Client connections",
            self.connections.clone(),
        );
        r.register(
            "connections_open",
            "Open client connections",
            self.connections_open.clone(),
        );
        r.register(
            "connections_failed",
            "Failed client connections, by reason",
            self.connections_failed.clone(),
        );
        r.register_with_unit(
            "added_latency",
            "Time from reading bytes on one side to writing them on the other",
            Unit::Seconds,
            self.added_latency.clone(),
        );
        r.register_with_unit(
            "frame_held",
            "Time that frames were buffered until complete",
            Unit::Seconds,
            self.frame_held.clone(),
        );
        r.register(
            "held_bytes",
            "Bytes reserved for frames that are kept until complete",
            self.held_bytes.clone(),
        );
    }

    fn register_spans(&self, r: &mut Registry) {
        r.register(
            "records_injected",
            "Records that a trace context was injected into",
            self.records_injected.clone(),
        );
        r.register(
            "batches_replayed",
            "Original batches sent after the broker rejected the ones with contexts",
            self.batches_replayed.clone(),
        );
        r.register(
            "records_retried",
            "Records that their producer sent again, without another span",
            self.records_retried.clone(),
        );
        r.register(
            "records_unsampled",
            "Records left out by sampling",
            self.records_unsampled.clone(),
        );
        r.register(
            "passed",
            "Records and requests that passed without being read or without a context, by reason",
            self.passed.clone(),
        );
        r.register("spans", "Spans created", self.spans.clone());
        r.register(
            "spans_dropped",
            "Spans lost, by reason",
            self.spans_dropped.clone(),
        );
        r.register(
            "spans_sent",
            "Spans accepted by the collector",
            self.spans_sent.clone(),
        );
        r.register(
            "spans_queued",
            "Spans waiting for export",
            self.spans_queued.clone(),
        );
        r.register(
            "records_unsettled",
            "Deliveries dropped before a commit: timed out, delivered again, or over capacity",
            self.records_unsettled.clone(),
        );
        r.register(
            "batches_refused",
            "Batches that the broker rejected after injection",
            self.batches_refused.clone(),
        );
        r.register(
            "deliveries_open",
            "Delivered records that are not committed yet",
            self.deliveries_open.clone(),
        );
        r.register(
            "consumer_lag",
            "Records behind the end of the partitions seen here, by group and topic",
            self.consumer_lag.clone(),
        );
    }

    /// Creates all series with fixed labels at 0, so that rates are right from the first event on.
    fn create_zeros(&self) {
        for side in [Side::Client, Side::Broker] {
            drop(self.side(side));
        }
        for reason in SkipReason::ALL {
            let reason = reason.name();
            drop(self.passed.get_or_create(&KafkaReasonLabels { reason }));
        }
        for failure in ConnectionFailure::ALL {
            let reason = failure.label();
            let labels = KafkaReasonLabels { reason };
            drop(self.connections_failed.get_or_create(&labels));
        }
        for reason in [
            QUEUE_FULL,
            SkipReason::SpanRate.name(),
            SkipReason::Capacity.name(),
        ] {
            let labels = KafkaReasonLabels { reason };
            drop(self.spans_dropped.get_or_create(&labels));
        }
    }

    /// Returns the counters of one side of a connection.
    pub(crate) fn side(&self, side: Side) -> SideCounters {
        let side = side_label(side);
        let counter = |direction| {
            self.bytes
                .get_or_create_owned(&ByteLabels { side, direction })
        };
        SideCounters {
            received: counter("received"),
            sent: counter("sent"),
            latency: self
                .added_latency
                .get_or_create_owned(&LatencyLabels { to: side }),
        }
    }

    pub(crate) fn request(&self, api: ApiKey) {
        // Keys come off the wire: unknown ones share a label, so that they cannot create series.
        let api = api.name().unwrap_or("unknown");
        self.requests.get_or_create(&ApiLabels { api }).inc();
    }

    pub(crate) fn passed(&self, reason: SkipReason, records: u32) {
        let reason = reason.name();
        // An unknown number of records counts as one.
        self.passed
            .get_or_create(&KafkaReasonLabels { reason })
            .inc_by(records.max(1).into());
    }

    pub(crate) fn spans_dropped(&self, reason: SkipReason, spans: u32) {
        let reason = reason.name();
        self.spans_dropped
            .get_or_create(&KafkaReasonLabels { reason })
            .inc_by(spans.into());
    }

    /// Counts spans that the exporter's queue had no room for.
    pub(crate) fn span_queue_full(&self, spans: usize) {
        self.spans_dropped
            .get_or_create(&KafkaReasonLabels { reason: QUEUE_FULL })
            .inc_by(u64::try_from(spans).unwrap_or(u64::MAX));
    }

    pub(crate) fn connection_failed(&self, failure: ConnectionFailure) {
        let reason = failure.label();
        self.connections_failed
            .get_or_create(&KafkaReasonLabels { reason })
            .inc();
    }

    pub(crate) fn frame_held(&self, time: Duration) {
        self.frame_held.observe(time.as_secs_f64());
    }

    pub(crate) fn consumer_lag(
        &self,
        group: Option<&str>,
        topic: &Arc<str>,
        partition: PartitionIndex,
        lag: i64,
    ) {
        self.lag_table
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .set(
                LagKey {
                    group: Arc::from(group.unwrap_or_default()),
                    topic: Arc::clone(topic),
                },
                partition,
                lag,
                Instant::now(),
            );
    }

    /// Copies the exporter's counters.
    pub(crate) fn update_exporter(&self, counts: &ExporterCounts) {
        raise_to(&self.spans_sent, counts.sent);
        self.spans_queued.set(to_gauge(counts.queued));
        for (reason, count) in &counts.dropped {
            let labels = KafkaReasonLabels { reason };
            raise_to(&self.spans_dropped.get_or_create(&labels), *count);
        }
    }

    /// Returns all metrics as text, together with those of other registries.
    pub(crate) fn render(&self, gauges: ClusterGauges, others: &[&Registry]) -> String {
        // Two scrapes at a time would each see a half-built set of series.
        let _scrape = self.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        self.held_bytes.set(to_gauge(gauges.held_bytes));
        self.deliveries_open.set(to_gauge(gauges.deliveries_open));
        // Groups and topics come and go, so the series are rebuilt for each scrape.
        self.consumer_lag.clear();
        // The lock is released before encoding, because connections take it with each fetch.
        let sums = self
            .lag_table
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .sums(Instant::now());
        for (LagKey { group, topic }, lag) in sums {
            let labels = LagLabels {
                group: group.to_string(),
                topic: topic.to_string(),
            };
            self.consumer_lag.get_or_create(&labels).set(lag);
        }
        let mut text = String::new();
        // Writing to a string cannot fail.
        encode_registry(&mut text, &self.registry).unwrap_or_default();
        for registry in others {
            encode_registry(&mut text, registry).unwrap_or_default();
        }
        encode_eof(&mut text).unwrap_or_default();
        text
    }
}

/// Raises a counter to an absolute value.
fn raise_to(counter: &Counter, value: u64) {
    // Adding the difference would count it twice when two scrapes race.
    counter.inner().fetch_max(value, Ordering::Relaxed);
}

fn to_gauge(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
