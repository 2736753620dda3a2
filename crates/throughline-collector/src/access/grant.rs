//! The permission of a sender: the services of its spans, and their number in each second.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::FromRequestParts;
use http::request::Parts;
use throughline_otlp::{DecodedSpans, RejectionReason};
use tokio::time::Instant;

/// The permission of a sender. The default, without tokens, allows everything. Clones share the
/// rate.
#[derive(Clone, Default)]
pub(crate) struct IngestGrant(Option<Arc<GrantLimits>>);

struct GrantLimits {
    /// Empty: all services.
    services: Vec<String>,
    rate: Option<SpanRate>,
}

/// A token bucket that may be overdrawn: a batch passes whole while there is any left, so that its
/// size does not matter, and the next ones wait until it is paid back.
struct SpanRate {
    spans_per_second: f64,
    bucket: Mutex<SpanBucket>,
}

struct SpanBucket {
    spans: f64,
    filled: Instant,
}

// === impl IngestGrant ===

impl IngestGrant {
    pub(super) fn new(services: Vec<String>, max_rate: Option<u32>) -> Self {
        let rate = max_rate.map(|rate| SpanRate {
            spans_per_second: f64::from(rate.max(1)),
            bucket: Mutex::new(SpanBucket {
                spans: f64::from(rate.max(1)),
                filled: Instant::now(),
            }),
        });
        Self(Some(Arc::new(GrantLimits { services, rate })))
    }

    /// Returns the time until the rate allows more spans; `None` when it does now.
    pub(crate) fn wait(&self) -> Option<Duration> {
        self.0.as_ref()?.rate.as_ref()?.wait()
    }

    /// Returns whether spans of some services are not allowed.
    pub(crate) fn is_limited_to_services(&self) -> bool {
        let limits = self.0.as_ref();
        limits.is_some_and(|limits| !limits.services.is_empty())
    }

    /// Removes the spans of services that are not allowed.
    pub(crate) fn retain_allowed(&self, decoded: &mut DecodedSpans) {
        let services = self.0.as_ref().map(|limits| &limits.services);
        let Some(services) = services.filter(|services| !services.is_empty()) else {
            return;
        };
        let DecodedSpans {
            spans, rejected, ..
        } = decoded;
        spans.retain(|span| {
            let is_allowed = services.iter().any(|own| own == span.service());
            if !is_allowed {
                rejected.add(RejectionReason::Service);
            }
            is_allowed
        });
    }

    /// Counts stored spans against the rate.
    pub(crate) fn take(&self, spans: u64) {
        let rate = self.0.as_ref().and_then(|limits| limits.rate.as_ref());
        if let Some(rate) = rate {
            rate.take(spans);
        }
    }
}

impl fmt::Debug for IngestGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let services = self.0.as_ref().map(|limits| &limits.services);
        f.debug_struct("IngestGrant")
            .field("services", &services)
            .finish_non_exhaustive()
    }
}

/// The grant of a request, which the layer has found; without tokens, one that allows everything.
impl<S: Sync> FromRequestParts<S> for IngestGrant {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

// === impl SpanRate ===

impl SpanRate {
    fn wait(&self) -> Option<Duration> {
        let spans = self.refilled(0.0);
        // A whole span, or the remainder of a rounding would count as one.
        (spans < 1.0).then(|| Duration::from_secs_f64((1.0 - spans) / self.spans_per_second))
    }

    fn take(&self, spans: u64) {
        let spans = u32::try_from(spans).unwrap_or(u32::MAX);
        self.refilled(f64::from(spans));
    }

    /// Refills the bucket, takes spans out of it, and returns the rest.
    fn refilled(&self, taken: f64) -> f64 {
        let now = Instant::now();
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.duration_since(bucket.filled).as_secs_f64();
        let spans = bucket.spans + passed * self.spans_per_second;
        bucket.spans = spans.min(self.spans_per_second) - taken;
        bucket.filled = now;
        bucket.spans
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn large_batch_passes_and_the_next_waits_until_it_is_paid_back() {
        let grant = IngestGrant::new(Vec::new(), Some(100));
        assert_eq!(grant.wait(), None);
        grant.take(300);
        let wait = grant.wait().unwrap();
        assert!(wait > Duration::from_secs(2) && wait < Duration::from_millis(2_100));
        tokio::time::advance(wait + Duration::from_millis(1)).await;
        assert_eq!(grant.wait(), None);
        grant.take(1);
        assert!(grant.wait().is_some());
        // Time without spans does not add up.
        tokio::time::advance(Duration::from_secs(3_600)).await;
        grant.take(100);
        assert!(grant.wait().is_some());
    }
}
