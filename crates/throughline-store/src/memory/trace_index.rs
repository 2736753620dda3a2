//! All stored traces and the indexes over them, behind one lock.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::RangeBounds;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use throughline_model::{Span, SpanKind, TraceId};

use super::attribute_index::{AttributeIndex, CountChange};
use super::backlink_index::BacklinkIndex;
use super::change_log::ChangeLog;
use super::name_pool::NamePool;
use super::resource_index::{ResourceIndex, SoleReference};
use super::service_index::ServiceIndex;
use super::trace_entry::{self, TraceEntry};
use crate::{
    AttributeScope, CompletionKind, ServiceOperation, SpanKey, StoreOccupancy, TraceChanges,
};

/// The index and its lock.
#[derive(Debug, Default)]
pub(super) struct LockedIndex(RwLock<TraceIndex>);

/// All stored traces and the indexes over them.
#[derive(Debug, Default)]
pub(super) struct TraceIndex {
    traces: HashMap<TraceId, TraceEntry>,
    /// Trace ids in order of arrival, the next to evict in front.
    arrivals: VecDeque<TraceId>,
    /// Trace ids by start of the first span.
    by_start: BTreeSet<(u64, TraceId)>,
    /// Resources and scopes, which spans share.
    resources: ResourceIndex,
    /// Services and operations.
    services: ServiceIndex,
    /// Attributes and their values.
    attributes: AttributeIndex,
    /// Links by target.
    backlinks: BacklinkIndex,
    /// Latest changes.
    changes: ChangeLog,
    /// Names of services and topics in the entries.
    names: NamePool,
    spans: usize,
    /// Bytes of the traces, without the shared resources and the indexes.
    trace_bytes: usize,
    evicted_traces: u64,
    evicted_spans: u64,
}

// === impl LockedIndex ===

impl LockedIndex {
    pub(super) fn read(&self) -> RwLockReadGuard<'_, TraceIndex> {
        // A panic under the lock leaves counters wrong by one span at most, never memory unsound:
        // serving slightly wrong counts is better than serving nothing from then on.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, TraceIndex> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl TraceIndex ===

impl TraceIndex {
    /// Returns the estimated memory of everything stored.
    pub(super) fn bytes(&self) -> usize {
        self.trace_bytes
            + self.resources.bytes()
            + self.services.bytes()
            + self.attributes.bytes()
            + self.backlinks.bytes()
    }

    pub(super) fn occupancy(&self) -> StoreOccupancy {
        StoreOccupancy {
            traces: self.traces.len(),
            spans: self.spans,
            bytes: self.bytes(),
            evicted_traces: self.evicted_traces,
            evicted_spans: self.evicted_spans,
        }
    }

    pub(super) fn entry(&self, id: TraceId) -> Option<&TraceEntry> {
        self.traces.get(&id)
    }

    pub(super) fn span(&self, key: SpanKey) -> Option<&Arc<Span>> {
        // Two lookups instead of one map of all spans: traces are evicted whole.
        self.traces.get(&key.trace_id)?.spans.get(&key.span_id)
    }

    pub(super) const fn attribute_index(&self) -> &AttributeIndex {
        &self.attributes
    }

    pub(super) const fn service_index(&self) -> &ServiceIndex {
        &self.services
    }

    /// Returns the positions in a range, by start of the trace.
    pub(super) fn starts_in(
        &self,
        range: impl RangeBounds<(u64, TraceId)>,
    ) -> std::collections::btree_set::Range<'_, (u64, TraceId)> {
        self.by_start.range(range)
    }

    pub(super) fn links_from(&self, id: TraceId, limit: usize) -> Vec<Arc<Span>> {
        let entry = self.traces.get(&id);
        let spans = entry.into_iter().flat_map(|entry| entry.spans.values());
        spans
            .filter(|span| span.links.iter().any(|link| link.trace_id != id))
            .take(limit)
            .map(Arc::clone)
            .collect()
    }

    pub(super) fn links_to(&self, id: TraceId, limit: usize) -> Vec<Arc<Span>> {
        let sources = self.backlinks.sources(id);
        let spans = sources.filter_map(|key| self.span(key));
        spans.take(limit).map(Arc::clone).collect()
    }

    pub(super) fn services(&self) -> Vec<String> {
        self.services.services().map(str::to_owned).collect()
    }

    pub(super) fn operations(
        &self,
        service: Option<&str>,
        kind: Option<SpanKind>,
    ) -> Vec<ServiceOperation> {
        self.services.operations(service, kind)
    }

    pub(super) fn changes(&self, since: u64) -> TraceChanges {
        self.changes
            .since(since, |id| self.traces.contains_key(&id))
    }

