//! The downstream side of a request: its connection, and the route of its listener.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use throughline_intercept::http::{Direction, HttpPeer};

use super::config::HttpRoute;
use super::idle_tracker::IdleTracker;
use super::interim_io::InterimResponses;
use super::pool::DownstreamPool;
use super::upstream::UpstreamClient;

/// A downstream connection.
pub(super) struct DownstreamConnection {
    pub(super) route: HttpRoute,
    pub(super) client: SocketAddr,
    /// Address that the client connected to.
    pub(super) local: SocketAddr,
    pub(super) is_tls: bool,
    pub(super) tracker: IdleTracker,
    /// Interim responses of an HTTP/1 connection.
    pub(super) interim: Arc<InterimResponses>,
    /// Upstream connections that serve this connection only.
    pub(super) pool: Arc<DownstreamPool>,
    /// Whether the proxy itself has opened the connection.
    pub(super) is_own: OnceLock<bool>,
}

// === impl DownstreamConnection ===

impl DownstreamConnection {
    /// Whether the proxy itself has opened the connection. It does not change: a connection is
    /// registered before its first request, and its addresses are its own while it is open.
    pub(super) fn is_own_connection(&self, upstream: &UpstreamClient) -> bool {
        *self
            .is_own
            .get_or_init(|| upstream.is_own_connection(self.client, self.local))
    }

    pub(super) const fn direction(&self) -> Direction {
        match self.route {
            HttpRoute::Service { .. } => Direction::Inbound,
            HttpRoute::Fixed(_) | HttpRoute::Named { .. } | HttpRoute::Original(_) => {
                Direction::Outbound
            }
        }
    }

    pub(super) const fn scheme(&self) -> &'static str {
        if self.is_tls { "https" } else { "http" }
    }

    pub(super) const fn peer(&self) -> HttpPeer {
        HttpPeer {
            address: Some(self.client.ip()),
            port: Some(self.client.port()),
        }
    }
}
