//! A server that ends gracefully at SIGTERM: requests in flight are answered, then their spans are
//! sent. A service without a shutdown of its own calls `shutdown_on_signal` on the guard instead.
//!
//! `cargo run --example graceful_shutdown --features axum`

use std::error::Error;

use axum::{Router, routing::get};
use throughline::http::ServerLayer;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let telemetry = throughline::init("greeter");
    let app = Router::new()
        .route("/", get(|| async { "hello" }))
        .layer(ServerLayer::new().untraced_paths(["/healthz"]));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    axum::serve(listener, app)
        .with_graceful_shutdown(async {
            // Resolves at Ctrl-C; a service in a container waits for SIGTERM in the same way.
            tokio::signal::ctrl_c().await.ok();
        })
        .await?;
    // Blocks until the collector has the spans, at most the shutdown timeout.
    let stats = tokio::task::spawn_blocking(move || telemetry.shutdown()).await?;
    tracing::info!(lost = stats.missing(), "spans sent");
    Ok(())
}
