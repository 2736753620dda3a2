//! Counting spans on their way out, so that what is lost is known, and told once.

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
use tokio::runtime::Handle;

/// How many spans ended, and what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Losses {
    /// Recorded spans that ended.
    pub ended: u64,
    /// Spans that the collector took.
    pub exported: u64,
    /// Spans whose export failed for good.
    pub failed: u64,
}

/// The figures as they grow.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    ended: AtomicU64,
    exported: AtomicU64,
    failed: AtomicU64,
    failing: AtomicBool,
}

/// Counts the spans that go into a processor.
#[derive(Debug)]
pub(crate) struct CountedProcessor<P> {
    pub(crate) inner: P,
    pub(crate) ledger: Arc<Ledger>,
}

/// Counts the spans that come out of an exporter, and says once that it fails.
pub(crate) struct CountedExporter<E> {
    pub(crate) inner: E,
    pub(crate) ledger: Arc<Ledger>,
    /// The runtime that the exporter's transport lives on, when it needs one.
    pub(crate) runtime: Option<Handle>,
}

/// A future polled inside a runtime, whatever thread polls it.
struct Inside<'a, F> {
    runtime: Option<&'a Handle>,
    future: Pin<Box<F>>,
}

// === impl Losses ===

impl Losses {
    /// Spans that ended and were not exported: those that failed, those that found the queue full, and, before the shutdown,
    /// those that still wait.
    #[must_use]
    pub const fn missing(&self) -> u64 {
        self.ended.saturating_sub(self.exported)
    }
}

// === impl Ledger ===

impl Ledger {
    pub(crate) fn losses(&self) -> Losses {
        // Read in this order, a span can be counted as ended and not yet exported, never the other way round.
        let exported = self.exported.load(Ordering::Acquire);
        let failed = self.failed.load(Ordering::Acquire);
        Losses {
            ended: self.ended.load(Ordering::Acquire),
            exported,
            failed,
        }
    }

    fn settle(&self, spans: usize, result: &OTelSdkResult) {
        let spans = u64::try_from(spans).unwrap_or(u64::MAX);
        match result {
            Ok(()) => {
                self.exported.fetch_add(spans, Ordering::AcqRel);
                if self.failing.swap(false, Ordering::AcqRel) {
                    tracing::info!(failed = self.losses().failed, "spans are exported again");
                }
            }
            Err(error) => {
                self.failed.fetch_add(spans, Ordering::AcqRel);
                if !self.failing.swap(true, Ordering::AcqRel) {
                    tracing::warn!(%error, "spans cannot be exported; from here on the loss is counted, not logged");
                }
            }
        }
    }

    fn note_metrics(&self, result: &OTelSdkResult) {
        match result {
            Ok(()) => self.failing.store(false, Ordering::Release),
            Err(error) if !self.failing.swap(true, Ordering::AcqRel) => {
                tracing::warn!(%error, "metrics cannot be exported");
            }
            Err(_) => {}
        }
    }
}

// === impl CountedProcessor ===

impl<P: SpanProcessor> SpanProcessor for CountedProcessor<P> {
    fn on_start(&self, span: &mut Span, cx: &Context) {
        self.inner.on_start(span, cx);
    }

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() {
            self.ledger.ended.fetch_add(1, Ordering::AcqRel);
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

// === impl CountedExporter ===

impl<E: SpanExporter> SpanExporter for CountedExporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = Inside::new(self.runtime.as_ref(), self.inner.export(batch)).await;
        self.ledger.settle(spans, &result);
        result
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

impl<E: PushMetricExporter> PushMetricExporter for CountedExporter<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let result = Inside::new(self.runtime.as_ref(), self.inner.export(metrics)).await;
        self.ledger.note_metrics(&result);
        result
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

impl<E> fmt::Debug for CountedExporter<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CountedExporter")
            .field("ledger", &self.ledger)
            .finish_non_exhaustive()
    }
}

// === impl Inside ===

impl<'a, F: Future> Inside<'a, F> {
    fn new(runtime: Option<&'a Handle>, future: F) -> Self {
        Self {
            runtime,
            future: Box::pin(future),
        }
    }
}

impl<F: Future> Future for Inside<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let _inside = self.runtime.map(Handle::enter);
        self.future.as_mut().poll(cx)
    }
}
