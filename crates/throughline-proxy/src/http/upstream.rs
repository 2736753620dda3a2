//! The client side of the proxy: opens connections to upstream hosts and sends requests on them.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use throughline_intercept::http::Direction;
use tokio::time::{Instant, timeout};

use super::config::{HttpLimits, UpstreamOrigin};
use super::error::ProxyError;
use super::metrics::HttpMetrics;
use super::pool::{
    DownstreamPool, Http1Sender, Http2Sender, Http2Slot, PooledConnection, UpstreamPool,
};
use super::request_body::RequestBody;
use super::target::RequestTarget;
use crate::address::HostPort;
use crate::transport::dial::{DialedSocket, UpstreamDialer};
use crate::transport::own_connections::{OwnConnectionGuard, OwnConnections, SocketPair};
use crate::transport::stream::MaybeTlsStream;
use crate::transport::tls::UpstreamTls;

/// Bytes of one HTTP/2 response that are buffered for a client that does not read.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;

/// HTTP/2's maximum (RFC 9113, section 6.9.1). A response that is not read must not hold up the
/// others of its connection; the stream window limits each of them.
const CONNECTION_WINDOW_BYTES: u32 = (1 << 31) - 1;

/// Sends the requests of one direction.
pub(super) struct UpstreamClient {
    direction: Direction,
    limits: HttpLimits,
    metrics: Arc<HttpMetrics>,
    tls: Option<AlpnTls>,
    dialer: UpstreamDialer,
    pool: Arc<UpstreamPool>,
}

/// TLS that negotiates one protocol version.
struct AlpnTls {
    http1: UpstreamTls,
    http2: UpstreamTls,
}

/// A connected upstream socket, with its registration as the proxy's own.
pub(super) struct UpstreamSocket {
    pub(super) stream: MaybeTlsStream,
    pub(super) own_guard: OwnConnectionGuard,
}

// === impl UpstreamClient ===

impl UpstreamClient {
    pub(super) fn new(
        direction: Direction,
        limits: HttpLimits,
        metrics: Arc<HttpMetrics>,
        own_connections: OwnConnections,
        tls: Option<&UpstreamTls>,
    ) -> Self {
        let tls = tls.map(|tls| AlpnTls {
            http1: tls.with_alpn(&[b"http/1.1"]),
            http2: tls.with_alpn(&[b"h2"]),
        });
        Self {
            direction,
            metrics,
            tls,
            dialer: UpstreamDialer {
                tls: None,
                connect_timeout: limits.connect_timeout,
                own_connections,
            },
            pool: Arc::new(UpstreamPool::new(&limits)),
            limits,
        }
    }

    /// Whether a downstream connection was opened by the proxy itself.
    pub(super) fn is_own_connection(&self, source: SocketAddr, destination: SocketAddr) -> bool {
        self.dialer
            .own_connections
            .contains(SocketPair::new(source, destination))
    }

    /// Sends a request and waits for the response head. Returns the connection too, if it can serve
    /// another request.
    pub(super) async fn send(
        &self,
        target: &RequestTarget,
        request: Request<RequestBody>,
        downstream: &Arc<DownstreamPool>,
    ) -> Result<(Response<Incoming>, Option<PooledConnection>), ProxyError> {
        if let Some(error) = downstream.take_error() {
            return Err(error);
        }
        let origin = &target.origin;
        let sending = async {
            if target.is_http2 {
                self.send_http2(&downstream.http2_slot(origin), origin, request)
                    .await
                    .map(|response| (response, None))
            } else {
                self.send_http1(origin, request, downstream)
                    .await
                    .map(|(response, connection)| (response, Some(connection)))
            }
        };
        match self.limits.response_timeout {
            None => sending.await,
            Some(response_timeout) => timeout(response_timeout, sending)
                .await
                .unwrap_or(Err(ProxyError::ResponseTimeout)),
        }
    }

    /// Opens a connection for a tunnel.
    pub(super) async fn open_tunnel(
        &self,
        origin: &UpstreamOrigin,
    ) -> Result<UpstreamSocket, ProxyError> {
        self.dial(origin, false).await
    }

    /// Takes over a socket that was dialed for a redirected connection.
    pub(super) async fn adopt(
        &self,
        origin: &UpstreamOrigin,
        socket: UpstreamSocket,
        is_http2: bool,
        downstream: &DownstreamPool,
    ) {
        self.metrics.upstream_connected(self.direction);
        if is_http2 {
            *downstream.http2_slot(origin).lock().await = self.handshake_http2(socket).await.ok();
        } else if let Ok(sender) = self.handshake_http1(socket).await {
            downstream.put_http1(sender);
        }
    }

    /// Closes the pooled connections that have been idle for too long.
    pub(super) fn sweep(&self, now: Instant) {
        self.pool.sweep(now);
    }

    // --- HTTP/1 ---

