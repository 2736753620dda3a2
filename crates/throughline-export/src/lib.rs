//! Sends finished spans to a collector by OTLP, over HTTP or gRPC.
//!
//! ```text
//!  try_send ─► bounded queue ─► batches ─► protobuf ─► POST or gRPC ─► collector
//!   (never waits)  │ full              │ refused           │ no answer, or "later"
//!                  ▼                   ▼                   ▼
//!               dropped, counted    dropped, counted    tried again: back-off, jitter, Retry-After; then dropped, counted
//! ```
//!
//! [`Exporter`] is a [`throughline_model::SpanSink`]: whoever makes spans never waits for a collector and never fails for one.
//! What is lost is counted by reason ([`Counts`]) and told in the log once, not span by span. It knows no proxy, no metrics, no logs.
#![forbid(unsafe_code)]

mod config;
mod counts;
mod environment;
mod exporter;
mod health;
mod queue;
mod retry;
mod transport;
mod weight;

pub use config::{BadEndpoint, Batching, Compression, Config, Endpoint, Protocol, Retry, Tls};
pub use counts::{Counts, Dropped};
pub use environment::Mistake;
pub use exporter::Exporter;
pub use transport::TlsError;
