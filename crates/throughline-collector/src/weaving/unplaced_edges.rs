//! Decisions of other collectors about traces that are not stored here. Spans of these may still
//! come.

use std::collections::HashMap;

use throughline_model::TraceId;
use throughline_store::WovenEdge;

/// Maximum number of decisions; the oldest are forgotten first.
const MAX_EDGES: usize = 262_144;

/// Decisions by the traces that they touch.
#[derive(Debug, Default)]
pub(super) struct UnplacedEdges {
    edges: HashMap<u64, WovenEdge>,
    by_trace: HashMap<TraceId, Vec<u64>>,
    first: u64,
    next: u64,
}

// === impl UnplacedEdges ===

impl UnplacedEdges {
    pub(super) fn insert(&mut self, edge: WovenEdge) {
        for id in traces_of(&edge) {
            self.by_trace.entry(id).or_default().push(self.next);
        }
        self.edges.insert(self.next, edge);
        self.next += 1;
        while self.edges.len() > MAX_EDGES {
            self.remove(self.first);
            self.first += 1;
        }
    }

    /// Takes the decisions about a trace whose spans have come.
    pub(super) fn take(&mut self, id: TraceId) -> Vec<WovenEdge> {
        if self.by_trace.is_empty() {
            return Vec::new();
        }
        let numbers = self.by_trace.remove(&id).unwrap_or_default().into_iter();
        numbers.filter_map(|number| self.remove(number)).collect()
    }

    fn remove(&mut self, number: u64) -> Option<WovenEdge> {
        let edge = self.edges.remove(&number)?;
        for id in traces_of(&edge) {
            if let Some(numbers) = self.by_trace.get_mut(&id) {
                numbers.retain(|other| *other != number);
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
    use throughline_store::{SpanKey, WovenEvidence};

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
    fn oldest_decisions_are_forgotten_first() {
        let mut unplaced = UnplacedEdges::default();
        unplaced.insert(edge(2, 1));
        for _ in 0..MAX_EDGES {
            unplaced.insert(edge(4, 3));
        }
        assert_eq!(unplaced.edges.len(), MAX_EDGES);
        assert_eq!(unplaced.take(edge(2, 9).child.trace_id), []);
    }
}
