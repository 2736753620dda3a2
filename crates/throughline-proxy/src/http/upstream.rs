//! The client side of the proxy: opens connections to upstream hosts and sends requests on them.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use throughline_intercept::http::Direction;
use tokio::time::{Instant, sleep, timeout};

use super::authentication::binds_connection;
use super::config::{HttpLimits, PoolScope, UpstreamOrigin};
use super::error::{ProxyError, Termination};
use super::http1_driver::Http1Driver;
use super::http1_io::{Http1Io, Http1Progress};
use super::http2_connection::{Http2Connection, Http2OpenError};
use super::http2_pool::StreamPermit;
use super::http2_request::{Http2Failure, send_on_stream};
use super::idle_tracker::IdleTracker;
use super::interim_io::InterimResponses;
use super::keep_alive::KeepAliveLimit;
use super::metrics::{HttpMetrics, RepeatReason};
use super::pool::{
    DownstreamPool, Http1Connection, IdleLookup, PooledConnection, UpstreamLease, UpstreamPool,
};
use super::replay::ReplayableRequest;
use super::request_body::RequestBody;
use super::target::RequestTarget;
use crate::address::HostPort;
use crate::transport::dial::{DialedSocket, SlowAddresses, UpstreamDialer};
use crate::transport::own_connections::{OwnConnectionGuard, OwnConnections, SocketPair};
use crate::transport::own_listeners::OwnListeners;
use crate::transport::stream::MaybeTlsStream;
use crate::transport::tls::UpstreamTls;

/// Time without an answer after which the other idle connections are suspected as well.
const DISTRUST_DELAY: Duration = Duration::from_millis(500);

/// Time for a connection to finish with the last response.
const READY_TIMEOUT: Duration = Duration::from_secs(5);

/// Number of times that a request is sent again after the server has refused it unprocessed.
const MAX_REFUSALS: u32 = 8;

/// Number of times that a request is sent again after it was excluded by a GOAWAY: many requests
/// may wait for the few that each connection serves.
const MAX_EXCLUSIONS: u32 = 64;

/// Half of the pause before a refused request is sent again; it doubles each time.
const REFUSAL_DELAY: Duration = Duration::from_millis(2);

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

/// Why a request did not get a response on an HTTP/1 connection.
struct Http1Failure {
    error: ProxyError,
    /// Whether no byte of the request has been written.
    is_unsent: bool,
    /// Whether any byte of a response has arrived.
    has_answer: bool,
}

