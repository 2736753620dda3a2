//! What sessions and connections have to tell: into the metrics, and where a person can do something about it, into the log.

use std::sync::Arc;
use std::time::Duration;

use throughline_intercept::Side;
use throughline_intercept::kafka::{FramingError, Notice, Reason};

use crate::metrics::{Failure, Metrics};
use crate::seldom::Seldom;

/// Tells what happens. Lines that would repeat come seldom, with the number of those left out.
#[derive(Debug)]
pub(crate) struct Herald {
    pub(crate) metrics: Arc<Metrics>,
    client_tls: Seldom,
    broker_tls: Seldom,
    lost: Seldom,
    refused: Seldom,
    sink: Seldom,
    panicked: Seldom,
    accept: Seldom,
    full: Seldom,
    failures: [Seldom; 4],
}

// === impl Herald ===

impl Herald {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            client_tls: Seldom::default(),
            broker_tls: Seldom::default(),
            lost: Seldom::default(),
            refused: Seldom::default(),
            sink: Seldom::default(),
            panicked: Seldom::default(),
            accept: Seldom::default(),
            full: Seldom::default(),
            failures: Default::default(),
        }
    }

    /// Takes what a session tells.
    pub(crate) fn notice(&self, notice: &Notice) {
        let metrics = &self.metrics;
        match notice {
            Notice::Request(api) => metrics.request(*api),
            Notice::Injected { records } => drop(metrics.injected.inc_by(u64::from(*records))),
            Notice::Passed { reason, records } => {
                metrics.passed(*reason, *records);
                if *reason == Reason::Panic
                    && let Some(more) = self.panicked.now()
                {
                    tracing::error!(
                        more,
                        "an error of ours; its connection goes on, and nothing more on it is traced. Please report it"
                    );
                }
            }
            Notice::Unsampled { records } => drop(metrics.unsampled.inc_by(u64::from(*records))),
            Notice::SpanDropped { reason, spans } => metrics.span_dropped(*reason, *spans),
            Notice::Unsettled { records } => drop(metrics.unsettled.inc_by(u64::from(*records))),
            Notice::Held { nanoseconds } => metrics.held(Duration::from_nanos(*nanoseconds)),
            Notice::Lag {
                group,
                topic,
                partition,
                lag,
            } => metrics.lag(group.as_deref(), topic, *partition, *lag),
            Notice::Refused { topic, error_code } => {
                metrics.refused();
                if let Some(more) = self.refused.now() {
                    tracing::warn!(%topic, error_code, more, "the broker refused a batch with contexts in it; the topic gets less or none from here on");
                }
            }
            Notice::Lost {
                side: Side::Broker,
                loss: FramingError::Tls,
            } => {
                if let Some(more) = self.broker_tls.now() {
                    tracing::warn!(
                        more,
                        "the broker speaks TLS; so must we: --broker-tls, or --broker-tls-ca"
                    );
                }
            }
            Notice::Lost { side, loss } => {
                if let Some(more) = self.lost.now() {
                    tracing::warn!(?side, %loss, more, "a connection does not speak Kafka; its bytes pass, and nothing on it is traced");
                }
            }
            Notice::ClientSpeaksTls => {
                if let Some(more) = self.client_tls.now() {
                    tracing::warn!(more, "the client speaks TLS; {SPEAK_TLS}");
                }
            }
            _ => {}
        }
    }

    /// A finished span found no room.
    pub(crate) fn sink_full(&self) {
        self.metrics.sink_full();
        if let Some(more) = self.sink.now() {
            tracing::warn!(
                more,
                "spans are dropped: the exporter's queue is full; is the collector there?"
            );
        }
    }

    /// The system has no connection for us, though one waits.
    pub(crate) fn cannot_accept(&self, error: &std::io::Error) {
        if let Some(more) = self.accept.now() {
            tracing::warn!(%error, more, "cannot accept a connection; if files are too few for it, raise their limit (ulimit -n)");
        }
    }

    /// There are as many connections as there may be, and one more.
    pub(crate) fn full(&self) {
        if let Some(more) = self.full.now() {
            tracing::warn!(
                more,
                "a client has to wait until another goes: all places are taken; give it more (--connections)"
            );
        }
    }

    /// A connection did not come about.
    pub(crate) fn failed(&self, failure: Failure, error: &dyn std::fmt::Display) {
        self.metrics.failed(failure);
        let [connect, tls, redirect, looped] = &self.failures;
        let (seldom, text) = match failure {
            Failure::Connect => (
                connect,
                "cannot connect to a broker; the client's connection is closed, and it will try again",
            ),
            Failure::ClientTls => (
                tls,
                "a client and we did not agree on TLS; it must speak TLS here, and trust our certificate",
            ),
            Failure::NotRedirected => (
                redirect,
                "a connection came straight to the transparent port; it is for connections that iptables redirects, so point clients at their brokers",
            ),
            Failure::Loop => (
                looped,
                "our own connection to a broker came back to us; exempt the user that we run as from the redirection (iptables -m owner --uid-owner), or correct the address that the broker advertises, if that is ours",
            ),
            Failure::Client | Failure::Broker | Failure::Cut | Failure::Panic => return,
        };
        if let Some(more) = seldom.now() {
            tracing::warn!(%error, more, "{text}");
        }
    }
}

const SPEAK_TLS: &str = "give us a certificate for it (client_tls_cert, client_tls_key), or let it speak plain Kafka to us \
     (security.protocol PLAINTEXT or SASL_PLAINTEXT) and us speak TLS to the broker (broker_tls)";
