//! The exporters that the configuration names: OTLP, and the console.

#[cfg(feature = "export-grpc")]
mod grpc;
#[cfg(feature = "export-tls")]
mod tls;

use std::sync::Arc;

use opentelemetry_otlp::{
    Compression, ExporterBuildError, MetricExporter, Protocol, SpanExporter, WithExportConfig,
    WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{SimpleSpanProcessor, SpanProcessor};
use throughline_model::environment::VariableError;
use throughline_model::environment::otlp::OtlpProtocol;

use super::config::{Config, ExportTarget};
use super::export_runtime::{ExportRuntime, RuntimeHandle, enter};
use super::export_stats::{CountingExporter, SpanExportCounters};
use super::pipeline;
use super::running_exporters::RunningExporters;

/// The reason why an exporter cannot be built.
#[derive(Debug, thiserror::Error)]
enum ExportSetupError {
    #[error("exporter setup failed: {0}")]
    Exporter(#[from] ExporterBuildError),
    #[cfg(feature = "export-grpc")]
    #[error("cannot start the export thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// Starts the exporters. One that cannot be built is one more warning.
pub(super) fn start(
    config: &Config,
    resource: &Resource,
    counters: &Arc<SpanExportCounters>,
    warnings: &mut Vec<VariableError>,
) -> RunningExporters {
    let mut unless_rejected = |error: ExportSetupError| {
        warnings.push(VariableError::new(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            format!("{error}; nothing is exported"),
        ));
    };
    let runtime = export_runtime(config)
        .map_err(&mut unless_rejected)
        .ok()
        .flatten();
    // Exporters over gRPC look up their runtime while they are built.
    let handle = runtime.as_ref().map(ExportRuntime::handle);
    let mut processors: Vec<Box<dyn SpanProcessor>> = Vec::new();
    let otlp = config.traces.as_ref().and_then(|target| {
        span_exporter(target, handle.as_ref(), counters)
            .map_err(&mut unless_rejected)
            .ok()
    });
    if let Some(otlp) = otlp {
        processors.push(Box::new(pipeline::batched(otlp, config.batch, counters)));
    }
    if config.prints_spans {
        let console = opentelemetry_stdout::SpanExporter::default();
        processors.push(Box::new(SimpleSpanProcessor::new(console)));
    }
    let metrics = config.metrics.as_ref().and_then(|target| {
        metric_exporter(target, handle.as_ref())
            .map_err(&mut unless_rejected)
            .ok()
    });
    RunningExporters {
        processors,
        meters: meter_provider(config, resource, metrics),
        runtime,
    }
}

#[cfg(feature = "export-grpc")]
fn export_runtime(config: &Config) -> Result<Option<ExportRuntime>, ExportSetupError> {
    let needs_runtime = [&config.traces, &config.metrics]
        .into_iter()
        .flatten()
        .any(|target| target.protocol == OtlpProtocol::Grpc);
    Ok(if needs_runtime {
        Some(ExportRuntime::start()?)
    } else {
        None
    })
}

#[cfg(not(feature = "export-grpc"))]
#[expect(
    clippy::unnecessary_wraps,
    reason = "with gRPC the runtime may not start"
)]
const fn export_runtime(_config: &Config) -> Result<Option<ExportRuntime>, ExportSetupError> {
    Ok(None)
}

fn span_exporter(
    target: &ExportTarget,
    runtime: Option<&RuntimeHandle>,
    counters: &Arc<SpanExportCounters>,
) -> Result<CountingExporter<SpanExporter>, ExportSetupError> {
    let _entered = enter(runtime);
    let inner = match target.protocol {
        #[cfg(feature = "export-grpc")]
        OtlpProtocol::Grpc => {
            grpc::configure(SpanExporter::builder().with_tonic(), target).build()?
        }
        #[cfg(not(feature = "export-grpc"))]
        // Reported with the configuration, which then has no target.
        OtlpProtocol::Grpc => {
            configure_http(SpanExporter::builder().with_http(), target).build()?
        }
        OtlpProtocol::HttpProtobuf | OtlpProtocol::HttpJson => {
            configure_http(SpanExporter::builder().with_http(), target).build()?
        }
    };
    Ok(CountingExporter {
        inner,
        counters: Arc::clone(counters),
        runtime: runtime.cloned(),
    })
}

fn metric_exporter(
    target: &ExportTarget,
    runtime: Option<&RuntimeHandle>,
) -> Result<CountingExporter<MetricExporter>, ExportSetupError> {
    let _entered = enter(runtime);
    let inner = match target.protocol {
        #[cfg(feature = "export-grpc")]
        OtlpProtocol::Grpc => {
            grpc::configure(MetricExporter::builder().with_tonic(), target).build()?
        }
        #[cfg(not(feature = "export-grpc"))]
        // Reported with the configuration, which then has no target.
        OtlpProtocol::Grpc => {
            configure_http(MetricExporter::builder().with_http(), target).build()?
        }
        OtlpProtocol::HttpProtobuf | OtlpProtocol::HttpJson => {
            configure_http(MetricExporter::builder().with_http(), target).build()?
        }
    };
    Ok(CountingExporter {
        inner,
        // Metrics have no counters, but outages of their export are logged the same way.
        counters: Arc::default(),
        runtime: runtime.cloned(),
    })
}

fn meter_provider(
    config: &Config,
    resource: &Resource,
    exporter: Option<CountingExporter<MetricExporter>>,
) -> Option<SdkMeterProvider> {
    if exporter.is_none() && !config.prints_metrics {
        return None;
    }
    let mut meters = SdkMeterProvider::builder().with_resource(resource.clone());
    if let Some(exporter) = exporter {
        let reader = PeriodicReader::builder(exporter).with_interval(config.metric_interval);
        meters = meters.with_reader(reader.build());
    }
    if config.prints_metrics {
        let console = opentelemetry_stdout::MetricExporter::default();
        let reader = PeriodicReader::builder(console).with_interval(config.metric_interval);
        meters = meters.with_reader(reader.build());
    }
    Some(meters.build())
}

/// Applies the settings of a target to an exporter of either signal over HTTP.
fn configure_http<B>(builder: B, target: &ExportTarget) -> B
where
    B: WithExportConfig + WithHttpConfig,
{
    let builder = builder
        .with_endpoint(&target.endpoint)
        .with_timeout(target.timeout)
        .with_protocol(http_protocol(target.protocol))
        .with_headers(target.headers.clone());
    #[cfg(feature = "export-tls")]
    let builder = if target.endpoint.starts_with("https://") {
        builder.with_http_client(tls::TlsClient::new(target.timeout))
    } else {
        builder
    };
    if target.gzip {
        builder.with_compression(Compression::Gzip)
    } else {
        builder
    }
}

/// Returns the encoding of a request over HTTP.
const fn http_protocol(protocol: OtlpProtocol) -> Protocol {
    match protocol {
        OtlpProtocol::HttpJson => Protocol::HttpJson,
        // gRPC has an exporter of its own.
        OtlpProtocol::HttpProtobuf | OtlpProtocol::Grpc => Protocol::HttpBinary,
    }
}
