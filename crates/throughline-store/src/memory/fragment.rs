//! Merges the fragments in which Zipkin's clients send one span: start and finish, or tags that
//! were added after the span was reported.

use std::collections::HashSet;
use std::sync::Arc;

use throughline_model::convention::{SERVICE_NAME, START_ASSUMED};
use throughline_model::{KeyValue, Scope, Span, SpanKind, Status};

use super::span_set::SpanSet;

/// Values that may be copied for each fragment of a batch, on average.
const VALUES_PER_FRAGMENT: usize = 64;

/// Values that may be copied for a batch of any size.
const VALUES_PER_BATCH: usize = 10_000;

/// The work that one batch may cause: every merge copies the stored span, and a sender could add a
/// tag at a time to a span of a hundred thousand.
#[derive(Debug)]
pub(super) struct MergeBudget(usize);

impl MergeBudget {
    pub(super) const fn of_batch(fragments: usize) -> Self {
        Self(VALUES_PER_BATCH + fragments.saturating_mul(VALUES_PER_FRAGMENT))
    }

    /// Takes the values of a span from the budget; returns false when it is used up.
    pub(super) fn take(&mut self, span: &Span) -> bool {
        let values = span.attributes.len() + span.events.len();
        let left = self.0.checked_sub(values);
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }
}

/// Takes the fragments of a span out of the set and merges them with it. Returns the merged span
/// and the spans taken; `None` beyond the budget, when the stored span stays without this fragment.
pub(super) fn merge_into(
    spans: &mut SpanSet,
    mut span: Span,
    budget: &mut MergeBudget,
) -> Option<(Span, Vec<Arc<Span>>)> {
    let mut replaced = Vec::new();
    // The merged span may be the missing link between two fragments.
    while let Some(stored) = spans.take_fragment(&span) {
        if !budget.take(&stored) {
            spans.insert(&stored);
            return (!replaced.is_empty()).then_some((span, replaced));
        }
        span = merge(&stored, &span);
        replaced.push(stored);
    }
    Some((span, replaced))
}

/// Merges two fragments field by field. The one that gives a kind describes the span; the other
/// fills in what it leaves open.
fn merge(stored: &Span, new: &Span) -> Span {
    let is_new_leading = stored.kind == SpanKind::Unspecified && new.kind != SpanKind::Unspecified;
    let (leading, other) = if is_new_leading {
        (new, stored)
    } else {
        (stored, new)
    };
    let mut merged = leading.clone();
    let is_assumed = |span: &Span| span.attribute(START_ASSUMED).is_some();
    let is_same_kind = leading.kind == other.kind;
    merged.start = match (is_assumed(leading), is_assumed(other)) {
        (false, false) if is_same_kind => leading.start.min(other.start),
        (true, false) => other.start,
        (false, _) | (true, true) => leading.start,
    };
    let duration = match leading.duration() {
        0 => other.duration(),
        own if is_same_kind => own.max(other.duration()),
        own => own,
    };
    merged.end = merged.start.saturating_add(duration);
    merged.parent_span_id = leading.parent_span_id.or(other.parent_span_id);
    for (text, filling) in [
        (&mut merged.name, &other.name),
        (&mut merged.trace_state, &other.trace_state),
    ] {
        if text.is_empty() {
            text.clone_from(filling);
        }
    }
    merged.status = merge_status(&leading.status, &other.status);
    if merged.status_message.is_empty() {
        merged.status_message.clone_from(&other.status_message);
    }
    merge_attributes(&mut merged.attributes, &other.attributes);
    if !(is_assumed(leading) && is_assumed(other)) {
        merged.attributes.retain(|pair| pair.key != START_ASSUMED);
    }
    // The same annotation may be part of both. Sorted, equal ones are neighbours.
    merged.events.extend(other.events.iter().cloned());
    merged
        .events
        .sort_by(|a, b| (a.time, &a.name).cmp(&(b.time, &b.name)));
    merged.events.dedup();
    if merged.links.is_empty() {
        merged.links.clone_from(&other.links);
    }
    merged.dropped = leading.dropped.max(other.dropped);
    if leading.resource.attribute(SERVICE_NAME).is_none() {
        merged.resource = Arc::clone(&other.resource);
    }
    if *leading.scope == Scope::default() {
        merged.scope = Arc::clone(&other.scope);
    }
    merged
}

/// Merges two results: a failure before a success, a reason before none.
fn merge_status(leading: &Status, other: &Status) -> Status {
    match (leading, other) {
        (Status::Error(reason), Status::Error(_)) if reason.is_empty() => other.clone(),
        (Status::Error(_), _) => leading.clone(),
        (_, Status::Error(_)) | (Status::Unset, _) => other.clone(),
        (Status::Ok, Status::Ok | Status::Unset) => Status::Ok,
    }
}

fn merge_attributes(attributes: &mut Vec<KeyValue>, others: &[KeyValue]) {
    let new: Vec<KeyValue> = {
        let known: HashSet<&str> = attributes.iter().map(|pair| pair.key.as_str()).collect();
        let is_new = |pair: &&KeyValue| !known.contains(pair.key.as_str());
        others.iter().filter(is_new).cloned().collect()
    };
    attributes.extend(new);
}
