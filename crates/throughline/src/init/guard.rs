//! The guard of running telemetry.

use std::fmt;
use std::io::IsTerminal as _;
use std::sync::Arc;

use opentelemetry::global;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use throughline_model::environment::VariableError;
use tracing::Subscriber;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

use super::export_stats::ExportStats;
use super::method_spans;
use super::shutdown::PipelineShutdown;
#[cfg(all(feature = "signal", unix))]
use super::signal;
use crate::Telemetry;

/// The guard of running telemetry. Keep it until the process ends: [`Guard::shutdown`], or dropping
/// it, sends queued spans and stops the export, within a bounded time even when the collector is
/// down.
#[must_use = "telemetry stops when the guard is dropped"]
pub struct Guard {
    pub(super) telemetry: Telemetry,
    pub(super) tracers: Option<SdkTracerProvider>,
    pub(super) meters: Option<SdkMeterProvider>,
    pub(super) pipeline: Arc<PipelineShutdown>,
    pub(super) warnings: Vec<VariableError>,
}

/// Whether a `tracing` subscriber is installed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum SubscriberChoice {
    Install,
    Skip,
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
        // The exporters count their failures rather than returning them.
        let failed_before = self.pipeline.counters().stats().failed;
        let spans = self.tracers.as_ref().map(SdkTracerProvider::force_flush);
        let metrics = self.meters.as_ref().map(SdkMeterProvider::force_flush);
        let is_flushed = spans.is_none_or(|result| result.is_ok())
            && metrics.is_none_or(|result| result.is_ok());
        is_flushed && self.pipeline.counters().stats().failed == failed_before
    }

    /// Returns how many spans ended, were exported, and were lost.
    #[must_use]
    pub fn export_stats(&self) -> ExportStats {
        self.pipeline.counters().stats()
    }

    /// Sends queued spans, stops the export, and returns its counts. Takes at most the shutdown
    /// timeout.
    pub fn shutdown(self) -> ExportStats {
        self.pipeline.stop();
        self.export_stats()
    }

    /// Sends queued spans when SIGTERM or SIGINT ends the process, for services that do not handle
    /// these signals themselves: by default they end a process at once, and its spans with it. The
    /// process then ends by the signal, as it would have.
    ///
    /// A service that shuts down gracefully needs no more than the guard, dropped at the end of
    /// `main`: with both, the first one to be ready ends the process.
    ///
    /// ```no_run
    /// let _telemetry = throughline::init("billing").shutdown_on_signal();
    /// ```
    #[cfg(all(feature = "signal", unix))]
    pub fn shutdown_on_signal(self) -> Self {
        if let Err(error) = signal::shut_down_at(Arc::clone(&self.pipeline)) {
            tracing::warn!(%error, "signal handler not installed; spans are lost at SIGTERM");
        }
        self
    }

    /// Makes the providers and the propagator global, installs the subscriber, and logs the
    /// warnings.
    pub(super) fn make_global(
        self,
        subscriber: SubscriberChoice,
        log_filter: Option<String>,
    ) -> Self {
        // Other instrumentation in the process then uses the same formats.
        global::set_text_map_propagator(self.telemetry.propagation());
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
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.pipeline.stop();
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("export_stats", &self.export_stats())
            .finish_non_exhaustive()
    }
}
