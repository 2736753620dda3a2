//! A stored trace: its spans, and the sums that lists and orders need without a look at the spans.

use std::collections::BTreeSet;
use std::sync::Arc;

use throughline_model::{Span, TraceId, destination};

use super::fingerprint::TraceFingerprint;
use super::heap_size;
use super::name_pool::NamePool;
use super::span_set::SpanSet;
use super::stored_identity::StoredIdentity;
use crate::{
    EvidenceAttributes, MessageAttributes, ServiceSpanCount, SortOrder, SortPosition, StoredTrace,
    TraceExpression, TraceProperties, TraceQuery, TraceSummary, is_settlement,
};

/// Memory of a trace in the map, the queue and the order by start, with the smallest map of spans
/// and a name of its own.
pub(super) const TRACE_OVERHEAD_BYTES: usize = 712;

/// Memory of a hash in a set that is half full on average.
const STALE_TARGET_BYTES: usize = 12;

/// Maximum number of services and of topics counted in one trace.
const MAX_NAMES: usize = 64;

/// Maximum number of matching spans named in a summary.
const MAX_MATCHED: usize = 20;

/// A stored trace.
#[derive(Debug)]
pub(super) struct TraceEntry {
    /// By identity: a span that arrives again replaces itself.
    pub(super) spans: SpanSet,
    /// Number of the trace in the order of arrival.
    pub(super) number: u32,
    /// Hashes of link targets of spans that were replaced; the index of links still has them.
    pub(super) stale_targets: BTreeSet<u32>,
    /// Start of the first span, as in the order by start.
    pub(super) first_start: u64,
    pub(super) last_start: u64,
    last_end: u64,
    /// End of the last span that is work; 0 while there are only settlements.
    last_work_end: u64,
    errors: u64,
    open: u64,
    inferred: u64,
    root: RootRank,
    services: Vec<ServiceSpanCount>,
    topics: Vec<(Arc<str>, u64)>,
    pub(super) fingerprint: TraceFingerprint,
    /// Revision of the store in which the last span arrived.
    pub(super) revision: u64,
    /// Memory of the spans.
    span_bytes: usize,
}

/// Order of the candidates for the root: spans without a parent first, then by start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct RootRank {
    has_parent: bool,
    start: u64,
    /// Decides between spans that start at once, so that the root does not depend on arrival.
    identity: StoredIdentity,
}

// === impl TraceEntry ===

impl TraceEntry {
    /// Creates the entry for a trace whose first span arrives.
    pub(super) fn new(span: &Span, number: u32) -> Self {
        Self {
            spans: SpanSet::new(),
            number,
            stale_targets: BTreeSet::new(),
            first_start: span.start,
            last_start: span.start,
            last_end: span.end,
            last_work_end: 0,
            errors: 0,
            open: 0,
            inferred: 0,
            root: RootRank::of(span),
            services: Vec::new(),
            topics: Vec::new(),
            fingerprint: TraceFingerprint::EMPTY,
            revision: 0,
            span_bytes: 0,
        }
    }

    /// Returns the estimated memory, without what spans share.
    pub(super) fn bytes(&self) -> usize {
        TRACE_OVERHEAD_BYTES
            + self.span_bytes
            + self.fingerprint.bytes()
            + self.services.capacity() * size_of::<ServiceSpanCount>()
            + self.topics.capacity() * size_of::<(Arc<str>, u64)>()
            + self.stale_targets.len() * STALE_TARGET_BYTES
    }

    /// Counts a span in.
    pub(super) fn count_in(&mut self, span: &Span, topic: Option<&str>, names: &mut NamePool) {
        self.span_bytes += heap_size::span(span);
        self.first_start = self.first_start.min(span.start);
        self.last_start = self.last_start.max(span.start);
        self.last_end = self.last_end.max(span.end);
        self.last_work_end = self.last_work_end.max(work_end(span));
        self.root = self.root.min(RootRank::of(span));
        let failed = u64::from(span.failed());
        self.errors += failed;
        let (open, inferred) = evidence_counts(span);
        self.open += open;
        self.inferred += inferred;
        let service = span.service();
        if let Some(count) = self
            .services
            .iter_mut()
            .find(|count| &*count.name == service)
        {
            count.spans += 1;
            count.errors += failed;
        } else if self.services.len() < MAX_NAMES {
            self.services.push(ServiceSpanCount {
                name: names.acquire(service),
                spans: 1,
                errors: failed,
            });
        }
        let Some(topic) = topic else { return };
        if let Some((_, count)) = self.topics.iter_mut().find(|(own, _)| &**own == topic) {
            *count += 1;
        } else if self.topics.len() < MAX_NAMES {
            self.topics.push((names.acquire(topic), 1));
        }
    }

