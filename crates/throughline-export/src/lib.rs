//! Delivers finished spans to a collector by OTLP, over HTTP or gRPC.
//!
//! ```text
//!  try_send ─► bounded queue ─► batches ─► protobuf ─► POST or gRPC ─► collector
//!   (never waits)  │ full              │ rejected      │ no response, or "retry later"
//!                  ▼                   ▼               ▼
//!           dropped, counted    dropped, counted    retried: back-off, jitter, Retry-After;
//!                                                   then dropped, counted
//! ```
//!
//! [`Exporter`] is a [`throughline_model::SpanSink`]: producers of spans never wait for a collector
//! and never fail because of one. Losses are counted by reason ([`ExportCounts`]) and logged once
//! for each outage, not once for each span. The crate contains nothing of proxies, metrics or logs.
#![forbid(unsafe_code)]

mod client;
mod config;
mod counts;
mod environment;
mod exporter;
mod health;
mod instance;
mod queue;
mod queued;
mod response;
mod retry;
mod span_size;
mod tls;

pub use config::{
    BatchSettings, Compression, Config, EndpointError, ExportProtocol, OtlpEndpoint, RetrySettings,
    TlsSettings,
};
pub use counts::{DroppedSpans, ExportCounts};
pub use exporter::{Exporter, StartError};
pub use instance::instance_id;
pub use tls::Error as TlsError;
