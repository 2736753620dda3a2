//! The correlator of the process beside the proxy, shared by HTTP and Kafka.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use throughline_intercept::Timestamp;
use throughline_intercept::correlate::{Correlator, Settings};

use crate::clock::SpanClock;

/// Correlates what one process sends with what it received, over all its connections.
#[derive(Debug, Clone)]
pub(crate) struct SharedCorrelator {
    correlator: Arc<Mutex<Correlator>>,
    clock: SpanClock,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EvidenceLabels {
    evidence: &'static str,
}

// === impl SharedCorrelator ===

impl SharedCorrelator {
    pub(crate) fn new(settings: Settings, clock: SpanClock) -> Self {
        Self {
            correlator: Arc::new(Mutex::new(Correlator::new(settings, clock.now()))),
            clock,
        }
    }

    /// Runs `apply` on the correlator, under its lock, with the current time.
    pub(crate) fn now<T>(&self, apply: impl FnOnce(Timestamp, &mut Correlator) -> T) -> T {
        let mut correlator = self
            .correlator
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // The clock is read under the lock: time must not step back between two calls.
        apply(self.clock.now(), &mut correlator)
    }

    /// Returns the current metrics.
    pub(crate) fn metrics(&self) -> Registry {
        let parents = Family::<EvidenceLabels, Counter>::default();
        let in_flight = Gauge::<i64>::default();
        let idle_seconds = Gauge::<f64, AtomicU64>::default();
        self.now(|now, correlator| {
            for (evidence, count) in correlator.counts() {
                let evidence = evidence.name();
                parents
                    .get_or_create(&EvidenceLabels { evidence })
                    .inner()
                    .store(count, Ordering::Relaxed);
            }
            idle_seconds.set(correlator.idle_seconds(now));
            in_flight.set(i64::try_from(correlator.in_flight()).unwrap_or(i64::MAX));
        });
        let mut registry = Registry::with_prefix("throughline_process");
        registry.register(
            "parents",
            "Outbound requests and records, by the evidence for their parent",
            parents,
        );
        registry.register(
            "in_flight",
            "Inbound requests and records that the process is assumed to work on",
            in_flight,
        );
        registry.register(
            "idle_seconds",
            "Recent time that the process was idle",
            idle_seconds,
        );
        registry
    }
}
