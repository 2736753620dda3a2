//! Method spans: `#[tracing::instrument]` as spans of OpenTelemetry.
//!
//! Both kinds of span nest in each other. A method span is a child of the OpenTelemetry span that
//! is active at its creation. While it is entered it is the active span itself, so that a record
//! sent inside it is its child.

use opentelemetry::trace::Tracer;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use crate::bridge::{BridgeLayer, BridgeTracer};

/// Targets of libraries below the application. Their spans are not method spans, and those of the
/// exporter would trace the export of themselves.
const LIBRARY_TARGETS: [&str; 8] = [
    "h2",
    "hyper",
    "hyper_util",
    "opentelemetry",
    "opentelemetry_sdk",
    "reqwest",
    "tonic",
    "tower",
];

/// Returns the layer that turns `tracing` spans of level INFO and above into spans of
/// OpenTelemetry.
pub(crate) fn layer<S, T>(tracer: T) -> impl Layer<S>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    T: Tracer + Send + Sync + 'static,
    T::Span: Send + Sync + 'static,
{
    let spans = tracing_opentelemetry::layer()
        .with_tracer(BridgeTracer(tracer))
        // Attributes of every span that no trace view uses.
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false);
    BridgeLayer
        .and_then(spans)
        .with_filter(filter_fn(is_application_span))
}

/// Returns whether a span belongs to the application rather than to a library below it.
fn is_application_span(metadata: &Metadata<'_>) -> bool {
    let root = metadata.target().split("::").next().unwrap_or_default();
    *metadata.level() <= Level::INFO && !LIBRARY_TARGETS.contains(&root)
}