    /// Counts a replaced span out; returns true when the bounds must be refreshed.
    pub(super) fn count_out(
        &mut self,
        span: &Span,
        topic: Option<&str>,
        names: &mut NamePool,
    ) -> bool {
        self.span_bytes -= heap_size::span(span);
        // The replaced span may have been the last to hold that resource.
        self.fingerprint.forget_resource();
        let failed = u64::from(span.failed());
        self.errors -= failed;
        let (open, inferred) = evidence_counts(span);
        self.open -= open;
        self.inferred -= inferred;
        let service = span.service();
        if let Some(at) = self
            .services
            .iter()
            .position(|count| &*count.name == service)
            && let Some(count) = self.services.get_mut(at)
        {
            count.spans = count.spans.saturating_sub(1);
            count.errors = count.errors.saturating_sub(failed);
            // The name goes back to the pool, which may drop it.
            if count.spans == 0 {
                names.release(self.services.swap_remove(at).name);
            }
        }
        if let Some(topic) = topic
            && let Some(at) = self.topics.iter().position(|(own, _)| &**own == topic)
            && let Some((_, count)) = self.topics.get_mut(at)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                names.release(self.topics.swap_remove(at).0);
            }
        }
        // A sum can be corrected by subtraction; a minimum or maximum cannot.
        span.start == self.first_start
            || span.start == self.last_start
            || span.end == self.last_end
            || span.end == self.last_work_end
            || StoredIdentity::of(span) == self.root.identity
    }

    /// Computes the root and the time bounds from the spans.
    pub(super) fn refresh_bounds(&mut self) {
        let spans = || self.spans.values();
        let Some(root) = spans().map(|span| RootRank::of(span)).min() else {
            return;
        };
        self.root = root;
        self.first_start = spans().map(|span| span.start).min().unwrap_or_default();
        self.last_start = spans().map(|span| span.start).max().unwrap_or_default();
        self.last_end = spans().map(|span| span.end).max().unwrap_or_default();
        self.last_work_end = spans().map(|span| work_end(span)).max().unwrap_or_default();
    }

    /// Returns the names that the entry holds from the pool.
    pub(super) fn into_names(self) -> impl Iterator<Item = Arc<str>> {
        self.services
            .into_iter()
            .map(|count| count.name)
            .chain(self.topics.into_iter().map(|(topic, _)| topic))
    }

    /// Returns the time from the first start to the end of the work: commits and acknowledgements
    /// come later and keep nobody waiting.
    pub(super) const fn duration(&self) -> u64 {
        self.end_of_work().saturating_sub(self.first_start)
    }

    /// Returns the time from the end of the work to that of the last settlement, if it came later.
    const fn settled_after(&self) -> Option<u64> {
        match self.last_end.saturating_sub(self.end_of_work()) {
            0 => None,
            after => Some(after),
        }
    }

    const fn end_of_work(&self) -> u64 {
        // A trace of settlements alone is as long as they are.
        if self.last_work_end == 0 {
            self.last_end
        } else {
            self.last_work_end
        }
    }

    /// Returns the position of the trace in an order.
    pub(super) fn position(&self, id: TraceId, order: SortOrder) -> SortPosition {
        let value = match order {
            SortOrder::Newest => self.first_start,
            SortOrder::Duration => self.duration(),
            SortOrder::Spans => self.spans.len() as u64,
            SortOrder::Errors => self.errors,
        };
        SortPosition {
            value,
            start: self.first_start,
            id,
        }
    }

    /// Returns whether the trace satisfies the conditions of a query other than its expression.
    pub(super) fn matches_bounds(&self, query: &TraceQuery) -> bool {
        query.duration.contains(&self.duration())
            && query
                .topic
                .as_ref()
                .is_none_or(|topic| self.topics.iter().any(|(own, _)| **own == **topic))
    }

    pub(super) fn matches(&self, id: TraceId, expression: &TraceExpression) -> bool {
        let spans = || self.spans.values().map(|span| &**span);
        expression.matches_trace(&self.properties(id), &spans)
    }

    fn properties(&self, id: TraceId) -> TraceProperties<'_> {
        TraceProperties {
            id,
            duration: self.duration(),
            root: self.root(),
        }
    }

    fn root(&self) -> Option<&Span> {
        // The receiver's half may have arrived first, or be ahead by its clock.
        let caller = self.spans.caller_of(self.root.identity);
        caller
            .map(|(_, span)| span)
            .or_else(|| self.spans.get(self.root.identity))
            .map(|span| &**span)
    }

    pub(super) fn to_trace(&self, id: TraceId) -> StoredTrace {
        let mut spans = self.spans.resolved();
        // A stable sort: spans that start at once stay in the order of their ids.
        spans.sort_by_key(|span| span.start);
        StoredTrace { id, spans }
    }

    /// Returns the summary of the trace, with the first spans that match the expression.
    pub(super) fn to_summary(
        &self,
        id: TraceId,
        expression: Option<&TraceExpression>,
    ) -> TraceSummary {
        let root = self.root();
        let properties = self.properties(id);
        // Sorted here and not on insert: a summary is read far less often than a span is counted.
        let mut services = self.services.clone();
        services.sort_by(|a, b| b.spans.cmp(&a.spans).then_with(|| a.name.cmp(&b.name)));
        let mut topics: Vec<Arc<str>> = self
            .topics
            .iter()
            .map(|(topic, _)| Arc::clone(topic))
            .collect();
        topics.sort_unstable();
        let matched = expression
            .filter(|expression| !expression.matches_every_span())
            .map_or_else(Vec::new, |expression| {
                let matching = self
                    .spans
                    .iter()
                    .filter(|(_, span)| expression.matches_span(span, &properties));
                let mut matching: Vec<_> = matching
                    .map(|(identity, span)| (span.start, self.spans.unique_id(identity)))
                    .collect();
                matching.sort_unstable();
                matching
                    .into_iter()
                    .take(MAX_MATCHED)
                    .map(|(_, id)| id)
                    .collect()
            });
        TraceSummary {
            id,
            // The entry is never empty while it is stored, so there is always a root.
            service: root.map_or_else(|| Arc::from(""), |root| Arc::from(root.service())),
            operation: root.map(|root| root.name.clone()).unwrap_or_default(),
            destination: root.and_then(destination::of_span),
            rooted: root.is_some_and(|root| root.parent_span_id.is_none()),
            start: self.first_start,
            duration: self.duration(),
            settled_after: self.settled_after(),
            spans: self.spans.len() as u64,
            errors: self.errors,
            open: self.open,
            inferred: self.inferred,
            services,
            topics,
            matched,
        }
    }
}

// === impl RootRank ===

impl RootRank {
    fn of(span: &Span) -> Self {
        Self {
            has_parent: span.parent_span_id.is_some(),
            start: span.start,
            identity: StoredIdentity::of(span),
        }
    }
}

/// Returns the end of a span, or 0 for a settlement.
fn work_end(span: &Span) -> u64 {
    if is_settlement(span) { 0 } else { span.end }
}

/// Returns one or zero for a span that begins a fragment, and for one with an inferred parent.
fn evidence_counts(span: &Span) -> (u64, u64) {
    EvidenceAttributes::of(span).map_or((0, 0), |evidence| {
        (u64::from(evidence.is_open), u64::from(evidence.is_inferred))
    })
}

/// Returns the topic of the message that a span describes.
pub(super) fn topic(span: &Span) -> Option<&str> {
    MessageAttributes::of(span).and_then(|message| message.topic)
}
