//! The listening sockets of a proxy, all bound before the first connection is served.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::config::{Config, ListenerRoute};
use crate::http;

/// The addresses that a proxy listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyAddresses {
    /// Listeners for Kafka and redirected connections, in the order of the configuration.
    pub listeners: Vec<SocketAddr>,
    /// Listeners for HTTP, in the order of the configuration.
    pub http: Vec<SocketAddr>,
    /// The listener for `/metrics`, `/ready` and `/live`.
    pub admin: Option<SocketAddr>,
}

/// An address that the proxy cannot listen on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for {}", purpose.label())]
pub struct ProxyBindError {
    /// The use of the address.
    pub purpose: ListenerPurpose,
    pub address: SocketAddr,
    pub source: io::Error,
}

/// The use of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerPurpose {
    /// Kafka clients and redirected connections.
    Kafka,
    /// HTTP requests.
    Http,
    /// Metrics and health.
    Admin,
}

/// All sockets of a proxy.
pub(super) struct BoundSockets {
    pub(super) listeners: Vec<(TcpListener, ListenerRoute)>,
    pub(super) http: Vec<http::BoundHttpListener>,
    pub(super) admin: Option<TcpListener>,
    pub(super) addresses: ProxyAddresses,
}

// === impl ProxyAddresses ===

impl ProxyAddresses {
    /// Iterates over the addresses of all listeners.
    pub(super) fn all(&self) -> impl Iterator<Item = SocketAddr> {
        let clients = self.listeners.iter().chain(&self.http).copied();
        clients.chain(self.admin)
    }
}

// === impl BoundSockets ===

impl BoundSockets {
    /// Binds all listeners of a configuration and takes them out of it.
    pub(super) async fn bind(config: &mut Config) -> Result<Self, ProxyBindError> {
        let mut addresses = ProxyAddresses {
            listeners: Vec::new(),
            http: Vec::new(),
            admin: None,
        };
        let (mut listeners, mut http) = (Vec::new(), Vec::new());
        // In the order of the configuration, which the addresses keep.
        for wanted in std::mem::take(&mut config.listeners) {
            let (listener, local) = bind(wanted.address, ListenerPurpose::Kafka).await?;
            addresses.listeners.push(local);
            listeners.push((listener, wanted.route));
        }
        for wanted in std::mem::take(&mut config.http.listeners) {
            let (listener, local) = bind(wanted.address, ListenerPurpose::Http).await?;
            addresses.http.push(local);
            http.push(http::BoundHttpListener {
                listener,
                config: wanted,
            });
        }
        let mut admin = None;
        if let Some(address) = config.admin {
            let (listener, local) = bind(address, ListenerPurpose::Admin).await?;
            addresses.admin = Some(local);
            admin = Some(listener);
        }
        Ok(Self {
            listeners,
            http,
            admin,
            addresses,
        })
    }
}

// === impl ListenerPurpose ===

impl ListenerPurpose {
    const fn label(self) -> &'static str {
        match self {
            Self::Kafka => "Kafka clients",
            Self::Http => "HTTP requests",
            Self::Admin => "metrics and health",
        }
    }
}

async fn bind(
    address: SocketAddr,
    purpose: ListenerPurpose,
) -> Result<(TcpListener, SocketAddr), ProxyBindError> {
    let failed = |source| ProxyBindError {
        purpose,
        address,
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    // With port 0, the system has chosen the port by now.
    let local = listener.local_addr().map_err(failed)?;
    Ok((listener, local))
}
