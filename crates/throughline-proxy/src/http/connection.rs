//! One downstream connection: TLS, protocol version, requests, timeouts and shutdown.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::config::{HttpLimits, HttpRoute};
use super::downstream::DownstreamConnection;
use super::idle_tracker::IdleTracker;
use super::interim_io::InterimIo;
use super::prefixed_io::{PrefixedIo, ResetOnClose};
use super::service::ProxyService;
use crate::address::unmap_ipv4;
use crate::listener::detect::read_http_version;
use crate::listener::protocol::DetectedProtocol;
use crate::transport::drain::Drain;
use crate::transport::stream::{self, MaybeTlsStream};
use crate::transport::tls::DownstreamTls;

/// Lower bound of the interval between timeout checks.
const MIN_CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// Serves the connections of one listener.
pub(super) struct ConnectionServer {
    pub(super) service: Arc<ProxyService>,
    pub(super) route: HttpRoute,
    pub(super) tls: Option<DownstreamTls>,
}

/// Counts a connection as open until it is dropped.
pub(super) struct OpenConnectionGauge(Gauge);

/// A connection after its TLS handshake and protocol detection.
struct NegotiatedConnection {
    stream: MaybeTlsStream,
    local: SocketAddr,
    protocol: DetectedProtocol,
    /// Bytes that detection has read.
    prefix: Bytes,
}

/// Closes a connection for its timeouts and at shutdown.
struct ConnectionSupervisor<'a> {
    tracker: &'a IdleTracker,
    limits: &'a HttpLimits,
    drain: &'a Drain,
    /// Whether the head timeout applies: in HTTP/2 frames arrive without any request.
    checks_head: bool,
}

/// An event for which a connection may be closed.
enum SupervisorEvent {
    Aborted,
    Draining,
    CheckDue,
}

// === impl ConnectionServer ===

impl ConnectionServer {
    /// Serves a connection until it ends.
    pub(super) async fn serve(&self, stream: TcpStream, client: SocketAddr) {
        let drain = self.service.tracing.drain.clone();
        let negotiated = tokio::select! {
            negotiated = self.negotiate(stream) => negotiated,
            // No request has begun.
            () = drain.draining() => return,
        };
        let connection = match negotiated {
            Ok(connection) => connection,
            Err(error) => {
                tracing::debug!(%client, %error, "connection setup failed");
                return;
            }
        };
        let tracker = IdleTracker::new();
        let downstream = DownstreamConnection {
            route: self.route.clone(),
            client: unmap_ipv4(client),
            local: connection.local,
            is_tls: self.tls.is_some(),
            tracker: tracker.clone(),
            interim: Arc::default(),
            pool: Arc::default(),
            is_own: OnceLock::new(),
        };
        let metrics = &self.service.tracing.metrics;
        let _open = OpenConnectionGauge::new(metrics.connection_accepted(downstream.direction()));
        let io = PrefixedIo::new(connection.prefix, connection.stream, tracker);
        let service = Arc::clone(&self.service);
        serve_connection(service, Arc::new(downstream), io, connection.protocol).await;
    }

    /// Performs the TLS handshake, or detects the protocol version.
    async fn negotiate(&self, mut stream: TcpStream) -> std::io::Result<NegotiatedConnection> {
        stream::configure(&stream);
        let local = unmap_ipv4(stream.local_addr()?);
        let limits = &self.service.limits;
        if let Some(tls) = &self.tls {
            let stream = timeout(limits.head_timeout, tls.accept(stream)).await??;
            // A client without ALPN speaks HTTP/1.1 (RFC 9113, section 3.3).
            let protocol = if stream.alpn_protocol() == Some(b"h2") {
                DetectedProtocol::Http2
            } else {
                DetectedProtocol::Http1
            };
            return Ok(NegotiatedConnection {
                stream,
                local,
                protocol,
                prefix: Bytes::new(),
            });
        }
        // The head timeout starts at the first byte. A peek waits for it; `readable` may wake up
        // without one.
        timeout(limits.idle_timeout, stream.peek(&mut [0])).await??;
        let (protocol, prefix) =
            timeout(limits.head_timeout, read_http_version(&mut stream)).await??;
        Ok(NegotiatedConnection {
            stream: MaybeTlsStream::Plain(stream),
            local,
            protocol,
            prefix,
        })
    }
}