    async fn send_http1(
        &self,
        origin: &UpstreamOrigin,
        mut request: Request<RequestBody>,
        downstream: &Arc<DownstreamPool>,
    ) -> Result<(Response<Incoming>, PooledConnection), ProxyError> {
        loop {
            let pooled = self.take_pooled(origin, downstream);
            let is_reused = pooled.is_some();
            let mut sender = match pooled {
                Some(sender) => sender,
                // Boxed: connecting is rare, and would enlarge the future of every request.
                None => Box::pin(self.connect_http1(origin)).await?,
            };
            // An idle connection may have closed. Then nothing of the request has been sent, and it
            // is safe to send it on another one (RFC 9110, section 9.2.2).
            if is_reused && sender.ready().await.is_err() {
                continue;
            }
            match sender.try_send_request(request).await {
                Ok(response) => {
                    let connection = PooledConnection {
                        pool: Arc::clone(&self.pool),
                        downstream: Arc::clone(downstream),
                        origin: origin.clone(),
                        sender,
                    };
                    return Ok((response, connection));
                }
                Err(mut error) => match error.take_message().filter(|_| is_reused) {
                    Some(unsent) => request = unsent,
                    None => return Err(upstream_error(&error.into_error())),
                },
            }
        }
    }

    fn take_pooled(
        &self,
        origin: &UpstreamOrigin,
        downstream: &DownstreamPool,
    ) -> Option<Http1Sender> {
        if downstream.has_own_http1() {
            downstream.take_http1()
        } else {
            self.pool.take(origin)
        }
    }

    async fn connect_http1(&self, origin: &UpstreamOrigin) -> Result<Http1Sender, ProxyError> {
        self.handshake_http1(self.dial(origin, false).await?).await
    }

    async fn handshake_http1(&self, socket: UpstreamSocket) -> Result<Http1Sender, ProxyError> {
        let UpstreamSocket { stream, own_guard } = socket;
        let mut builder = http1::Builder::new();
        builder
            .max_buf_size(self.limits.http1_buffer_bytes())
            .max_headers(self.limits.max_header_fields);
        let (sender, connection) = builder
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| upstream_error(&error))?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "upstream connection failed");
            }
            drop(own_guard);
        });
        Ok(sender)
    }

    // --- HTTP/2 ---

    async fn send_http2(
        &self,
        slot: &Http2Slot,
        origin: &UpstreamOrigin,
        mut request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, ProxyError> {
        loop {
            let (mut sender, is_reused) = self.http2_sender(slot, origin).await?;
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(response),
                Err(mut error) => match error.take_message().filter(|_| is_reused) {
                    Some(unsent) => {
                        // The server has sent GOAWAY: the next round opens another connection.
                        *slot.lock().await = None;
                        request = unsent;
                    }
                    None => return Err(upstream_error(&error.into_error())),
                },
            }
        }
    }

    /// Returns the open connection or a new one, and whether it has been used before.
    async fn http2_sender(
        &self,
        slot: &Http2Slot,
        origin: &UpstreamOrigin,
    ) -> Result<(Http2Sender, bool), ProxyError> {
        let mut current = slot.lock().await;
        if let Some(sender) = current.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok((sender.clone(), true));
        }
        let sender = Box::pin(self.connect_http2(origin)).await?;
        *current = Some(sender.clone());
        Ok((sender, false))
    }

    async fn connect_http2(&self, origin: &UpstreamOrigin) -> Result<Http2Sender, ProxyError> {
        self.handshake_http2(self.dial(origin, true).await?).await
    }

    async fn handshake_http2(&self, socket: UpstreamSocket) -> Result<Http2Sender, ProxyError> {
        let UpstreamSocket { stream, own_guard } = socket;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_header_list_size(self.limits.max_header_list_size())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        let (sender, connection) = builder
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| upstream_error(&error))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "upstream connection failed");
            }
            drop(own_guard);
        });
        Ok(sender)
    }

    // --- connecting ---

    async fn dial(
        &self,
        origin: &UpstreamOrigin,
        is_http2: bool,
    ) -> Result<UpstreamSocket, ProxyError> {
        let tls = match (&self.tls, origin.tls) {
            (_, false) => None,
            (Some(tls), true) => Some(if is_http2 { &tls.http2 } else { &tls.http1 }),
            (None, true) => return Err(ProxyError::TlsNotConfigured),
        };
        // One timeout for DNS, TCP and TLS together.
        let connecting = self.connect(&origin.address, tls);
        match timeout(self.limits.connect_timeout, connecting).await {
            Ok(Ok(socket)) => {
                self.metrics.upstream_connected(self.direction);
                Ok(socket)
            }
            Ok(Err(error)) => {
                tracing::debug!(address = %origin.address, %error, "upstream connect failed");
                Err(ProxyError::ConnectFailed)
            }
            Err(_) => Err(ProxyError::ConnectTimeout),
        }
    }

    async fn connect(
        &self,
        address: &HostPort,
        tls: Option<&UpstreamTls>,
    ) -> std::io::Result<UpstreamSocket> {
        let DialedSocket { stream, own_guard } = self.dialer.connect_tcp(address).await?;
        let stream = match tls {
            None => MaybeTlsStream::Plain(stream),
            Some(tls) => tls.connect(&address.host, stream).await?,
        };
        Ok(UpstreamSocket { stream, own_guard })
    }
}

/// Maps an error of an upstream connection to the response for the client.
fn upstream_error(error: &hyper::Error) -> ProxyError {
    tracing::debug!(%error, "upstream request failed");
    if error.is_parse() {
        ProxyError::InvalidResponse
    } else {
        ProxyError::ConnectionTerminated
    }
}
