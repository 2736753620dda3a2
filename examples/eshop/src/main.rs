//! The eshop of the article: six services, one binary, started as `eshop <service>`.
//!
//! `GET /checkout` on **eshop** asks **inventory**, **billing** and **delivery** in turn, then sends a record to Kafka;
//! **kafka-consumer** receives it and asks **notification** to send an e-mail. Everything the services do is in
//! [`services`]; how they talk, and whether that leaves spans, is in [`wiring`], which exists twice: `traced.rs` on the SDK
//! and `bare.rs` without any tracing code. The package `eshop-bare` compiles these same files with the latter.

mod delay;
mod options;
mod record;
mod services;
#[cfg_attr(feature = "traced", path = "wiring/traced.rs")]
#[cfg_attr(not(feature = "traced"), path = "wiring/bare.rs")]
mod wiring;

use std::process::ExitCode;

use options::{Options, Settings};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use wiring::Wiring;

/// `EX_USAGE` of sysexits: the configuration is wrong, nothing was started.
const BAD_CONFIGURATION: u8 = 64;

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

/// Checks everything before anything is opened, and tells all mistakes at once.
fn configure() -> Result<(Settings, Wiring), ExitCode> {
    let options = Options::read()?;
    let (settings, mut mistakes) = options.check();
    match (settings, Wiring::start(&options)) {
        (Some(settings), Ok(wiring)) => return Ok((settings, wiring)),
        (_, Err(more)) => mistakes.extend(more),
        (None, Ok(_)) => {}
    }
    log("eshop: the configuration is wrong:");
    for mistake in mistakes {
        log(&format!("  - {mistake}"));
    }
    Err(ExitCode::from(BAD_CONFIGURATION))
}

async fn serve(settings: &Settings, wiring: &Wiring) -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind(settings.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", settings.listen))?;
    let address = listener.local_addr()?;
    let routes = services::start(settings, wiring)?.ready().await;
    announce(&format!("listening on http://{address}"));
    axum::serve(listener, wiring.routes(routes))
        .with_graceful_shutdown(asked_to_stop()?)
        .await?;
    Ok(())
}

/// Resolves at SIGTERM or Ctrl-C.
fn asked_to_stop() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// To whoever started the process: the one line on stdout.
#[expect(clippy::print_stdout, reason = "the address is this program's answer")]
fn announce(line: &str) {
    println!("{line}");
}

/// To whoever reads the log.
#[expect(clippy::print_stderr, reason = "the bare variant has no logging crate")]
fn log(line: &str) {
    eprintln!("{line}");
}
