//! Takes spans in (OTLP over gRPC and HTTP, Zipkin v2), answers queries (Jaeger's two JSON APIs), serves the web UI.
//!
//! ```text
//!  gRPC 4317 ─┐
//!  HTTP 4318 ─┼─► serve ─► intake: admit ─ read ─ inflate ─ decode ─► Store ◄─ query ◄─ serve ◄─ 16686
//!  Zipkin 9411┘   (connections)   (each step capped)                  (JSON)
//! ```
//!
//! [`Collector::bind`] opens all doors, [`Collector::run`] serves them until told to stop. Nothing here is held for ever: a connection
//! has deadlines for its headers, its bodies and its reading of answers ([`Limits`]).

mod collector;
mod config;
mod grpc;
mod intake;
mod metrics;
mod otlp_http;
mod patience;
mod query;
mod serve;
mod ui;
mod zipkin;

pub use collector::{Addresses, BindError, Collector};
pub use config::{Config, Door, Limits};
