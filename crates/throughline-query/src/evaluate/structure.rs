//! Structural operators: which spans of one set are related to a span of another.

use super::trace_view::TraceView;
use crate::traceql::StructuralRelation;

/// Returns whether each span of the trace is related to a span of `left`.
pub(super) fn related(
    view: &TraceView<'_>,
    left: &[usize],
    relation: StructuralRelation,
) -> Vec<bool> {
    let mut is_left = vec![false; view.len()];
    for at in left {
        mark(&mut is_left, *at);
    }
    let is_marked = |marks: &[bool], at: usize| marks.get(at).copied().unwrap_or_default();
    match relation {
        StructuralRelation::Child => {
            let parents = (0..view.len()).map(|at| view.parent(at));
            let is_child = |parent: Option<usize>| parent.is_some_and(|it| is_marked(&is_left, it));
            parents.map(is_child).collect()
        }
        StructuralRelation::Descendant => descendants(view, &is_left),
        StructuralRelation::Parent => {
            let mut marks = vec![false; view.len()];
            for parent in left.iter().filter_map(|at| view.parent(*at)) {
                mark(&mut marks, parent);
            }
            marks
        }
        StructuralRelation::Ancestor => ancestors(view, left),
        StructuralRelation::Sibling => siblings(view, left),
    }
}

fn mark(marks: &mut [bool], at: usize) {
    if let Some(mark) = marks.get_mut(at) {
        *mark = true;
    }
}

/// Marks the spans below a marked one.
fn descendants(view: &TraceView<'_>, is_left: &[bool]) -> Vec<bool> {
    let mut known: Vec<Option<bool>> = vec![None; view.len()];
    for start in 0..view.len() {
        // Walks up to a span whose answer is known, then back down.
        let mut path = Vec::new();
        let mut at = start;
        let answer = loop {
            match known.get(at).copied().flatten() {
                Some(answer) => break answer || is_left.get(at).copied().unwrap_or_default(),
                // A path that is longer than the trace is a circle of parents.
                None if path.len() > view.len() => break false,
                None => path.push(at),
            }
            match view.parent(at) {
                Some(parent) => at = parent,
                None => break false,
            }
        };
        let mut answer = answer;
        // The last span of a path without a known answer is a root, below nothing.
        for at in path.into_iter().rev() {
            if let Some(own) = known.get_mut(at) {
                *own = Some(answer);
            }
            answer = answer || is_left.get(at).copied().unwrap_or_default();
        }
    }
    known.into_iter().map(Option::unwrap_or_default).collect()
}

/// Marks the spans above these.
fn ancestors(view: &TraceView<'_>, left: &[usize]) -> Vec<bool> {
    let mut marks = vec![false; view.len()];
    for start in left {
        let mut at = view.parent(*start);
        // Above a marked span everything is marked.
        while let Some(parent) = at
            && marks.get(parent) == Some(&false)
        {
            mark(&mut marks, parent);
            at = view.parent(parent);
        }
    }
    marks
}

/// Marks the other spans with the parent of one of these.
fn siblings(view: &TraceView<'_>, left: &[usize]) -> Vec<bool> {
    // Of each parent: the first child in `left`, and whether there is a second one.
    let mut first: Vec<Option<(usize, bool)>> = vec![None; view.len()];
    for at in left {
        if let Some(entry) = view.parent(*at).and_then(|parent| first.get_mut(parent)) {
            *entry = Some(entry.map_or((*at, false), |(child, _)| (child, true)));
        }
    }
    (0..view.len())
        .map(|at| {
            let known = view
                .parent(at)
                .and_then(|parent| first.get(parent))
                .copied();
            // A span is not its own sibling.
            known
                .flatten()
                .is_some_and(|(child, is_several)| child != at || is_several)
        })
        .collect()
}
