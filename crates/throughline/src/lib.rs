//! One trace per request, through HTTP and Kafka, for Rust services.
//!
//! Built on OpenTelemetry and `tracing`: spans go wherever the OpenTelemetry pipeline sends them, and method spans are
//! plain `#[tracing::instrument]`. Nothing in here fails or blocks the application: a broken header is no context, a dead
//! collector costs spans, never requests.
//!
//! # Set up
//!
//! [`init`] reads the standard `OTEL_*` variables, tells all mistakes in them at once, and does nothing when no exporter
//! is configured. Keep the [`Guard`]: dropping it sends what is waiting, within a bounded time.
//!
//! ```
//! # fn run() -> Result<(), throughline::Mistakes> {
//! let telemetry = throughline::init("billing")?;
//! // ... serve ...
//! let losses = telemetry.shutdown();
//! assert_eq!(losses.missing(), 0);
//! # Ok(())
//! # }
//! # run().unwrap();
//! ```
#![cfg_attr(all(feature = "axum", feature = "reqwest"), doc = include_str!("docs/http.md"))]
#![cfg_attr(feature = "kafka", doc = include_str!("docs/kafka.md"))]
//! # Method spans
//!
//! `#[tracing::instrument]` on a function makes it a span: a child of the request or record being handled, and the parent
//! of whatever it sends. The span closes on every way out; `err` records a returned error, and a panic marks it failed.
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
//! A context stays with its future across `await`, but not into spawned tasks and threads: wrap those in [`carry`] and
//! [`carry_fn`].
//!
//! # Features
//!
//! `kafka` (rdkafka), `tower` (HTTP servers), `axum` (`tower`, with routes in span names), `reqwest` (HTTP clients).
#![warn(missing_docs)]

#[cfg(any(feature = "tower", feature = "reqwest"))]
pub mod http;
mod init;
#[cfg(feature = "kafka")]
pub mod kafka;
mod propagation;
mod sampling;
mod task;
mod telemetry;

pub use init::{Builder, Guard, Losses, Mistake, Mistakes, builder, init};
pub use propagation::Propagation;
pub use task::{carry, carry_fn};
pub use telemetry::Telemetry;
pub use throughline_model::context::Format;
