//! Configuration of the proxy.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use throughline_intercept::http::Direction;
use throughline_intercept::kafka::{ClusterCapacity, Settings};

use crate::http;
use crate::kafka::config::AddressedCluster;
use crate::transport::tls::{DownstreamTls, UpstreamTls};

/// Configuration of a [`crate::Proxy`].
#[derive(Debug, Clone)]
pub struct Config {
    /// Listeners for Kafka clients and redirected connections.
    pub listeners: Vec<ListenerConfig>,
    /// TLS to all brokers, or none.
    pub broker_tls: Option<UpstreamTls>,
    /// TLS from all Kafka clients, or none.
    pub client_tls: Option<DownstreamTls>,
    /// Address of `/metrics`, `/ready` and `/live`, or none.
    pub admin: Option<SocketAddr>,
    /// Limits of connections and times.
    pub limits: ConnectionLimits,
    /// Limits of the state that the connections to one cluster share.
    pub capacity: ClusterCapacity,
    /// Tracing of Kafka connections. A running proxy changes it with
    /// [`crate::ProxyControl::apply`].
    pub settings: Arc<Settings>,
    /// Configuration of HTTP.
    pub http: http::Config,
}

/// One address that clients connect to.
#[derive(Debug, Clone)]
pub struct ListenerConfig {
    /// The listen address; port 0 for any free port.
    pub address: SocketAddr,
    /// The destination of its connections.
    pub route: ListenerRoute,
}

/// The way in which a listener finds the destination of a connection.
#[derive(Debug, Clone)]
pub enum ListenerRoute {
    /// Clients connect to the proxy, and responses carry its addresses in place of the brokers'.
    Addressed(AddressedCluster),
    /// The system redirects connections to or from the process beside the proxy
    /// (`SO_ORIGINAL_DST`). The protocol is detected, and addresses in responses stay.
    Redirected(Direction),
}

/// Limits of connections and times.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// Connections at the same time; more wait in the system's backlog.
    pub max_connections: usize,
    /// Time to connect to one broker, TLS included.
    pub connect_timeout: Duration,
    /// Time for requests in flight to complete when the proxy stops.
    pub drain_timeout: Duration,
}

// === impl ConnectionLimits ===

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            connect_timeout: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(30),
        }
    }
}
