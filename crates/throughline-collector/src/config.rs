//! The collector's configuration.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use crate::access::AccessControl;
use crate::tls::CollectorTls;
use crate::weaving::{DecisionLog, WovenTraceSink};

/// The collector's configuration. The default listens on loopback at the standard ports.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address of all listeners.
    pub host: IpAddr,
    /// Port of OTLP over gRPC; 0 chooses any free port, here and below.
    pub otlp_grpc_port: u16,
    /// Port of OTLP over HTTP.
    pub otlp_http_port: u16,
    /// Port of Zipkin v2 JSON.
    pub zipkin_port: u16,
    /// Port of queries and the UI.
    pub query_port: u16,
    /// Port of queries over gRPC; none by default.
    pub query_grpc: ListenerPort,
    /// Ports of Jaeger's own clients.
    pub jaeger: JaegerPorts,
    /// Opens the ports of queries alone, for a store that others write.
    pub is_query_only: bool,
    /// Origins of web pages that may send spans over HTTP, such as `https://shop.example`; `*` for
    /// every page. Empty: none may.
    pub cors_origins: Vec<String>,
    /// Host names besides `localhost` that queries on a loopback address may use.
    pub allowed_hosts: Vec<String>,
    /// Maximum memory of the stored spans, when they are kept in memory.
    pub max_store_bytes: usize,
    /// How parents of spans without one are found.
    pub weaving: WeavingSettings,
    /// Where woven traces are sent on to; nowhere by default.
    pub forward: Option<Arc<dyn WovenTraceSink>>,
    /// The log by which collectors that each have a part of the spans join them; none by default.
    pub decisions: Option<Arc<dyn DecisionLog>>,
    /// TLS of all TCP listeners; none by default.
    pub tls: Option<CollectorTls>,
    /// Tokens of senders and of queries; none by default.
    pub access: AccessControl,
    /// Limits for clients.
    pub limits: CollectorLimits,
}

/// How parents of spans that were reported without one are found.
#[derive(Debug, Clone, PartialEq)]
pub struct WeavingSettings {
    /// The evidence that is used.
    pub mode: WeavingMode,
    /// Least probability of an inferred parent that joins two traces.
    pub min_confidence: f64,
    /// Time after a span until its parent is decided; longer for processes with longer requests.
    pub wait: Duration,
}

/// The evidence that is used to find parents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WeavingMode {
    /// Offsets of records, which are exact, and inference within processes.
    #[default]
    All,
    /// Offsets of records.
    Offsets,
    /// None: traces stay as they are reported.
    Off,
}

/// The ports of Jaeger's own clients. The default opens none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JaegerPorts {
    /// Port of Thrift over HTTP.
    pub http: ListenerPort,
    /// UDP port of the agent's compact protocol.
    pub compact: ListenerPort,
    /// UDP port of the agent's binary protocol.
    pub binary: ListenerPort,
    /// Port of remote sampling.
    pub sampling: ListenerPort,
}

/// The port of a listener.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ListenerPort {
    /// No port.
    #[default]
    Closed,
    /// This port unless it is in use, as by Jaeger's agent or another collector.
    IfFree(u16),
    /// This port; 0 chooses any free one.
    Required(u16),
}

/// An endpoint of the collector: a port with its protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CollectorEndpoint {
    /// OTLP over gRPC.
    OtlpGrpc,
    /// OTLP over HTTP.
    OtlpHttp,
    /// Zipkin v2 JSON.
    Zipkin,
    /// Queries and the UI.
    Query,
    /// Queries over gRPC.
    QueryGrpc,
    /// Jaeger's Thrift over HTTP.
    JaegerHttp,
    /// Jaeger's Thrift over UDP, on the port for the compact protocol.
    JaegerCompact,
    /// Jaeger's Thrift over UDP, on the port for the binary protocol.
    JaegerBinary,
    /// Jaeger's remote sampling.
    JaegerSampling,
}

/// Limits on the memory, concurrency and time that clients can take.
#[derive(Debug, Clone)]
pub struct CollectorLimits {
    /// Maximum size of a body, before and after inflation (opentelemetry-proto recommends 64 MiB).
    pub max_body_bytes: usize,
    /// Maximum size of all bodies together that are being read or decoded, inflated ones included.
    pub max_in_flight_bytes: usize,
    /// Maximum number of requests that are being read or decoded.
    pub max_requests: usize,
    /// Maximum number of bodies that are inflated and decoded at once; more wait. The worst case
    /// takes about a gigabyte of memory (`throughline_otlp::read_json`).
    pub max_concurrent_decodes: usize,
    /// Time that a request waits for admission before it is rejected as retryable.
    pub admission_timeout: Duration,
    /// Maximum number of queries that run at once; more wait.
    pub max_concurrent_queries: usize,
    /// Maximum size of all responses together that clients have not read yet; further ones are
    /// rejected as retryable.
    pub max_response_bytes: usize,
    /// Maximum number of connections of one endpoint; more wait in the listen backlog.
    pub max_connections: usize,
    /// Maximum number of connections of one endpoint from one client, an IPv4 address or an IPv6
    /// network of 64 bits; more are closed.
    pub max_client_connections: usize,
    /// Time from the opening of a connection to the end of its first request's headers, and from
    /// the first byte of a later request to the end of its headers.
    pub header_read_timeout: Duration,
    /// Time from a response to the next request on the connection.
    pub idle_timeout: Duration,
    /// Time after which a connection that waits for headers or is idle may be closed to make room
    /// for another one, the oldest first.
    pub min_waiting_time: Duration,
    /// Time from the first byte of a body to its last.
    pub body_read_timeout: Duration,
    /// Time that a client may leave a response unread without taking a byte of it.
    pub write_stall_timeout: Duration,
    /// Time that requests in flight have to complete at shutdown.
    pub drain_timeout: Duration,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            otlp_grpc_port: 4317,
            otlp_http_port: 4318,
            zipkin_port: 9411,
            query_port: 16686,
            query_grpc: ListenerPort::Closed,
            jaeger: JaegerPorts::default(),
            is_query_only: false,
            cors_origins: Vec::new(),
            allowed_hosts: Vec::new(),
            max_store_bytes: 512 << 20,
            weaving: WeavingSettings::default(),
            forward: None,
            decisions: None,
            tls: None,
            access: AccessControl::default(),
            limits: CollectorLimits::default(),
        }
    }
}

