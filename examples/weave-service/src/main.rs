//! Bare services with different patterns of calls, for recordings of the weaver's benchmark
//! (`cargo xtask bench weave --record`). No tracing code.
//!
//! `weave-service SHAPE` is the service under test; `backend` answers its calls, and `front` turns
//! requests into records for it. [`reference`] carries the truth.

mod client;
mod consumer;
mod handler;
mod reference;
mod server;

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, ValueEnum};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use crate::handler::CallPattern;

/// One bare service
#[derive(Debug, Clone, Parser)]
pub(crate) struct ServiceOptions {
    /// Pattern of calls, or backend, or front
    shape: ServiceShape,
    /// HTTP listen address
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Address of the backend
    #[arg(long, default_value = "127.0.0.1:1")]
    backend: SocketAddr,
    /// Kafka bootstrap servers
    #[arg(long, default_value = "")]
    kafka: String,
}

/// What the process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ServiceShape {
    /// Answers after a delay; some requests fail.
    Backend,
    /// Turns a request into a record of topic `in`.
    Front,
    /// A thread for each request in flight, blocking calls in turn.
    ThreadPool,
    /// One thread for all requests, calls in turn.
    EventLoop,
    /// Several threads, calls in turn.
    Async,
    /// Three calls at once, then one.
    FanOut,
    /// Calls in turn, repeated when they fail.
    Retries,
    /// Calls in turn, one of which is skipped for four requests in ten.
    CacheSkips,
    /// Calls in turn, and timers that make calls of their own.
    Timers,
    /// A call and a record of topic `out` for each record of topic `in`.
    ConsumeProduce,
    /// Records of topic `in` in batches of up to ten, then a call for each.
    BatchConsumer,
}

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
    let pattern = Arc::new(CallPattern::new(options.shape, options.backend));
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
