//! From a checked configuration to providers of OpenTelemetry.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::KeyValue;
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::{
    Compression, ExporterBuildError, MetricExporter, Protocol as Wire, SpanExporter,
    WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, ShouldSample,
    TracerProviderBuilder,
};
use tokio::runtime::{Builder, Handle, Runtime};

use super::config::{Batching, Config, Protocol, SamplerChoice, Target};
use super::losses::{CountedExporter, CountedProcessor, Ledger};
use crate::sampling::InboundSampler;

/// Why the configured pipeline could not be built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the exporter cannot be built: {0}")]
    Exporter(#[from] ExporterBuildError),
    #[error("no thread can be had for the export: {0}")]
    Thread(#[from] std::io::Error),
}

/// The runtime that gRPC lives on: our own, so that neither a busy application nor the lack of a runtime stops the export.
pub(crate) fn runtime(config: &Config) -> Result<Option<Runtime>, Error> {
    let targets = [&config.traces, &config.metrics];
    if !targets
        .into_iter()
        .flatten()
        .any(|target| target.protocol == Protocol::Grpc)
    {
        return Ok(None);
    }
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("throughline-export")
        .enable_all()
        .build()?;
    Ok(Some(runtime))
}

/// A tracer provider without an exporter: sampler, limits and resource.
pub(crate) fn tracers(config: &Config, resource: &Resource) -> TracerProviderBuilder {
    SdkTracerProvider::builder()
        .with_resource(resource.clone())
        .with_sampler(sampler(config.sampler))
        .with_span_limits(config.limits)
}

/// The processor that batches spans for the collector: a bounded queue, a thread of its own, and never a wait for the
/// application.
pub(crate) fn processor(
    target: &Target,
    batching: Batching,
    runtime: Option<&Handle>,
    ledger: &Arc<Ledger>,
) -> Result<CountedProcessor<BatchSpanProcessor>, Error> {
    let _inside = runtime.map(Handle::enter);
    let inner = match target.protocol {
        Protocol::Grpc => {
            let builder = SpanExporter::builder()
                .with_tonic()
                .with_endpoint(&target.endpoint);
            let builder = builder
                .with_timeout(target.timeout)
                .with_metadata(metadata(target));
            (if target.gzip {
                builder.with_compression(Compression::Gzip)
            } else {
                builder
            })
            .build()?
        }
        Protocol::HttpProtobuf | Protocol::HttpJson => {
            let builder = SpanExporter::builder()
                .with_http()
                .with_endpoint(&target.endpoint);
            let builder = builder
                .with_timeout(target.timeout)
                .with_protocol(wire(target.protocol));
            let builder = builder.with_headers(target.headers.clone());
            (if target.gzip {
                builder.with_compression(Compression::Gzip)
            } else {
                builder
            })
            .build()?
        }
    };
    let exporter = CountedExporter {
        inner,
        ledger: Arc::clone(ledger),
        runtime: runtime.cloned(),
    };
    let figures = BatchConfigBuilder::default()
        .with_max_queue_size(batching.queue)
        .with_max_export_batch_size(batching.batch)
        .with_scheduled_delay(batching.delay);
    let inner = BatchSpanProcessor::builder(exporter)
        .with_batch_config(figures.build())
        .build();
    Ok(CountedProcessor {
        inner,
        ledger: Arc::clone(ledger),
    })
}

/// The meter provider, when metrics are exported.
pub(crate) fn meters(
    config: &Config,
    resource: &Resource,
    runtime: Option<&Handle>,
) -> Result<Option<SdkMeterProvider>, Error> {
    let Some(target) = &config.metrics else {
        return Ok(None);
    };
    let _inside = runtime.map(Handle::enter);
    let inner = match target.protocol {
        Protocol::Grpc => {
            let builder = MetricExporter::builder()
                .with_tonic()
                .with_endpoint(&target.endpoint);
            let builder = builder
                .with_timeout(target.timeout)
                .with_metadata(metadata(target));
            (if target.gzip {
                builder.with_compression(Compression::Gzip)
            } else {
                builder
            })
            .build()?
        }
        Protocol::HttpProtobuf | Protocol::HttpJson => {
            let builder = MetricExporter::builder()
                .with_http()
                .with_endpoint(&target.endpoint);
            let builder = builder
                .with_timeout(target.timeout)
                .with_protocol(wire(target.protocol));
            let builder = builder.with_headers(target.headers.clone());
            (if target.gzip {
                builder.with_compression(Compression::Gzip)
            } else {
                builder
            })
            .build()?
        }
    };
    let exporter = CountedExporter {
        inner,
        ledger: Arc::default(),
        runtime: runtime.cloned(),
    };
    let reader = PeriodicReader::builder(exporter)
        .with_interval(config.metric_interval)
        .build();
    Ok(Some(
        SdkMeterProvider::builder()
            .with_resource(resource.clone())
            .with_reader(reader)
            .build(),
    ))
}

/// Who makes the telemetry.
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
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes(attributes)
        .with_service_name(name)
        .build()
}

/// `unknown_service:<program>`, as the resource conventions want it.
fn unknown_service() -> String {
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
        Box::new(Sampler::AlwaysOn)
    } else if choice.ratio <= 0.0 {
        Box::new(Sampler::AlwaysOff)
    } else {
        Box::new(Sampler::TraceIdRatioBased(choice.ratio))
    };
    if choice.parent_based {
        InboundSampler::new(root.clone(), Sampler::ParentBased(root))
    } else {
        InboundSampler::new(root.clone(), root)
    }
}

const fn wire(protocol: Protocol) -> Wire {
    match protocol {
        Protocol::Grpc => Wire::Grpc,
        Protocol::HttpProtobuf => Wire::HttpBinary,
        Protocol::HttpJson => Wire::HttpJson,
    }
}

/// The configured headers, checked before, as gRPC metadata.
fn metadata(target: &Target) -> MetadataMap {
    let pairs = target.headers.iter().filter_map(|(key, value)| {
        Some((
            HeaderName::from_bytes(key.as_bytes()).ok()?,
            HeaderValue::from_bytes(value.as_bytes()).ok()?,
        ))
    });
    MetadataMap::from_headers(pairs.collect::<HeaderMap>())
}
