//! The construction of OpenTelemetry's providers from a checked configuration.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::KeyValue;
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::{
    Compression, ExporterBuildError, MetricExporter, Protocol, SpanExporter, WithExportConfig,
    WithHttpConfig, WithTonicConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, ShouldSample,
    TracerProviderBuilder,
};
use throughline_model::environment::otlp::{BatchSizes, OtlpProtocol};
use tokio::runtime::{self, Handle, Runtime};

use super::config::{Config, ExportTarget};
use super::export_stats::{CountingExporter, CountingProcessor, SpanExportCounters};
use super::sampler_choice::SamplerChoice;
use crate::sampling::InboundSampler;

/// The reason why the pipeline cannot be built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("exporter setup failed: {0}")]
    Exporter(#[from] ExporterBuildError),
    #[error("cannot start the export thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// Returns the runtime for gRPC. It is separate from the application's, so that neither a busy
/// application nor the lack of a runtime stops the export.
pub(crate) fn export_runtime(config: &Config) -> Result<Option<Runtime>, Error> {
    let targets = [&config.traces, &config.metrics];
    if !targets
        .into_iter()
        .flatten()
        .any(|target| target.protocol == OtlpProtocol::Grpc)
    {
        return Ok(None);
    }
    let runtime = runtime::Builder::new_multi_thread()
        // One thread is enough: each signal exports one request at a time.
        .worker_threads(1)
        .thread_name("throughline-export")
        .enable_all()
        .build()?;
    Ok(Some(runtime))
}

/// Returns a tracer provider without an exporter: sampler, limits and resource.
pub(crate) fn tracer_provider(config: &Config, resource: &Resource) -> TracerProviderBuilder {
    SdkTracerProvider::builder()
        .with_resource(resource.clone())
        .with_sampler(sampler(config.sampler))
        .with_span_limits(config.limits)
}

/// Returns the processor that batches spans for the collector: a bounded queue and a thread of its
/// own, which never block the application.
pub(crate) fn batch_processor(
    target: &ExportTarget,
    batch: BatchSizes,
    runtime: Option<&Handle>,
    counters: &Arc<SpanExportCounters>,
) -> Result<CountingProcessor<BatchSpanProcessor>, Error> {
    let _entered = runtime.map(Handle::enter);
    let inner = match target.protocol {
        OtlpProtocol::Grpc => {
            configure_grpc(SpanExporter::builder().with_tonic(), target).build()?
        }
        OtlpProtocol::HttpProtobuf | OtlpProtocol::HttpJson => {
            configure_http(SpanExporter::builder().with_http(), target).build()?
        }
    };
    let exporter = CountingExporter {
        inner,
        counters: Arc::clone(counters),
        runtime: runtime.cloned(),
    };
    let batch = BatchConfigBuilder::default()
        .with_max_queue_size(batch.max_queue_spans)
        .with_max_export_batch_size(batch.max_batch_spans)
        .with_scheduled_delay(batch.delay);
    let inner = BatchSpanProcessor::builder(exporter)
        .with_batch_config(batch.build())
        .build();
    Ok(CountingProcessor {
        inner,
        counters: Arc::clone(counters),
    })
}

/// Returns the reader that exports metrics to a collector.
pub(crate) fn metric_reader(
    target: &ExportTarget,
    interval: Duration,
    runtime: Option<&Handle>,
) -> Result<PeriodicReader<CountingExporter<MetricExporter>>, Error> {
    let _entered = runtime.map(Handle::enter);
    let inner = match target.protocol {
        OtlpProtocol::Grpc => {
            configure_grpc(MetricExporter::builder().with_tonic(), target).build()?
        }
        OtlpProtocol::HttpProtobuf | OtlpProtocol::HttpJson => {
            configure_http(MetricExporter::builder().with_http(), target).build()?
        }
    };
    let exporter = CountingExporter {
        inner,
        // Metrics have no counters, but outages of their export are logged the same way.
        counters: Arc::default(),
        runtime: runtime.cloned(),
    };
    Ok(PeriodicReader::builder(exporter)
        .with_interval(interval)
        .build())
}

/// Returns the meter provider; `None` when no metrics are exported: then no instruments are
/// created, and recording costs nothing.
pub(crate) fn meter_provider(
    config: &Config,
    resource: &Resource,
    reader: Option<PeriodicReader<CountingExporter<MetricExporter>>>,
) -> Option<SdkMeterProvider> {
    if reader.is_none() && !config.prints_metrics {
        return None;
    }
    let mut meters = SdkMeterProvider::builder().with_resource(resource.clone());
    if let Some(reader) = reader {
        meters = meters.with_reader(reader);
    }
    if config.prints_metrics {
        let console = opentelemetry_stdout::MetricExporter::default();
        let reader = PeriodicReader::builder(console).with_interval(config.metric_interval);
        meters = meters.with_reader(reader.build());
    }
    Some(meters.build())
}

/// Applies the settings of a target to an exporter of either signal over gRPC.
fn configure_grpc<B>(builder: B, target: &ExportTarget) -> B
where
    B: WithExportConfig + WithTonicConfig,
{
    let builder = builder
        .with_endpoint(&target.endpoint)
        .with_timeout(target.timeout)
        .with_metadata(grpc_metadata(target));
    if target.gzip {
        builder.with_compression(Compression::Gzip)
    } else {
        builder
    }
}

/// Applies the settings of a target to an exporter of either signal over HTTP.
fn configure_http<B>(builder: B, target: &ExportTarget) -> B
where
    B: WithExportConfig + WithHttpConfig,
{
    let builder = builder
        .with_endpoint(&target.endpoint)
        .with_timeout(target.timeout)
        .with_protocol(sdk_protocol(target.protocol))
        .with_headers(target.headers.clone());
    if target.gzip {
        builder.with_compression(Compression::Gzip)
    } else {
        builder
    }
}

/// Returns the resource: the service and its attributes.
pub(crate) fn resource(config: &Config, default_name: Option<&str>) -> Resource {
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

const fn sdk_protocol(protocol: OtlpProtocol) -> Protocol {
    match protocol {
        OtlpProtocol::Grpc => Protocol::Grpc,
        OtlpProtocol::HttpProtobuf => Protocol::HttpBinary,
        OtlpProtocol::HttpJson => Protocol::HttpJson,
    }
}

/// Returns the configured headers, which are checked already, as gRPC metadata.
fn grpc_metadata(target: &ExportTarget) -> MetadataMap {
    let pairs = target.headers.iter().filter_map(|(key, value)| {
        Some((
            // Invalid headers were reported before, so none is dropped here.
            HeaderName::from_bytes(key.as_bytes()).ok()?,
            HeaderValue::from_bytes(value.as_bytes()).ok()?,
        ))
    });
    MetadataMap::from_headers(pairs.collect::<HeaderMap>())
}