/// A request on a connection that had been idle, until something is answered. If the client gives
/// up first, the path of the other idle connections may be dead, too.
struct PendingAnswer<'a> {
    pool: &'a UpstreamPool,
    origin: &'a UpstreamOrigin,
    progress: Arc<Http1Progress>,
    sent_at: Instant,
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
        scope: PoolScope,
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
                slow_addresses: SlowAddresses::default(),
                // Listeners for HTTP are reached through one another.
                own_listeners: OwnListeners::default(),
            },
            pool: Arc::new(UpstreamPool::new(&limits, scope)),
            limits,
        }
    }

    /// Whether a downstream connection was opened by the proxy itself.
    pub(super) fn is_own_connection(&self, source: SocketAddr, destination: SocketAddr) -> bool {
        self.dialer
            .own_connections
            .contains(SocketPair::new(source, destination))
    }

    /// Sends a request and waits for the response head. Returns the connection too. A client that
    /// can close one side of its connection is watched meanwhile.
    pub(super) async fn send(
        &self,
        target: &RequestTarget,
        request: Request<RequestBody>,
        watched: Option<IdleTracker>,
        interim: Option<Arc<InterimResponses>>,
        downstream: &Arc<DownstreamPool>,
    ) -> Result<(Response<Incoming>, UpstreamLease), ProxyError> {
        if let Some(error) = downstream.take_error() {
            return Err(error);
        }
        let origin = &target.origin;
        let has_credentials = binds_connection(request.headers());
        let mut request = ReplayableRequest::new(request, watched, interim);
        let sending = async {
            if target.is_http2 {
                self.send_http2(origin, &mut request, downstream)
                    .await
                    .map(|(response, permit)| (response, UpstreamLease::Http2(permit)))
            } else {
                self.send_http1(origin, &mut request, has_credentials, downstream)
                    .await
                    .map(|(response, connection)| (response, UpstreamLease::Http1(connection)))
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

    /// Takes over a socket that was dialed for a redirected connection or a tunnel.
    pub(super) async fn adopt(
        &self,
        origin: &UpstreamOrigin,
        socket: UpstreamSocket,
        is_http2: bool,
        downstream: &DownstreamPool,
    ) {
        if is_http2 {
            if let Ok(connection) = self.handshake_http2(socket).await {
                downstream.http2_pool(origin).add(connection);
            }
        } else if let Ok(connection) = self.handshake_http1(socket).await {
            downstream.put_http1(origin.clone(), connection);
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
        request: &mut ReplayableRequest,
        has_credentials: bool,
        downstream: &Arc<DownstreamPool>,
    ) -> Result<(Response<Incoming>, PooledConnection), ProxyError> {
        let is_repeatable = request.is_repeatable();
        let mut may_reuse = true;
        loop {
            let lookup = if may_reuse {
                self.pool.take(origin, downstream, is_repeatable)
            } else {
                IdleLookup::default()
            };
            let is_reused = lookup.connection.is_some();
            let mut connection = match lookup.connection {
                Some(connection) => connection,
                // A handshake cannot continue on another connection: the client has to begin again.
                None if lookup.has_lost_login && has_credentials => {
                    return Err(ProxyError::ConnectionTerminated(Termination::Closed));
                }
                // Boxed: connecting is rare, and would enlarge the future of every request.
                None => Box::pin(self.connect_http1(origin)).await?,
            };
            if is_reused && !is_ready(&mut connection).await {
                continue;
            }
            let was_bound = connection.is_bound;
            // Set before anything is sent: the connection is bound however the request ends.
            connection.is_bound |= has_credentials;
            let pending = is_reused.then(|| PendingAnswer::new(&self.pool, origin, &connection));
            let sent = send_on(&mut connection, request, is_reused).await;
            drop(pending);
            match sent {
                // The server had timed out the idle connection (RFC 9110, section 15.5.9).
                Ok(response) if is_reused && is_repeatable && is_idle_timeout(&response) => {
                    self.metrics
                        .request_repeated(self.direction, RepeatReason::IdleTimeout);
                    request.keep_written_head(connection.progress.take_head());
                    may_reuse = false;
                }
                Ok(response) => {
                    request.settle();
                    return Ok(self.answered(origin, response, connection, downstream));
                }
                // Nothing has been sent, so that it is safe to send it on another connection.
                Err(failure)
                    if is_reused
                        && failure.is_unsent
                        && request.is_available()
                        && !(was_bound && has_credentials) =>
                {
                    self.metrics
                        .request_repeated(self.direction, RepeatReason::Unsent);
                }
                // Once only, and on a connection that cannot have been idle.
                Err(failure)
                    if is_reused
                        && is_repeatable
                        && !request.is_abandoned()
                        && !connection.is_bound
                        && !failure.has_answer =>
                {
                    self.metrics
                        .request_repeated(self.direction, RepeatReason::Closed);
                    may_reuse = false;
                }
                Err(failure) => return Err(failure.error),
            }
        }
    }

    /// Returns a response, with its connection for further requests.
    fn answered(
        &self,
        origin: &UpstreamOrigin,
        response: Response<Incoming>,
        mut connection: Http1Connection,
        downstream: &Arc<DownstreamPool>,
    ) -> (Response<Incoming>, PooledConnection) {
        let headers = response.headers();
        connection.is_bound |= binds_connection(headers);
        if let Some(timeout) = KeepAliveLimit::announced_in(headers) {
            self.pool.record_announcement(origin, timeout);
        }
        let connection = PooledConnection {
            pool: Arc::clone(&self.pool),
            downstream: Arc::clone(downstream),
            origin: origin.clone(),
            connection,
            closes: has_close_option(headers),
        };
        (response, connection)
    }

    async fn connect_http1(&self, origin: &UpstreamOrigin) -> Result<Http1Connection, ProxyError> {
        self.handshake_http1(self.dial(origin, false).await?).await
    }

    async fn handshake_http1(&self, socket: UpstreamSocket) -> Result<Http1Connection, ProxyError> {
        let UpstreamSocket { stream, own_guard } = socket;
        let (io, progress) = Http1Io::new(stream);
        let mut builder = http1::Builder::new();
        builder
            .max_buf_size(self.limits.http1_buffer_bytes())
            .max_headers(self.limits.max_header_fields)
            .preserve_header_case(true)
            // Responses are read as leniently as clients read them (RFC 9112, sections 5.1, 5.2).
            .allow_spaces_after_header_name_in_responses(true)
            .allow_obsolete_multiline_headers_in_responses(true);
        let (sender, connection) = builder
            .handshake(TokioIo::new(io))
            .await
            .map_err(|error| upstream_error(&error))?;
        let end = Arc::clone(&progress);
        let driver = Http1Driver::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "upstream connection failed");
            }
            end.record_end();
            drop(own_guard);
        });
        Ok(Http1Connection {
            sender,
            driver,
            progress,
            is_bound: false,
        })
    }

    // --- HTTP/2 ---

    async fn send_http2(
        &self,
        origin: &UpstreamOrigin,
        request: &mut ReplayableRequest,
        downstream: &DownstreamPool,
    ) -> Result<(Response<Incoming>, StreamPermit), ProxyError> {
        let pool = downstream.http2_pool(origin);
        let is_repeatable = request.is_repeatable();
        let (mut refusals, mut exclusions, mut may_repeat) = (0, 0, is_repeatable);
        loop {
            // Boxed: connecting is rare, and would enlarge the future of every request.
            let permit = pool
                .acquire(|| Box::pin(self.connect_http2(origin)))
                .await?;
            let failure = match send_on_stream(&permit, request, may_repeat).await {
                Ok(response) => {
                    request.settle();
                    return Ok((response, permit));
                }
                Err(failure) => failure,
            };
            if failure.is_unprocessed() {
                if failure == Http2Failure::Refused {
                    refusals += 1;
                    permit.connection().record_refusal();
                } else {
                    // A connection that has received GOAWAY takes no more requests.
                    exclusions += 1;
                    permit.connection().leave();
                }
                let is_over = refusals > MAX_REFUSALS || exclusions > MAX_EXCLUSIONS;
                if is_over || !request.is_available() {
                    return Err(ProxyError::ConnectionTerminated(Termination::REFUSED));
                }
                self.metrics
                    .request_repeated(self.direction, RepeatReason::Refused);
                if failure == Http2Failure::Refused {
                    drop(permit);
                    sleep(REFUSAL_DELAY * 2_u32.saturating_pow(refusals)).await;
                }
                continue;
            }
            let may_be_stale = permit.is_reused || failure == Http2Failure::Abandoned;
            if failure.is_lost() && may_repeat && may_be_stale {
                self.metrics
                    .request_repeated(self.direction, RepeatReason::Closed);
                may_repeat = false;
                continue;
            }
            return Err(failure.into());
        }
    }

    async fn connect_http2(&self, origin: &UpstreamOrigin) -> Result<Http2Connection, ProxyError> {
        self.handshake_http2(self.dial(origin, true).await?).await
    }

    async fn handshake_http2(&self, socket: UpstreamSocket) -> Result<Http2Connection, ProxyError> {
        let UpstreamSocket { stream, own_guard } = socket;
        Http2Connection::open(stream, own_guard, &self.limits)
            .await
            .map_err(|error| match error {
                Http2OpenError::Timeout => ProxyError::ConnectTimeout,
                Http2OpenError::Failed(error) => upstream_error(&error),
            })
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

// === impl PendingAnswer ===

impl<'a> PendingAnswer<'a> {
    fn new(
        pool: &'a UpstreamPool,
        origin: &'a UpstreamOrigin,
        connection: &Http1Connection,
    ) -> Self {
        Self {
            pool,
            origin,
            progress: Arc::clone(&connection.progress),
            sent_at: Instant::now(),
        }
    }
}

impl Drop for PendingAnswer<'_> {
    fn drop(&mut self) {
        if !self.progress.has_read() && self.sent_at.elapsed() >= DISTRUST_DELAY {
            self.pool.distrust(self.origin, self.sent_at);
        }
    }
}

