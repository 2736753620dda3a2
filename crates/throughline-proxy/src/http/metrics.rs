//! Metrics of HTTP.

use std::time::Duration;

use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use throughline_intercept::http::{Direction, ExchangeFailure, TelemetrySystem};

use super::error::ProxyError;
use crate::listener::protocol::DetectedProtocol;

const STATUS_CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];
const FAILURES: [ExchangeFailure; 6] = [
    ExchangeFailure::Cancelled,
    ExchangeFailure::Reset,
    ExchangeFailure::Connect,
    ExchangeFailure::Timeout,
    ExchangeFailure::Protocol,
    ExchangeFailure::Shutdown,
];

/// Buckets in seconds, as the semantic conventions advise for `http.server.request.duration`.
const DURATION_BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// Why a request was sent to an upstream once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RepeatReason {
    /// The connection had closed before anything of the request was sent.
    Unsent,
    /// A reused connection closed without any byte of a response.
    Closed,
    /// The server answered 408 to a connection that had been idle.
    IdleTimeout,
    /// The server refused the stream without processing it (RFC 9113, section 8.7).
    Refused,
}

/// All metrics of HTTP, with their registry.
#[derive(Debug)]
pub(crate) struct HttpMetrics {
    pub(crate) registry: Registry,
    requests: Family<StatusLabels, Counter>,
    durations: Family<DirectionLabels, Histogram, fn() -> Histogram>,
    body_bytes: Family<BodyLabels, Counter>,
    failures: Family<ReasonLabels, Counter>,
    responses_by_proxy: Family<ReasonLabels, Counter>,
    repeated: Family<ReasonLabels, Counter>,
    connections: Family<DirectionLabels, Counter>,
    connections_open: Family<DirectionLabels, Gauge>,
    upstream_connections: Family<DirectionLabels, Counter>,
    telemetry: Family<TelemetryLabels, Counter>,
    tunnels: Family<ProtocolLabels, Counter>,
    pub(super) upgrades: Counter,
    pub(super) spans: Counter,
    pub(super) spans_dropped: Counter,
    pub(super) spans_over_rate: Counter,
    pub(super) contexts_rejected: Counter,
    inbound: DirectionMetrics,
    outbound: DirectionMetrics,
}

/// The metrics that every request of one direction changes, out of their families: a lookup by
/// labels costs more than the change.
#[derive(Debug)]
struct DirectionMetrics {
    /// By status class, in the order of [`STATUS_CLASSES`].
    requests: [Counter; STATUS_CLASSES.len()],
    duration: Histogram,
    bodies: BodyCounters,
}

