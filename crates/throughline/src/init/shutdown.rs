//! The end of the pipeline, which the guard and a signal may both ask for.

use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;

use super::export_runtime::ExportRuntime;
use super::export_stats::SpanExportCounters;

/// The running pipeline and its shutdown.
pub(super) struct PipelineShutdown {
    running: Mutex<Option<RunningPipeline>>,
    counters: Arc<SpanExportCounters>,
    timeout: Duration,
}

/// The parts of the pipeline that must be stopped.
pub(super) struct RunningPipeline {
    pub(super) tracers: Option<SdkTracerProvider>,
    pub(super) meters: Option<SdkMeterProvider>,
    pub(super) runtime: Option<ExportRuntime>,
}

// === impl PipelineShutdown ===

impl PipelineShutdown {
    pub(super) fn new(
        running: RunningPipeline,
        counters: Arc<SpanExportCounters>,
        timeout: Duration,
    ) -> Self {
        Self {
            running: Mutex::new(Some(running)),
            counters,
            timeout,
        }
    }

    pub(super) fn counters(&self) -> &SpanExportCounters {
        &self.counters
    }

    /// Sends queued spans and stops the export, once, within the timeout. A second call waits for
    /// the first.
    pub(super) fn stop(&self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(RunningPipeline {
            tracers,
            meters,
            runtime,
        }) = running.take()
        else {
            return;
        };
        if tracers.is_none() && meters.is_none() {
            return;
        }
        let timeout = self.timeout;
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
        if let Some(runtime) = runtime {
            runtime.stop();
        }
        let stats = self.counters.stats();
        if stats.missing() > 0 {
            tracing::warn!(
                lost = stats.missing(),
                ended = stats.ended,
                "spans were lost: the collector did not accept them"
            );
        }
    }
}
