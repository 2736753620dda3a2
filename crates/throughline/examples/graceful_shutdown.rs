//! A server that ends gracefully at SIGTERM: requests in flight are answered, then their spans are
//! sent. A service without a shutdown of its own calls `shutdown_on_signal` on the guard instead.
//!
//! `cargo run --example graceful_shutdown --features axum`

use std::error::Error;

use axum::{Router, routing::get};
use throughline::http::ServerLayer;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let telemetry = throughline::init("greeter");
    let app = Router::new()
        .route("/", get(|| async { "hello" }))
        .layer(ServerLayer::new().untraced_paths(["/healthz"]));
    // Handled from here on: supervisors and containers send SIGTERM, a terminal SIGINT.
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    axum::serve(listener, app)
        .with_graceful_shutdown(stop)
        .await?;
    // Blocks until the collector has the spans, at most the shutdown timeout.
    let stats = tokio::task::spawn_blocking(move || telemetry.shutdown()).await?;
    tracing::info!(lost = stats.missing(), "spans sent");
    Ok(())
}
