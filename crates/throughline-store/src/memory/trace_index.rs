//! All stored traces and the indexes over them, behind one lock.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::RangeBounds;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use throughline_model::{Span, SpanKind, TraceId};

use super::attribute_index::{AttributeIndex, CountChange};
use super::backlink_index::BacklinkIndex;
use super::change_log::ChangeLog;
use super::fragment::{self, MergeBudget};
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
    /// Number of the trace in front; numbers count on from it, and wrap around.
    first_number: u32,
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
        self.traces
            .get(&key.trace_id)?
            .spans
            .first_with_id(key.span_id)
    }

    /// Returns the parent of a stored span.
    pub(super) fn parent_of(&self, span: &Span) -> Option<&Arc<Span>> {
        self.traces.get(&span.trace_id)?.spans.parent_of(span)
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
        let spans = entry
            .into_iter()
            .flat_map(|entry| entry.spans.linking_to(move |target| target != id));
        spans.take(limit).collect()
    }

    pub(super) fn links_to(&self, id: TraceId, limit: usize) -> Vec<Arc<Span>> {
        let sources = self.backlinks.sources(id);
        let entries = sources.filter_map(|number| {
            let position = usize::try_from(number.wrapping_sub(self.first_number)).ok()?;
            self.traces.get(self.arrivals.get(position)?)
        });
        let spans = entries.flat_map(|entry| entry.spans.linking_to(move |target| target == id));
        spans
            .filter(|span| span.trace_id != id)
            .take(limit)
            .collect()
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
    pub(super) fn insert(&mut self, span: Span, revision: u64) -> bool {
        self.insert_in_place_of(Vec::new(), &Arc::new(span), revision)
    }

    /// Stores a span that may be a fragment of a stored one, merged with it; returns true when the
    /// bounds of its trace must be refreshed.
    pub(super) fn insert_fragment(
        &mut self,
        span: Span,
        revision: u64,
        budget: &mut MergeBudget,
    ) -> bool {
        let merged = match self.traces.get_mut(&span.trace_id) {
            Some(entry) => fragment::merge_into(&mut entry.spans, span, budget),
            None => Some((span, Vec::new())),
        };
        let Some((span, replaced)) = merged else {
            return false;
        };
        self.insert_in_place_of(replaced, &Arc::new(span), revision)
    }

    /// Stores a span in place of others that were taken out of its trace already.
    fn insert_in_place_of(
        &mut self,
        mut replaced: Vec<Arc<Span>>,
        span: &Arc<Span>,
        revision: u64,
    ) -> bool {
        let id = span.trace_id;
        let topic = trace_entry::topic(span);
        let sole = self.resources.acquire(span);
        // Count the new span before the replaced one is counted out: an entry that both share
        // then never reaches zero in between.
        self.count(span, topic, sole, CountChange::Add);
        let (arrivals, by_start) = (&mut self.arrivals, &mut self.by_start);
        let first_number = self.first_number;
        let total = &mut self.trace_bytes;
        let entry = self.traces.entry(id).or_insert_with(|| {
            // Fewer traces than 2^32 fit into any memory, so the numbers in use differ.
            let position = u32::try_from(arrivals.len()).unwrap_or_default();
            arrivals.push_back(id);
            by_start.insert((span.start, id));
            let entry = TraceEntry::new(span, first_number.wrapping_add(position));
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
        self.backlinks.add(span, entry.number);
        replaced.extend(entry.spans.insert(span));
        let mut is_stale = false;
        for old in &replaced {
            is_stale |= entry.count_out(old, trace_entry::topic(old), &mut self.names);
            // The entries of the old links stay in the index, because other spans may have the
            // same targets; they leave it with the trace.
            if old.links != span.links {
                entry.stale_targets.extend(self.backlinks.targets(old));
            }
        }
        if entry.first_start < first_start {
            by_start.remove(&(first_start, id));
            by_start.insert((entry.first_start, id));
        }
        // The capacity of the lists of the entry may have grown, so the whole entry is measured.
        self.trace_bytes = self.trace_bytes - bytes + entry.bytes();
        self.spans = (self.spans + 1).saturating_sub(replaced.len());
        for old in &replaced {
            self.count_out(old);
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
            CountChange::Add => self.services.add(span),
            CountChange::Remove => self.services.remove(span),
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
        self.first_number = self.first_number.wrapping_add(1);
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
            for target in self.backlinks.targets(span).collect::<Vec<_>>() {
                self.backlinks.remove(target, entry.number);
            }
        }
        for target in &entry.stale_targets {
            self.backlinks.remove(*target, entry.number);
        }
        for name in entry.into_names() {
            self.names.release(name);
        }
        true
    }
}