/// Counters of the body bytes of one direction.
#[derive(Debug)]
pub(super) struct BodyCounters {
    pub(super) request: Counter,
    pub(super) response: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabels {
    direction: &'static str,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabels {
    direction: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BodyLabels {
    direction: &'static str,
    part: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    direction: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TelemetryLabels {
    direction: &'static str,
    system: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProtocolLabels {
    protocol: &'static str,
}

// === impl HttpMetrics ===

impl HttpMetrics {
    pub(crate) fn new() -> Self {
        let durations: fn() -> Histogram = || Histogram::new(DURATION_BUCKETS);
        let requests = Family::default();
        let durations = Family::new_with_constructor(durations);
        let body_bytes = Family::default();
        // Taking them out of their families creates their label sets with 0, so that rates include
        // the first event.
        let of = |direction| DirectionMetrics::of(direction, &requests, &durations, &body_bytes);
        let (inbound, outbound) = (of(Direction::Inbound), of(Direction::Outbound));
        let mut metrics = Self {
            registry: Registry::default(),
            requests,
            durations,
            body_bytes,
            failures: Family::default(),
            responses_by_proxy: Family::default(),
            repeated: Family::default(),
            connections: Family::default(),
            connections_open: Family::default(),
            upstream_connections: Family::default(),
            telemetry: Family::default(),
            tunnels: Family::default(),
            upgrades: Counter::default(),
            spans: Counter::default(),
            spans_dropped: Counter::default(),
            spans_over_rate: Counter::default(),
            contexts_rejected: Counter::default(),
            inbound,
            outbound,
        };
        // The registry holds clones of the families, which share their counters.
        metrics.registry = metrics.register();
        metrics.init_label_sets();
        metrics
    }

    fn register(&self) -> Registry {
        let mut registry = Registry::with_prefix("throughline_http");
        registry.register(
            "requests",
            "Finished requests, by status class",
            self.requests.clone(),
        );
        let duration = "Time from the request head to the end of the response";
        registry.register_with_unit(
            "request_duration",
            duration,
            Unit::Seconds,
            self.durations.clone(),
        );
        registry.register(
            "body_bytes",
            "Body bytes forwarded",
            self.body_bytes.clone(),
        );
        registry.register(
            "failures",
            "Failed requests, by reason",
            self.failures.clone(),
        );
        registry.register(
            "refusals",
            "Requests that the proxy responded to itself, by reason",
            self.responses_by_proxy.clone(),
        );
        registry.register(
            "repeated",
            "Requests that were sent upstream once more, by reason",
            self.repeated.clone(),
        );
        self.register_connections(&mut registry);
        self.register_spans(&mut registry);
        registry
    }

    fn register_connections(&self, registry: &mut Registry) {
        registry.register(
            "connections",
            "Downstream connections accepted",
            self.connections.clone(),
        );
        registry.register(
            "connections_open",
            "Open downstream connections",
            self.connections_open.clone(),
        );
        registry.register(
            "upstream_connections",
            "Upstream connections opened",
            self.upstream_connections.clone(),
        );
        registry.register(
            "telemetry_requests",
            "Requests with telemetry of services, forwarded without a trace",
            self.telemetry.clone(),
        );
        registry.register(
            "tunnels",
            "Tunnels opened by CONNECT, by the protocol detected in them",
            self.tunnels.clone(),
        );
        registry.register(
            "upgrades",
            "Requests upgraded to tunnels",
            self.upgrades.clone(),
        );
    }

    fn register_spans(&self, registry: &mut Registry) {
        registry.register("spans", "Spans created", self.spans.clone());
        registry.register(
            "spans_dropped",
            "Spans rejected by the full export queue",
            self.spans_dropped.clone(),
        );
        registry.register(
            "spans_over_rate",
            "Spans above the limit of spans per second",
            self.spans_over_rate.clone(),
        );
        registry.register(
            "contexts_rejected",
            "Malformed contexts in requests",
            self.contexts_rejected.clone(),
        );
    }

    /// Creates all other label sets with 0, so that rates include the first event.
    fn init_label_sets(&self) {
        for protocol in DetectedProtocol::ALL.map(DetectedProtocol::label) {
            drop(self.tunnels.get_or_create(&ProtocolLabels { protocol }));
        }
        for direction in [Direction::Inbound, Direction::Outbound] {
            let direction = direction.label();
            // Reading a label set creates it.
            drop(
                self.connections
                    .get_or_create(&DirectionLabels { direction }),
            );
            drop(
                self.connections_open
                    .get_or_create(&DirectionLabels { direction }),
            );
            drop(
                self.upstream_connections
                    .get_or_create(&DirectionLabels { direction }),
            );
            for system in TelemetrySystem::ALL.map(TelemetrySystem::label) {
                drop(
                    self.telemetry
                        .get_or_create(&TelemetryLabels { direction, system }),
                );
            }
            for failure in FAILURES {
                drop(self.failures.get_or_create(&ReasonLabels {
                    direction,
                    reason: failure.name(),
                }));
            }
            for reason in RepeatReason::ALL {
                drop(self.repeated.get_or_create(&ReasonLabels {
                    direction,
                    reason: reason.label(),
                }));
            }
            for error in ProxyError::ALL {
                drop(self.responses_by_proxy.get_or_create(&ReasonLabels {
                    direction,
                    reason: error.label(),
                }));
            }
        }
    }

    const fn of(&self, direction: Direction) -> &DirectionMetrics {
        match direction {
            Direction::Inbound => &self.inbound,
            Direction::Outbound => &self.outbound,
        }
    }

    /// Returns the counters of body bytes. To be cloned for long only: the count of references is
    /// shared by all connections.
    pub(super) const fn body_counters(&self, direction: Direction) -> &BodyCounters {
        &self.of(direction).bodies
    }

    /// Records the end of a request.
    pub(super) fn request_finished(
        &self,
        direction: Direction,
        status: Option<u16>,
        duration: Duration,
        failure: Option<ExchangeFailure>,
    ) {
        let metrics = self.of(direction);
        let class = status_class(status);
        let classes = STATUS_CLASSES.iter().zip(&metrics.requests);
        for (_, requests) in classes.filter(|(known, _)| **known == class) {
            requests.inc();
        }
        metrics.duration.observe(duration.as_secs_f64());
        if let Some(failure) = failure {
            self.failures
                .get_or_create(&ReasonLabels {
                    direction: direction.label(),
                    reason: failure.name(),
                })
                .inc();
        }
    }

    /// Records a response of the proxy itself.
    pub(super) fn responded_by_proxy(&self, direction: Direction, error: ProxyError) {
        self.responses_by_proxy
            .get_or_create(&ReasonLabels {
                direction: direction.label(),
                reason: error.label(),
            })
            .inc();
    }

    /// Records that a request is sent upstream once more.
    pub(super) fn request_repeated(&self, direction: Direction, reason: RepeatReason) {
        self.repeated
            .get_or_create(&ReasonLabels {
                direction: direction.label(),
                reason: reason.label(),
            })
            .inc();
    }

    /// Counts a downstream connection, and returns the gauge of open ones.
    pub(super) fn connection_accepted(&self, direction: Direction) -> Gauge {
        let labels = DirectionLabels {
            direction: direction.label(),
        };
        self.connections.get_or_create(&labels).inc();
        self.connections_open.get_or_create_owned(&labels)
    }

    /// Records a request that carries telemetry.
    pub(super) fn telemetry_forwarded(&self, direction: Direction, system: TelemetrySystem) {
        self.telemetry
            .get_or_create(&TelemetryLabels {
                direction: direction.label(),
                system: system.label(),
            })
            .inc();
    }

    /// Records a tunnel that CONNECT has opened.
    pub(super) fn tunnel_opened(&self, protocol: DetectedProtocol) {
        self.tunnels
            .get_or_create(&ProtocolLabels {
                protocol: protocol.label(),
            })
            .inc();
    }

    pub(super) fn upstream_connected(&self, direction: Direction) {
        self.upstream_connections
            .get_or_create(&DirectionLabels {
                direction: direction.label(),
            })
            .inc();
    }
}

// === impl DirectionMetrics ===

impl DirectionMetrics {
    fn of(
        direction: Direction,
        requests: &Family<StatusLabels, Counter>,
        durations: &Family<DirectionLabels, Histogram, fn() -> Histogram>,
        body_bytes: &Family<BodyLabels, Counter>,
    ) -> Self {
        let direction = direction.label();
        let count = |part| body_bytes.get_or_create_owned(&BodyLabels { direction, part });
        let request_count =
            |status| requests.get_or_create_owned(&StatusLabels { direction, status });
        Self {
            requests: STATUS_CLASSES.map(request_count),
            duration: durations.get_or_create_owned(&DirectionLabels { direction }),
            bodies: BodyCounters {
                request: count("request"),
                response: count("answer"),
            },
        }
    }
}

// === impl RepeatReason ===

impl RepeatReason {
    const ALL: [Self; 4] = [Self::Unsent, Self::Closed, Self::IdleTimeout, Self::Refused];

    const fn label(self) -> &'static str {
        match self {
            Self::Unsent => "unsent",
            Self::Closed => "closed",
            Self::IdleTimeout => "idle_timeout",
            Self::Refused => "refused",
        }
    }
}

/// Returns the class of a status, or `none` without a response.
fn status_class(status: Option<u16>) -> &'static str {
    match status.and_then(|status| StatusCode::from_u16(status).ok()) {
        Some(status) if status.is_informational() => "1xx",
        Some(status) if status.is_success() => "2xx",
        Some(status) if status.is_redirection() => "3xx",
        Some(status) if status.is_client_error() => "4xx",
        Some(_) => "5xx",
        None => "none",
    }
}
