//! Setting up telemetry for a process, and taking it down again without losing what is on its way.

mod config;
mod environment;
mod jaeger;
mod losses;
mod methods;
mod mistakes;
mod pipeline;

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
use losses::Ledger;

pub use losses::Losses;
pub use mistakes::{Mistake, Mistakes};

/// Sets up telemetry by the environment, for a process whose service name is `service` unless a variable says another.
///
/// Exports nothing, and costs next to nothing, when no exporter is configured; contexts are passed on even then.
/// Logs of `tracing` go to stderr, filtered by `RUST_LOG` (default `warn`).
///
/// # Errors
/// Everything that is wrong with the variables, at once. Nothing is set up then.
pub fn init(service: &str) -> Result<Guard, Mistakes> {
    builder().service_name(service).init()
}

/// Sets up telemetry, step by step. See [`init`] for the usual way.
#[must_use]
pub fn builder() -> Builder {
    Builder {
        service_name: None,
        lookup: Box::new(|variable| std::env::var(variable).ok()),
        processor: None,
        subscriber: Install::Ours,
        shutdown_timeout: Duration::from_secs(5),
    }
}

/// How telemetry is to be set up.
pub struct Builder {
    service_name: Option<String>,
    lookup: Box<dyn Fn(&str) -> Option<String>>,
    processor: Option<Box<dyn SpanProcessor>>,
    subscriber: Install,
    shutdown_timeout: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Install {
    Ours,
    Nothing,
}

/// Telemetry that is running. Keep it until the process ends: [`Guard::shutdown`], or dropping it, sends what is still
/// waiting and stops the export, within a bounded time even when the collector is dead.
#[must_use = "telemetry stops when the guard is dropped"]
pub struct Guard {
    telemetry: Telemetry,
    tracers: Option<SdkTracerProvider>,
    meters: Option<SdkMeterProvider>,
    ledger: Arc<Ledger>,
    runtime: Option<Runtime>,
    shutdown_timeout: Duration,
}

// === impl Builder ===

impl Builder {
    /// The service's name unless a variable gives another.
    #[must_use]
    pub fn service_name(mut self, name: impl Into<String>) -> Self {
        self.service_name = Some(name.into());
        self
    }

    /// Reads variables here in place of the process's environment.
    #[must_use]
    pub fn environment(mut self, lookup: impl Fn(&str) -> Option<String> + 'static) -> Self {
        self.lookup = Box::new(lookup);
        self
    }

    /// Gives finished spans to this processor as well, whatever the variables say of exporters.
    #[must_use]
    pub fn span_processor(mut self, processor: impl SpanProcessor + 'static) -> Self {
        self.processor = Some(Box::new(processor));
        self
    }

    /// Installs no `tracing` subscriber. Put [`Guard::layer`] into your own for method spans.
    #[must_use]
    pub fn without_subscriber(mut self) -> Self {
        self.subscriber = Install::Nothing;
        self
    }

    /// How long the end may wait for the collector. Default: 5 seconds.
    #[must_use]
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.shutdown_timeout = timeout;
        self
    }

    /// Sets it up and makes it the process's own: tracer, meter and propagator of OpenTelemetry, and the `tracing`
    /// subscriber unless told otherwise.
    ///
    /// # Errors
    /// Everything that is wrong with the variables, at once. Nothing is set up then.
    pub fn init(self) -> Result<Guard, Mistakes> {
        let (subscriber, log_filter) = (self.subscriber, (self.lookup)("RUST_LOG"));
        let guard = self.build()?;
        global::set_text_map_propagator(guard.telemetry.propagation().clone());
        if let Some(tracers) = &guard.tracers {
            global::set_tracer_provider(tracers.clone());
        }
        if let Some(meters) = &guard.meters {
            global::set_meter_provider(meters.clone());
        }
        guard.telemetry.make_global();
        if subscriber == Install::Ours {
            let filter = log_filter
                .and_then(|filter| filter.parse().ok())
                .unwrap_or_else(|| EnvFilter::new("warn"));
            let terminal = std::io::stderr().is_terminal();
            let logs = tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .with_ansi(terminal);
            let logs = logs.with_filter(filter);
            let installed = tracing_subscriber::registry()
                .with(guard.layer())
                .with(logs)
                .try_init();
            if installed.is_err() {
                tracing::warn!(
                    "another tracing subscriber is installed: method spans need the guard's layer in it"
                );
            }
        }
        Ok(guard)
    }

