//! The answer of the store to decisions: those that it keeps, and those whose spans are missing.

use throughline_store::{Store, WeaveOutcome, WovenEdge};

use crate::metrics::{CounterKey, Metrics};

/// Probability from which a span counts as one without a parent.
pub(super) const MIN_NONE: f64 = 0.5;

/// The way in which a decision came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DecisionOrigin {
    /// Made here, for good.
    Final,
    /// Made here; the decision will be made again, because its process is new.
    Provisional,
    /// Made here again, like the provisional one.
    Confirmed,
    /// Takes a provisional join back.
    Separated,
    /// Made by another collector, or by this one with what others share. Spans may still come.
    Shared,
}

/// Decisions by the answer of the store.
#[derive(Debug, Default)]
pub(super) struct KeptEdges {
    pub(super) kept: Vec<WovenEdge>,
    pub(super) missing: Vec<WovenEdge>,
    outcome: WeaveOutcome,
}

// === impl DecisionOrigin ===

impl DecisionOrigin {
    /// Returns whether others are to know the decision: it is ours, and not made again.
    pub(super) const fn is_published(self) -> bool {
        matches!(self, Self::Final | Self::Confirmed | Self::Separated)
    }
}

// === impl KeptEdges ===

impl KeptEdges {
    /// Keeps decisions. `are_parts_elsewhere`: other stores have spans too.
    pub(super) fn keep(
        store: &dyn Store,
        are_parts_elsewhere: bool,
        edges: Vec<WovenEdge>,
        origin: DecisionOrigin,
    ) -> Self {
        let weave = |edges| {
            if are_parts_elsewhere {
                store.weave_shared(edges)
            } else {
                store.weave(edges)
            }
        };
        // Nearly all of one's own are kept, and few of the others'.
        if origin != DecisionOrigin::Shared {
            let outcome = weave(edges.clone());
            if outcome.joined + outcome.kept == edges.len() as u64 {
                return Self {
                    kept: edges,
                    missing: Vec::new(),
                    outcome,
                };
            }
        }
        // One by one, to see which. One that is kept again changes nothing.
        let mut all = Self::default();
        for edge in edges {
            let outcome = weave(vec![edge.clone()]);
            if outcome.joined + outcome.kept > 0 {
                all.kept.push(edge);
            } else if outcome.missing > 0 {
                all.missing.push(edge);
            }
            all.outcome.missing += outcome.missing;
            all.outcome.reported += outcome.reported;
            all.outcome.cyclic += outcome.cyclic;
            all.outcome.too_many += outcome.too_many;
        }
        all
    }

    /// Counts the decisions: those of others are counted where they are made, unless it is here
    /// that the ends of a record met.
    pub(super) fn count(&self, origin: DecisionOrigin, metrics: &Metrics) {
        for edge in &self.kept {
            match origin {
                DecisionOrigin::Final | DecisionOrigin::Provisional => {
                    metrics.add(counter_of(edge), 1);
                }
                DecisionOrigin::Shared if edge.is_joined && edge.evidence.is_exact() => {
                    metrics.add(counter_of(edge), 1);
                }
                DecisionOrigin::Shared | DecisionOrigin::Confirmed | DecisionOrigin::Separated => {}
            }
        }
        if matches!(origin, DecisionOrigin::Final | DecisionOrigin::Provisional) {
            for (reason, count) in [
                ("evicted", self.outcome.missing),
                ("reported", self.outcome.reported),
                ("cyclic", self.outcome.cyclic),
                ("too_many", self.outcome.too_many),
            ] {
                metrics.add(CounterKey::WeaveAbandoned(reason), count);
            }
        }
    }
}

fn counter_of(edge: &WovenEdge) -> CounterKey {
    if edge.is_joined {
        CounterKey::Woven(edge.evidence.name())
    } else if edge.parent.is_some() || edge.confidence < MIN_NONE {
        CounterKey::WeaveAbandoned("uncertain")
    } else {
        CounterKey::WeaveAbandoned("no_parent")
    }
}
