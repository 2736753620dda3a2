//! Probabilities of the causes of one outbound event.

use crate::evidence_tier::EvidenceTier;

/// Probability that a member of a lane caused an outbound event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Belief {
    /// Index of the inbound event.
    pub(crate) inbound: u32,
    pub(crate) probability: f64,
}

/// Beliefs about one outbound event.
#[derive(Debug, Clone)]
pub(crate) struct Posterior {
    /// In descending order.
    pub(crate) causes: Vec<Belief>,
    pub(crate) none: f64,
    pub(crate) tier: EvidenceTier,
}

impl Posterior {
    /// States that the likeliest cause is certain: the message named it.
    pub(crate) fn make_exact(&mut self) {
        self.causes.truncate(1);
        self.causes
            .iter_mut()
            .for_each(|cause| cause.probability = 1.0);
        self.none = 0.0;
        self.tier = EvidenceTier::Exact;
    }
}

impl Default for Posterior {
    fn default() -> Self {
        Self {
            causes: Vec::new(),
            none: 1.0,
            tier: EvidenceTier::Proven,
        }
    }
}
