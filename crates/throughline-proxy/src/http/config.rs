//! Configuration of the HTTP part of a proxy.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use throughline_intercept::correlate;
use throughline_intercept::http::Settings;

use crate::address::HostPort;
use crate::transport::tls::{DownstreamTls, UpstreamTls};

/// hyper's minimum of `max_buf_size`.
const MIN_HTTP1_BUFFER_BYTES: usize = 8 << 10;

/// Configuration of the HTTP part of a proxy. The default has no listeners.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Listeners for requests.
    pub listeners: Vec<HttpListenerConfig>,
    /// Tracing of requests. Replaced at run time by [`crate::ProxyControl::apply_http`].
    pub settings: Arc<Settings>,
    /// How the parents of outbound requests are found.
    pub correlate: correlate::Settings,
    /// TLS to upstream hosts of `https` URLs; without it such requests are rejected.
    pub outbound_tls: Option<UpstreamTls>,
    /// Sharing of HTTP/1 connections to upstream hosts.
    pub pool: PoolScope,
    /// Limits and timeouts.
    pub limits: HttpLimits,
}

/// A listener for requests.
#[derive(Debug, Clone)]
pub struct HttpListenerConfig {
    /// Listen address; port 0 selects a free one.
    pub address: SocketAddr,
    /// Destination of the requests.
    pub route: HttpRoute,
    /// TLS from downstream; clear text without it.
    pub tls: Option<DownstreamTls>,
}

/// Destination of a listener's requests.
#[derive(Debug, Clone)]
pub enum HttpRoute {
    /// The service beside the proxy: inbound.
    Service {
        /// Address of the service.
        address: HostPort,
        /// Protocol of the service.
        protocol: UpstreamProtocol,
    },
    /// One origin, whatever the `host` of a request: outbound.
    Fixed(UpstreamOrigin),
    /// The host in the request target, as at an HTTP proxy (`http_proxy`): outbound.
    Named {
        /// Ports of any host that CONNECT opens tunnels to.
        connect: ConnectPorts,
    },
    /// The destination that the client itself connected to, by a redirected connection or a tunnel:
    /// outbound.
    Original(HostPort),
}

/// A set of ports that CONNECT may open tunnels to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnectPorts(Vec<RangeInclusive<u16>>);

/// An upstream host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UpstreamOrigin {
    /// Address of the host.
    pub address: HostPort,
    /// Whether it is reached with TLS.
    pub tls: bool,
}

/// Protocol that requests are forwarded in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UpstreamProtocol {
    /// The protocol of each request: HTTP/1.1 or HTTP/2.
    #[default]
    Same,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// The requests that share HTTP/1 connections to upstream hosts. Redirected connections never share
/// theirs, and neither do connections with a login (NTLM, Negotiate).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PoolScope {
    /// The requests of all downstream connections.
    #[default]
    Shared,
    /// The requests of one downstream connection.
    PerConnection,
}

/// Limits and timeouts of HTTP.
#[derive(Debug, Clone)]
pub struct HttpLimits {
    /// Timeout of an upstream connection, TLS included.
    pub connect_timeout: Duration,
    /// Timeout of a request head from its first byte to its last, and of a TLS handshake.
    pub head_timeout: Duration,
    /// Timeout of a response head; [`None`] waits until the client gives up.
    pub response_timeout: Option<Duration>,
    /// Idle time after which a downstream connection is closed.
    pub idle_timeout: Duration,
    /// Idle time after which an upstream connection is closed.
    pub upstream_idle_timeout: Duration,
    /// Maximum number of idle upstream connections to one origin.
    pub max_idle_per_origin: usize,
    /// Time without progress after which a request body in HTTP/1 times out.
    pub body_idle_timeout: Duration,
    /// Maximum size of a request or response head.
    pub max_head_bytes: usize,
    /// Maximum number of fields in a head.
    pub max_header_fields: usize,
    /// Maximum number of spans per second; further ones are dropped and counted.
    pub max_spans_per_second: u32,
    /// Maximum number of concurrent requests on a downstream connection in HTTP/2.
    pub max_concurrent_streams: u32,
}

// === impl ConnectPorts ===

impl ConnectPorts {
    /// Returns the set of all ports.
    #[must_use]
    pub fn all() -> Self {
        Self(vec![1..=u16::MAX])
    }

    /// Returns the set of the ports in these ranges.
    #[must_use]
    pub const fn new(ranges: Vec<RangeInclusive<u16>>) -> Self {
        Self(ranges)
    }

    /// Returns whether the set has no port, so that CONNECT is not allowed at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether the set has the port.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|range| range.contains(&port))
    }
}

/// Formats the ports as in the option: `443,8000-8999`, `all` or `none`.
impl fmt::Display for ConnectPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        if *self == Self::all() {
            return f.write_str("all");
        }
        for (index, range) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            let (first, last) = (range.start(), range.end());
            if first == last {
                write!(f, "{separator}{first}")?;
            } else {
                write!(f, "{separator}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

// === impl HttpLimits ===

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            head_timeout: Duration::from_secs(30),
            response_timeout: None,
            idle_timeout: Duration::from_secs(3600),
            upstream_idle_timeout: Duration::from_secs(60),
            max_idle_per_origin: 256,
            body_idle_timeout: Duration::from_secs(300),
            max_head_bytes: 64 << 10,
            max_header_fields: 512,
            max_spans_per_second: 10_000,
            // More than services allow: their limit comes first, and then another connection.
            max_concurrent_streams: 16_384,
        }
    }
}

impl HttpLimits {
    /// Returns the maximum head size in the type of HTTP/2's SETTINGS.
    pub(super) fn max_header_list_size(&self) -> u32 {
        u32::try_from(self.max_head_bytes).unwrap_or(u32::MAX)
    }

    /// Returns the buffer size for HTTP/1: hyper panics below its own minimum.
    pub(super) fn http1_buffer_bytes(&self) -> usize {
        self.max_head_bytes.max(MIN_HTTP1_BUFFER_BYTES)
    }
}
