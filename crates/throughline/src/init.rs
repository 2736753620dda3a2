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
/// # Errors
/// All invalid variables, at once. Nothing is initialized then.
pub fn init(service: &str) -> Result<Guard, InitError> {
    builder().service_name(service).init()
}

/// Returns a builder of telemetry, for settings that [`init`] does not have.
#[must_use]
pub fn builder() -> TelemetryBuilder {
    TelemetryBuilder {
        service_name: None,
        lookup: Box::new(|variable| std::env::var(variable).ok()),
        processor: None,
        subscriber: SubscriberChoice::Install,
        shutdown_timeout: Duration::from_secs(5),
    }
}

/// A builder of telemetry, from [`builder`].
pub struct TelemetryBuilder {
    service_name: Option<String>,
    lookup: Box<dyn Fn(&str) -> Option<String>>,
    processor: Option<Box<dyn SpanProcessor>>,
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

    /// Adds a processor of finished spans, independent of the configured exporters.
    #[must_use]
    pub fn span_processor(mut self, processor: impl SpanProcessor + 'static) -> Self {
        self.processor = Some(Box::new(processor));
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
    ///
    /// # Errors
    /// All invalid variables, at once. Nothing is initialized then.
    pub fn init(self) -> Result<Guard, InitError> {
        let (subscriber, log_filter) = (self.subscriber, (self.lookup)("RUST_LOG"));
        let guard = self.build()?;
        // Other instrumentation in the process then uses the same formats.
        global::set_text_map_propagator(guard.telemetry.propagation().clone());
        if let Some(tracers) = &guard.tracers {
            global::set_tracer_provider(tracers.clone());
        }
        if let Some(meters) = &guard.meters {
            global::set_meter_provider(meters.clone());
        }
        guard.telemetry.make_global();
        if subscriber == SubscriberChoice::Install {
            let filter = log_filter
                .and_then(|filter| filter.parse().ok())
                .unwrap_or_else(|| EnvFilter::new("warn"));
            // No escape sequences in a log file.
            let terminal = std::io::stderr().is_terminal();
            let logs = tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .with_ansi(terminal);
            let logs = logs.with_filter(filter);
            // Fails when the application has installed a subscriber before.
            let installed = tracing_subscriber::registry()
                .with(guard.layer())
                .with(logs)
                .try_init();
            if installed.is_err() {
                tracing::warn!(
                    "a tracing subscriber is installed already; add the guard's layer to it for \
                     method spans"
                );
            }
        }
        Ok(guard)
    }

    /// Initializes telemetry without global state. Pass [`Guard::telemetry`] to producers and
    /// layers.
    ///
    /// # Errors
    /// As [`TelemetryBuilder::init`].
    pub fn build(self) -> Result<Guard, InitError> {
        let config = Config::read(&*self.lookup)?;
        let counters = Arc::<SpanExportCounters>::default();
        let resource = pipeline::resource(&config, self.service_name.as_deref());
        let build_exporters = || -> Result<_, pipeline::Error> {
            let runtime = pipeline::export_runtime(&config)?;
            // Exporters over gRPC look up their runtime while they are built.
            let handle = runtime.as_ref().map(Runtime::handle);
            let export = config.traces.as_ref();
            let export = export
                .map(|target| pipeline::batch_processor(target, config.batch, handle, &counters))
                .transpose()?;
            let meters = pipeline::meter_provider(&config, &resource, handle)?;
            Ok((runtime, export, meters))
        };
        let (runtime, export, meters) =
            build_exporters().map_err(|error| InitError::exporter_rejected(&error.to_string()))?;
        let mut tracers = pipeline::tracer_provider(&config, &resource);
        let has_processor = export.is_some() || self.processor.is_some();
        if let Some(export) = export {
            tracers = tracers.with_span_processor(export);
        }
        if let Some(processor) = self.processor {
            tracers = tracers.with_span_processor(BoxedProcessor(processor));
        }
        // Without a processor there is nothing to record for.
        let tracers = has_processor.then(|| tracers.build());
        let propagation = Propagation::new(&config.propagators);
        let is_root_recorded = config.sampler.ratio >= 0.5;
        let telemetry = Telemetry::from_pipeline(
            tracers.as_ref(),
            is_root_recorded,
            meters.as_ref(),
            propagation,
        );
        Ok(Guard {
            telemetry,
            tracers,
            meters,
            counters,
            runtime,
            shutdown_timeout: self.shutdown_timeout,
        })
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
