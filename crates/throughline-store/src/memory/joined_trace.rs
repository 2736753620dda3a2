//! A trace as readers see it: one entry, or several that decisions have joined.

use std::collections::HashMap;
use std::sync::Arc;

use throughline_model::convention::{
    FOLLOWS_FROM, OPENTRACING_REF_TYPE, PARENT_CONFIDENCE, PARENT_EVIDENCE, WOVEN_TRACE_ID,
};
use throughline_model::{KeyValue, Link, Span, SpanId, TraceId, destination};

use super::trace_entry::{MAX_MATCHED, TraceEntry};
use super::woven_index::WovenIndex;
use crate::{
    ServiceSpanCount, SortOrder, SortPosition, SpanKey, StoredTrace, TraceExpression,
    TraceProperties, TraceQuery, TraceSummary, WovenEdge, WovenEvidence,
};

/// A trace as readers see it.
pub(super) struct JoinedTrace<'a> {
    id: TraceId,
    entry: &'a TraceEntry,
    /// The other traces that are joined with it; mostly none.
    others: Vec<(TraceId, &'a TraceEntry)>,
    /// The decisions; `None` in the raw view.
    woven: Option<&'a WovenIndex>,
}

// === impl JoinedTrace ===

impl<'a> JoinedTrace<'a> {
    pub(super) const fn new(
        id: TraceId,
        entry: &'a TraceEntry,
        others: Vec<(TraceId, &'a TraceEntry)>,
        woven: Option<&'a WovenIndex>,
    ) -> Self {
        Self {
            id,
            entry,
            others,
            woven,
        }
    }

    /// Returns the entries with the ids they were reported under.
    pub(super) fn entries(&self) -> impl Iterator<Item = (TraceId, &'a TraceEntry)> {
        std::iter::once((self.id, self.entry)).chain(self.others.iter().copied())
    }

    /// Returns whether one of the entries satisfies a condition.
    pub(super) fn any(&self, mut condition: impl FnMut(TraceId, &TraceEntry) -> bool) -> bool {
        self.entries().any(|(id, entry)| condition(id, entry))
    }

    pub(super) fn span_count(&self) -> usize {
        self.entries().map(|(_, entry)| entry.spans.len()).sum()
    }

    fn start(&self) -> u64 {
        let starts = self.entries().map(|(_, entry)| entry.first_start);
        starts.min().unwrap_or_default()
    }

    /// Returns the time from the first start to the end of the work: commits and acknowledgements
    /// come later and keep nobody waiting.
    fn duration(&self) -> u64 {
        self.end_of_work().saturating_sub(self.start())
    }

    fn end_of_work(&self) -> u64 {
        let ends = self.entries().map(|(_, entry)| entry.last_work_end);
        // A trace of settlements alone is as long as they are.
        ends.max()
            .filter(|end| *end > 0)
            .unwrap_or_else(|| self.end())
    }

    fn end(&self) -> u64 {
        let ends = self.entries().map(|(_, entry)| entry.last_end);
        ends.max().unwrap_or_default()
    }

    fn errors(&self) -> u64 {
        self.entries().map(|(_, entry)| entry.errors).sum()
    }

    /// Returns the position of the trace in an order.
    pub(super) fn position(&self, order: SortOrder) -> SortPosition {
        let start = self.start();
        let value = match order {
            SortOrder::Newest => start,
            SortOrder::Duration => self.duration(),
            SortOrder::Spans => self.span_count() as u64,
            SortOrder::Errors => self.errors(),
        };
        let id = self.id;
        SortPosition { value, start, id }
    }

    /// Returns whether the trace satisfies the conditions of a query other than its expression.
    pub(super) fn matches_bounds(&self, query: &TraceQuery) -> bool {
        query.duration.contains(&self.duration())
            && query
                .topic
                .as_ref()
                .is_none_or(|topic| self.any(|_, entry| entry.has_topic(topic)))
    }

    pub(super) fn matches(&self, expression: &TraceExpression) -> bool {
        let spans = || {
            let entries = self.entries();
            entries.flat_map(|(_, entry)| entry.spans.values().map(|span| &**span))
        };
        expression.matches_trace(&self.properties(), &spans)
    }

    fn properties(&self) -> TraceProperties<'a> {
        TraceProperties {
            id: self.id,
            duration: self.duration(),
            root: self.root(),
        }
    }

