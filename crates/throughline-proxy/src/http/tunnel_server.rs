//! Tunnels opened by CONNECT: their content is detected, and served by what it is.
//!
//! ```text
//!   CONNECT ──► port allowed? ──► dial ──► 200 ──► first to speak?
//!                                                   │ client: HTTP: traced as if asked directly
//!                                                   │         TLS or unknown: bytes, one span
//!                                                   └ server: bytes, one span
//! ```
//!
//! Many clients use CONNECT with a proxy even for requests in clear text (gRPC, WebSocket clients,
//! undici's `ProxyAgent`). A tunnel with HTTP in it makes no span of its own: only its requests do.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::config::HttpRoute;
use super::connect::{ConnectRequest, ConnectTunnel};
use super::connection::serve_connection;
use super::downstream::DownstreamConnection;
use super::idle_tracker::IdleTracker;
use super::pool::DownstreamPool;
use super::prefixed_io::{PrefixedIo, ResetOnClose};
use super::service::ProxyService;
use super::upstream::UpstreamSocket;
use crate::listener::detect::{read_protocol, wait_for_server_first};
use crate::listener::protocol::{DetectedProtocol, MAX_DETECTION_BYTES};
use crate::transport::stream::MaybeTlsStream;
use crate::transport::tunnel;

/// Serves one tunnel.
struct TunnelServer {
    service: Arc<ProxyService>,
    tunnel: ConnectTunnel,
}

/// Serves a tunnel until it ends. Boxed: a tunnel serves requests, which may open tunnels.
pub(super) fn serve(
    service: Arc<ProxyService>,
    tunnel: ConnectTunnel,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(TunnelServer { service, tunnel }.serve())
}

/// The client's side of a tunnel.
struct TunnelStream {
    io: TokioIo<Upgraded>,
    /// Tracker of the connection that the tunnel is in.
    outer: IdleTracker,
}

// === impl TunnelStream ===

impl ResetOnClose for TunnelStream {
    fn reset_on_close(&self) {
        // The tunnel ends with its connection, which is dropped after it.
        self.outer.reset_on_close();
    }
}

impl AsyncRead for TunnelStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(context, buffer)
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }
}

// === impl TunnelServer ===

impl TunnelServer {
    async fn serve(mut self) {
        let mut stream = match (&mut self.tunnel.upgrade).await {
            Ok(upgraded) => TunnelStream {
                io: TokioIo::new(upgraded),
                outer: self.tunnel.connect.downstream.tracker.clone(),
            },
            Err(error) => {
                tracing::debug!(%error, "upgrade failed");
                return;
            }
        };
        let mut prefix = BytesMut::with_capacity(MAX_DETECTION_BYTES);
        let Some(protocol) = self.detect(&mut stream, &mut prefix).await else {
            return;
        };
        self.service.tracing.metrics.tunnel_opened(protocol);
        let prefix = prefix.freeze();
        match protocol {
            DetectedProtocol::Http1 | DetectedProtocol::Http2 => {
                self.serve_http(stream, prefix, protocol).await;
            }
            DetectedProtocol::Kafka | DetectedProtocol::Tls | DetectedProtocol::Unknown => {
                self.forward_bytes(stream, prefix).await;
            }
        }
    }

    /// Waits for whichever side speaks first. Returns [`None`] if neither did before the drain.
    async fn detect(
        &self,
        stream: &mut TunnelStream,
        prefix: &mut BytesMut,
    ) -> Option<DetectedProtocol> {
        let server_first = async {
            match &self.tunnel.socket.stream {
                MaybeTlsStream::Plain(server) => drop(wait_for_server_first(server).await),
                // A tunnel is dialed without TLS.
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            // A failed read shows again when the bytes are forwarded.
            detected = read_protocol(stream, prefix) => {
                Some(detected.unwrap_or(DetectedProtocol::Unknown))
            }
            () = server_first => Some(DetectedProtocol::Unknown),
            () = self.service.tracing.drain.draining() => None,
        }
    }

    /// Serves the requests in the tunnel as if the client had connected to the destination itself.
    async fn serve_http(self, stream: TunnelStream, prefix: Bytes, protocol: DetectedProtocol) {
        let Self { service, tunnel } = self;
        let ConnectTunnel {
            connect,
            socket,
            request_guard: _request_guard,
            ..
        } = tunnel;
        let ConnectRequest {
            downstream: outer,
            target,
            ..
        } = connect;
        let pool = DownstreamPool::redirected(None);
        let is_http2 = protocol == DetectedProtocol::Http2;
        service
            .upstream(outer.direction())
            .adopt(&target.origin, socket, is_http2, &pool)
            .await;
        let tracker = IdleTracker::new();
        let downstream = DownstreamConnection {
            route: HttpRoute::Original(target.origin.address),
            client: outer.client,
            local: outer.local,
            is_tls: false,
            tracker: tracker.clone(),
            interim: Arc::default(),
            pool: Arc::new(pool),
            is_own: OnceLock::new(),
        };
        let io = PrefixedIo::new(prefix, stream, tracker);
        serve_connection(service, Arc::new(downstream), io, protocol).await;
    }

    /// Records the span of the tunnel, and copies bytes until it ends.
    async fn forward_bytes(self, stream: TunnelStream, prefix: Bytes) {
        let Self { service, tunnel } = self;
        let ConnectTunnel {
            mut connect,
            socket,
            request_guard: _request_guard,
            ..
        } = tunnel;
        // The span of a tunnel ends when the tunnel begins.
        connect
            .start_span(&service.tracing)
            .record_response(StatusCode::OK.as_u16(), &HeaderMap::new());
        service.tracing.metrics.upgrades.inc();
        let UpstreamSocket {
            stream: server,
            own_guard: _own_guard,
        } = socket;
        let io = PrefixedIo::new(prefix, stream, IdleTracker::new());
        tunnel::copy_both_ways(io, server, &service.tracing.drain).await;
    }
}
