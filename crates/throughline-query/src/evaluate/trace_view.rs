//! A trace with its tree: parents, children, and numbers of a walk through it.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::Arc;

use throughline_model::{Span, SpanId};
use throughline_store::{StoredTrace, TraceProperties, is_settlement};

/// Number of a root's parent in `nestedSetParent`.
const NO_PARENT: i64 = -1;

/// A trace with its tree.
#[derive(Debug)]
pub struct TraceView<'a> {
    trace: &'a StoredTrace,
    properties: TraceProperties<'a>,
    /// Index of each span's parent.
    parents: Vec<Option<usize>>,
    /// Computed when a query needs it.
    children: OnceCell<Vec<i64>>,
    nested_sets: OnceCell<Vec<NestedSet>>,
}

/// Numbers of a span in a depth-first walk.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct NestedSet {
    pub(super) left: i64,
    pub(super) right: i64,
    pub(super) parent: i64,
}

// === impl TraceView ===

impl<'a> TraceView<'a> {
    /// Creates the view of a trace.
    #[must_use]
    pub fn new(trace: &'a StoredTrace) -> Self {
        let by_id: HashMap<SpanId, usize> = trace
            .spans
            .iter()
            .enumerate()
            .map(|(at, span)| (span.span_id, at))
            .collect();
        let parents = trace.spans.iter().enumerate().map(|(at, span)| {
            let parent = span.parent_span_id.and_then(|id| by_id.get(&id).copied());
            parent.filter(|parent| *parent != at)
        });
        Self {
            trace,
            properties: properties(trace),
            parents: parents.collect(),
            children: OnceCell::new(),
            nested_sets: OnceCell::new(),
        }
    }

    /// Returns the trace.
    #[must_use]
    pub const fn trace(&self) -> &'a StoredTrace {
        self.trace
    }

    /// Returns the properties that the filter of a span can use.
    #[must_use]
    pub const fn properties(&self) -> &TraceProperties<'a> {
        &self.properties
    }

    /// Returns the span at this index of the trace.
    #[must_use]
    pub fn span(&self, at: usize) -> Option<&'a Arc<Span>> {
        self.trace.spans.get(at)
    }

    pub(super) fn len(&self) -> usize {
        self.trace.spans.len()
    }

    pub(super) fn parent(&self, at: usize) -> Option<usize> {
        self.parents.get(at).copied().flatten()
    }

    pub(super) fn child_count(&self, at: usize) -> i64 {
        let children = self.children.get_or_init(|| {
            let mut children = vec![0; self.len()];
            for parent in self.parents.iter().flatten() {
                if let Some(count) = children.get_mut(*parent) {
                    *count += 1;
                }
            }
            children
        });
        children.get(at).copied().unwrap_or_default()
    }

    pub(super) fn nested_set(&self, at: usize) -> NestedSet {
        let sets = self.nested_sets.get_or_init(|| self.walk());
        sets.get(at).copied().unwrap_or_default()
    }

    /// Numbers the spans depth first. Spans of a circle of parents are not reached.
    fn walk(&self) -> Vec<NestedSet> {
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); self.len()];
        let mut roots = Vec::new();
        for at in 0..self.len() {
            match self.parent(at).and_then(|parent| children.get_mut(parent)) {
                Some(siblings) => siblings.push(at),
                None => roots.push(at),
            }
        }
        let mut sets = vec![NestedSet::default(); self.len()];
        let mut next = 1;
        for root in roots {
            let mut stack = vec![(root, NO_PARENT, false)];
            while let Some((at, parent, is_left)) = stack.pop() {
                let Some(set) = sets.get_mut(at) else {
                    continue;
                };
                if is_left {
                    set.right = next;
                } else {
                    set.left = next;
                    set.parent = parent;
                    stack.push((at, parent, true));
                    let own = children.get(at).into_iter().flatten().rev();
                    let left = next;
                    stack.extend(own.map(|child| (*child, left, false)));
                }
                next += 1;
            }
        }
        sets
    }
}

/// Returns what the store knows of the whole trace; see [`throughline_store::TraceSummary`].
fn properties(trace: &StoredTrace) -> TraceProperties<'_> {
    let spans = &trace.spans;
    let start = spans
        .iter()
        .map(|span| span.start)
        .min()
        .unwrap_or_default();
    let end = spans.iter().map(|span| span.end).max().unwrap_or_default();
    let work = spans.iter().filter(|span| !is_settlement(span));
    let end = work.map(|span| span.end).max().unwrap_or(end);
    let root = spans
        .iter()
        .min_by_key(|span| (span.parent_span_id.is_some(), span.start, span.span_id));
    TraceProperties {
        id: trace.id,
        duration: end.saturating_sub(start),
        root: root.map(|root| &**root),
    }
}
