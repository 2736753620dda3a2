//! Bare services with different patterns of calls, for recordings of the weaver's benchmark
//! (`cargo xtask bench weave --record`). No tracing code.
//!
//! `weave-service SHAPE` is the service under test; `backend` answers its calls, and `front` turns
//! requests into records for it. [`mod@reference`] carries the truth.

mod client;
mod consumer;
mod handler;
mod options;
mod reference;
mod server;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use crate::handler::BackendCalls;
use crate::options::{ServiceOptions, ServiceShape};

/// Threads of the pool.
const POOL_THREADS: usize = 200;

fn main() -> ExitCode {
    let options = ServiceOptions::parse();
    let served = runtime(options.shape).and_then(|runtime| runtime.block_on(serve(options)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If stderr is closed, there is nowhere to report.
            writeln!(std::io::stderr(), "weave-service: {error}").unwrap_or_default();
            ExitCode::FAILURE
        }
    }
}

/// Returns the runtime: one thread for an event loop, several for everything else.
fn runtime(shape: ServiceShape) -> std::io::Result<Runtime> {
    let mut builder = if shape == ServiceShape::EventLoop {
        Builder::new_current_thread()
    } else {
        Builder::new_multi_thread()
    };
    builder
        .enable_all()
        .max_blocking_threads(POOL_THREADS)
        .build()
}

async fn serve(options: ServiceOptions) -> std::io::Result<()> {
    let listener = TcpListener::bind(options.listen).await?;
    let address = listener.local_addr()?;
    let pattern = Arc::new(BackendCalls::new(options.shape, options.backend));
    let consumes = matches!(
        options.shape,
        ServiceShape::ConsumeProduce | ServiceShape::BatchConsumer
    );
    if consumes {
        consumer::start(&options, Arc::clone(&pattern)).map_err(std::io::Error::other)?;
    }
    if options.shape == ServiceShape::Timers {
        handler::start_timers(&pattern);
    }
    let routes = server::routes(&options, pattern).map_err(std::io::Error::other)?;
    // The process that started this one waits for the line before it sends requests.
    writeln!(std::io::stdout(), "listening on http://{address}")?;
    axum::serve(listener, routes).await
}
