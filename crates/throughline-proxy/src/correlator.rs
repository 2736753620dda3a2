//! The process that we stand beside: what it was asked and given, over HTTP and Kafka, and so what it does on whose behalf.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use throughline_intercept::Timestamp;
use throughline_intercept::correlate::{Correlator, CorrelatorAccess, Settings, TokenExtractor};

use crate::clock::SpanClock;

/// The one correlator of the process, shared by all its connections.
#[derive(Debug, Clone)]
pub(crate) struct SharedCorrelator {
    correlator: Arc<Mutex<Correlator>>,
    /// Used without the lock.
    extractor: TokenExtractor,
    clock: SpanClock,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EvidenceLabels {
    evidence: &'static str,
}

// === impl SharedCorrelator ===

impl SharedCorrelator {
    /// One that has nothing to do yet.
    pub(crate) fn new(settings: Settings, clock: SpanClock) -> Self {
        let correlator = Correlator::new(settings, clock.now());
        Self {
            extractor: correlator.token_extractor().clone(),
            correlator: Arc::new(Mutex::new(correlator)),
            clock,
        }
    }

    /// Returns the time.
    pub(crate) fn timestamp(&self) -> Timestamp {
        self.clock.now()
    }

    /// What is known of it at this moment.
    pub(crate) fn metrics(&self) -> Registry {
        let (found, in_flight) = (
            Family::<EvidenceLabels, Counter>::default(),
            Gauge::<i64>::default(),
        );
        let idle = Gauge::<f64, AtomicU64>::default();
        let now = self.timestamp();
        self.with_correlator(|correlator| {
            for (evidence, count) in correlator.evidence_counts() {
                found
                    .get_or_create(&EvidenceLabels {
                        evidence: evidence.name(),
                    })
                    .inner()
                    .store(count, Ordering::Relaxed);
            }
            idle.set(correlator.idle_seconds(now));
            in_flight.set(i64::try_from(correlator.in_flight_count()).unwrap_or(i64::MAX));
        });
        let mut registry = Registry::with_prefix("throughline_process");
        registry.register(
            "parents",
            "What the process sent, by how its parent was found",
            found,
        );
        registry.register(
            "in_flight",
            "Requests and records that are held to be worked at",
            in_flight,
        );
        registry.register(
            "idle_seconds",
            "How long it had nothing to do, of late",
            idle,
        );
        registry
    }
}

impl CorrelatorAccess for SharedCorrelator {
    fn token_extractor(&self) -> &TokenExtractor {
        &self.extractor
    }

    fn with_correlator<T>(&self, action: impl FnOnce(&mut Correlator) -> T) -> T {
        action(
            &mut self
                .correlator
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}
