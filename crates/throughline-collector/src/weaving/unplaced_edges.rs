//! Decisions of other collectors about traces that are not stored here. Spans of these may still
//! come.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use throughline_model::TraceId;
use throughline_store::{SpanKey, WovenEdge};

/// Maximum number of decisions; the oldest are forgotten first.
const MAX_EDGES: usize = 262_144;

/// The latest decision about each span, and the traces that it touches.
#[derive(Debug, Default)]
pub(super) struct UnplacedEdges {
    edges: HashMap<SpanKey, NumberedEdge>,
    by_trace: HashMap<TraceId, BTreeSet<u64>>,
    /// The spans in the order of their decisions.
    order: BTreeMap<u64, SpanKey>,
    next: u64,
}

#[derive(Debug)]
struct NumberedEdge {
    number: u64,
    edge: WovenEdge,
}

// === impl UnplacedEdges ===

impl UnplacedEdges {
    /// Files a decision in place of an earlier one about the same span.
    pub(super) fn insert(&mut self, edge: WovenEdge) {
        let (number, child) = (self.next, edge.child);
        self.next += 1;
        self.remove(child);
        for id in traces_of(&edge) {
            self.by_trace.entry(id).or_default().insert(number);
        }
        self.order.insert(number, child);
        self.edges.insert(child, NumberedEdge { number, edge });
        while self.edges.len() > MAX_EDGES {
            let Some((_, oldest)) = self.order.first_key_value() else {
                return;
            };
            self.remove(*oldest);
        }
    }

    /// Takes the decisions about a trace whose spans have come, the oldest first.
    pub(super) fn take(&mut self, id: TraceId) -> Vec<WovenEdge> {
        let numbers = self.by_trace.get(&id).into_iter().flatten();
        let children = numbers.filter_map(|number| self.order.get(number).copied());
        let children: Vec<SpanKey> = children.collect();
        let taken = children.into_iter();
        taken.filter_map(|child| self.remove(child)).collect()
    }

    /// Removes the decision about a span.
    pub(super) fn remove(&mut self, child: SpanKey) -> Option<WovenEdge> {
        let NumberedEdge { number, edge } = self.edges.remove(&child)?;
        self.order.remove(&number);
        for id in traces_of(&edge) {
            if let Some(numbers) = self.by_trace.get_mut(&id) {
                numbers.remove(&number);
                if numbers.is_empty() {
                    self.by_trace.remove(&id);
                }
            }
        }
        Some(edge)
    }
}

fn traces_of(edge: &WovenEdge) -> impl Iterator<Item = TraceId> + use<> {
    let child = edge.child.trace_id;
    let parent = edge.parent.map(|parent| parent.trace_id);
    std::iter::once(child).chain(parent.filter(|id| *id != child))
}

#[cfg(test)]
mod tests {
    use throughline_model::SpanId;
    use throughline_store::WovenEvidence;

    use super::*;

    fn edge(child: u8, parent: u8) -> WovenEdge {
        let key = |trace: u8| SpanKey {
            trace_id: TraceId::from_bytes([trace; 16]).unwrap(),
            span_id: SpanId::from_bytes([1; 8]).unwrap(),
        };
        WovenEdge {
            child: key(child),
            parent: Some(key(parent)),
            evidence: WovenEvidence::Offset,
            confidence: 1.0,
            alternatives: Vec::new(),
            is_joined: true,
        }
    }

    #[test]
    fn decisions_are_taken_by_either_trace_and_once() {
        let mut unplaced = UnplacedEdges::default();
        unplaced.insert(edge(2, 1));
        unplaced.insert(edge(3, 1));
        assert_eq!(unplaced.take(edge(3, 9).child.trace_id), [edge(3, 1)]);
        assert_eq!(unplaced.take(edge(1, 9).child.trace_id), [edge(2, 1)]);
        assert!(unplaced.edges.is_empty() && unplaced.by_trace.is_empty());
    }

    #[test]
    fn later_decision_replaces_the_earlier_one_about_the_same_span() {
        let mut unplaced = UnplacedEdges::default();
        unplaced.insert(edge(2, 1));
        unplaced.insert(edge(2, 3));
        // The trace of the former parent comes first.
        assert_eq!(unplaced.take(edge(1, 9).child.trace_id), []);
        assert_eq!(unplaced.take(edge(3, 9).child.trace_id), [edge(2, 3)]);
        assert!(unplaced.edges.is_empty() && unplaced.by_trace.is_empty());
    }

    #[test]
    fn oldest_decisions_are_forgotten_first() {
        let mut unplaced = UnplacedEdges::default();
        unplaced.insert(edge(2, 1));
        for number in 1..=MAX_EDGES as u64 {
            let mut other = edge(4, 3);
            other.child.span_id = SpanId::from_bytes(number.to_be_bytes()).unwrap();
            unplaced.insert(other);
        }
        assert_eq!(unplaced.edges.len(), MAX_EDGES);
        assert_eq!(unplaced.order.len(), MAX_EDGES);
        assert_eq!(unplaced.take(edge(2, 9).child.trace_id), []);
    }
}
