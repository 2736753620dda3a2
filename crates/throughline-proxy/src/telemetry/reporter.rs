//! Reports events of connections and sessions: as metrics, and as log lines where a user can act.

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use throughline_intercept::Side;
use throughline_intercept::kafka::{FramingError, SessionEvent, SkipReason};

use crate::telemetry::kafka_metrics::{ConnectionFailure, KafkaMetrics};
use crate::telemetry::log_throttle::LogThrottle;
use crate::telemetry::propagation_log::PropagationLog;
use crate::telemetry::skip_log::SkipLog;

/// Reports events. Repeated log lines are throttled by kind; `suppressed` counts the missing ones.
#[derive(Debug)]
pub(crate) struct Reporter {
    pub(crate) metrics: Arc<KafkaMetrics>,
    propagation_log: PropagationLog,
    throttles: LogThrottles,
    skip_log: SkipLog,
}

/// One throttle for each kind of line.
#[derive(Debug, Default)]
struct LogThrottles {
    client_speaks_tls: LogThrottle,
    broker_speaks_tls: LogThrottle,
    not_kafka: LogThrottle,
    batch_refused: LogThrottle,
    request_refused: LogThrottle,
    queue_full: LogThrottle,
    panic: LogThrottle,
    links_only: LogThrottle,
    accept: LogThrottle,
    connection_limit: LogThrottle,
    connect: LogThrottle,
    client_tls: LogThrottle,
    not_redirected: LogThrottle,
    loop_detected: LogThrottle,
}

// === impl Reporter ===

impl Reporter {
    pub(crate) fn new(metrics: Arc<KafkaMetrics>) -> Self {
        Self {
            metrics,
            propagation_log: PropagationLog::default(),
            throttles: LogThrottles::default(),
            skip_log: SkipLog::default(),
        }
    }

    /// Reports an event of a session.
    pub(crate) fn session_event(&self, event: &SessionEvent) {
        let metrics = &self.metrics;
        match event {
            SessionEvent::Request(api) => metrics.request(*api),
            SessionEvent::Injected { records } => {
                metrics.records_injected.inc_by(u64::from(*records));
            }
            SessionEvent::Skipped { reason, records } => {
                metrics.passed(*reason, *records);
                self.skip_log.report(*reason);
                if *reason == SkipReason::Panic {
                    self.session_panicked();
                } else if *reason == SkipReason::LinksOnly {
                    self.context_not_patched();
                }
            }
            SessionEvent::VersionUnsupported { api, version } => {
                self.skip_log.report_version(*api, *version);
            }
            SessionEvent::Unsampled { records } => {
                metrics.records_unsampled.inc_by(u64::from(*records));
            }
            SessionEvent::SpansDropped { reason, spans } => metrics.spans_dropped(*reason, *spans),
            SessionEvent::Unsettled { records } => {
                metrics.records_unsettled.inc_by(u64::from(*records));
            }
            SessionEvent::Held { nanoseconds } => {
                metrics.frame_held(Duration::from_nanos(*nanoseconds));
            }
            SessionEvent::Lag {
                group,
                topic,
                partition,
                lag,
            } => metrics.consumer_lag(group.as_deref(), topic, *partition, *lag),
            SessionEvent::InjectionRejected { topic, error_code } => {
                self.batch_refused(topic, *error_code);
            }
            SessionEvent::RequestRefused { bytes } => self.request_refused(*bytes),
            SessionEvent::Replayed { partitions } => {
                metrics.batches_replayed.inc_by(u64::from(*partitions));
            }
            SessionEvent::Retried { records } => {
                metrics.records_retried.inc_by(u64::from(*records));
            }
            SessionEvent::FramingFailed { side, error } => self.not_kafka(*side, error),
            SessionEvent::ClientSpeaksTls => self.client_speaks_tls(),
            SessionEvent::PropagationObserved(observed) => self.propagation_log.report(*observed),
            // Sessions may add events that need no report.
            _ => {}
        }
    }

    /// Reports spans, among them those that the exporter's queue had no room for.
    pub(crate) fn spans_made(&self, made: u64, dropped: usize) {
        self.metrics.spans.inc_by(made);
        if dropped == 0 {
            return;
        }
        self.metrics.span_queue_full(dropped);
        if let Some(suppressed) = self.throttles.queue_full.permit() {
            tracing::warn!(
                suppressed,
                "span dropped: export queue full; check that the collector is running"
            );
        }
    }

    /// Reports that the system could not accept a connection.
    pub(crate) fn accept_failed(&self, listener: Option<SocketAddr>, error: &io::Error) {
        // Not a failed connection: without a free file descriptor, the client stays in the backlog.
        if let Some(suppressed) = self.throttles.accept.permit() {
            tracing::warn!(
                listener = listener.map(tracing::field::display), %error, suppressed,
                "accepting a connection failed; if too many files are open, \
                 raise the limit (ulimit -n)"
            );
        }
    }

