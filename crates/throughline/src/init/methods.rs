//! Method spans: `#[tracing::instrument]` as spans of OpenTelemetry.
//!
//! Both kinds of span nest in each other. A method span is a child of the OpenTelemetry span that is active when it is
//! made, and while it is entered it is the active span itself, so that a record sent inside it is its child.

use opentelemetry::Context;
use opentelemetry::trace::{Status, TraceContextExt as _};
use opentelemetry_sdk::trace::SdkTracer;
use tracing::span::Id;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::Context as LayerContext;
use tracing_subscriber::registry::LookupSpan;

/// Marks a method span as failed when a panic leaves it. Must come before the layer that makes the spans, which takes
/// the span's context away on exit.
struct OnPanic;

/// The layer that turns `tracing` spans of level INFO and above into spans of OpenTelemetry.
pub(crate) fn layer<S>(tracer: SdkTracer) -> impl Layer<S>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    let spans = tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false);
    OnPanic
        .and_then(spans)
        .with_filter(filter_fn(of_the_application))
}

/// Libraries below the application trace their own works; those are not method spans, and those of the exporter would
/// feed on themselves.
fn of_the_application(metadata: &Metadata<'_>) -> bool {
    const BELOW: [&str; 8] = [
        "h2",
        "hyper",
        "hyper_util",
        "opentelemetry",
        "opentelemetry_sdk",
        "reqwest",
        "tonic",
        "tower",
    ];
    let root = metadata.target().split("::").next().unwrap_or_default();
    *metadata.level() <= Level::INFO && !BELOW.contains(&root)
}

impl<S> Layer<S> for OnPanic
where
    S: Subscriber,
{
    fn on_exit(&self, _id: &Id, _cx: LayerContext<'_, S>) {
        if std::thread::panicking() {
            Context::current()
                .span()
                .set_status(Status::error("the method panicked"));
        }
    }
}
