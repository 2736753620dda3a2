//! The records that a consumer is done with, on one of the ways in which it can have come to where
//! it is.
//!
//! Paths share the records that they have in common. Paths that have become one differ in which
//! record made which call, so their records stay side by side, each with its share, until what
//! follows has decided and they are learned from.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::step_model::HistoryId;
use crate::step_trail::StepTrail;

/// Share below which a way of handling records is not learned from.
const MIN_SHARE: f64 = 1e-5;

/// A record that a consumer is done with.
#[derive(Debug)]
pub(crate) struct HandledRecord {
    pub(crate) member: u32,
    pub(crate) history: HistoryId,
    pub(crate) trail: Arc<StepTrail>,
    /// Whether the next record made a call while one of its own was outstanding.
    pub(crate) is_overlapped: bool,
}

/// The records of a path, the latest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct HandledRecords {
    latest: Option<Arc<HandledNode>>,
}

#[derive(Debug)]
struct HandledNode {
    /// Greater than that of all nodes that it leads to.
    depth: usize,
    step: HandledStep,
}

#[derive(Debug)]
enum HandledStep {
    Record {
        record: HandledRecord,
        before: HandledRecords,
    },
    /// Several paths that have become one, with their shares.
    Mixture(Vec<(f64, HandledRecords)>),
}

// === impl HandledRecords ===

impl HandledRecords {
    pub(crate) fn push(&mut self, record: HandledRecord) {
        let before = std::mem::take(self);
        self.latest = Some(Arc::new(HandledNode {
            depth: before.depth() + 1,
            step: HandledStep::Record { record, before },
        }));
    }

    /// Returns the records of paths that have become one, with their shares.
    pub(crate) fn mix(parts: &[(f64, &Self)]) -> Self {
        let first = parts[0].1;
        if parts.iter().all(|(_, other)| other.is_same(first)) {
            return first.clone();
        }
        let depth = parts.iter().map(|(_, part)| part.depth()).max();
        let parts = parts.iter().map(|(share, part)| (*share, (*part).clone()));
        Self {
            latest: Some(Arc::new(HandledNode {
                depth: depth.unwrap_or(0) + 1,
                step: HandledStep::Mixture(parts.collect()),
            })),
        }
    }

    fn depth(&self) -> usize {
        self.latest.as_ref().map_or(0, |node| node.depth)
    }

    fn is_same(&self, other: &Self) -> bool {
        match (&self.latest, &other.latest) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

impl Drop for HandledRecords {
    /// Drops the records one by one: each dropping the one before would need a deep stack.
    fn drop(&mut self) {
        let mut unused: Vec<Arc<HandledNode>> = self.latest.take().into_iter().collect();
        while let Some(node) = unused.pop() {
            match Arc::into_inner(node).map(|node| node.step) {
                Some(HandledStep::Record { mut before, .. }) => unused.extend(before.latest.take()),
                Some(HandledStep::Mixture(parts)) => {
                    let parts = parts.into_iter();
                    unused.extend(parts.filter_map(|(_, mut part)| part.latest.take()));
                }
                None => {}
            }
        }
    }
}

/// Nodes to visit, the deepest first: many paths lead to a node, and its share is complete once all
/// deeper ones were visited.
#[derive(Default)]
struct WaitingNodes {
    /// By depth; of one depth in the order in which they were reached.
    nodes: BTreeMap<usize, VecDeque<(f64, Arc<HandledNode>)>>,
}

impl WaitingNodes {
    fn add(&mut self, share: f64, records: &HandledRecords) {
        let Some(node) = records.latest.as_ref().filter(|_| share >= MIN_SHARE) else {
            return;
        };
        let same_depth = self.nodes.entry(node.depth).or_default();
        let mut known = same_depth.iter_mut();
        match known.find(|(_, other)| Arc::ptr_eq(other, node)) {
            Some((sum, _)) => *sum += share,
            None => same_depth.push_back((share, Arc::clone(node))),
        }
    }

    fn pop(&mut self) -> Option<(f64, Arc<HandledNode>)> {
        let mut deepest = self.nodes.last_entry()?;
        let next = deepest.get_mut().pop_front();
        if deepest.get().is_empty() {
            deepest.remove();
        }
        next
    }
}

/// Calls `visit` for each way in which a record was handled on the paths, which come with their
/// shares, the latest first.
pub(crate) fn visit_handled(
    paths: &[(f64, HandledRecords)],
    mut visit: impl FnMut(&HandledRecord, f64),
) {
    let mut waiting = WaitingNodes::default();
    for (share, records) in paths {
        waiting.add(*share, records);
    }
    while let Some((share, node)) = waiting.pop() {
        match &node.step {
            HandledStep::Record { record, before } => {
                visit(record, share);
                waiting.add(share, before);
            }
            HandledStep::Mixture(parts) => {
                for (part, records) in parts {
                    waiting.add(share * part, records);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(member: u32) -> HandledRecord {
        HandledRecord {
            member,
            history: 0,
            trail: Arc::default(),
            is_overlapped: false,
        }
    }

    fn visited(records: &HandledRecords) -> Vec<(u32, f64)> {
        let mut visited = Vec::new();
        visit_handled(&[(1.0, records.clone())], |record, share| {
            visited.push((record.member, share));
        });
        visited
    }

    #[test]
    fn records_of_merged_paths_keep_their_shares() {
        let mut first = HandledRecords::default();
        first.push(record(1));
        let mut second = first.clone();
        first.push(record(2));
        second.push(record(3));
        let mut merged = HandledRecords::mix(&[(0.75, &first), (0.25, &second)]);
        merged.push(record(4));
        assert_eq!(visited(&merged), [(4, 1.0), (2, 0.75), (3, 0.25), (1, 1.0)]);
    }

    #[test]
    fn same_records_are_not_mixed() {
        let mut records = HandledRecords::default();
        records.push(record(1));
        let mixed = HandledRecords::mix(&[(0.5, &records), (0.5, &records.clone())]);
        assert!(mixed.is_same(&records));
    }

    #[test]
    fn time_and_stack_do_not_grow_with_the_number_of_ways() {
        let mut likely = HandledRecords::default();
        let mut other = HandledRecords::default();
        for member in 0..100_000 {
            other = HandledRecords::mix(&[(0.9, &other), (0.1, &likely)]);
            likely.push(record(member));
            other.push(record(member));
        }
        // Of the less likely ways only the latest have a share that counts.
        let count = visited(&other).len();
        assert!((100_000..100_200).contains(&count), "{count}");
    }
}
