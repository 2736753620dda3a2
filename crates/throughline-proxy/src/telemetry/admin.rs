//! Metrics and health over HTTP: `/metrics`, `/ready` and `/live`, without authentication.
//!
//! The proxy is ready from its start until it drains. Whether a broker can be reached does not
//! matter: Kubernetes would take a pod out of service for it, which does not bring the broker back.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::transport::drain::Drain;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Time for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Time after which a connection is closed, so that an idle scraper cannot hold its permit.
const MAX_CONNECTION_AGE: Duration = Duration::from_secs(300);

const MAX_HEAD_BYTES: usize = 16 << 10;

/// Renders all metrics as text.
pub(crate) type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// The server of metrics and health.
#[derive(Clone)]
pub(crate) struct AdminServer {
    router: Router,
}

#[derive(Clone)]
struct AdminState {
    render: RenderMetrics,
    drain: Drain,
}

// === impl AdminServer ===

impl AdminServer {
    /// Returns a server that is ready until `drain` starts.
    pub(crate) fn new(render: RenderMetrics, drain: Drain) -> Self {
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/ready", get(ready))
            // Live means that the runtime answers: Kubernetes restarts the pod when it does not.
            .route("/live", get(|| async { "live\n" }))
            .with_state(AdminState { render, drain });
        Self { router }
    }

    /// Serves a connection until it ends, or until `shutdown` aborts.
    pub(crate) async fn serve(self, stream: TcpStream, shutdown: Drain) {
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(self.router));
        tokio::select! {
            () = shutdown.aborted() => {}
            served = timeout(MAX_CONNECTION_AGE, connection) => {
                if let Ok(Err(error)) = served {
                    tracing::debug!(%error, "admin connection failed");
                }
            }
        }
    }
}

async fn metrics(State(state): State<AdminState>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, OPEN_METRICS)], (state.render)())
}

async fn ready(State(state): State<AdminState>) -> impl IntoResponse {
    if state.drain.is_draining() {
        // Kubernetes takes the pod out of its services, so that no new clients arrive.
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}