impl Config {
    /// Returns the port that an endpoint is to listen on.
    pub(crate) const fn port(&self, endpoint: CollectorEndpoint) -> ListenerPort {
        if self.is_query_only && !endpoint.serves_queries() {
            return ListenerPort::Closed;
        }
        match endpoint {
            CollectorEndpoint::OtlpGrpc => ListenerPort::Required(self.otlp_grpc_port),
            CollectorEndpoint::OtlpHttp => ListenerPort::Required(self.otlp_http_port),
            CollectorEndpoint::Zipkin => ListenerPort::Required(self.zipkin_port),
            CollectorEndpoint::Query => ListenerPort::Required(self.query_port),
            CollectorEndpoint::QueryGrpc => self.query_grpc,
            CollectorEndpoint::JaegerHttp => self.jaeger.http,
            CollectorEndpoint::JaegerCompact => self.jaeger.compact,
            CollectorEndpoint::JaegerBinary => self.jaeger.binary,
            CollectorEndpoint::JaegerSampling => self.jaeger.sampling,
        }
    }
}

// === impl WeavingSettings ===

impl Default for WeavingSettings {
    fn default() -> Self {
        Self {
            mode: WeavingMode::All,
            min_confidence: 0.95,
            wait: Duration::from_secs(5),
        }
    }
}

// === impl JaegerPorts ===

impl JaegerPorts {
    /// The ports that Jaeger's clients use by default, as far as they are free.
    pub const STANDARD: Self = Self {
        http: ListenerPort::IfFree(14268),
        compact: ListenerPort::IfFree(6831),
        binary: ListenerPort::IfFree(6832),
        sampling: ListenerPort::IfFree(5778),
    };
}

// === impl CollectorLimits ===

impl Default for CollectorLimits {
    fn default() -> Self {
        Self {
            max_body_bytes: 64 << 20,
            max_in_flight_bytes: 256 << 20,
            max_requests: 64,
            max_concurrent_decodes: 2,
            admission_timeout: Duration::from_secs(1),
            max_concurrent_queries: 4,
            max_response_bytes: 256 << 20,
            max_connections: 1024,
            max_client_connections: 1024,
            header_read_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(30),
            min_waiting_time: Duration::from_millis(500),
            body_read_timeout: Duration::from_secs(30),
            write_stall_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(3),
        }
    }
}

// === impl CollectorEndpoint ===

impl CollectorEndpoint {
    /// All endpoints.
    pub const ALL: [Self; 9] = [
        Self::OtlpGrpc,
        Self::OtlpHttp,
        Self::Zipkin,
        Self::Query,
        Self::QueryGrpc,
        Self::JaegerHttp,
        Self::JaegerCompact,
        Self::JaegerBinary,
        Self::JaegerSampling,
    ];

    /// Returns whether the endpoint answers queries, and does not receive spans.
    #[must_use]
    pub const fn serves_queries(self) -> bool {
        matches!(self, Self::Query | Self::QueryGrpc)
    }

    /// Returns whether the endpoint receives datagrams, and not HTTP.
    #[must_use]
    pub const fn is_udp(self) -> bool {
        matches!(self, Self::JaegerCompact | Self::JaegerBinary)
    }

    /// Returns whether the endpoint speaks gRPC, and not HTTP/1.1.
    #[must_use]
    pub const fn is_grpc(self) -> bool {
        matches!(self, Self::OtlpGrpc | Self::QueryGrpc)
    }

    /// Returns the endpoint's name in metrics, in logs, and in the JSON of `throughline up --json`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::OtlpGrpc => "otlp_grpc",
            Self::OtlpHttp => "otlp_http",
            Self::Zipkin => "zipkin",
            Self::Query => "query",
            Self::QueryGrpc => "query_grpc",
            Self::JaegerHttp => "jaeger_http",
            Self::JaegerCompact => "jaeger_compact",
            Self::JaegerBinary => "jaeger_binary",
            Self::JaegerSampling => "jaeger_sampling",
        }
    }
}
