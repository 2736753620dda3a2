//! The correlator of the process beside the proxy, shared by HTTP and Kafka.

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

/// Correlates what one process sends with what it received, over all its connections.
#[derive(Debug, Clone)]
pub(crate) struct SharedCorrelator {
    correlator: Arc<Mutex<Correlator>>,
    /// Works without the lock.
    extractor: TokenExtractor,
    clock: SpanClock,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EvidenceLabels {
    evidence: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CheckLabels {
    result: &'static str,
}

// === impl SharedCorrelator ===

impl SharedCorrelator {
    pub(crate) fn new(settings: Settings, clock: SpanClock) -> Self {
        let correlator = Correlator::new(settings, clock.now());
        Self {
            // Tokens are extracted without the lock: a large body must not delay other connections.
            extractor: correlator.token_extractor().clone(),
            correlator: Arc::new(Mutex::new(correlator)),
            clock,
        }
    }

    /// Returns the current time.
    pub(crate) fn timestamp(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns the current metrics.
    pub(crate) fn metrics(&self) -> Registry {
        // A new registry for each scrape: the correlator keeps the counts, and they are absolute.
        let parents = Family::<EvidenceLabels, Counter>::default();
        let discontinued = Counter::<u64>::default();
        let unconsidered = Counter::<u64>::default();
        let checks = Family::<CheckLabels, Counter>::default();
        let in_flight = Gauge::<i64>::default();
        let idle_seconds = Gauge::<f64, AtomicU64>::default();
        let now = self.timestamp();
        self.with_correlator(|correlator| {
            for (evidence, count) in correlator.evidence_counts() {
                let evidence = evidence.name();
                parents
                    .get_or_create(&EvidenceLabels { evidence })
                    .inner()
                    .store(count, Ordering::Relaxed);
            }
            let discontinued_count = correlator.discontinued_count();
            discontinued
                .inner()
                .store(discontinued_count, Ordering::Relaxed);
            unconsidered
                .inner()
                .store(correlator.unconsidered_count(), Ordering::Relaxed);
            let (right, wrong) = correlator.inference_checks();
            for (result, count) in [("right", right), ("wrong", wrong)] {
                checks
                    .get_or_create(&CheckLabels { result })
                    .inner()
                    .store(count, Ordering::Relaxed);
            }
            idle_seconds.set(correlator.idle_seconds(now));
            in_flight.set(i64::try_from(correlator.in_flight_count()).unwrap_or(i64::MAX));
        });
        let mut registry = Registry::with_prefix("throughline_process");
        registry.register(
            "parents",
            "Outbound requests and records, by the evidence for their parent",
            parents,
        );
        registry.register(
            "discontinued_traces",
            "Outbound requests for an inbound one that carry another trace than that",
            discontinued,
        );
        registry.register(
            "unconsidered",
            "Requests, records and calls beyond the limits of the inference of parents",
            unconsidered,
        );
        registry.register(
            "inference_checks",
            "Parents inferred with 0.99 or more that a later event has proven right or wrong",
            checks,
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

impl CorrelatorAccess for SharedCorrelator {
    fn token_extractor(&self) -> &TokenExtractor {
        &self.extractor
    }

    fn with_correlator<T>(&self, action: impl FnOnce(&mut Correlator) -> T) -> T {
        // A panic under the lock leaves counters and maps that are usable as they are.
        action(
            &mut self
                .correlator
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}
