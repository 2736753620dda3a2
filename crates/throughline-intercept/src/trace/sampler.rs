//! Head sampling: the sender's decision, or a share of the trace ids where the sender left it open.

use throughline_model::TraceId;
use throughline_model::context::Sampling;

/// Sampler for traces whose sender did not decide (`TraceIdRatioBased` in the OpenTelemetry SDK).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sampler {
    /// Share of traces to record, from 0.0 to 1.0.
    ratio: f64,
}

/// Number of values of 64 bits: 2^64.
const ID_VALUES: f64 = 18_446_744_073_709_551_616.0;

// === impl Sampler ===

impl Sampler {
    #[inline]
    pub(crate) const fn new(ratio: f64) -> Self {
        Self { ratio }
    }

    /// Resolves a deferred decision into [`Sampling::Sample`] or [`Sampling::Drop`].
    #[inline]
    pub(crate) fn resolve(self, decision: Sampling, trace_id: TraceId) -> Sampling {
        match decision {
            Sampling::Deferred if self.selects(trace_id) => Sampling::Sample,
            Sampling::Deferred => Sampling::Drop,
            Sampling::Drop | Sampling::Sample | Sampling::Debug => decision,
        }
    }

    /// Returns whether a trace with this decision and id is recorded.
    #[inline]
    pub(crate) fn is_sampled(self, decision: Sampling, trace_id: TraceId) -> bool {
        self.resolve(decision, trace_id).is_sampled()
    }

    /// Compares the low 64 bits of the trace id with the ratio.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a sampling ratio needs no more precision than a double has"
    )]
    #[inline]
    fn selects(self, trace_id: TraceId) -> bool {
        // The id decides, not a random number: every process that sees the trace decides alike.
        let low = trace_id
            .to_bytes()
            .last_chunk()
            .map_or(0, |low| u64::from_be_bytes(*low));
        self.ratio >= 1.0 || (low as f64 / ID_VALUES) < self.ratio
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deferred_decision_follows_the_trace_id_and_others_stay() {
        let [low, high] = ["1", "ffffffffffffffff"].map(|hex| TraceId::from_hex(hex).unwrap());
        let half = Sampler::new(0.5);
        assert!(half.is_sampled(Sampling::Deferred, low));
        assert!(!half.is_sampled(Sampling::Deferred, high));
        assert!(half.is_sampled(Sampling::Debug, high) && !half.is_sampled(Sampling::Drop, low));
        assert!(Sampler::new(1.0).is_sampled(Sampling::Deferred, high));
        assert!(!Sampler::new(0.0).is_sampled(Sampling::Deferred, low));
    }
}