    /// Returns the root: the first span without a parent, found ones included.
    fn root(&self) -> Option<&'a Span> {
        let has_parent = |id: TraceId, entry: &TraceEntry| {
            let span_id = entry.root_id();
            let trace_id = id;
            let parent = self
                .woven
                .and_then(|woven| woven.joined_parent(SpanKey { trace_id, span_id }));
            parent.is_some()
        };
        let first = self
            .entries()
            .min_by_key(|(id, entry)| (has_parent(*id, entry), entry.root_rank()));
        first.and_then(|(_, entry)| entry.root())
    }

    pub(super) fn to_trace(&self) -> StoredTrace {
        let edges = self.all_edges();
        let parents: HashMap<SpanKey, &WovenEdge> = edges
            .iter()
            .filter(|edge| edge.is_joined)
            .map(|edge| (edge.child, edge))
            .collect();
        let mut spans = Vec::with_capacity(self.span_count());
        for (_, entry) in self.entries() {
            let resolved = entry.spans.resolved().into_iter();
            if self.others.is_empty() && parents.is_empty() {
                spans.extend(resolved);
            } else {
                spans.extend(resolved.map(|span| self.join(span, &parents)));
            }
        }
        // A stable sort: spans that start at once stay in the order of their ids.
        spans.sort_by_key(|span| span.start);
        StoredTrace {
            id: self.id,
            spans,
            edges,
            fragments: self.others.len() + 1,
        }
    }

    /// Returns the decisions, those about traces that are stored elsewhere included.
    fn all_edges(&self) -> Vec<WovenEdge> {
        let Some(woven) = self.woven else {
            return Vec::new();
        };
        let members = woven.members(self.id);
        if members.len() == self.others.len() + 1 || members.is_empty() {
            return self.edges();
        }
        let edges = members.iter().flat_map(|id| woven.edges_of(*id));
        edges.cloned().collect()
    }

    fn edges(&self) -> Vec<WovenEdge> {
        let Some(woven) = self.woven else {
            return Vec::new();
        };
        let edges = self.entries().flat_map(|(id, _)| woven.edges_of(id));
        edges.cloned().collect()
    }

    /// Returns a span as part of the joined trace.
    fn join(&self, span: Arc<Span>, parents: &HashMap<SpanKey, &WovenEdge>) -> Arc<Span> {
        let is_member = |id: TraceId| self.any(|own, _| own == id);
        let is_moved = |link: &Link| link.trace_id != self.id && is_member(link.trace_id);
        let edge = parents.get(&SpanKey::of(&span));
        let edge = edge.filter(|_| span.parent_span_id.is_none());
        if span.trace_id == self.id && edge.is_none() && !span.links.iter().any(is_moved) {
            return span;
        }
        let mut joined = Arc::unwrap_or_clone(span);
        if let Some(edge) = edge {
            add_parent(&mut joined, edge);
        }
        joined.trace_id = self.id;
        for link in &mut joined.links {
            if is_member(link.trace_id) {
                link.trace_id = self.id;
            }
        }
        Arc::new(joined)
    }

    /// Returns the summary of the trace, with the first spans that match the expression.
    pub(super) fn to_summary(&self, expression: Option<&TraceExpression>) -> TraceSummary {
        let root = self.root();
        let root_key = root.map(SpanKey::of);
        let (mut open, mut inferred) = (0, 0);
        for (_, entry) in self.entries() {
            open += entry.open;
            inferred += entry.inferred;
        }
        let edges = self.edges();
        for edge in edges.iter().filter(|edge| edge.is_joined) {
            inferred += u64::from(!edge.evidence.is_exact());
            // A consumer's span without a context is not counted as open.
            open -= u64::from(edge.evidence != WovenEvidence::Offset).min(open);
        }
        let rooted = root.is_some_and(|root| root.parent_span_id.is_none())
            && !edges
                .iter()
                .any(|edge| edge.is_joined && Some(edge.child) == root_key);
        TraceSummary {
            id: self.id,
            // The entry is never empty while it is stored, so there is always a root.
            service: root.map_or_else(|| Arc::from(""), |root| Arc::from(root.service())),
            operation: root.map(|root| root.name.clone()).unwrap_or_default(),
            destination: root.and_then(destination::of_span),
            rooted,
            start: self.start(),
            duration: self.duration(),
            settled_after: match self.end().saturating_sub(self.end_of_work()) {
                0 => None,
                after => Some(after),
            },
            spans: self.span_count() as u64,
            errors: self.errors(),
            open,
            inferred,
            fragments: self.entries().count() as u64,
            services: self.services(),
            topics: self.topics(),
            matched: self.matched(expression),
        }
    }

    fn services(&self) -> Vec<ServiceSpanCount> {
        let mut services: Vec<ServiceSpanCount> = self.entry.services.clone();
        for count in self.others.iter().flat_map(|(_, entry)| &entry.services) {
            if let Some(known) = services.iter_mut().find(|known| known.name == count.name) {
                known.spans += count.spans;
                known.errors += count.errors;
            } else {
                services.push(count.clone());
            }
        }
        // Sorted here and not on insert: a summary is read far less often than a span is counted.
        services.sort_by(|a, b| b.spans.cmp(&a.spans).then_with(|| a.name.cmp(&b.name)));
        services
    }

    fn topics(&self) -> Vec<Arc<str>> {
        let topics = self.entries().flat_map(|(_, entry)| &entry.topics);
        let mut topics: Vec<Arc<str>> = topics.map(|(topic, _)| Arc::clone(topic)).collect();
        topics.sort_unstable();
        topics.dedup();
        topics
    }

    fn matched(&self, expression: Option<&TraceExpression>) -> Vec<SpanId> {
        let Some(expression) = expression.filter(|it| !it.matches_every_span()) else {
            return Vec::new();
        };
        let properties = self.properties();
        let mut matching = Vec::new();
        for (_, entry) in self.entries() {
            let spans = entry.spans.iter();
            let spans = spans.filter(|(_, span)| expression.matches_span(span, &properties));
            let ids = spans.map(|(identity, span)| (span.start, entry.spans.unique_id(identity)));
            matching.extend(ids);
        }
        matching.sort_unstable();
        let first = matching.into_iter().take(MAX_MATCHED);
        first.map(|(_, id)| id).collect()
    }
}

/// Gives a span the parent that was found for it.
fn add_parent(span: &mut Span, edge: &WovenEdge) {
    let Some(parent) = edge.parent else { return };
    span.parent_span_id = Some(parent.span_id);
    let is_own = |key: &str| key == PARENT_EVIDENCE || key == PARENT_CONFIDENCE;
    span.attributes.retain(|pair| !is_own(&pair.key));
    let evidence = KeyValue::new(PARENT_EVIDENCE, edge.evidence.name());
    span.attributes.push(evidence);
    if !edge.evidence.is_exact() {
        let confidence = KeyValue::new(PARENT_CONFIDENCE, edge.confidence);
        span.attributes.push(confidence);
    }
    if parent.trace_id != span.trace_id {
        let reported = KeyValue::new(WOVEN_TRACE_ID, span.trace_id.to_string());
        span.attributes.push(reported);
    }
    if edge.evidence == WovenEvidence::Offset {
        // As a record with a context has it: the sender does not wait for the consumer.
        span.links.push(Link {
            trace_id: parent.trace_id,
            span_id: parent.span_id,
            trace_state: String::new(),
            flags: span.flags,
            attributes: vec![KeyValue::new(OPENTRACING_REF_TYPE, FOLLOWS_FROM)],
        });
    }
}