    /// Returns all candidates of one kind, and whether the list is complete.
    pub(super) fn completion_candidates(
        &self,
        kind: &CompletionKind,
    ) -> (Vec<(String, u64)>, bool) {
        match kind {
            CompletionKind::Keys => (self.attributes.keys().collect(), true),
            CompletionKind::Values(key) => self.attributes.values(key),
            CompletionKind::Services => (self.services.service_counts().collect(), true),
            CompletionKind::Operations(service) => {
                let counts = self.services.operation_counts(service.as_deref());
                (counts.into_iter().collect(), true)
            }
            CompletionKind::Topics => (self.attributes.topics().collect(), true),
        }
    }

    /// Starts a revision of the store and returns its number.
    pub(super) const fn begin_revision(&mut self) -> u64 {
        self.changes.begin_revision()
    }

    /// Stores a span; returns true when the bounds of its trace must be refreshed.
    pub(super) fn insert(&mut self, span: &Arc<Span>, revision: u64) -> bool {
        let id = span.trace_id;
        let topic = trace_entry::topic(span);
        let sole = self.resources.acquire(span);
        // Count the new span before the replaced one is counted out: an entry that both share
        // then never reaches zero in between.
        self.count(span, topic, sole, CountChange::Add);
        let (arrivals, by_start) = (&mut self.arrivals, &mut self.by_start);
        let total = &mut self.trace_bytes;
        let entry = self.traces.entry(id).or_insert_with(|| {
            arrivals.push_back(id);
            by_start.insert((span.start, id));
            let entry = TraceEntry::new(span);
            *total += entry.bytes();
            entry
        });
        // One entry in the log for each trace and revision, however many spans arrive.
        if entry.revision != revision {
            entry.revision = revision;
            self.changes.record(id);
        }
        let (bytes, first_start) = (entry.bytes(), entry.first_start);
        let (resource, scope) = self.resources.hashes(span);
        // Hashes are only added. Those of a replaced span stay, which costs precision, not
        // correctness.
        entry.fingerprint.add(span, topic, resource, scope);
        entry.count_in(span, topic, &mut self.names);
        let replaced = entry.spans.insert(span.span_id, Arc::clone(span));
        let is_stale = match &replaced {
            Some(old) => entry.count_out(old, trace_entry::topic(old), &mut self.names),
            None => false,
        };
        if entry.first_start < first_start {
            by_start.remove(&(first_start, id));
            by_start.insert((entry.first_start, id));
        }
        // The capacity of the lists of the entry may have grown, so the whole entry is measured.
        self.trace_bytes = self.trace_bytes - bytes + entry.bytes();
        match replaced {
            Some(old) => {
                self.count_out(&old);
                // Backlinks are a set of keys: counting the old span out removed the entry that
                // the new span shares with it.
                self.backlinks.add(span);
            }
            None => self.spans += 1,
        }
        is_stale
    }

    /// Counts a span in or out of all indexes over spans.
    fn count(
        &mut self,
        span: &Span,
        topic: Option<&str>,
        sole: SoleReference,
        change: CountChange,
    ) {
        match change {
            CountChange::Add => {
                self.services.add(span);
                self.backlinks.add(span);
            }
            CountChange::Remove => {
                self.services.remove(span);
                self.backlinks.remove(span);
            }
        }
        self.attributes.count_span(span, topic, change);
        // The attributes of a resource count once, however many spans share it.
        if sole.resource {
            let attributes = &span.resource.attributes;
            self.attributes
                .count(attributes, AttributeScope::Resource, change);
        }
        if sole.scope {
            let attributes = &span.scope.attributes;
            self.attributes
                .count(attributes, AttributeScope::Instrumentation, change);
        }
    }

    fn count_out(&mut self, span: &Span) {
        let sole = self.resources.release(span);
        self.count(span, trace_entry::topic(span), sole, CountChange::Remove);
    }

    /// Computes the root and the time bounds of a trace from its spans, after a replacement.
    pub(super) fn refresh_bounds(&mut self, id: TraceId) {
        let Some(entry) = self.traces.get_mut(&id) else {
            return;
        };
        let first_start = entry.first_start;
        entry.refresh_bounds();
        // The order by start must follow, or the entry could not be removed from it later.
        if entry.first_start != first_start {
            self.by_start.remove(&(first_start, id));
            self.by_start.insert((entry.first_start, id));
        }
    }

    /// Evicts the trace that arrived first; returns false when the store is empty.
    pub(super) fn evict_oldest(&mut self) -> bool {
        let Some(id) = self.arrivals.pop_front() else {
            return false;
        };
        let Some(entry) = self.traces.remove(&id) else {
            return true;
        };
        self.by_start.remove(&(entry.first_start, id));
        self.trace_bytes -= entry.bytes();
        self.spans -= entry.spans.len();
        self.evicted_traces += 1;
        self.evicted_spans += entry.spans.len() as u64;
        for span in entry.spans.values() {
            self.count_out(span);
        }
        for name in entry.into_names() {
            self.names.release(name);
        }
        true
    }
}
