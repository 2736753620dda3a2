//! The accept loop of one listener: a bounded number of connections, each with its timeouts.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::client_connections::ClientConnections;
use crate::config::{CollectorEndpoint, CollectorLimits};
use crate::connection_table::{ConnectionTable, TrackedConnection};
use crate::metrics::{CounterKey, Metrics};
use crate::timeout_io::TimeoutIo;
use crate::tls::CollectorTls;

/// Maximum size of HTTP/1.1 headers, and of the buffer that reads bodies.
const MAX_HTTP1_BUFFER_BYTES: usize = 64 << 10;

/// Maximum size of the headers of an HTTP/2 request.
const MAX_HTTP2_HEADER_BYTES: u32 = 16 << 10;

/// Maximum number of concurrent requests on one HTTP/2 connection.
const MAX_HTTP2_STREAMS: u32 = 64;

/// Pause after a failed accept.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// Pause between two looks for a connection to close while all places are taken.
const ADMISSION_INTERVAL: Duration = Duration::from_millis(50);

/// Length of the preface that opens an HTTP/2 connection (RFC 9113, section 3.4).
const HTTP2_PREFACE_BYTES: usize = 24;

/// Number of looks for late heads within their deadline.
const HEAD_CHECKS_PER_TIMEOUT: u32 = 4;

/// An accept loop, with the settings that all connections of its listener share.
pub(crate) struct HttpAcceptLoop {
    pub(crate) endpoint: CollectorEndpoint,
    pub(crate) router: Router,
    pub(crate) tls: Option<CollectorTls>,
    pub(crate) limits: CollectorLimits,
    pub(crate) metrics: Arc<Metrics>,
}

/// The future that serves a connection to its end.
type ConnectionFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The settings of one connection, which serve it once it speaks HTTP.
struct HttpConnectionServer {
    protocol: HttpProtocol,
    router: Router,
    limits: CollectorLimits,
    tracked: Arc<TrackedConnection>,
    watcher: Watcher,
}

/// The protocol of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HttpProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 from the first byte, as gRPC uses it.
    Http2,
}

impl HttpAcceptLoop {
    /// Serves connections until `stopping` is cancelled, drains them until the drain timeout, then
    /// closes those that remain.
    pub(crate) async fn serve(self, listener: TcpListener, stopping: CancellationToken) {
        let permits = Arc::new(Semaphore::new(self.limits.max_connections));
        let table = Arc::new(ConnectionTable::default());
        let clients = Arc::new(ClientConnections::default());
        let graceful = GracefulShutdown::new();
        let mut connections = JoinSet::new();
        let mut head_checks = tokio::time::interval(self.head_check_interval());
        head_checks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let accepted = tokio::select! {
                () = stopping.cancelled() => break,
                _ = head_checks.tick() => {
                    self.close_late_heads(&table);
                    continue;
                }
                // Reaps finished tasks, which would otherwise pile up in the set.
                Some(_) = connections.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Usually the process is out of file descriptors: without a pause this loop
                    // would spin until one is free.
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_RETRY_INTERVAL).await;
                    continue;
                }
            };
            let max = self.limits.max_client_connections;
            let Some(client) = clients.enter(peer.ip(), max) else {
                self.count_closed("client_limit", 1);
                continue;
            };
            // One connection waits here for its permit, the others in the listen backlog.
            let permit = tokio::select! {
                () = stopping.cancelled() => break,
                permit = self.admit(&permits, &table) => permit,
            };
            let (tracked, place) = table.add(self.protocol().preface_bytes());
            let connection = self.connection(stream, &tracked, &graceful, &stopping);
            connections.spawn(async move {
                tokio::select! {
                    () = tracked.closed() => {}
                    () = connection => {}
                }
                drop(place);
                drop(permit);
                drop(client);
            });
        }
        // Closed before the drain, so that clients connect elsewhere meanwhile.
        drop(listener);
        if tokio::time::timeout(self.limits.drain_timeout, graceful.shutdown())
            .await
            .is_err()
        {
            tracing::warn!("drain timed out, closing the remaining connections");
        }
        // Aborts the tasks that are left and waits until they are gone.
        connections.shutdown().await;
    }

    /// Waits for a permit. While there is none, the connections that have waited longest for a
    /// request are closed.
    async fn admit(
        &self,
        permits: &Arc<Semaphore>,
        table: &ConnectionTable,
    ) -> Option<OwnedSemaphorePermit> {
        loop {
            if let Ok(permit) = Arc::clone(permits).try_acquire_owned() {
                return Some(permit);
            }
            self.close_late_heads(table);
            if table.close_oldest(self.limits.min_waiting_time) {
                self.count_closed("replaced", 1);
            }
            let permit = Arc::clone(permits).acquire_owned();
            // The semaphore is never closed, so there is always a permit in the end.
            if let Ok(permit) = tokio::time::timeout(ADMISSION_INTERVAL, permit).await {
                return permit.ok();
            }
        }
    }

    fn close_late_heads(&self, table: &ConnectionTable) {
        let closed = table.close_late_heads(self.limits.header_read_timeout);
        self.count_closed("late_head", closed);
    }

    fn count_closed(&self, reason: &'static str, count: u64) {
        let key = CounterKey::Closed(self.endpoint, reason);
        if self.metrics.add(key, count) {
            tracing::info!(
                endpoint = self.endpoint.label(),
                reason,
                "connection closed before its request was complete; further ones are only \
                 counted, see /metrics"
            );
        }
    }

    fn head_check_interval(&self) -> Duration {
        let interval = self.limits.header_read_timeout / HEAD_CHECKS_PER_TIMEOUT;
        // An interval of zero is not allowed.
        interval.max(Duration::from_millis(10))
    }

    const fn protocol(&self) -> HttpProtocol {
        if self.endpoint.is_grpc() {
            HttpProtocol::Http2
        } else {
            HttpProtocol::Http1
        }
    }

    /// Returns the future that serves one connection, behind TLS where that is configured.
    fn connection(
        &self,
        stream: TcpStream,
        tracked: &Arc<TrackedConnection>,
        graceful: &GracefulShutdown,
        stopping: &CancellationToken,
    ) -> ConnectionFuture {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let server = HttpConnectionServer {
            protocol: self.protocol(),
            // Cloning a router clones an `Arc`.
            router: self.router.clone(),
            limits: self.limits.clone(),
            tracked: Arc::clone(tracked),
            watcher: graceful.watcher(),
        };
        let Some(tls) = &self.tls else {
            return server.serve(stream);
        };
        let acceptor = match server.protocol {
            HttpProtocol::Http1 => tls.http1(),
            HttpProtocol::Http2 => tls.http2(),
        };
        let (endpoint, stopping) = (self.endpoint, stopping.clone());
        Box::pin(async move {
            // The table closes a connection whose handshake takes too long, as a late head.
            let handshake = tokio::select! {
                () = stopping.cancelled() => return,
                handshake = acceptor.accept(stream) => handshake,
            };
            match handshake {
                Ok(stream) => server.serve(stream).await,
                Err(error) => {
                    tracing::debug!(endpoint = endpoint.label(), %error, "TLS handshake failed");
                }
            }
        })
    }
}

