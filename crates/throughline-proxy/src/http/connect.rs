//! CONNECT (RFC 9110, section 9.3.6): what a tunnel consists of, and its span.

use std::net::SocketAddr;
use std::sync::Arc;

use http::request::Parts;
use hyper::upgrade::OnUpgrade;
use throughline_intercept::http::HttpRequestHead;

use super::downstream::DownstreamConnection;
use super::idle_tracker::RequestGuard;
use super::span::{ExchangeContext, ExchangeSpan};
use super::target::RequestTarget;
use super::upstream::UpstreamSocket;
use crate::transport::stream::MaybeTlsStream;

/// The addresses that this proxy listens on.
#[derive(Debug, Clone, Default)]
pub(super) struct ListenAddresses(pub(super) Vec<SocketAddr>);

/// A CONNECT with a valid target.
pub(super) struct ConnectRequest {
    pub(super) downstream: Arc<DownstreamConnection>,
    pub(super) target: RequestTarget,
    pub(super) head: Parts,
    pub(super) started_at_ns: u64,
}

/// A tunnel whose upstream is connected, and whose client gets a 200.
pub(super) struct ConnectTunnel {
    pub(super) connect: ConnectRequest,
    pub(super) socket: UpstreamSocket,
    pub(super) upgrade: OnUpgrade,
    /// The downstream connection counts as in use until the tunnel ends.
    pub(super) request_guard: RequestGuard,
}

// === impl ListenAddresses ===

impl ListenAddresses {
    /// Returns whether a tunnel through this socket would lead back to the proxy.
    pub(super) fn are_reached_by(&self, socket: &UpstreamSocket) -> bool {
        let MaybeTlsStream::Plain(stream) = &socket.stream else {
            return false;
        };
        match (stream.local_addr(), stream.peer_addr()) {
            (Ok(local), Ok(peer)) => self.contains(local, peer),
            // The connection has failed already, and the tunnel will show it.
            _ => false,
        }
    }

    /// Returns whether a connection from `local` to `peer` leads to one of these addresses.
    fn contains(&self, local: SocketAddr, peer: SocketAddr) -> bool {
        // A connection within this machine has one address on both ends, or a loopback one.
        let is_local = peer.ip().is_loopback() || peer.ip() == local.ip();
        self.0.iter().any(|own| {
            own.port() == peer.port()
                && (own.ip() == peer.ip() || (own.ip().is_unspecified() && is_local))
        })
    }
}

// === impl ConnectRequest ===

impl ConnectRequest {
    /// Starts the span of the tunnel, at the time of the request.
    pub(super) fn start_span(&mut self, tracing: &Arc<ExchangeContext>) -> ExchangeSpan {
        let authority = self.target.authority.as_str();
        let description = HttpRequestHead {
            method: "CONNECT",
            scheme: self.target.scheme(),
            authority,
            target: authority,
            // HTTP/2 has no tunnels here.
            version: "1.1",
            body: None,
        };
        ExchangeSpan::start_at(
            tracing,
            self.started_at_ns,
            self.downstream.direction(),
            self.target.peer(),
            &description,
            &mut self.head.headers,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_listeners_are_recognised_by_any_address_that_leads_to_them() {
        let address = |text: &str| -> SocketAddr { text.parse().unwrap() };
        let own = ListenAddresses(vec![address("127.0.0.1:19080"), address("0.0.0.0:8080")]);
        let leads_to_own = |local, peer| own.contains(address(local), address(peer));
        assert!(leads_to_own("127.0.0.1:5001", "127.0.0.1:19080"));
        assert!(leads_to_own("127.0.0.1:5001", "127.0.0.1:8080"));
        assert!(leads_to_own("127.0.0.1:5001", "127.9.9.9:8080"));
        assert!(leads_to_own("10.0.0.7:5001", "10.0.0.7:8080"));
        assert!(!leads_to_own("10.0.0.7:5001", "10.0.0.8:8080"));
        assert!(!leads_to_own("127.0.0.1:5001", "127.0.0.2:19080"));
        assert!(!leads_to_own("127.0.0.1:5001", "127.0.0.1:443"));
    }
}
