//! Counts of exported and lost spans, and log lines about failing exports: one for each outage.
//!
//! A failure ends here. Passed on, it would make the SDK of OpenTelemetry log an error for every
//! batch, and every minute for metrics, where an application enables its `internal-logs`.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};

use super::export_runtime::{RuntimeHandle, enter};

/// The number of spans that ended, and the fate of their export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ExportStats {
    /// Recorded spans that ended.
    pub ended: u64,
    /// Spans that the collector accepted.
    pub exported: u64,
    /// Spans whose export failed for good.
    pub failed: u64,
}

/// The live counters.
#[derive(Debug, Default)]
pub(crate) struct SpanExportCounters {
    ended: AtomicU64,
    exported: AtomicU64,
    failed: AtomicU64,
    /// Whether the last export failed, for one log line at each change.
    is_failing: AtomicBool,
}

/// A processor that counts ended spans.
#[derive(Debug)]
pub(crate) struct CountingProcessor<P> {
    pub(crate) inner: P,
    pub(crate) counters: Arc<SpanExportCounters>,
}

/// An exporter that counts exported spans, and logs the begin and end of an outage.
pub(crate) struct CountingExporter<E> {
    pub(crate) inner: E,
    pub(crate) counters: Arc<SpanExportCounters>,
    /// The runtime of the exporter's transport, when it needs one.
    pub(crate) runtime: Option<RuntimeHandle>,
}

/// A future that is polled inside a runtime, on any thread.
struct RuntimeFuture<'a, F> {
    runtime: Option<&'a RuntimeHandle>,
    future: Pin<Box<F>>,
}

// === impl ExportStats ===

impl ExportStats {
    /// Returns the number of spans that ended and were not exported: failed ones, ones that found
    /// the queue full, and, before the shutdown, queued ones.
    #[must_use]
    pub const fn missing(&self) -> u64 {
        self.ended.saturating_sub(self.exported)
    }
}

// === impl SpanExportCounters ===

impl SpanExportCounters {
    pub(crate) fn stats(&self) -> ExportStats {
        // This order of reads can miss an export, but never shows more exported than ended spans.
        let exported = self.exported.load(Ordering::Acquire);
        let failed = self.failed.load(Ordering::Acquire);
        ExportStats {
            ended: self.ended.load(Ordering::Acquire),
            exported,
            failed,
        }
    }

    fn record_spans(&self, spans: usize, result: &OTelSdkResult) {
        let spans = u64::try_from(spans).unwrap_or(u64::MAX);
        match result {
            Ok(()) => {
                self.exported.fetch_add(spans, Ordering::AcqRel);
                // One line for an outage, however many batches it fails.
                if self.is_failing.swap(false, Ordering::AcqRel) {
                    tracing::info!(failed = self.stats().failed, "span export recovered");
                }
            }
            Err(error) => {
                self.failed.fetch_add(spans, Ordering::AcqRel);
                if !self.is_failing.swap(true, Ordering::AcqRel) {
                    tracing::warn!(
                        %error,
                        "span export failed; further losses are counted, not logged"
                    );
                }
            }
        }
    }

    fn record_metrics(&self, result: &OTelSdkResult) {
        match result {
            Ok(()) if self.is_failing.swap(false, Ordering::AcqRel) => {
                tracing::info!("metrics export recovered");
            }
            Ok(()) => {}
            Err(error) => {
                self.failed.fetch_add(1, Ordering::AcqRel);
                if !self.is_failing.swap(true, Ordering::AcqRel) {
                    tracing::warn!(
                        %error,
                        "metrics export failed; further failures are not logged"
                    );
                }
            }
        }
    }
}

// === impl CountingProcessor ===

impl<P: SpanProcessor> SpanProcessor for CountingProcessor<P> {
    fn on_start(&self, span: &mut Span, cx: &Context) {
        self.inner.on_start(span, cx);
    }

    fn on_end(&self, span: SpanData) {
        // A recorded span that is not sampled is never exported, so it cannot be lost.
        if span.span_context.is_sampled() {
            self.counters.ended.fetch_add(1, Ordering::AcqRel);
        }
        self.inner.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

// === impl CountingExporter ===

impl<E: SpanExporter> SpanExporter for CountingExporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        // The batch is moved into the exporter, so it is counted before.
        let spans = batch.len();
        let result = RuntimeFuture::new(self.runtime.as_ref(), self.inner.export(batch)).await;
        self.counters.record_spans(spans, &result);
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl<E: PushMetricExporter> PushMetricExporter for CountingExporter<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let result = RuntimeFuture::new(self.runtime.as_ref(), self.inner.export(metrics)).await;
        self.counters.record_metrics(&result);
        Ok(())
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.inner.temporality()
    }
}

impl<E> fmt::Debug for CountingExporter<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CountingExporter")
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

// === impl RuntimeFuture ===

impl<'a, F: Future> RuntimeFuture<'a, F> {
    fn new(runtime: Option<&'a RuntimeHandle>, future: F) -> Self {
        Self {
            runtime,
            // Pinned in a box, because the futures of exporters are not `Unpin`.
            future: Box::pin(future),
        }
    }
}

impl<F: Future> Future for RuntimeFuture<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        // The transport looks up its runtime in the current thread.
        let _entered = enter(self.runtime);
        self.future.as_mut().poll(cx)
    }
}
