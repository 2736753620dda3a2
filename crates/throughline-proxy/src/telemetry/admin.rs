//! Metrics and health over HTTP: `/metrics`, `/ready`, `/live`. For Prometheus and Kubernetes; nobody is asked who they are.
//!
//! Live is who answers. Ready is who takes connections: from the beginning until the proxy is told to stop. Whether a broker can
//! be reached says nothing of us, and a pod that is taken out of service for it would not get it back.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use throughline_intercept::kafka::Known;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::correlator::Process;
use crate::http;
use crate::kafka::cluster::Knowledge;
use crate::listener::detect_server;
use crate::telemetry::metrics::Exported;
use crate::telemetry::reporter::Herald;
use crate::transport::drain::Stop;

/// What is told.
#[derive(Clone)]
pub(crate) struct Status {
    pub(crate) herald: Arc<Herald>,
    pub(crate) http: Arc<http::Metrics>,
    pub(crate) process: Process,
    pub(crate) gates: Arc<detect_server::Metrics>,
    pub(crate) knowledge: Vec<Arc<Knowledge>>,
    pub(crate) exported: Option<ExportCounts>,
    pub(crate) stop: Stop,
}

/// What asks the exporter for its counts.
pub(crate) type ExportCounts = Arc<dyn Fn() -> Exported + Send + Sync>;

/// Answers until `end`.
pub(crate) async fn serve(listener: TcpListener, status: Status, end: Stop) {
    let router = router(status);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = end.over() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Who comes when all places are taken is turned away: Prometheus comes again.
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            let (router, end) = (router.clone(), end.clone());
            connections.spawn(async move {
                tokio::select! {
                    () = end.over() => {}
                    () = answer(stream, router) => {}
                }
                drop(place);
            });
        }
    }
    connections.close();
    connections.wait().await;
}

async fn answer(stream: TcpStream, router: Router) {
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Ok(Err(error)) = timeout(LIFE_MAX, connection).await {
        tracing::debug!(%error, "an admin connection ended");
    }
}

fn router(status: Status) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/ready", get(ready))
        .route("/live", get(|| async { "live\n" }))
        .with_state(status)
}

async fn metrics(State(status): State<Status>) -> impl IntoResponse {
    if let Some(exported) = &status.exported {
        status.herald.metrics.exported(&exported());
    }
    let sum = |what: fn(&mut Known) -> usize| {
        status
            .knowledge
            .iter()
            .map(|knowledge| knowledge.known(what))
            .sum()
    };
    let more = [
        &status.http.registry,
        &status.gates.registry,
        &status.process.metrics(),
    ];
    let text = status.herald.metrics.render(
        sum(|known| known.held()),
        sum(|known| known.waiting()),
        &more,
    );
    ([(header::CONTENT_TYPE, OPEN_METRICS)], text)
}

async fn ready(State(status): State<Status>) -> impl IntoResponse {
    if status.stop.has_begun() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CONNECTIONS_MAX: usize = 64;
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
const LIFE_MAX: Duration = Duration::from_secs(300);
const HEAD_MAX: usize = 16 << 10;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
