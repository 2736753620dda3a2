//! The builder of telemetry.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::{Key, KeyValue, Value};
use opentelemetry_sdk::trace::{ShouldSample, SpanExporter, SpanProcessor};
use throughline_model::environment::VariableError;
use throughline_model::environment::otlp::BatchSizes;

use super::config::Config;
use super::export_stats::{CountingExporter, SpanExportCounters};
#[cfg(feature = "export")]
use super::exporters;
use super::guard::{Guard, SubscriberChoice};
use super::init_error::InitError;
#[cfg(not(feature = "export"))]
use super::no_exporters as exporters;
use super::shutdown::{PipelineShutdown, RunningPipeline};
use super::{detectors, pipeline};
use crate::telemetry::RootSampling;
use crate::{Propagation, Telemetry};

/// Returns a builder of telemetry, for settings that [`init`](crate::init()) does not have.
#[must_use]
pub fn builder() -> TelemetryBuilder {
    TelemetryBuilder {
        service_name: None,
        lookup: Box::new(|variable| std::env::var(variable).ok()),
        variables: Vec::new(),
        attributes: Vec::new(),
        detection: ResourceDetection::On,
        sampler: None,
        propagation: None,
        processors: Vec::new(),
        exporters: Vec::new(),
        subscriber: SubscriberChoice::Install,
        shutdown_timeout: Duration::from_secs(5),
    }
}

/// A builder of telemetry, from [`builder`]: in code as by environment.
///
/// ```
/// use opentelemetry_sdk::trace::Sampler;
/// use throughline::{Format, Propagation};
///
/// let telemetry = throughline::builder()
///     .service_name("billing")
///     .variable("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json") // unless the environment sets it
///     .resource_attribute("deployment.environment.name", "staging")
///     .sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(0.1))))
///     .propagation(Propagation::new(&[Format::W3c, Format::Baggage, Format::B3Single]))
///     .without_subscriber()
///     .init();
/// ```
pub struct TelemetryBuilder {
    service_name: Option<String>,
    lookup: Box<dyn Fn(&str) -> Option<String>>,
    variables: Vec<(String, String)>,
    attributes: Vec<KeyValue>,
    detection: ResourceDetection,
    sampler: Option<Box<dyn ShouldSample>>,
    propagation: Option<Propagation>,
    processors: Vec<Box<dyn SpanProcessor>>,
    exporters: Vec<BatchSetup>,
    subscriber: SubscriberChoice,
    shutdown_timeout: Duration,
}

/// Puts an exporter of the application behind a batching processor.
type BatchSetup = Box<dyn FnOnce(BatchSizes, &Arc<SpanExportCounters>) -> Box<dyn SpanProcessor>>;

/// Whether the process looks for attributes of its resource.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ResourceDetection {
    On,
    Off,
}

// === impl TelemetryBuilder ===

impl TelemetryBuilder {
    /// Sets the service name, for the case that no variable sets one.
    #[must_use]
    pub fn service_name(mut self, name: impl Into<String>) -> Self {
        self.service_name = Some(name.into());
        self
    }

    /// Reads variables with this function in place of the process's environment.
    #[must_use]
    pub fn environment(mut self, lookup: impl Fn(&str) -> Option<String> + 'static) -> Self {
        self.lookup = Box::new(lookup);
        self
    }

