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
//! is for those who would rather fail, and [`builder`] sets in code what the environment leaves
//! open. Keep the [`Guard`]: dropping it sends queued spans, within a bounded time.
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
//! variable but `OTEL_PROPAGATORS` is read. The resource also describes instance, host, process
//! and, in Kubernetes, the pod ([`TelemetryBuilder::without_detectors`]).
//!
//! Clients and layers that exist before [`init`] belong to it afterwards. Without it they use the
//! global providers and the global propagator of OpenTelemetry.
//!
//! SIGTERM ends a process at once, and its queued spans with it, unless the service shuts down
//! gracefully or calls `shutdown_on_signal` on the guard (feature `signal`).
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
//! # Logs
//!
//! Inside a handler, `tracing::Span::current()` stands for the span of the request or record.
//! Events of level INFO and above (`tracing::info!`) become events of that span, or of the method
//! span around them, and each log line carries `trace_id` and `span_id`, whatever the subscriber:
//!
//! ```text
//! WARN throughline{trace_id=4bf92f35.. span_id=00f067aa..}: shop: stock is low sku=7
//! ```
//!
//! [`init`] installs a subscriber that does it. Add [`Guard::layer`] to a subscriber of your own;
//! with a pipeline of your own, [`layer`].
//!
//! # Spawned work
//!
//! A context stays with its future across `await`, but does not follow into spawned tasks and
//! threads: wrap those in [`with_current_context`] and [`with_current_context_fn`].
//!
//! # Other clients
//!
//! [`Propagation`] extracts from and injects into any [`Carrier`]: a client that this crate does
//! not know needs its headers as one, or a [`HeaderList`].
//!
//! ```
//! use opentelemetry::Context;
//! use throughline::{HeaderList, Telemetry};
//!
//! let propagation = Telemetry::global().propagation();
//! let mut headers = HeaderList::default();
//! headers.push("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
//! // The parent of the spans that handle the message.
//! let parent = propagation.extract(&Context::current(), &headers);
//! let mut sent = HeaderList::default();
//! propagation.inject(&parent, &mut sent);
//! assert_eq!(sent.get("traceparent"), headers.get("traceparent"));
//! ```
//!
//! # Features
//!
//! `export` (default; OTLP over HTTP), `export-grpc`, `export-tls`, `kafka` (rdkafka), `tower`
//! (layers for servers and clients, tonic's too), `axum` (`tower`, with routes in span names),
//! `reqwest`, `signal`.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(missing_docs)]

mod bridge;
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
    ExportStats, Guard, InitError, TelemetryBuilder, VariableError, builder, init, layer, try_init,
};
pub use propagation::Propagation;
pub use telemetry::Telemetry;
pub use throughline_model::context::{Carrier, CarrierMut, Format, HeaderList};

/// The crates whose types are part of the public API, in the versions that this crate uses.
pub mod reexport {
    #[cfg(feature = "axum")]
    pub use axum;
    pub use http;
    pub use opentelemetry;
    pub use opentelemetry_sdk;
    #[cfg(feature = "kafka")]
    pub use rdkafka;
    #[cfg(feature = "reqwest")]
    pub use {reqwest, reqwest_middleware};
}

/// Compiles the example of the README as it stands.
#[cfg(all(doctest, feature = "axum", feature = "kafka", feature = "reqwest"))]
#[doc = include_str!("../README.md")]
pub struct ReadmeExample;
