//! A stored trace: its spans, and the sums that lists and orders need without a look at the spans.

use std::collections::BTreeSet;
use std::sync::Arc;

use throughline_model::{Span, SpanId, TraceId};

use super::fingerprint::TraceFingerprint;
use super::heap_size;
use super::name_pool::NamePool;
use super::span_set::SpanSet;
use super::stored_identity::StoredIdentity;
use crate::{EvidenceAttributes, MessageAttributes, ServiceSpanCount, TraceBounds, is_settlement};

/// Memory of a trace in the map, the queue and the order by start, with the smallest map of spans
/// and a name of its own.
pub(super) const TRACE_OVERHEAD_BYTES: usize = 712;

/// Memory of a hash in a set that is half full on average.
const STALE_TARGET_BYTES: usize = 12;

/// Maximum number of services and of topics counted in one trace.
const MAX_NAMES: usize = 64;

/// Maximum number of matching spans named in a summary.
pub(super) const MAX_MATCHED: usize = 20;

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
    pub(super) last_end: u64,
    /// End of the last span that is work; 0 while there are only settlements.
    pub(super) last_work_end: u64,
    pub(super) errors: u64,
    pub(super) open: u64,
    pub(super) inferred: u64,
    root: RootRank,
    pub(super) services: Vec<ServiceSpanCount>,
    pub(super) topics: Vec<(Arc<str>, u64)>,
    pub(super) fingerprint: TraceFingerprint,
    /// Revision of the store in which the last span arrived.
    pub(super) revision: u64,
    /// Memory of the spans.
    span_bytes: usize,
}

/// Order of the candidates for the root: spans without a parent first, then by start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RootRank {
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

    /// Returns the bounds of the trace, which has this id.
    pub(super) const fn bounds(&self, id: TraceId) -> TraceBounds {
        TraceBounds {
            id,
            first_start: self.first_start,
            last_start: self.last_start,
        }
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

    /// Returns whether a message of the trace went through a topic.
    pub(super) fn has_topic(&self, topic: &str) -> bool {
        self.topics.iter().any(|(own, _)| **own == *topic)
    }

    /// Returns the id that the root was reported with.
    pub(super) const fn root_id(&self) -> SpanId {
        self.root.identity.span_id
    }

    /// Returns the order of the root among those of other traces.
    pub(super) const fn root_rank(&self) -> RootRank {
        self.root
    }

    pub(super) fn root(&self) -> Option<&Span> {
        // The receiver's half may have arrived first, or be ahead by its clock.
        let caller = self.spans.caller_of(self.root.identity);
        caller
            .map(|(_, span)| span)
            .or_else(|| self.spans.get(self.root.identity))
            .map(|span| &**span)
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
