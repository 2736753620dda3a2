//! The construction of OpenTelemetry's providers from a checked configuration.

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, ShouldSample, SpanExporter,
    TracerProviderBuilder,
};
use throughline_model::environment::otlp::BatchSizes;

use super::config::Config;
use super::export_stats::{CountingProcessor, SpanExportCounters};
use super::sampler_choice::SamplerChoice;
use crate::sampling::InboundSampler;

/// Returns a tracer provider without an exporter: sampler, limits and resource. A sampler of the
/// application takes the place of the configured one.
pub(super) fn tracer_provider(
    config: &Config,
    resource: &Resource,
    chosen: Option<Box<dyn ShouldSample>>,
) -> TracerProviderBuilder {
    // Decisions that the sender forced or refused hold for either.
    let sampler = chosen.map_or_else(
        || sampler(config.sampler),
        |chosen| InboundSampler::new(chosen.clone(), chosen),
    );
    SdkTracerProvider::builder()
        .with_resource(resource.clone())
        .with_sampler(sampler)
        .with_span_limits(config.limits)
}

/// Returns a processor that batches spans for an exporter: a bounded queue and a thread of its own,
/// which never block the application.
pub(super) fn batched<E: SpanExporter + 'static>(
    exporter: E,
    batch: BatchSizes,
    counters: &Arc<SpanExportCounters>,
) -> CountingProcessor<BatchSpanProcessor> {
    let batch = BatchConfigBuilder::default()
        .with_max_queue_size(batch.max_queue_spans)
        .with_max_export_batch_size(batch.max_batch_spans)
        .with_scheduled_delay(batch.delay);
    let inner = BatchSpanProcessor::builder(exporter)
        .with_batch_config(batch.build())
        .build();
    CountingProcessor {
        inner,
        counters: Arc::clone(counters),
    }
}

/// Returns the resource: the detected attributes, those of the application, and those of the
/// environment; later ones take precedence.
pub(super) fn resource(
    config: &Config,
    default_name: Option<&str>,
    detected: Vec<KeyValue>,
    chosen: Vec<KeyValue>,
) -> Resource {
    let name = config
        .service_name
        .as_deref()
        .or(default_name)
        .map_or_else(unknown_service, str::to_owned);
    let attributes = config
        .attributes
        .iter()
        .map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    Resource::builder_empty()
        // Only `telemetry.sdk.*`: the other detectors read the environment, which is parsed
        // already.
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes(detected)
        .with_attributes(chosen)
        .with_attributes(attributes)
        .with_service_name(name)
        .build()
}

/// Returns `unknown_service:<program>`, the default of the resource conventions.
fn unknown_service() -> String {
    // The name of the executable, as in `unknown_service:java` (resource conventions, "Service").
    let program = std::env::args_os().next().map(std::path::PathBuf::from);
    let program = program
        .as_deref()
        .and_then(std::path::Path::file_name)
        .map(|name| name.to_string_lossy());
    program.map_or_else(
        || "unknown_service".to_owned(),
        |name| format!("unknown_service:{name}"),
    )
}

fn sampler(choice: SamplerChoice) -> InboundSampler {
    let root: Box<dyn ShouldSample> = if choice.ratio >= 1.0 {
        // Cheaper than a ratio of 1, which would compare every trace id.
        Box::new(Sampler::AlwaysOn)
    } else if choice.ratio <= 0.0 {
        Box::new(Sampler::AlwaysOff)
    } else {
        Box::new(Sampler::TraceIdRatioBased(choice.ratio))
    };
    // Where no parent decided yet, the root sampler is asked directly.
    if choice.parent_based {
        InboundSampler::new(root.clone(), Sampler::ParentBased(root))
    } else {
        InboundSampler::new(root.clone(), root)
    }
}
