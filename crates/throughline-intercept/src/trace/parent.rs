//! Evidence for the parent of a span, as its attributes show it.

use throughline_model::KeyValue;
use throughline_model::convention::{PARENT_CONFIDENCE, PARENT_EVIDENCE};

use super::attribute::{push, push_some};
use crate::correlate::Evidence;

/// Evidence by which the parent of a span was found, and its confidence where it is not exact.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ParentEvidence {
    pub(crate) evidence: Evidence,
    /// Probability that the parent is right, from 0 to 1; [`None`] where the evidence is exact.
    pub(crate) confidence: Option<f64>,
}

// === impl ParentEvidence ===

impl ParentEvidence {
    /// The message carried the context of its sender.
    pub(crate) const HEADER: Self = Self {
        evidence: Evidence::Header,
        confidence: None,
    };

    /// Appends `throughline.parent.evidence` and, where known, `throughline.parent.confidence`.
    pub(crate) fn append_to(self, attributes: &mut Vec<KeyValue>) {
        push(attributes, PARENT_EVIDENCE, self.evidence.name());
        push_some(attributes, PARENT_CONFIDENCE, self.confidence);
    }
}
