//! One door: connections in, each with its deadlines, no more at once than allowed.

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

use crate::config::Limits;
use crate::patience::Patient;

/// What is spoken behind a door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without TLS, as gRPC uses it.
    Http2,
}

/// Serves connections until `stopping`, then waits for those under way until the drain deadline, then cuts them.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    protocol: Protocol,
    limits: Limits,
    stopping: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stopping.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let connection = connection(stream, router.clone(), protocol, &limits, &graceful);
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: without a pause this loop would spin until one is free.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(limits.drain_deadline, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("cut the connections that did not end in time");
    }
    connections.shutdown().await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, Option<OwnedSemaphorePermit>)> {
    // The semaphore is never closed, so there is always a permit.
    let place = Arc::clone(places).acquire_owned().await.ok();
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

/// The life of one connection.
fn connection(
    stream: TcpStream,
    router: Router,
    protocol: Protocol,
    limits: &Limits,
    graceful: &GracefulShutdown,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot turn off Nagle's algorithm");
    }
    let service = TowerToHyperService::new(router);
    match protocol {
        Protocol::Http1 => {
            let io = TokioIo::new(Patient::new(stream, None, limits.stall_deadline));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits.head_deadline)
                .max_buf_size(HEAD_MAX)
                .serve_connection(io, service);
            Box::pin(ended(graceful.watch(connection)))
        }
        Protocol::Http2 => {
            // A client that lives answers our pings, so silence on the line is a client that is gone.
            let io = TokioIo::new(Patient::new(
                stream,
                Some(limits.head_deadline),
                limits.stall_deadline,
            ));
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(limits.head_deadline / 3)
                .keep_alive_timeout(limits.head_deadline / 3)
                .max_concurrent_streams(STREAMS_MAX)
                .max_header_list_size(HEADERS_MAX)
                .initial_stream_window_size(1 << 20)
                .initial_connection_window_size(4 << 20)
                .serve_connection(io, service);
            Box::pin(ended(graceful.watch(connection)))
        }
    }
}

async fn ended(connection: impl Future<Output = Result<(), hyper::Error>>) {
    if let Err(error) = connection.await {
        tracing::debug!(%error, "connection ended");
    }
}

/// Bytes of an HTTP/1.1 head, and of the buffer that reads bodies.
const HEAD_MAX: usize = 64 << 10;

/// Bytes of all headers of an HTTP/2 request.
const HEADERS_MAX: u32 = 16 << 10;

/// Requests under way at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 64;

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
