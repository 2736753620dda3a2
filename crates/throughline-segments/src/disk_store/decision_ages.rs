//! The order in which decisions about parents came, and those that are forgotten when they take
//! more memory than they may.

use std::collections::VecDeque;

use throughline_store::{SpanKey, WovenEdge, WovenIndex};

/// Maximum number of decisions that join nothing. They explain why a span is alone, and only the
/// latest are of use.
const MAX_OPEN: usize = 16_384;

/// Spans beyond twice those that count, before the others are dropped from the order.
const SPARE_ENTRIES: usize = 1024;

/// The spans that are decided about, the earliest decision first. A span whose decision is gone may
/// still be there.
#[derive(Debug, Default)]
pub(super) struct DecisionAges {
    joined: VecDeque<SpanKey>,
    open: VecDeque<SpanKey>,
}

// === impl DecisionAges ===

impl DecisionAges {
    /// Takes note of a decision, and of the one before about the same span.
    pub(super) fn note(&mut self, edge: &WovenEdge, former: Option<&WovenEdge>) {
        if former.map(is_join) == Some(is_join(edge)) {
            return;
        }
        if is_join(edge) {
            self.joined.push_back(edge.child);
        } else {
            self.open.push_back(edge.child);
        }
    }

    /// Returns the spans that are decided about, the joined ones first.
    pub(super) fn spans(&self) -> Vec<SpanKey> {
        self.joined.iter().chain(&self.open).copied().collect()
    }

    /// Takes the decisions that are to be forgotten: those that join nothing first, and the
    /// earliest of each kind. It is a part of all, so that it is not done for each decision.
    pub(super) fn take_excess(&mut self, index: &WovenIndex, max_bytes: usize) -> Vec<SpanKey> {
        let is_open = |span: &SpanKey| index.edge(*span).is_some_and(|edge| !is_join(edge));
        let is_joined = |span: &SpanKey| index.joined_parent(*span).is_some();
        let beyond = self.open.len().saturating_sub(MAX_OPEN);
        // A span of the one order may have come into the other one since.
        let mut excess: Vec<SpanKey> = self.open.drain(..beyond).filter(is_open).collect();
        if index.bytes() > max_bytes {
            let target = max_bytes / 16 * 15;
            let bytes = |span: &SpanKey| index.bytes_of(*span);
            let freed = excess.iter().map(bytes).sum();
            let mut left = index.bytes().saturating_sub(freed);
            while left > target {
                let open = self.open.pop_front().map(|it| (it, is_open(&it)));
                let earliest =
                    open.or_else(|| self.joined.pop_front().map(|it| (it, is_joined(&it))));
                let Some((span, counts)) = earliest else {
                    break;
                };
                if counts {
                    left = left.saturating_sub(bytes(&span));
                    excess.push(span);
                }
            }
        }
        let joined = index.joined();
        drop_stale(&mut self.joined, joined, is_joined);
        drop_stale(&mut self.open, index.decisions() - joined, is_open);
        excess
    }
}

fn is_join(edge: &WovenEdge) -> bool {
    edge.is_joined && edge.parent.is_some()
}

fn drop_stale(spans: &mut VecDeque<SpanKey>, kept: usize, counts: impl Fn(&SpanKey) -> bool) {
    if spans.len() > kept * 2 + SPARE_ENTRIES {
        spans.retain(counts);
    }
}
