//! A pipeline of the application: throughline uses OpenTelemetry's global providers and propagator,
//! and adds none. The layer of `throughline::layer` brings method spans and log events.
//!
//! `cargo run --example own_provider --no-default-features --features tower`
#![expect(clippy::print_stdout, reason = "an example is a program of its own")]

use std::convert::Infallible;
use std::error::Error;

use http::{Request, Response};
use opentelemetry::global;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use throughline::http::ServerLayer;
use tower::{Layer as _, ServiceExt as _};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let spans = InMemorySpanExporter::default();
    let tracers = SdkTracerProvider::builder()
        .with_simple_exporter(spans.clone())
        .build();
    tracing_subscriber::registry()
        .with(throughline::layer(&tracers))
        .try_init()?;
    global::set_tracer_provider(tracers);
    global::set_text_map_propagator(TraceContextPropagator::new());

    let service = tower::service_fn(|_: Request<String>| async {
        tracing::info!("an event of the request");
        Ok::<_, Infallible>(Response::new(String::new()))
    });
    let service = ServerLayer::new().layer(service);
    drop(service.oneshot(Request::new(String::new())).await?);

    let finished = spans.get_finished_spans()?;
    let events: usize = finished.iter().map(|span| span.events.len()).sum();
    println!("{} span, {events} event", finished.len());
    Ok(())
}
