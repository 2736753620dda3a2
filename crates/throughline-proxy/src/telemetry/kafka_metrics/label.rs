//! Labels of the Kafka metrics. All values come from fixed sets, except for groups and topics.

use prometheus_client::encoding::EncodeLabelSet;
use throughline_intercept::Side;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByteLabels {
    pub(super) side: &'static str,
    pub(super) direction: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct LatencyLabels {
    pub(super) to: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ApiLabels {
    pub(super) api: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct KafkaReasonLabels {
    pub(super) reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct LagLabels {
    pub(super) group: String,
    pub(super) topic: String,
}

/// The cause of a failed connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectionFailure {
    /// No broker could be reached.
    Connect,
    /// The TLS handshake with the client failed.
    ClientTls,
    /// The connection came to a transparent listener without being redirected.
    NotRedirected,
    /// The proxy connected to itself.
    Loop,
    /// The stream of the client failed.
    Client,
    /// The stream of the broker failed.
    Broker,
    /// The connection was still open at the end of the drain.
    Aborted,
    /// The proxy panicked.
    Panic,
}

// === impl ConnectionFailure ===

impl ConnectionFailure {
    pub(super) const ALL: [Self; 8] = [
        Self::Connect,
        Self::ClientTls,
        Self::NotRedirected,
        Self::Loop,
        Self::Client,
        Self::Broker,
        Self::Aborted,
        Self::Panic,
    ];

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::ClientTls => "client_tls",
            Self::NotRedirected => "not_redirected",
            Self::Loop => "loop",
            Self::Client => "client",
            Self::Broker => "broker",
            Self::Aborted => "cut",
            Self::Panic => "panic",
        }
    }
}

pub(super) const fn side_label(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Broker => "broker",
    }
}
