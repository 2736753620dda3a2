//! The server of redirected connections: their upstream host is the original destination, and has
//! been dialed by protocol detection.

use std::io;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use throughline_intercept::http::Direction;

use super::config::{HttpRoute, UpstreamOrigin, UpstreamProtocol};
use super::connection::{OpenConnectionGauge, serve_connection};
use super::downstream::DownstreamConnection;
use super::error::ProxyError;
use super::idle_tracker::IdleTracker;
use super::pool::DownstreamPool;
use super::prefixed_io::PrefixedIo;
use super::service::ProxyService;
use super::upstream::UpstreamSocket;
use crate::address::HostPort;
use crate::listener::original_destination::RedirectedConnection;
use crate::listener::protocol::DetectedProtocol;
use crate::transport::dial::DialedSocket;
use crate::transport::stream::MaybeTlsStream;

/// Serves redirected connections that were detected as HTTP.
#[derive(Clone)]
pub(crate) struct RedirectedHttpServer(pub(super) Arc<ProxyService>);

// === impl RedirectedHttpServer ===

impl RedirectedHttpServer {
    /// Serves a connection until it ends. `upstream` is the socket to its original destination, or
    /// the error that its first request is answered with.
    pub(crate) async fn serve(
        &self,
        direction: Direction,
        redirected: RedirectedConnection,
        protocol: DetectedProtocol,
        upstream: io::Result<DialedSocket>,
    ) {
        let RedirectedConnection {
            stream,
            client,
            destination,
        } = redirected;
        let address = HostPort::from(destination);
        let origin = UpstreamOrigin {
            address: address.clone(),
            tls: false,
        };
        let is_http2 = protocol == DetectedProtocol::Http2;
        // The client was accepted before its destination was known to be reachable: an error here
        // becomes the response to its first request.
        let pool = self.pool(direction, &origin, is_http2, upstream).await;
        let route = match direction {
            // The service is known by its port only: it gets the protocol that the client speaks.
            Direction::Inbound => HttpRoute::Service {
                address,
                protocol: UpstreamProtocol::Same,
            },
            Direction::Outbound => HttpRoute::Original(address),
        };
        let tracker = IdleTracker::new();
        let metrics = &self.0.tracing.metrics;
        let _open = OpenConnectionGauge::new(metrics.connection_accepted(direction));
        let downstream = DownstreamConnection {
            route,
            client,
            local: destination,
            // Detection hands over clear text only; TLS passes as bytes.
            is_tls: false,
            tracker: tracker.clone(),
            interim: Arc::default(),
            pool: Arc::new(pool),
            is_own: OnceLock::new(),
        };
        // Detection has peeked: all bytes are still in the socket.
        let io = PrefixedIo::new(Bytes::new(), MaybeTlsStream::Plain(stream), tracker);
        serve_connection(Arc::clone(&self.0), Arc::new(downstream), io, protocol).await;
    }

    /// Returns a pool with the dialed connection in it.
    async fn pool(
        &self,
        direction: Direction,
        origin: &UpstreamOrigin,
        is_http2: bool,
        upstream: io::Result<DialedSocket>,
    ) -> DownstreamPool {
        match upstream {
            Ok(DialedSocket { stream, own_guard }) => {
                let pool = DownstreamPool::redirected(None);
                let socket = UpstreamSocket {
                    stream: MaybeTlsStream::Plain(stream),
                    own_guard,
                };
                self.0.tracing.metrics.upstream_connected(direction);
                let client = self.0.upstream(direction);
                client.adopt(origin, socket, is_http2, &pool).await;
                pool
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                DownstreamPool::redirected(Some(ProxyError::ConnectTimeout))
            }
            Err(_) => DownstreamPool::redirected(Some(ProxyError::ConnectFailed)),
        }
    }
}
