//! Log lines about the propagation of the service beside the proxy, for HTTP and Kafka alike.

use throughline_intercept::correlate::PropagationObservation;

use crate::telemetry::log_throttle::LogThrottle;

/// Logs what messages of the service show about its propagation.
#[derive(Debug, Default)]
pub(crate) struct PropagationLog {
    discontinued: LogThrottle,
}

// === impl PropagationLog ===

impl PropagationLog {
    pub(crate) fn report(&self, observed: PropagationObservation) {
        // The correlator reports each format once.
        if !observed.learned.is_empty() {
            tracing::info!(
                formats = %observed.learned,
                "service propagates contexts in these formats: it gets them in the same"
            );
        }
        if observed.is_discontinued
            && let Some(suppressed) = self.discontinued.permit()
        {
            tracing::warn!(
                sent = %observed.sent, suppressed,
                "service was called in a sampled trace and calls out in a trace of its own, so the \
                 trace ends here; set --propagation to the formats that its tracer reads"
            );
        }
    }
}
