//! HTTPS for the API server: reviews, health and metrics.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::review::PodReviewer;

/// Cap on a review: the API server limits an object to 3 MiB, and may send the former one too.
const MAX_REVIEW_BYTES: usize = 8 << 20;

const MAX_CONNECTIONS: usize = 256;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Time after which a connection is closed, so that a new certificate is seen by every client.
const MAX_CONNECTION_AGE: Duration = Duration::from_secs(300);

/// Pause after an error of the listener, such as too many open files.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Time for reviews in flight after a stop signal.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns the routes.
pub(super) fn router(reviewer: PodReviewer) -> Router {
    Router::new()
        .route("/inject", post(review))
        .route("/healthz", get(async || "ok\n"))
        .route("/metrics", get(metrics))
        .layer(DefaultBodyLimit::max(MAX_REVIEW_BYTES))
        .with_state(Arc::new(reviewer))
}

/// Accepts connections until `stop`, then lets those in flight finish.
pub(super) async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    router: Router,
    stop: impl Future<Output = ()> + Send,
) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = accept(&listener, &permits) => accepted,
        };
        let Some((stream, permit)) = accepted else {
            tokio::time::sleep(ACCEPT_BACKOFF).await;
            continue;
        };
        let (acceptor, router) = (acceptor.clone(), router.clone());
        drop(tokio::spawn(async move {
            serve_connection(stream, acceptor, router).await;
            drop(permit);
        }));
    }
    let all = u32::try_from(MAX_CONNECTIONS).unwrap_or(u32::MAX);
    // A client that keeps its connection open is cut off.
    drop(timeout(DRAIN_TIMEOUT, permits.acquire_many(all)).await);
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(error) => {
            tracing::warn!(%error, "connection cannot be accepted");
            None
        }
    }
}

async fn serve_connection(stream: TcpStream, acceptor: TlsAcceptor, router: Router) {
    let stream = match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "TLS handshake failed");
            return;
        }
        Err(_) => return,
    };
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Ok(Err(error)) = timeout(MAX_CONNECTION_AGE, connection).await {
        tracing::debug!(%error, "connection failed");
    }
}

async fn review(State(reviewer): State<Arc<PodReviewer>>, body: Bytes) -> Response {
    match reviewer.review(&body) {
        Ok(response) => Json(response).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

async fn metrics(State(reviewer): State<Arc<PodReviewer>>) -> Response {
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], reviewer.metrics()).into_response()
}
