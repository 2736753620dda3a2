//! Initialization of telemetry for a process, and its shutdown without loss of queued spans.

mod config;
mod export_stats;
mod init_error;
mod jaeger;
mod method_spans;
mod pipeline;
mod sampler_choice;

use std::fmt;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use opentelemetry::global;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanProcessor};
use tokio::runtime::Runtime;
use tracing::Subscriber;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

use crate::{Propagation, Telemetry};
use config::Config;
use export_stats::SpanExportCounters;

pub use export_stats::ExportStats;
pub use init_error::InitError;
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

/// Returns a builder of telemetry, for settings that [`init`] does not have.
#[must_use]
pub fn builder() -> TelemetryBuilder {
    TelemetryBuilder {
        service_name: None,
        lookup: Box::new(|variable| std::env::var(variable).ok()),
        processors: Vec::new(),
        subscriber: SubscriberChoice::Install,
        shutdown_timeout: Duration::from_secs(5),
    }
}

/// A builder of telemetry, from [`builder`].
pub struct TelemetryBuilder {
    service_name: Option<String>,
    lookup: Box<dyn Fn(&str) -> Option<String>>,
    processors: Vec<Box<dyn SpanProcessor>>,
    subscriber: SubscriberChoice,
    shutdown_timeout: Duration,
}

/// Whether a `tracing` subscriber is installed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SubscriberChoice {
    Install,
    Skip,
}