// === impl HttpConnectionServer ===

impl HttpConnectionServer {
    fn serve<S>(self, stream: S) -> ConnectionFuture
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let limits = self.limits;
        let router = TowerToHyperService::new(self.router);
        let requests = Arc::clone(&self.tracked);
        let service = service_fn(move |request: Request<Incoming>| {
            let guard = requests.begin_request();
            let response = router.call(request);
            async move {
                let response = response.await?;
                Ok::<Response, Infallible>(response.map(|body| guard.attach(body)))
            }
        });
        match self.protocol {
            HttpProtocol::Http1 => {
                let stream = TimeoutIo::new(stream, None, limits.write_stall_timeout);
                let connection = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    // For idle connections; heads have a shorter deadline in the table, and bodies
                    // have their own timeout.
                    .header_read_timeout(limits.idle_timeout.max(limits.header_read_timeout))
                    // The default of 400 KiB for each connection would allow hundreds of
                    // megabytes.
                    .max_buf_size(MAX_HTTP1_BUFFER_BYTES)
                    .serve_connection(TokioIo::new(stream.tracked_by(self.tracked)), service);
                Box::pin(log_result(self.watcher.watch(connection)))
            }
            HttpProtocol::Http2 => {
                // A live client answers our pings, so a silent connection has lost its client.
                let stream = TimeoutIo::new(
                    stream,
                    Some(limits.idle_timeout),
                    limits.write_stall_timeout,
                );
                // An unanswered ping closes the connection after two thirds of the read timeout.
                let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .timer(TokioTimer::new())
                    .keep_alive_interval(limits.idle_timeout / 3)
                    .keep_alive_timeout(limits.idle_timeout / 3)
                    .max_concurrent_streams(MAX_HTTP2_STREAMS)
                    .max_header_list_size(MAX_HTTP2_HEADER_BYTES)
                    // With the default of RFC 9113, 64 KiB, a large export would wait for many
                    // window updates.
                    .initial_stream_window_size(1 << 20)
                    .initial_connection_window_size(4 << 20)
                    .serve_connection(TokioIo::new(stream.tracked_by(self.tracked)), service);
                Box::pin(log_result(self.watcher.watch(connection)))
            }
        }
    }
}

// === impl HttpProtocol ===

impl HttpProtocol {
    /// Returns the number of bytes that a client sends before its first request.
    const fn preface_bytes(self) -> usize {
        match self {
            Self::Http1 => 0,
            Self::Http2 => HTTP2_PREFACE_BYTES,
        }
    }
}

async fn log_result(connection: impl Future<Output = Result<(), hyper::Error>>) {
    if let Err(error) = connection.await {
        tracing::debug!(%error, "connection failed");
    }
}
