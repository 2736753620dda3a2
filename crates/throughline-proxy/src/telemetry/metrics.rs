//! What the proxy counts, told in the text of OpenMetrics, which Prometheus reads.
//!
//! Labels come from fixed sets, but for groups and topics, of which only so many are told (`lag`).

mod lag;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use throughline_intercept::Side;
use throughline_intercept::kafka::{ApiKey, Reason};

use self::lag::Lags;

/// Everything that is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    bytes: Family<Flow, Counter>,
    requests: Family<Api, Counter>,
    pub(crate) injected: Counter,
    pub(crate) unsampled: Counter,
    passed: Family<Cause, Counter>,
    pub(crate) spans: Counter,
    spans_dropped: Family<Cause, Counter>,
    spans_sent: Counter,
    spans_queued: Gauge,
    pub(crate) unsettled: Counter,
    refused: Counter,
    pub(crate) connections: Counter,
    pub(crate) open: Gauge,
    failed: Family<Cause, Counter>,
    latency: Family<Towards, Histogram, fn() -> Histogram>,
    held: Histogram,
    held_bytes: Gauge,
    waiting: Gauge,
    lag: Family<Consumer, Gauge>,
    lags: Mutex<Lags>,
    /// One who asks waits for another: the lag of all groups is written anew for each.
    rendering: Mutex<()>,
}

