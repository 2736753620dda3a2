//! The accept loop of one listener: a bounded number of connections, each with its timeouts.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::CollectorLimits;
use crate::timeout_io::TimeoutIo;

/// Maximum size of HTTP/1.1 headers, and of the buffer that reads bodies.
const MAX_HTTP1_BUFFER_BYTES: usize = 64 << 10;

/// Maximum size of the headers of an HTTP/2 request.
const MAX_HTTP2_HEADER_BYTES: u32 = 16 << 10;

/// Maximum number of concurrent requests on one HTTP/2 connection.
const MAX_HTTP2_STREAMS: u32 = 64;

/// Pause after a failed accept.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// The protocol of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HttpProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without TLS, as gRPC uses it.
    Http2,
}

/// Serves connections until `stopping` is cancelled, drains them until the drain timeout, then
/// closes those that remain.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    protocol: HttpProtocol,
    limits: CollectorLimits,
    stopping: CancellationToken,
) {
    let permits = Arc::new(Semaphore::new(limits.max_connections));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stopping.cancelled() => break,
            // Reaps finished tasks, which would otherwise pile up in the set.
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &permits) => accepted,
        };
        match accepted {
            Ok((stream, permit)) => {
                // Cloning a router clones an `Arc`.
                let connection = connection(stream, router.clone(), protocol, &limits, &graceful);
                connections.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(error) => {
                // Usually the process is out of file descriptors: without a pause this loop would
                // spin until one is free.
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_RETRY_INTERVAL).await;
            }
        }
    }
    // Closed before the drain, so that clients connect elsewhere meanwhile.
    drop(listener);
    if tokio::time::timeout(limits.drain_timeout, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("drain timed out, closing the remaining connections");
    }
    // Aborts the tasks that are left and waits until they are gone.
    connections.shutdown().await;
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, Option<OwnedSemaphorePermit>)> {
    // The permit comes first: connections beyond the limit stay in the listen backlog. The
    // semaphore is never closed, so there is always a permit in the end.
    let permit = Arc::clone(permits).acquire_owned().await.ok();
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

/// Returns the future that serves one connection.
fn connection(
    stream: TcpStream,
    router: Router,
    protocol: HttpProtocol,
    limits: &CollectorLimits,
    graceful: &GracefulShutdown,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let service = TowerToHyperService::new(router);
    match protocol {
        HttpProtocol::Http1 => {
            // hyper's header timeout covers idle connections; bodies have their own timeout.
            let io = TokioIo::new(TimeoutIo::new(stream, None, limits.write_stall_timeout));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits.header_read_timeout)
                // The default of 400 KiB for each connection would allow hundreds of megabytes.
                .max_buf_size(MAX_HTTP1_BUFFER_BYTES)
                .serve_connection(io, service);
            Box::pin(log_result(graceful.watch(connection)))
        }
        HttpProtocol::Http2 => {
            // A live client answers our pings, so a silent connection has lost its client.
            let io = TokioIo::new(TimeoutIo::new(
                stream,
                Some(limits.header_read_timeout),
                limits.write_stall_timeout,
            ));
            // An unanswered ping closes the connection after two thirds of the read timeout.
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(limits.header_read_timeout / 3)
                .keep_alive_timeout(limits.header_read_timeout / 3)
                .max_concurrent_streams(MAX_HTTP2_STREAMS)
                .max_header_list_size(MAX_HTTP2_HEADER_BYTES)
                // With the default of RFC 9113, 64 KiB, a large export would wait for many window
                // updates.
                .initial_stream_window_size(1 << 20)
                .initial_connection_window_size(4 << 20)
                .serve_connection(io, service);
            Box::pin(log_result(graceful.watch(connection)))
        }
    }
}

async fn log_result(connection: impl Future<Output = Result<(), hyper::Error>>) {
    if let Err(error) = connection.await {
        tracing::debug!(%error, "connection failed");
    }
}
