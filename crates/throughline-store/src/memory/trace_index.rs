//! All stored traces and the indexes over them, behind one lock.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::RangeBounds;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use throughline_model::{Span, SpanKind, TraceId};

use super::attribute_index::{AttributeIndex, CountChange};
use super::backlink_index::BacklinkIndex;
use super::change_log::ChangeLog;
use super::fragment::{self, MergeBudget};
use super::joined_trace::JoinedTrace;
use super::name_pool::NamePool;
use super::resource_index::{ResourceIndex, SoleReference};
use super::service_index::ServiceIndex;
use super::trace_entry::{self, TraceEntry};
use super::woven_index::WovenIndex;
use crate::{
    AttributeScope, CompletionKind, ServiceOperation, SpanKey, StoreOccupancy, TraceChanges,
    WeaveOutcome, WeavingView, WovenEdge,
};

/// Ancestors that are followed to recognise a cycle.
const MAX_DEPTH: usize = 10_000;

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
    /// Decisions about parents.
    woven: WovenIndex,
    spans: usize,
    /// Bytes of the traces, without the shared resources and the indexes.
    trace_bytes: usize,
    evicted_traces: u64,
    evicted_spans: u64,
    evicted_joins: u64,
}

/// The parts of a join that must be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WovenParts {
    /// Both spans.
    Both,
    /// Either trace: another store has the other one.
    Either,
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
            + self.woven.bytes()
    }

    pub(super) fn occupancy(&self) -> StoreOccupancy {
        StoreOccupancy {
            objects: None,
            traces: self.traces.len(),
            spans: self.spans,
            bytes: self.bytes(),
            evicted_traces: self.evicted_traces,
            evicted_spans: self.evicted_spans,
            woven_spans: self.woven.joined(),
            woven_traces: self.woven.groups(),
            evicted_joins: self.evicted_joins,
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

    /// Returns the parent of a stored span, be it reported or found.
    pub(super) fn parent_of(&self, span: &Span) -> Option<&Arc<Span>> {
        let reported = self.traces.get(&span.trace_id)?.spans.parent_of(span);
        reported.or_else(|| self.span(self.woven.joined_parent(SpanKey::of(span))?))
    }

    /// Returns the trace with this id, as a reader sees it.
    pub(super) fn joined(&self, id: TraceId, view: WeavingView) -> Option<JoinedTrace<'_>> {
        if view == WeavingView::Raw {
            let entry = self.traces.get(&id)?;
            return Some(JoinedTrace::new(id, entry, Vec::new(), None));
        }
        let id = self.woven.representative(id);
        let entry = self.traces.get(&id)?;
        let others = self.woven.members(id).iter().filter(|other| **other != id);
        let others = others.filter_map(|other| Some((*other, self.traces.get(other)?)));
        let woven = Some(&self.woven);
        Some(JoinedTrace::new(id, entry, others.collect(), woven))
    }

    /// Returns whether a list has an entry for this id; a joined trace has one for all its ids.
    pub(super) fn is_listed(&self, id: TraceId, view: WeavingView) -> bool {
        view == WeavingView::Raw || self.woven.representative(id) == id
    }

    /// Returns the trace that a list shows under this id.
    pub(super) fn listed(&self, id: TraceId, view: WeavingView) -> Option<JoinedTrace<'_>> {
        self.is_listed(id, view).then(|| self.joined(id, view))?
    }

    /// Returns the id that a list shows a trace under.
    fn listed_id(&self, id: TraceId, view: WeavingView) -> TraceId {
        match view {
            WeavingView::Woven => self.woven.representative(id),
            WeavingView::Raw => id,
        }
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

    pub(super) fn links_from(
        &self,
        id: TraceId,
        view: WeavingView,
        limit: usize,
    ) -> Vec<Arc<Span>> {
        let trace = self.joined(id, view);
        let own = self.listed_id(id, view);
        let entries = trace.iter().flat_map(JoinedTrace::entries);
        let spans = entries.flat_map(|(_, entry)| {
            let is_other = move |target| self.listed_id(target, view) != own;
            entry.spans.linking_to(is_other)
        });
        spans.take(limit).collect()
    }

    pub(super) fn links_to(&self, id: TraceId, view: WeavingView, limit: usize) -> Vec<Arc<Span>> {
        let own = self.listed_id(id, view);
        let others = match view {
            WeavingView::Woven => self.woven.members(id),
            WeavingView::Raw => &[],
        };
        let others = others.iter().copied().filter(move |other| *other != id);
        let targets = std::iter::once(id).chain(others);
        let spans = targets.flat_map(|id| {
            let sources = self.backlinks.sources(id);
            let entries = sources.filter_map(|number| {
                let position = usize::try_from(number.wrapping_sub(self.first_number)).ok()?;
                self.traces.get(self.arrivals.get(position)?)
            });
            entries.flat_map(move |entry| entry.spans.linking_to(move |target| target == id))
        });
        spans
            .filter(|span| self.listed_id(span.trace_id, view) != own)
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

    pub(super) fn changes(&self, since: u64, view: WeavingView) -> TraceChanges {
        let is_stored = |id| self.traces.contains_key(&id);
        self.changes
            .since(since, |id| is_stored(id).then(|| self.listed_id(id, view)))
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

    /// Does the same with a span that is stored elsewhere too.
    pub(super) fn insert_shared(&mut self, span: &Arc<Span>, revision: u64) -> bool {
        self.insert_in_place_of(Vec::new(), span, revision)
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
        let is_earlier = entry.first_start < first_start;
        if is_earlier {
            by_start.remove(&(first_start, id));
            by_start.insert((entry.first_start, id));
        }
        // The capacity of the lists of the entry may have grown, so the whole entry is measured.
        self.trace_bytes = self.trace_bytes - bytes + entry.bytes();
        self.spans = (self.spans + 1).saturating_sub(replaced.len());
        if is_earlier {
            self.note_start(id);
        }
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
            self.note_start(id);
        }
    }

    /// Keeps the representative of a group up to date with the starts of its traces.
    fn note_start(&mut self, id: TraceId) {
        let traces = &self.traces;
        self.woven.start_changed(id, &|id| start_of(traces, id));
    }

    /// Keeps a decision about the parent of a span.
    pub(super) fn weave(
        &mut self,
        edge: WovenEdge,
        parts: WovenParts,
        outcome: &mut WeaveOutcome,
        revision: u64,
    ) {
        if !self.has_parts(&edge, parts) {
            outcome.missing += 1;
            return;
        }
        let child = self.span(edge.child);
        if child.is_some_and(|child| child.parent_span_id.is_some()) {
            outcome.reported += 1;
            return;
        }
        if let Some(parent) = edge.parent.filter(|_| edge.is_joined) {
            let (from, to) = (edge.child.trace_id, parent.trace_id);
            if self.descends(parent, edge.child) {
                outcome.cyclic += 1;
                return;
            }
            if self.woven.would_exceed(from, to) {
                outcome.too_many += 1;
                return;
            }
            outcome.joined += 1;
        } else {
            outcome.kept += 1;
        }
        let ids = [Some(edge.child.trace_id), edge.parent.map(|it| it.trace_id)];
        let traces = &self.traces;
        self.woven.insert(edge, &|id| start_of(traces, id));
        // A new group appears in lists under one id, and disappears under the others.
        for id in ids.into_iter().flatten() {
            if let Some(entry) = self.traces.get_mut(&id)
                && entry.revision != revision
            {
                entry.revision = revision;
                self.changes.record(id);
            }
        }
    }

    /// Returns whether enough of a decision's spans is stored.
    fn has_parts(&self, edge: &WovenEdge, parts: WovenParts) -> bool {
        let is_stored = |key| self.span(key).is_some();
        match (edge.parent.filter(|_| edge.is_joined), parts) {
            (Some(parent), WovenParts::Both) => is_stored(edge.child) && is_stored(parent),
            (Some(parent), WovenParts::Either) => {
                self.is_placed(edge.child) || self.is_placed(parent)
            }
            (None, WovenParts::Both) => is_stored(edge.child),
            (None, WovenParts::Either) => {
                is_stored(edge.child) || self.woven.joined_parent(edge.child).is_some()
            }
        }
    }

    /// Returns whether spans of the trace are stored, or of one that it is joined with.
    fn is_placed(&self, key: SpanKey) -> bool {
        self.traces.contains_key(&key.trace_id) || !self.woven.members(key.trace_id).is_empty()
    }

    /// Returns whether a span is `ancestor` or below it.
    fn descends(&self, span: SpanKey, ancestor: SpanKey) -> bool {
        let mut next = Some(span);
        for _ in 0..MAX_DEPTH {
            match next {
                None => return false,
                Some(key) if key == ancestor => return true,
                Some(key) => next = self.span(key).and_then(|span| self.parent_key(span)),
            }
        }
        // A chain this long may be a cycle already.
        true
    }

    fn parent_key(&self, span: &Span) -> Option<SpanKey> {
        SpanKey::of_parent(span).or_else(|| self.woven.joined_parent(SpanKey::of(span)))
    }

    /// Evicts the trace that arrived first, with all that are joined with it; returns false when
    /// the store is empty.
    pub(super) fn evict_oldest(&mut self) -> bool {
        let Some(id) = self.arrivals.pop_front() else {
            return false;
        };
        let number = self.first_number;
        self.first_number = self.first_number.wrapping_add(1);
        // Evicted before, with its group; its id may have come again since.
        let is_current = |entry: &TraceEntry| entry.number == number;
        if !self.traces.get(&id).is_some_and(is_current) {
            return true;
        }
        for joined in self.woven.members(id).to_vec() {
            if joined != id {
                self.evict(joined);
            }
        }
        self.evict(id);
        true
    }

    fn evict(&mut self, id: TraceId) {
        let traces = &self.traces;
        self.evicted_joins += self.woven.remove_trace(id, &|id| start_of(traces, id));
        let Some(entry) = self.traces.remove(&id) else {
            return;
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
    }
}

fn start_of(traces: &HashMap<TraceId, TraceEntry>, id: TraceId) -> u64 {
    traces.get(&id).map_or(u64::MAX, |entry| entry.first_start)
}