/// The guard of running telemetry. Keep it until the process ends: [`Guard::shutdown`], or dropping
/// it, sends queued spans and stops the export, within a bounded time even when the collector is
/// down.
#[must_use = "telemetry stops when the guard is dropped"]
pub struct Guard {
    telemetry: Telemetry,
    tracers: Option<SdkTracerProvider>,
    meters: Option<SdkMeterProvider>,
    counters: Arc<SpanExportCounters>,
    runtime: Option<Runtime>,
    shutdown_timeout: Duration,
    warnings: Vec<VariableError>,
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
        let (subscriber, log_filter) = (self.subscriber, (self.lookup)("RUST_LOG"));
        self.start(&config, errors)
            .make_global(subscriber, log_filter)
    }

    /// Initializes telemetry as [`TelemetryBuilder::init`] does, but fails when a variable is
    /// invalid.
    ///
    /// # Errors
    /// All invalid variables, at once. Nothing is initialized then.
    pub fn try_init(self) -> Result<Guard, InitError> {
        let (subscriber, log_filter) = (self.subscriber, (self.lookup)("RUST_LOG"));
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

    fn read(&self) -> (Config, Vec<VariableError>) {
        Config::read(&*self.lookup)
    }

    /// Starts the pipeline. An exporter that cannot be built is one more warning.
    fn start(self, config: &Config, mut warnings: Vec<VariableError>) -> Guard {
        let counters = Arc::<SpanExportCounters>::default();
        let resource = pipeline::resource(config, self.service_name.as_deref());
        let mut unless_rejected = |error: pipeline::Error| {
            warnings.push(VariableError {
                variable: "OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(),
                value: None,
                problem: format!("{error}; nothing is exported"),
            });
        };
        let runtime = pipeline::export_runtime(config)
            .map_err(&mut unless_rejected)
            .ok()
            .flatten();
        // Exporters over gRPC look up their runtime while they are built.
        let handle = runtime.as_ref().map(Runtime::handle);
        let export = config.traces.as_ref().and_then(|target| {
            pipeline::batch_processor(target, config.batch, handle, &counters)
                .map_err(&mut unless_rejected)
                .ok()
        });
        let metrics = config.metrics.as_ref().and_then(|target| {
            pipeline::metric_reader(target, config.metric_interval, handle)
                .map_err(&mut unless_rejected)
                .ok()
        });
        let meters = pipeline::meter_provider(config, &resource, metrics);
        let mut tracers = pipeline::tracer_provider(config, &resource);
        // Without a processor there is nothing to record for.
        let has_processor = export.is_some() || config.prints_spans || !self.processors.is_empty();
        if let Some(export) = export {
            tracers = tracers.with_span_processor(export);
        }
        if config.prints_spans {
            tracers = tracers.with_simple_exporter(opentelemetry_stdout::SpanExporter::default());
        }
        for processor in self.processors {
            tracers = tracers.with_span_processor(BoxedProcessor(processor));
        }
        let tracers = has_processor.then(|| tracers.build());
        let telemetry = Telemetry::from_pipeline(
            tracers.as_ref(),
            config.sampler.ratio >= 0.5,
            meters.as_ref(),
            Propagation::new(&config.propagators),
        );
        Guard {
            telemetry,
            tracers,
            meters,
            counters,
            runtime,
            shutdown_timeout: self.shutdown_timeout,
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

// === impl Guard ===

impl Guard {
    /// Returns the handle for producers, consumers, layers and middleware that do not use
    /// [`Telemetry::global`].
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// Returns the layer for method spans, for a subscriber of the application; `None`, which is a
    /// layer too, when nothing is traced.
    pub fn layer<S>(&self) -> Option<impl Layer<S> + use<S>>
    where
        S: Subscriber + for<'s> LookupSpan<'s>,
    {
        self.tracers
            .as_ref()
            .map(|tracers| method_spans::layer(tracers.tracer("throughline.methods")))
    }

    /// Returns the variables that were invalid and count as unset.
    #[must_use]
    pub fn warnings(&self) -> &[VariableError] {
        &self.warnings
    }

    /// Sends queued spans now, and goes on. For processes that are frozen between requests, such as
    /// functions of a cloud provider. Blocks until the collector has answered; returns whether all
    /// spans were handed over.
    ///
    /// Call it outside of async tasks, or by `spawn_blocking`.
    pub fn force_flush(&self) -> bool {
        let spans = self.tracers.as_ref().map(SdkTracerProvider::force_flush);
        let metrics = self.meters.as_ref().map(SdkMeterProvider::force_flush);
        spans.is_none_or(|result| result.is_ok()) && metrics.is_none_or(|result| result.is_ok())
    }

    /// Returns how many spans ended, were exported, and were lost.
    #[must_use]
    pub fn export_stats(&self) -> ExportStats {
        self.counters.stats()
    }

    /// Sends queued spans, stops the export, and returns its counts. Takes at most the shutdown
    /// timeout.
    pub fn shutdown(mut self) -> ExportStats {
        self.stop();
        self.export_stats()
    }

    /// Makes the providers and the propagator global, installs the subscriber, and logs the
    /// warnings.
    fn make_global(self, subscriber: SubscriberChoice, log_filter: Option<String>) -> Self {
        // Other instrumentation in the process then uses the same formats.
        global::set_text_map_propagator(self.telemetry.propagation().clone());
        if let Some(tracers) = &self.tracers {
            global::set_tracer_provider(tracers.clone());
        }
        if let Some(meters) = &self.meters {
            global::set_meter_provider(meters.clone());
        }
        self.telemetry.make_global();
        if subscriber == SubscriberChoice::Install {
            self.install_subscriber(log_filter);
        }
        for warning in &self.warnings {
            tracing::warn!("invalid telemetry variable: {warning}");
        }
        self
    }

    fn install_subscriber(&self, log_filter: Option<String>) {
        let filter = log_filter
            .and_then(|filter| filter.parse().ok())
            .unwrap_or_else(|| EnvFilter::new("warn"));
        // No escape sequences in a log file.
        let terminal = std::io::stderr().is_terminal();
        let logs = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(terminal);
        // Fails when the application has installed a subscriber before.
        let installed = tracing_subscriber::registry()
            .with(self.layer())
            .with(logs.with_filter(filter))
            .try_init();
        if installed.is_err() {
            tracing::warn!(
                "a tracing subscriber is installed already; add the guard's layer to it for \
                 method spans"
            );
        }
    }

    fn stop(&mut self) {
        let (tracers, meters) = (self.tracers.take(), self.meters.take());
        // Nothing was started, or `shutdown` was called before the drop.
        if tracers.is_none() && meters.is_none() {
            return;
        }
        let timeout = self.shutdown_timeout;
        let (done, finished) = sync_channel(1);
        // On a separate thread, because the providers may block beyond the timeout.
        let thread = thread::Builder::new()
            .name("throughline-shutdown".to_owned())
            .spawn(move || {
                // Failures are counted already, and the receiver may be gone after the timeout.
                drop(tracers.map(|tracers| tracers.shutdown_with_timeout(timeout)));
                drop(meters.map(|meters| meters.shutdown_with_timeout(timeout)));
                done.send(()).ok();
            });
        if thread.is_ok() {
            // The thread is left behind after the timeout; it holds nothing that the process needs.
            finished.recv_timeout(timeout).ok();
        }
        if let Some(runtime) = self.runtime.take() {
            // Dropping a runtime blocks, and panics inside of another runtime.
            runtime.shutdown_background();
        }
        let stats = self.export_stats();
        if stats.missing() > 0 {
            tracing::warn!(
                lost = stats.missing(),
                ended = stats.ended,
                "spans were lost: the collector did not accept them"
            );
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("export_stats", &self.export_stats())
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