/// Serves the requests of a connection. hyper's HTTP/1 answers anything that is not HTTP with 400.
pub(super) async fn serve_connection<S>(
    service: Arc<ProxyService>,
    downstream: Arc<DownstreamConnection>,
    io: PrefixedIo<S>,
    protocol: DetectedProtocol,
) where
    S: AsyncRead + AsyncWrite + ResetOnClose + Unpin + Send + 'static,
{
    let (limits, drain) = (service.limits.clone(), service.tracing.drain.clone());
    let tracker = downstream.tracker.clone();
    let mut supervisor = ConnectionSupervisor {
        tracker: &tracker,
        limits: &limits,
        drain: &drain,
        checks_head: false,
    };
    let handler = (Arc::clone(&service), Arc::clone(&downstream));
    let respond = service_fn(move |request: Request<Incoming>| {
        let (service, downstream) = handler.clone();
        service.respond(downstream, request)
    });
    if protocol == DetectedProtocol::Http2 {
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.max_concurrent_streams)
            .max_header_list_size(limits.max_header_list_size())
            .serve_connection(TokioIo::new(io), respond);
        supervisor
            .drive(connection, http2::Connection::graceful_shutdown)
            .await;
    } else {
        supervisor.checks_head = true;
        let interim = Arc::clone(&downstream.interim);
        let io = InterimIo::new(io, interim, tracker.clone());
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // hyper's timeout would start before the first byte, and count idle time.
            .header_read_timeout(None)
            .max_buf_size(limits.http1_buffer_bytes())
            .max_headers(limits.max_header_fields)
            .preserve_header_case(true)
            // The stream notices the end of the client's side.
            .half_close(true)
            .serve_connection(TokioIo::new(io), respond)
            .with_upgrades();
        supervisor
            .drive(connection, http1::UpgradeableConnection::graceful_shutdown)
            .await;
        if let Some(error) = downstream.interim.take_refusal() {
            service.record_refusal(&downstream, error);
        }
    }
}

// === impl ConnectionSupervisor ===

impl ConnectionSupervisor<'_> {
    /// Drives a connection until it ends by itself, times out, or the proxy shuts down.
    async fn drive<C>(&self, connection: C, shut_down: fn(Pin<&mut C>))
    where
        C: Future<Output = hyper::Result<()>>,
    {
        let mut connection = std::pin::pin!(connection);
        let mut is_closing = false;
        // A connection is polled several times for each request, and the drain has locks that all
        // connections share. So it and the clock are polled only when they have woken the task.
        let mut events = FuturesUnordered::new();
        events.push(self.next_event(is_closing));
        loop {
            let event = tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "downstream connection failed");
                    }
                    return;
                }
                Some(event) = events.next() => event,
            };
            match event {
                // Dropping the connection cancels its requests; their spans record the shutdown.
                SupervisorEvent::Aborted => return,
                // GOAWAY in HTTP/2, `connection: close` in HTTP/1: requests in flight finish.
                SupervisorEvent::Draining => {
                    is_closing = true;
                    shut_down(connection.as_mut());
                }
                SupervisorEvent::CheckDue => {
                    if self.is_head_timed_out() {
                        return;
                    }
                    if !is_closing && self.is_idle_timed_out() {
                        is_closing = true;
                        shut_down(connection.as_mut());
                    }
                }
            }
            events.push(self.next_event(is_closing));
        }
    }

    /// Waits for the next event besides those of the connection itself.
    async fn next_event(&self, is_closing: bool) -> SupervisorEvent {
        tokio::select! {
            () = self.drain.aborted() => SupervisorEvent::Aborted,
            () = self.drain.draining(), if !is_closing => SupervisorEvent::Draining,
            () = sleep(self.check_interval()) => SupervisorEvent::CheckDue,
        }
    }

    fn is_head_timed_out(&self) -> bool {
        let age = self.tracker.head_age();
        self.checks_head && age.is_some_and(|age| age >= self.limits.head_timeout)
    }

    fn is_idle_timed_out(&self) -> bool {
        let idle_time = self.tracker.idle_time();
        idle_time.is_some_and(|idle_time| idle_time >= self.limits.idle_timeout)
    }

    /// Returns the interval between checks: a quarter of the shorter timeout, by which a connection
    /// may exceed it. Checks cost less than a timer that every read resets.
    fn check_interval(&self) -> Duration {
        (self.limits.head_timeout.min(self.limits.idle_timeout) / 4).max(MIN_CHECK_INTERVAL)
    }
}

// === impl OpenConnectionGauge ===

impl OpenConnectionGauge {
    pub(super) fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for OpenConnectionGauge {
    fn drop(&mut self) {
        self.0.dec();
    }
}