    /// Sets it up without touching anything global; [`Guard::telemetry`] is then what to hand to producers and layers.
    ///
    /// # Errors
    /// As [`Builder::init`].
    pub fn build(self) -> Result<Guard, Mistakes> {
        let config = Config::read(&*self.lookup)?;
        let ledger = Arc::<Ledger>::default();
        let resource = pipeline::resource(&config, self.service_name.as_deref());
        let exporting = || -> Result<_, pipeline::Error> {
            let runtime = pipeline::runtime(&config)?;
            let handle = runtime.as_ref().map(Runtime::handle);
            let export = config.traces.as_ref();
            let export = export
                .map(|target| pipeline::processor(target, config.batch, handle, &ledger))
                .transpose()?;
            let meters = pipeline::meters(&config, &resource, handle)?;
            Ok((runtime, export, meters))
        };
        let (runtime, export, meters) =
            exporting().map_err(|error| Mistakes::unbuildable(&error.to_string()))?;
        let mut tracers = pipeline::tracers(&config, &resource);
        let any = export.is_some() || self.processor.is_some();
        if let Some(export) = export {
            tracers = tracers.with_span_processor(export);
        }
        if let Some(processor) = self.processor {
            tracers = tracers.with_span_processor(Boxed(processor));
        }
        let tracers = any.then(|| tracers.build());
        let propagation = Propagation::new(&config.propagators);
        let roots_recorded = config.sampler.ratio >= 0.5;
        let telemetry = Telemetry::ours(
            tracers.as_ref(),
            roots_recorded,
            meters.as_ref(),
            propagation,
        );
        Ok(Guard {
            telemetry,
            tracers,
            meters,
            ledger,
            runtime,
            shutdown_timeout: self.shutdown_timeout,
        })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("service_name", &self.service_name)
            .finish_non_exhaustive()
    }
}

// === impl Guard ===

impl Guard {
    /// What to hand to producers, consumers, layers and middleware that shall not use [`Telemetry::global`].
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// The layer for method spans, for a subscriber of your own; `None`, which is a layer too, when nothing is traced.
    pub fn layer<S>(&self) -> Option<impl Layer<S> + use<S>>
    where
        S: Subscriber + for<'s> LookupSpan<'s>,
    {
        self.tracers
            .as_ref()
            .map(|tracers| methods::layer(tracers.tracer("throughline.methods")))
    }

    /// How many spans ended, were exported, and were lost.
    #[must_use]
    pub fn losses(&self) -> Losses {
        self.ledger.losses()
    }

    /// Sends what is waiting, stops the export, and tells what was lost. Takes at most the shutdown timeout.
    pub fn shutdown(mut self) -> Losses {
        self.stop();
        self.losses()
    }

    fn stop(&mut self) {
        let (tracers, meters) = (self.tracers.take(), self.meters.take());
        if tracers.is_none() && meters.is_none() {
            return;
        }
        let timeout = self.shutdown_timeout;
        let (done, finished) = sync_channel(1);
        // On a thread of its own: the providers may block longer than they promise, and must not do so here.
        let stopping = thread::Builder::new()
            .name("throughline-shutdown".to_owned())
            .spawn(move || {
                // What failed is in the ledger, and nobody waits for `done` past the deadline.
                drop(tracers.map(|tracers| tracers.shutdown_with_timeout(timeout)));
                drop(meters.map(|meters| meters.shutdown_with_timeout(timeout)));
                done.send(()).ok();
            });
        if stopping.is_ok() {
            finished.recv_timeout(timeout).ok();
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        let losses = self.losses();
        if losses.missing() > 0 {
            tracing::warn!(
                lost = losses.missing(),
                of = losses.ended,
                "spans were lost: the collector did not take them"
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
            .field("losses", &self.losses())
            .finish_non_exhaustive()
    }
}

/// A processor of any kind; OpenTelemetry's builder wants a sized one.
#[derive(Debug)]
struct Boxed(Box<dyn SpanProcessor>);

impl SpanProcessor for Boxed {
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
