//! What is counted of HTTP.

use std::time::Duration;

use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use throughline_intercept::http::{Direction, ExchangeFailure as Failure};

use super::refusal::Refusal;

/// Everything that is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) registry: Registry,
    requests: Family<Requests, Counter>,
    durations: Family<Way, Histogram, fn() -> Histogram>,
    bytes: Family<Flow, Counter>,
    failures: Family<Cause, Counter>,
    refusals: Family<Cause, Counter>,
    connections: Family<Way, Counter>,
    open: Family<Way, Gauge>,
    upstream: Family<Way, Counter>,
    pub(super) upgrades: Counter,
    pub(super) spans: Counter,
    pub(super) spans_dropped: Counter,
    pub(super) rejected: Counter,
}

/// What one request moves.
#[derive(Debug, Clone)]
pub(super) struct Flows {
    pub(super) request: Counter,
    pub(super) answer: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Requests {
    direction: &'static str,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Way {
    direction: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Flow {
    direction: &'static str,
    part: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Cause {
    direction: &'static str,
    reason: &'static str,
}

// === impl Metrics ===

impl Metrics {
    pub(crate) fn new() -> Self {
        let durations: fn() -> Histogram = || Histogram::new(BUCKETS);
        let mut metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            durations: Family::new_with_constructor(durations),
            bytes: Family::default(),
            failures: Family::default(),
            refusals: Family::default(),
            connections: Family::default(),
            open: Family::default(),
            upstream: Family::default(),
            upgrades: Counter::default(),
            spans: Counter::default(),
            spans_dropped: Counter::default(),
            rejected: Counter::default(),
        };
        metrics.registry = metrics.register();
        metrics.show_zeros();
        metrics
    }

    fn register(&self) -> Registry {
        let mut r = Registry::with_prefix("throughline_http");
        r.register(
            "requests",
            "Requests that are over, by the class of their status",
            self.requests.clone(),
        );
        let duration = "From the head of a request to the end of its answer";
        r.register_with_unit(
            "request_duration",
            duration,
            Unit::Seconds,
            self.durations.clone(),
        );
        r.register(
            "body_bytes",
            "Bytes of bodies that were passed on",
            self.bytes.clone(),
        );
        r.register(
            "failures",
            "Requests that came to nothing, by reason",
            self.failures.clone(),
        );
        r.register(
            "refusals",
            "Requests that were answered by the proxy itself, by reason",
            self.refusals.clone(),
        );
        r.register(
            "connections",
            "Connections of those who ask",
            self.connections.clone(),
        );
        r.register(
            "connections_open",
            "Connections of those who ask that stand",
            self.open.clone(),
        );
        r.register(
            "upstream_connections",
            "Connections made to those who are asked",
            self.upstream.clone(),
        );
        r.register(
            "upgrades",
            "Requests that became tunnels",
            self.upgrades.clone(),
        );
        r.register("spans", "Spans made", self.spans.clone());
        r.register(
            "spans_dropped",
            "Spans for which the exporter's queue had no room",
            self.spans_dropped.clone(),
        );
        r.register(
            "contexts_rejected",
            "Contexts in requests that were malformed",
            self.rejected.clone(),
        );
        r
    }

    /// What has not happened yet shows as 0, so that rates can be taken from the first time on.
    fn show_zeros(&self) {
        for direction in [Direction::Inbound, Direction::Outbound] {
            drop(self.flows(direction));
            let direction = direction.label();
            drop(self.durations.get_or_create(&Way { direction }));
            drop(self.connections.get_or_create(&Way { direction }));
            drop(self.open.get_or_create(&Way { direction }));
            drop(self.upstream.get_or_create(&Way { direction }));
            for status in CLASSES {
                drop(self.requests.get_or_create(&Requests { direction, status }));
            }
            for failure in FAILURES {
                drop(self.failures.get_or_create(&Cause {
                    direction,
                    reason: failure.name(),
                }));
            }
            for refusal in Refusal::ALL {
                drop(self.refusals.get_or_create(&Cause {
                    direction,
                    reason: refusal.label(),
                }));
            }
        }
    }

    pub(super) fn flows(&self, direction: Direction) -> Flows {
        let direction = direction.label();
        let count = |part| self.bytes.get_or_create_owned(&Flow { direction, part });
        Flows {
            request: count("request"),
            answer: count("answer"),
        }
    }

    /// A request is over.
    pub(super) fn over(
        &self,
        direction: Direction,
        status: Option<u16>,
        lasted: Duration,
        failure: Option<Failure>,
    ) {
        let direction = direction.label();
        self.requests
            .get_or_create(&Requests {
                direction,
                status: class(status),
            })
            .inc();
        self.durations
            .get_or_create(&Way { direction })
            .observe(lasted.as_secs_f64());
        if let Some(failure) = failure {
            self.failures
                .get_or_create(&Cause {
                    direction,
                    reason: failure.name(),
                })
                .inc();
        }
    }

    pub(super) fn refused(&self, direction: Direction, refusal: Refusal) {
        self.refusals
            .get_or_create(&Cause {
                direction: direction.label(),
                reason: refusal.label(),
            })
            .inc();
    }

    pub(super) fn connection(&self, direction: Direction) -> Gauge {
        let way = Way {
            direction: direction.label(),
        };
        self.connections.get_or_create(&way).inc();
        self.open.get_or_create_owned(&way)
    }

    pub(super) fn connected_upstream(&self, direction: Direction) {
        self.upstream
            .get_or_create(&Way {
                direction: direction.label(),
            })
            .inc();
    }
}

/// The class of a status; none where there was no answer.
fn class(status: Option<u16>) -> &'static str {
    match status.and_then(|status| StatusCode::from_u16(status).ok()) {
        Some(status) if status.is_informational() => "1xx",
        Some(status) if status.is_success() => "2xx",
        Some(status) if status.is_redirection() => "3xx",
        Some(status) if status.is_client_error() => "4xx",
        Some(_) => "5xx",
        None => "none",
    }
}

const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];
const FAILURES: [Failure; 6] = [
    Failure::Cancelled,
    Failure::Reset,
    Failure::Connect,
    Failure::Timeout,
    Failure::Protocol,
    Failure::Shutdown,
];

/// Those of `http.server.request.duration` in the conventions.
const BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];