    /// Sets a variable, for the case that the environment does not: any of those that
    /// [`init`](crate::init) reads.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Sets the collector's OTLP endpoint, for the case that the environment does not
    /// (`OTEL_EXPORTER_OTLP_ENDPOINT`).
    #[must_use]
    pub fn endpoint(self, url: impl Into<String>) -> Self {
        self.variable("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    }

    /// Adds an attribute of the resource. `OTEL_RESOURCE_ATTRIBUTES` takes precedence.
    #[must_use]
    pub fn resource_attribute(mut self, key: impl Into<Key>, value: impl Into<Value>) -> Self {
        self.attributes.push(KeyValue::new(key, value));
        self
    }

    /// Leaves out the attributes that the process finds out about itself: `service.instance.id`,
    /// `host.*`, `os.type`, `process.*`, `k8s.*`.
    #[must_use]
    pub fn without_detectors(mut self) -> Self {
        self.detection = ResourceDetection::Off;
        self
    }

    /// Sets the sampler, in place of `OTEL_TRACES_SAMPLER`. A decision that the sender forced or
    /// refused (B3, Jaeger) holds all the same.
    #[must_use]
    pub fn sampler(mut self, sampler: impl ShouldSample + 'static) -> Self {
        self.sampler = Some(Box::new(sampler));
        self
    }

    /// Sets the context formats, in place of `OTEL_PROPAGATORS`.
    #[must_use]
    pub fn propagation(mut self, propagation: Propagation) -> Self {
        self.propagation = Some(propagation);
        self
    }

    /// Adds an exporter of spans, in batches as `OTEL_BSP_*` sets them, independent of the
    /// configured exporters. [`Guard::export_stats`] counts its spans.
    #[must_use]
    pub fn span_exporter(mut self, exporter: impl SpanExporter + 'static) -> Self {
        self.exporters.push(Box::new(move |batch, counters| {
            let exporter = CountingExporter {
                inner: exporter,
                counters: Arc::clone(counters),
                runtime: None,
            };
            Box::new(pipeline::batched(exporter, batch, counters))
        }));
        self
    }

    /// Adds a processor of finished spans, independent of the configured exporters. Several
    /// processors see a span in the order in which they were added.
    #[must_use]
    pub fn span_processor(mut self, processor: impl SpanProcessor + 'static) -> Self {
        self.processors.push(Box::new(processor));
        self
    }

    /// Leaves the `tracing` subscriber to the application. Add [`Guard::layer`] to it for method
    /// spans.
    #[must_use]
    pub fn without_subscriber(mut self) -> Self {
        self.subscriber = SubscriberChoice::Skip;
        self
    }

    /// Sets how long the shutdown may wait for the collector. Default: 5 seconds.
    #[must_use]
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.shutdown_timeout = timeout;
        self
    }

    /// Initializes telemetry and makes it global: tracer, meter and propagator of OpenTelemetry,
    /// and the `tracing` subscriber unless [`TelemetryBuilder::without_subscriber`] was called.
    /// Invalid variables are logged, and count as unset.
    pub fn init(self) -> Guard {
        let (config, errors) = self.read();
        let (subscriber, log_filter) = (self.subscriber, self.variable_value("RUST_LOG"));
        self.start(&config, errors)
            .make_global(subscriber, log_filter)
    }

    /// Initializes telemetry as [`TelemetryBuilder::init`] does, but fails when a variable is
    /// invalid.
    ///
    /// # Errors
    /// All invalid variables, at once. Nothing is initialized then.
    pub fn try_init(self) -> Result<Guard, InitError> {
        let (subscriber, log_filter) = (self.subscriber, self.variable_value("RUST_LOG"));
        Ok(self.try_build()?.make_global(subscriber, log_filter))
    }

    /// Initializes telemetry without global state. Pass [`Guard::telemetry`] to producers and
    /// layers. Invalid variables are listed by [`Guard::warnings`], and count as unset.
    pub fn build(self) -> Guard {
        let (config, errors) = self.read();
        self.start(&config, errors)
    }

    /// Initializes telemetry as [`TelemetryBuilder::build`] does, but fails when a variable is
    /// invalid.
    ///
    /// # Errors
    /// As [`TelemetryBuilder::try_init`].
    pub fn try_build(self) -> Result<Guard, InitError> {
        let (config, errors) = self.read();
        InitError::check(errors)?;
        let guard = self.start(&config, Vec::new());
        // An exporter may reject what passed all checks.
        InitError::check(guard.warnings.clone())?;
        Ok(guard)
    }

    /// Returns a variable of the environment, else the one that was set in code.
    fn variable_value(&self, name: &str) -> Option<String> {
        (self.lookup)(name).or_else(|| {
            let set = self.variables.iter().rev().find(|(key, _)| key == name);
            set.map(|(_, value)| value.clone())
        })
    }

    fn read(&self) -> (Config, Vec<VariableError>) {
        Config::read(&|name| self.variable_value(name))
    }

    /// Starts the pipeline. An exporter that cannot be built is one more warning.
    fn start(self, config: &Config, mut warnings: Vec<VariableError>) -> Guard {
        let counters = Arc::<SpanExportCounters>::default();
        let detected = if self.detection == ResourceDetection::On && !config.is_disabled {
            detectors::detect(&*self.lookup)
        } else {
            Vec::new()
        };
        let name = self.service_name.as_deref();
        let resource = pipeline::resource(config, name, detected, self.attributes);
        let exporters = exporters::start(config, &resource, &counters, &mut warnings);
        let mut processors = exporters.processors;
        let added = self.exporters.into_iter();
        processors.extend(added.map(|setup| setup(config.batch, &counters)));
        processors.extend(self.processors);
        let sampling = match &self.sampler {
            // It may look at anything.
            Some(_) => RootSampling::Unknown,
            None if config.sampler.ratio >= 0.5 => RootSampling::Likely,
            None => RootSampling::Unlikely,
        };
        let mut tracers = pipeline::tracer_provider(config, &resource, self.sampler);
        // Without a processor there is nothing to record for.
        let has_processor = !processors.is_empty() && !config.is_disabled;
        for processor in processors {
            tracers = tracers.with_span_processor(BoxedProcessor(processor));
        }
        let tracers = has_processor.then(|| tracers.build());
        let propagation = self
            .propagation
            .unwrap_or_else(|| Propagation::new(&config.propagators));
        let telemetry = Telemetry::from_pipeline(
            tracers.as_ref(),
            sampling,
            exporters.meters.as_ref(),
            propagation,
        );
        let running = RunningPipeline {
            tracers: tracers.clone(),
            meters: exporters.meters.clone(),
            runtime: exporters.runtime,
        };
        Guard {
            telemetry,
            tracers,
            meters: exporters.meters,
            pipeline: Arc::new(PipelineShutdown::new(
                running,
                counters,
                self.shutdown_timeout,
            )),
            warnings,
        }
    }
}

impl fmt::Debug for TelemetryBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TelemetryBuilder")
            .field("service_name", &self.service_name)
            .finish_non_exhaustive()
    }
}

/// A boxed processor: OpenTelemetry's builder requires a sized type.
#[derive(Debug)]
struct BoxedProcessor(Box<dyn SpanProcessor>);

impl SpanProcessor for BoxedProcessor {
    fn on_start(&self, span: &mut opentelemetry_sdk::trace::Span, cx: &opentelemetry::Context) {
        self.0.on_start(span, cx);
    }

    fn on_end(&self, span: opentelemetry_sdk::trace::SpanData) {
        self.0.on_end(span);
    }

    fn force_flush(&self) -> opentelemetry_sdk::error::OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> opentelemetry_sdk::error::OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &opentelemetry_sdk::Resource) {
        self.0.set_resource(resource);
    }
}