/// The counters that one side of a connection moves with each read and write.
#[derive(Debug, Clone)]
pub(crate) struct SideCounts {
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
    /// From when bytes were read on the other side to when they had been written to this one.
    pub(crate) latency: Histogram,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Flow {
    side: &'static str,
    direction: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Towards {
    to: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Api {
    api: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Cause {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Consumer {
    group: String,
    topic: String,
}

/// What the exporter of the spans has counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exported {
    /// Spans that the collector has taken.
    pub sent: u64,
    /// Spans that wait.
    pub queued: u64,
    /// Spans that are lost behind the sink, by reason. What the sink refused is counted already.
    pub dropped: Vec<(&'static str, u64)>,
}

/// Why a connection failed, as its label says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No broker could be connected to.
    Connect,
    /// The client and we did not agree on TLS.
    ClientTls,
    /// It came to the transparent port and had not been redirected.
    NotRedirected,
    /// It was our own.
    Loop,
    /// The client's side broke.
    Client,
    /// The broker's side broke.
    Broker,
    /// It had not ended when the drain's time was up.
    Cut,
    /// An error of ours.
    Panic,
}

// === impl Metrics ===

impl Metrics {
    pub(crate) fn new() -> Self {
        let latency: fn() -> Histogram = || Histogram::new(exponential_buckets(10e-6, 2.0, 18));
        let mut metrics = Self {
            registry: Registry::default(),
            bytes: Family::default(),
            requests: Family::default(),
            injected: Counter::default(),
            unsampled: Counter::default(),
            passed: Family::default(),
            spans: Counter::default(),
            spans_dropped: Family::default(),
            spans_sent: Counter::default(),
            spans_queued: Gauge::default(),
            unsettled: Counter::default(),
            refused: Counter::default(),
            connections: Counter::default(),
            open: Gauge::default(),
            failed: Family::default(),
            latency: Family::new_with_constructor(latency),
            held: Histogram::new(exponential_buckets(10e-6, 2.0, 18)),
            held_bytes: Gauge::default(),
            waiting: Gauge::default(),
            lag: Family::default(),
            lags: Mutex::default(),
            rendering: Mutex::default(),
        };
        metrics.registry = metrics.register();
        metrics.show_zeros();
        metrics
    }

    fn register(&self) -> Registry {
        let mut r = Registry::with_prefix("throughline_kafka");
        r.register(
            "bytes",
            "Bytes read from a side and written to it",
            self.bytes.clone(),
        );
        r.register(
            "requests",
            "Requests that clients began, by API",
            self.requests.clone(),
        );
        r.register(
            "records_injected",
            "Records that got a context",
            self.injected.clone(),
        );
        r.register(
            "records_unsampled",
            "Records that are not sampled",
            self.unsampled.clone(),
        );
        r.register(
            "passed",
            "Records, or what might have held some, that went on as they came",
            self.passed.clone(),
        );
        r.register("spans", "Spans made", self.spans.clone());
        r.register(
            "spans_dropped",
            "Spans that were due and are lost, by reason",
            self.spans_dropped.clone(),
        );
        r.register(
            "spans_sent",
            "Spans that the collector has taken",
            self.spans_sent.clone(),
        );
        r.register(
            "spans_queued",
            "Spans that wait for the collector",
            self.spans_queued.clone(),
        );
        r.register(
            "records_unsettled",
            "Records delivered that nobody committed in time",
            self.unsettled.clone(),
        );
        r.register(
            "batches_refused",
            "Batches that the broker refused after injection",
            self.refused.clone(),
        );
        r.register(
            "connections",
            "Connections of clients",
            self.connections.clone(),
        );
        r.register(
            "connections_open",
            "Connections of clients that stand",
            self.open.clone(),
        );
        r.register(
            "connections_failed",
            "Connections that did not end well, by reason",
            self.failed.clone(),
        );
        let latency =
            "From the read on one side that brought bytes to the end of their write on the other";
        r.register_with_unit(
            "added_latency",
            latency,
            Unit::Seconds,
            self.latency.clone(),
        );
        r.register_with_unit(
            "frame_held",
            "How long frames waited to be complete",
            Unit::Seconds,
            self.held.clone(),
        );
        r.register(
            "held_bytes",
            "Bytes of frames that wait to be complete",
            self.held_bytes.clone(),
        );
        r.register(
            "deliveries_open",
            "Records delivered and not committed",
            self.waiting.clone(),
        );
        r.register(
            "consumer_lag",
            "Records before a group, in the partitions seen here",
            self.lag.clone(),
        );
        r
    }

    /// What has not happened yet shows as 0, so that rates can be taken from the first time on.
    fn show_zeros(&self) {
        for side in [Side::Client, Side::Broker] {
            drop(self.side(side));
        }
        for reason in Reason::ALL {
            drop(self.passed.get_or_create(&Cause {
                reason: reason.name(),
            }));
        }
        for failure in Failure::ALL {
            drop(self.failed.get_or_create(&Cause {
                reason: failure.label(),
            }));
        }
        for reason in [SINK_FULL, Reason::SpanRate.name(), Reason::Capacity.name()] {
            drop(self.spans_dropped.get_or_create(&Cause { reason }));
        }
    }

    pub(crate) fn side(&self, side: Side) -> SideCounts {
        let label = label(side);
        let count = |direction| {
            self.bytes.get_or_create_owned(&Flow {
                side: label,
                direction,
            })
        };
        let latency = self.latency.get_or_create_owned(&Towards { to: label });
        SideCounts {
            received: count("received"),
            sent: count("sent"),
            latency,
        }
    }

    pub(crate) fn request(&self, api: ApiKey) {
        self.requests
            .get_or_create(&Api {
                api: api.name().unwrap_or("unknown"),
            })
            .inc();
    }

    pub(crate) fn passed(&self, reason: Reason, records: u32) {
        // Where the records are not known it is at least one thing that passed.
        self.passed
            .get_or_create(&Cause {
                reason: reason.name(),
            })
            .inc_by(records.max(1).into());
    }

    pub(crate) fn span_dropped(&self, reason: Reason, spans: u32) {
        self.spans_dropped
            .get_or_create(&Cause {
                reason: reason.name(),
            })
            .inc_by(spans.into());
    }

    /// A span was made, and the sink had no room for it.
    pub(crate) fn sink_full(&self) {
        self.spans_dropped
            .get_or_create(&Cause { reason: SINK_FULL })
            .inc();
    }

    pub(crate) fn refused(&self) {
        self.refused.inc();
    }

    pub(crate) fn failed(&self, failure: Failure) {
        self.failed
            .get_or_create(&Cause {
                reason: failure.label(),
            })
            .inc();
    }

    pub(crate) fn held(&self, time: Duration) {
        self.held.observe(time.as_secs_f64());
    }

    pub(crate) fn lag(&self, group: Option<&str>, topic: &Arc<str>, partition: i32, lag: i64) {
        let mut lags = self.lags.lock().unwrap_or_else(PoisonError::into_inner);
        lags.set(
            group.unwrap_or_default(),
            topic,
            partition,
            lag,
            Instant::now(),
        );
    }

    /// Takes over what the exporter has counted.
    pub(crate) fn exported(&self, exported: &Exported) {
        raise(&self.spans_sent, exported.sent);
        self.spans_queued
            .set(i64::try_from(exported.queued).unwrap_or(i64::MAX));
        for (reason, count) in &exported.dropped {
            raise(&self.spans_dropped.get_or_create(&Cause { reason }), *count);
        }
    }

    /// All of it as text, with what is known only when asked (bytes held, and deliveries that wait) and what others count.
    pub(crate) fn render(&self, held_bytes: usize, waiting: usize, more: &[&Registry]) -> String {
        let _alone = self
            .rendering
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.held_bytes
            .set(i64::try_from(held_bytes).unwrap_or(i64::MAX));
        self.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        self.lag.clear();
        let sums = self
            .lags
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .sums(Instant::now());
        for ((group, topic), lag) in sums {
            self.lag
                .get_or_create(&Consumer {
                    group: group.to_string(),
                    topic: topic.to_string(),
                })
                .set(lag);
        }
        let mut text = String::new();
        // Writing to a string cannot fail.
        encode_registry(&mut text, &self.registry).unwrap_or_default();
        more.iter()
            .for_each(|registry| encode_registry(&mut text, registry).unwrap_or_default());
        encode_eof(&mut text).unwrap_or_default();
        text
    }
}

// === impl Failure ===

impl Failure {
    const ALL: [Self; 8] = [
        Self::Connect,
        Self::ClientTls,
        Self::NotRedirected,
        Self::Loop,
        Self::Client,
        Self::Broker,
        Self::Cut,
        Self::Panic,
    ];

    const fn label(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::ClientTls => "client_tls",
            Self::NotRedirected => "not_redirected",
            Self::Loop => "loop",
            Self::Client => "client",
            Self::Broker => "broker",
            Self::Cut => "cut",
            Self::Panic => "panic",
        }
    }
}

/// Brings a counter to what another one says.
fn raise(counter: &Counter, count: u64) {
    // Not by the difference: two who ask at once would both add it.
    counter.inner().fetch_max(count, Ordering::Relaxed);
}

const fn label(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Broker => "broker",
    }
}

/// The exporter's queue had no room.
const SINK_FULL: &str = "queue_full";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_told_with_its_labels_and_zeros_too() {
        let metrics = Metrics::new();
        metrics.side(Side::Client).received.inc_by(7);
        metrics.request(ApiKey::PRODUCE);
        metrics.request(ApiKey(999));
        metrics.passed(Reason::Checksum, 0);
        metrics.lag(Some("g"), &"t".into(), 0, 3);
        metrics.lag(Some("g"), &"t".into(), 1, 4);
        metrics.exported(&Exported {
            sent: 5,
            queued: 2,
            dropped: vec![("unreachable", 3)],
        });
        metrics.exported(&Exported {
            sent: 6,
            queued: 1,
            dropped: vec![("unreachable", 3)],
        });
        let text = metrics.render(11, 0, &[]);
        for line in [
            "throughline_kafka_bytes_total{side=\"client\",direction=\"received\"} 7",
            "throughline_kafka_bytes_total{side=\"broker\",direction=\"sent\"} 0",
            "throughline_kafka_requests_total{api=\"Produce\"} 1",
            "throughline_kafka_requests_total{api=\"unknown\"} 1",
            "throughline_kafka_passed_total{reason=\"checksum\"} 1",
            "throughline_kafka_passed_total{reason=\"version\"} 0",
            "throughline_kafka_spans_dropped_total{reason=\"queue_full\"} 0",
            "throughline_kafka_spans_dropped_total{reason=\"unreachable\"} 3",
            "throughline_kafka_spans_sent_total 6",
            "throughline_kafka_spans_queued 1",
            "throughline_kafka_held_bytes 11",
            "throughline_kafka_consumer_lag{group=\"g\",topic=\"t\"} 7",
            "# EOF",
        ] {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
        assert!(
            text.contains("throughline_kafka_added_latency_seconds_count{to=\"client\"} 0"),
            "{text}"
        );
    }

    #[test]
    fn two_who_ask_at_once_are_told_the_same() {
        let metrics = Metrics::new();
        for group in 0..50 {
            metrics.lag(Some(&group.to_string()), &"t".into(), 0, 1);
        }
        let ask = || {
            for sent in 0..200 {
                metrics.exported(&Exported {
                    sent,
                    ..Exported::default()
                });
                let text = metrics.render(0, 0, &[]);
                assert_eq!(text.matches("consumer_lag{").count(), 50, "{text}");
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(ask);
            }
        });
        assert_eq!(metrics.spans_sent.get(), 199);
    }
}
