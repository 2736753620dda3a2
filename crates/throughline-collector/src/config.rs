//! What a collector can be told.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// What a collector can be told. The default listens on loopback at the usual ports.
#[derive(Debug, Clone)]
pub struct Config {
    /// The address of all doors.
    pub host: IpAddr,
    /// OTLP over gRPC; 0 for any free port, as with the others.
    pub otlp_grpc_port: u16,
    /// OTLP over HTTP.
    pub otlp_http_port: u16,
    /// Zipkin v2 JSON.
    pub zipkin_port: u16,
    /// Queries and the UI.
    pub query_port: u16,
    /// How many bytes of spans are kept.
    pub store_memory: usize,
    /// What a client may take of us.
    pub limits: Limits,
}

/// A port with a protocol of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Door {
    /// OTLP over gRPC.
    OtlpGrpc,
    /// OTLP over HTTP.
    OtlpHttp,
    /// Zipkin v2 JSON.
    Zipkin,
    /// Queries and the UI.
    Query,
}

/// What a client may take of us: bytes, places, time.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The largest body, before and after inflation (opentelemetry-proto recommends 64 MiB).
    pub body_max: usize,
    /// All bodies together that are being read or decoded, inflated ones included.
    pub in_flight_max: usize,
    /// Requests that are read or decoded at once.
    pub requests_max: usize,
    /// Bodies that are inflated and decoded at once; more wait. The worst takes about a gigabyte (`throughline_otlp::check_json`).
    pub decodings_max: usize,
    /// How long a request waits for its place before it is told to come back later.
    pub admission_wait: Duration,
    /// Queries that are answered at once; more wait.
    pub queries_max: usize,
    /// Bytes of answers that clients are still taking; who asks for more is told to come back later.
    pub answers_max: usize,
    /// Connections of one door; more wait in the system's backlog.
    pub connections_max: usize,
    /// From the opening of a connection, or the last answer on it, to the end of the next request's head.
    pub head_deadline: Duration,
    /// From the first byte of a body to its last.
    pub body_deadline: Duration,
    /// How long a client may let our answer wait without taking a byte of it.
    pub stall_deadline: Duration,
    /// How long requests under way may take to end once the collector is told to stop.
    pub drain_deadline: Duration,
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
            store_memory: 512 << 20,
            limits: Limits::default(),
        }
    }
}

impl Config {
    /// The address a door is to listen on.
    #[must_use]
    pub const fn address(&self, door: Door) -> SocketAddr {
        let port = match door {
            Door::OtlpGrpc => self.otlp_grpc_port,
            Door::OtlpHttp => self.otlp_http_port,
            Door::Zipkin => self.zipkin_port,
            Door::Query => self.query_port,
        };
        SocketAddr::new(self.host, port)
    }
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_max: 64 << 20,
            in_flight_max: 256 << 20,
            requests_max: 64,
            decodings_max: 2,
            admission_wait: Duration::from_secs(1),
            queries_max: 4,
            answers_max: 256 << 20,
            connections_max: 1024,
            head_deadline: Duration::from_secs(30),
            body_deadline: Duration::from_secs(30),
            stall_deadline: Duration::from_secs(30),
            drain_deadline: Duration::from_secs(3),
        }
    }
}

// === impl Door ===

impl Door {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::OtlpGrpc, Self::OtlpHttp, Self::Zipkin, Self::Query];

    /// A word for metrics and logs, and the name of the door's address in the JSON that `throughline up --json` prints.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::OtlpGrpc => "otlp_grpc",
            Self::OtlpHttp => "otlp_http",
            Self::Zipkin => "zipkin",
            Self::Query => "query",
        }
    }
}
