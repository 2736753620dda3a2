//! What the HTTP part of a proxy can be told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use throughline_intercept::correlate;
use throughline_intercept::http::Settings;

use crate::address::HostPort;
use crate::transport::tls::{DownstreamTls, UpstreamTls};

/// What the HTTP part of a proxy can be told. By default it listens nowhere.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Where requests come in.
    pub listeners: Vec<Listener>,
    /// How requests are traced. Changes while the proxy runs: [`crate::Control::apply_http`].
    pub settings: Arc<Settings>,
    /// How the parents of outbound requests are found.
    pub correlate: correlate::Settings,
    /// TLS to those who are asked by `https`; without it such requests are refused.
    pub outbound_tls: Option<UpstreamTls>,
    /// What may be held and for how long.
    pub limits: Limits,
}

/// One address that requests come to.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Where it listens; port 0 for any free one.
    pub address: SocketAddr,
    /// Where its requests go.
    pub route: Route,
    /// TLS from who asks; none without.
    pub tls: Option<DownstreamTls>,
}

/// Where the requests of a listener go.
#[derive(Debug, Clone)]
pub enum Route {
    /// To the service that we stand beside: inbound.
    Service {
        /// Where it listens.
        address: HostPort,
        /// What it speaks.
        protocol: Protocol,
    },
    /// To one place, whatever their `host` says: outbound.
    Fixed(Origin),
    /// To where they say, as to an HTTP proxy (`http_proxy`): outbound.
    Named {
        /// Whether CONNECT is served: a tunnel to any host and port, in which nothing is seen.
        connect: bool,
    },
    /// To where the connection wanted to go that the system redirected: outbound.
    Original(SocketAddr),
}

/// Who is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Where it is.
    pub address: HostPort,
    /// Whether it speaks TLS.
    pub tls: bool,
}

/// What a service speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// Whatever came: HTTP/1.1 as HTTP/1.1, HTTP/2 as HTTP/2.
    #[default]
    Same,
    /// HTTP/1.1, whatever came.
    Http1,
    /// HTTP/2 from its first byte, whatever came.
    Http2,
}

/// What may be held and for how long.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long it may take until a connection to who is asked stands, TLS included.
    pub connect_deadline: Duration,
    /// How long the head of a request may take from its first byte to its last, and TLS to begin with.
    pub head_deadline: Duration,
    /// How long who is asked may take to begin the answer; without it, for ever, or until who asks goes away.
    pub answer_deadline: Option<Duration>,
    /// A connection without a request under way is closed after so long.
    pub idle: Duration,
    /// A connection to who is asked is kept so long for the next request.
    pub upstream_idle: Duration,
    /// So many of them are kept for each.
    pub upstream_idle_max: usize,
    /// How long the body of a request may make no progress, in HTTP/1.
    pub body_idle: Duration,
    /// The longest head of a request or an answer, in bytes.
    pub head_bytes_max: usize,
    /// The most fields that a head may have.
    pub fields_max: usize,
    /// Requests at once on one connection of HTTP/2.
    pub streams_max: u32,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_deadline: Duration::from_secs(5),
            head_deadline: Duration::from_secs(30),
            answer_deadline: None,
            idle: Duration::from_secs(3600),
            upstream_idle: Duration::from_secs(60),
            upstream_idle_max: 256,
            body_idle: Duration::from_secs(300),
            head_bytes_max: 64 << 10,
            fields_max: 128,
            streams_max: 256,
        }
    }
}
