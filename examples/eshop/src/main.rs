//! The eshop of the article: six services, one binary, started as `eshop <service>`.
//!
//! `GET /checkout` on **eshop** calls **inventory**, **billing** and **delivery** in turn, then
//! sends a record to Kafka; **kafka-consumer** receives it and calls **notification** to send an
//! e-mail. [`services`] holds the services. [`wiring`] is how they communicate; it exists twice,
//! `traced.rs` on the SDK and `bare.rs` without tracing code. The package `eshop-bare` compiles
//! these same files with the latter.

mod delay;
mod options;
mod output;
mod record;
mod reference;
mod services;
#[cfg_attr(feature = "traced", path = "wiring/traced.rs")]
#[cfg_attr(not(feature = "traced"), path = "wiring/bare.rs")]
mod wiring;

use std::process::ExitCode;

use options::{Options, Settings};
use output::{announce, log};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use wiring::ServiceWiring;

#[tokio::main]
async fn main() -> ExitCode {
    let (settings, wiring) = match configure() {
        Ok(parts) => parts,
        Err(code) => return code,
    };
    match serve(&settings, &wiring).await {
        Ok(()) => {
            wiring.stop().await;
            ExitCode::SUCCESS
        }
        Err(error) => {
            log(&format!("{}: {error}", settings.service));
            wiring.stop().await;
            ExitCode::FAILURE
        }
    }
}

/// Checks the whole configuration before opening anything, and logs all errors.
fn configure() -> Result<(Settings, ServiceWiring), ExitCode> {
    let options = Options::read()?;
    let (settings, mut errors) = options.check();
    match (
        settings,
        ServiceWiring::start(&options.wiring, &options.service),
    ) {
        (Some(settings), Ok(wiring)) => return Ok((settings, wiring)),
        (_, Err(more)) => errors.extend(more),
        (None, Ok(_)) => {}
    }
    log("eshop: invalid configuration:");
    for error in errors {
        log(&format!("  - {error}"));
    }
    Err(ExitCode::from(options::BAD_CONFIGURATION))
}

async fn serve(
    settings: &Settings,
    wiring: &ServiceWiring,
) -> Result<(), Box<dyn std::error::Error>> {
    // Bound before the consumer joins its group, so that a taken port fails at once.
    let listener = TcpListener::bind(settings.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", settings.listen))?;
    let address = listener.local_addr()?;
    let routes = services::start(settings, wiring)?.ready().await;
    // The process that started this one waits for the line before it sends requests.
    announce(&format!("listening on http://{address}"));
    axum::serve(listener, wiring.routes(routes))
        .with_graceful_shutdown(shutdown_signal()?)
        .await?;
    Ok(())
}

/// Resolves at SIGTERM or Ctrl-C.
fn shutdown_signal() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    // Registered before the first request, so that no signal is missed.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
