//! What a proxy can be told.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use throughline_intercept::http::Direction;
use throughline_intercept::kafka::{Capacity, Settings};

use crate::address::Address;
use crate::http;
use crate::kafka::port::PortRange;
use crate::transport::tls::{Acceptor, Connector};

/// What a proxy can be told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where clients come in.
    pub listeners: Vec<Listener>,
    /// TLS to all brokers; none without.
    pub broker_tls: Option<Connector>,
    /// TLS from all clients; none without.
    pub client_tls: Option<Acceptor>,
    /// Where `/metrics`, `/ready` and `/live` are answered; nowhere without.
    pub admin: Option<SocketAddr>,
    /// What may be held and for how long.
    pub limits: Limits,
    /// What the connections to one cluster may know together.
    pub capacity: Capacity,
    /// How connections are traced. The one part that changes while the proxy runs: [`crate::Control::apply`].
    pub settings: Arc<Settings>,
    /// HTTP beside Kafka.
    pub http: http::Config,
}

/// One address that clients connect to.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Where it listens; port 0 for any free one.
    pub address: SocketAddr,
    /// Where its connections go.
    pub route: Route,
}

/// How it is known where a client wants to go.
#[derive(Debug, Clone)]
pub enum Route {
    /// Clients are given our address for their first connection, and in every answer ours in place of the brokers'.
    Addressed(Addressed),
    /// The system turns connections towards us (`SO_ORIGINAL_DST`): those of the process that we stand beside, or those to it.
    /// What is spoken on each is seen by its first bytes, and no answer is changed.
    Redirected(Direction),
}

/// A cluster whose brokers have ports of ours.
#[derive(Debug, Clone)]
pub struct Addressed {
    /// The brokers for a client's first connection. The first that answers serves.
    pub bootstrap: Vec<Address>,
    /// The local ports of the brokers.
    pub broker_ports: PortRange,
    /// The host that clients are told; without it the address by which each reached us.
    pub advertise: Option<Arc<str>>,
    /// Where it is written down which broker has which port.
    pub state: Option<PathBuf>,
}

/// What may be held and for how long.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once; more wait in the system's backlog.
    pub connections_max: usize,
    /// How long one broker may take until a connection to it stands, TLS included.
    pub connect_deadline: Duration,
    /// How long connections may go on to end what they are at, once the proxy is told to stop.
    pub drain_deadline: Duration,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            connect_deadline: Duration::from_secs(5),
            drain_deadline: Duration::from_secs(30),
        }
    }
}