/// Waits until a connection takes a request: it may still be finishing the last response.
async fn is_ready(connection: &mut Http1Connection) -> bool {
    let Http1Connection { sender, driver, .. } = connection;
    if sender.is_ready() {
        return true;
    }
    driver.attach();
    let ready = poll_fn(|context| driver.poll(context, |context| sender.poll_ready(context)));
    timeout(READY_TIMEOUT, ready)
        .await
        .is_ok_and(|ready| ready.is_ok())
}

/// Sends a request on a connection and waits for the response head.
async fn send_on(
    connection: &mut Http1Connection,
    request: &mut ReplayableRequest,
    is_reused: bool,
) -> Result<Response<Incoming>, Http1Failure> {
    let progress = &connection.progress;
    progress.begin(is_reused, request.source(), request.take_written_head());
    let attempt = request.attempt(Some(progress.written_flag()));
    // Before the request is sent: it wakes whoever polls the connection.
    connection.driver.attach();
    let mut sending = std::pin::pin!(connection.sender.try_send_request(attempt));
    let driver = &connection.driver;
    let sent = poll_fn(|context| driver.poll(context, |context| sending.as_mut().poll(context)));
    sent.await.map_err(|mut error| {
        let unsent = error.take_message();
        let is_unsent = unsent.is_some() || progress.is_stale();
        match unsent {
            Some(unsent) => request.restore_head(unsent),
            None => request.keep_written_head(progress.take_head()),
        }
        Http1Failure {
            is_unsent,
            has_answer: progress.has_read(),
            error: upstream_error(error.error()),
        }
    })
}

/// Whether a server closes an idle connection with a response that no request asked for.
fn is_idle_timeout(response: &Response<Incoming>) -> bool {
    response.status() == StatusCode::REQUEST_TIMEOUT && has_close_option(response.headers())
}

/// Whether the connection ends with this message (RFC 9112, section 9.3).
fn has_close_option(headers: &HeaderMap) -> bool {
    headers.get_all(CONNECTION).iter().any(|value| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
    })
}

/// Maps an error of an upstream connection to what the client gets.
fn upstream_error(error: &hyper::Error) -> ProxyError {
    tracing::debug!(%error, "upstream request failed");
    if error.is_parse() {
        ProxyError::InvalidResponse
    } else {
        ProxyError::ConnectionTerminated(Termination::of(error))
    }
}
