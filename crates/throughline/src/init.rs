//! Initialization of telemetry for a process, and its shutdown without loss of queued spans.

mod builder;
mod config;
mod detectors;
mod export_runtime;
mod export_stats;
#[cfg(feature = "export")]
mod exporters;
mod guard;
mod init_error;
mod jaeger;
mod method_spans;
#[cfg(not(feature = "export"))]
mod no_exporters;
mod pipeline;
mod running_exporters;
mod sampler_choice;
mod shutdown;
#[cfg(all(feature = "signal", unix))]
mod signal;

use opentelemetry::trace::{Tracer, TracerProvider};
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

pub use self::builder::{TelemetryBuilder, builder};
pub use self::export_stats::ExportStats;
pub use self::guard::Guard;
pub use self::init_error::InitError;
pub use throughline_model::environment::VariableError;

/// Initializes telemetry from the environment. `service` is the service name unless a variable sets
/// another.
///
/// Without a configured exporter nothing is exported, at next to no cost; contexts are propagated
/// even then. Logs of `tracing` go to stderr, filtered by `RUST_LOG` (default `warn`).
///
/// An invalid variable does not stop the service: it is logged as a warning with its remedy, listed
/// by [`Guard::warnings`], and counts as unset (OpenTelemetry, "Environment variable
/// specification"). [`try_init`] is strict.
pub fn init(service: &str) -> Guard {
    builder().service_name(service).init()
}

/// Initializes telemetry as [`init`] does, but fails when a variable is invalid.
///
/// # Errors
/// All invalid variables, at once. Nothing is initialized then.
pub fn try_init(service: &str) -> Result<Guard, InitError> {
    builder().service_name(service).try_init()
}

/// Returns the layer for method spans and log events, for a provider of the application. With
/// [`init`] it is installed already; with a subscriber of the application, use [`Guard::layer`].
///
/// It is the layer of tracing-opentelemetry, with a bridge: in a handler,
/// `tracing::Span::current()` stands for the span of the request or record.
pub fn layer<S, P>(tracers: &P) -> impl Layer<S> + use<S, P>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    P: TracerProvider,
    P::Tracer: Send + Sync + 'static,
    <P::Tracer as Tracer>::Span: Send + Sync + 'static,
{
    method_spans::layer(tracers.tracer("throughline.methods"))
}
