//! Options of a service.

use std::net::SocketAddr;

use clap::{Parser, ValueEnum};

/// One bare service
#[derive(Debug, Clone, Parser)]
pub(crate) struct ServiceOptions {
    /// Pattern of calls, or backend, or front
    pub(crate) shape: ServiceShape,
    /// HTTP listen address
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// Address of the backend
    #[arg(long, default_value = "127.0.0.1:1")]
    pub(crate) backend: SocketAddr,
    /// Kafka bootstrap servers
    #[arg(long, default_value = "")]
    pub(crate) kafka: String,
}

/// The behaviour of the process.
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
