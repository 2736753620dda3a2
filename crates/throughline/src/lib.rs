//! One trace per request, through HTTP and Kafka, for Rust services.
//!
//! The crate builds on OpenTelemetry and `tracing`: the OpenTelemetry pipeline exports the spans,
//! and method spans are plain `#[tracing::instrument]`. Tracing never fails or blocks the
//! application: a malformed header yields no context, and an unreachable collector costs spans,
//! never requests.
//!
//! # Initialization
//!
//! [`init`] reads the standard `OTEL_*` variables, and does nothing without a configured exporter.
//! An invalid variable is logged and ignored, so that telemetry never stops a service; [`try_init`]
//! is for those who would rather fail. Keep the [`Guard`]: dropping it sends queued spans, within a
//! bounded time.
//!
//! ```
//! let telemetry = throughline::init("billing");
//! // ... serve ...
//! let stats = telemetry.shutdown();
//! assert_eq!(stats.missing(), 0);
//! ```
//!
//! The variables are those of OpenTelemetry's environment specification:
//! `OTEL_TRACES_EXPORTER` and `OTEL_METRICS_EXPORTER` (a list of `otlp`, `console` and `none`),
//! `OTEL_EXPORTER_OTLP_*`, `OTEL_PROPAGATORS`, `OTEL_TRACES_SAMPLER`, `OTEL_BSP_*`,
//! `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_SERVICE_NAME`, and `OTEL_SDK_DISABLED`, with which no other
//! variable but `OTEL_PROPAGATORS` is read.
#![cfg_attr(all(feature = "axum", feature = "reqwest"), doc = include_str!("docs/http.md"))]
#![cfg_attr(feature = "kafka", doc = include_str!("docs/kafka.md"))]
//! # Method spans
//!
//! `#[tracing::instrument]` turns a function into a span: a child of the request or record being
//! handled, and the parent of everything it sends. The span ends on every return path; `err`
//! records a returned error, and a panic marks the span as failed.
//!
//! ```
//! #[tracing::instrument(name = "BankTransaction.transfer", skip_all, err)]
//! async fn transfer(amount: u64) -> Result<(), std::io::Error> {
//!     Ok(())
//! }
//! ```
//!
//! # Spawned work
//!
//! A context stays with its future across `await`, but does not follow into spawned tasks and
//! threads: wrap those in [`with_current_context`] and [`with_current_context_fn`].
//!
//! # Features
//!
//! `kafka` (rdkafka), `tower` (HTTP servers), `axum` (`tower`, with routes in span names),
//! `reqwest` (HTTP clients).
#![warn(missing_docs)]

mod current_context;
#[cfg(any(feature = "tower", feature = "reqwest"))]
pub mod http;
mod init;
#[cfg(feature = "kafka")]
pub mod kafka;
mod propagation;
mod sampling;
mod telemetry;

pub use current_context::{with_current_context, with_current_context_fn};
pub use init::{
    ExportStats, Guard, InitError, TelemetryBuilder, VariableError, builder, init, try_init,
};
pub use propagation::Propagation;
pub use telemetry::Telemetry;
pub use throughline_model::context::Format;