    /// Reports a client that waits because of the connection limit.
    pub(crate) fn connection_limit_reached(&self) {
        if let Some(suppressed) = self.throttles.connection_limit.permit() {
            tracing::warn!(
                suppressed,
                "connection limit reached: a client waits until another disconnects; \
                 raise --connections"
            );
        }
    }

    /// Reports a connection that failed before or while it was served.
    pub(crate) fn connection_failed(&self, failure: ConnectionFailure, error: &dyn Display) {
        self.metrics.connection_failed(failure);
        let throttles = &self.throttles;
        let (throttle, text) = match failure {
            ConnectionFailure::Connect => (
                &throttles.connect,
                "connecting to a broker failed: the client is disconnected and will retry; \
                 check the broker's address",
            ),
            ConnectionFailure::ClientTls => (
                &throttles.client_tls,
                "TLS handshake with a client failed; the client must use TLS on this port and \
                 trust the certificate of --client-tls-cert",
            ),
            ConnectionFailure::NotRedirected => (
                &throttles.not_redirected,
                "connection was not redirected to this port; connect to the original \
                 destination, and check `throughline init --print`",
            ),
            ConnectionFailure::Loop => (
                &throttles.loop_detected,
                "redirection loop: an upstream connection of the proxy came back to it; exempt \
                 the proxy's user from the redirection (iptables -m owner --uid-owner), or fix a \
                 broker that advertises the proxy's address",
            ),
            // The peer closed, the drain ended, or the panic has been logged: nothing to fix here.
            ConnectionFailure::Client
            | ConnectionFailure::Broker
            | ConnectionFailure::Aborted
            | ConnectionFailure::Panic => return,
        };
        if let Some(suppressed) = throttle.permit() {
            tracing::warn!(%error, suppressed, "{text}");
        }
    }

    /// Reports a connection that ended by a panic of the proxy.
    pub(crate) fn connection_panicked(&self) {
        // Not throttled: every panic is a bug.
        self.metrics.connection_failed(ConnectionFailure::Panic);
        tracing::error!(
            "connection closed by a panic of the proxy, the client will reconnect; \
             please report this bug"
        );
    }

    fn session_panicked(&self) {
        if let Some(suppressed) = self.throttles.panic.permit() {
            tracing::error!(
                suppressed,
                "tracing of a connection stopped by a panic, its bytes pass on; \
                 please report this bug"
            );
        }
    }

    fn context_not_patched(&self) {
        if let Some(suppressed) = self.throttles.links_only.permit() {
            tracing::warn!(
                suppressed,
                "records are delivered with the context of their producer: --deliver patch \
                 has no effect on topics with --relation links"
            );
        }
    }

    fn batch_refused(&self, topic: &str, error_code: i16) {
        self.metrics.batches_refused.inc();
        if let Some(suppressed) = self.throttles.batch_refused.permit() {
            tracing::warn!(
                %topic, error_code, suppressed,
                "broker refused a batch with injected contexts; \
                 injection into the topic is reduced or off from here on"
            );
        }
    }

    fn request_refused(&self, bytes: usize) {
        self.metrics.batches_refused.inc();
        if let Some(suppressed) = self.throttles.request_refused.permit() {
            tracing::warn!(
                bytes,
                suppressed,
                "broker closed the connection at a request with injected contexts; requests near \
                 this size pass unmodified for ten minutes (socket.request.max.bytes)"
            );
        }
    }

    fn not_kafka(&self, side: Side, error: &FramingError) {
        // A TLS alert of the broker answers our plain bytes, and has a remedy of its own.
        if let (Side::Broker, FramingError::Tls) = (side, error) {
            if let Some(suppressed) = self.throttles.broker_speaks_tls.permit() {
                tracing::warn!(
                    suppressed,
                    "the broker speaks TLS; set --broker-tls or --broker-tls-ca"
                );
            }
        } else if let Some(suppressed) = self.throttles.not_kafka.permit() {
            tracing::warn!(
                ?side, %error, suppressed,
                "connection does not speak Kafka: its bytes pass without tracing; \
                 check the port that the client uses"
            );
        }
    }

    fn client_speaks_tls(&self) {
        if let Some(suppressed) = self.throttles.client_speaks_tls.permit() {
            tracing::warn!(
                suppressed,
                "the client speaks TLS to a plain port; set --client-tls-cert and \
                 --client-tls-key, or let the client use PLAINTEXT or SASL_PLAINTEXT \
                 (security.protocol) and set --broker-tls for the connection to the broker"
            );
        }
    }
}
