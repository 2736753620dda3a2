//! A store in memory, bounded by bytes: when it is full, the traces that came first are let go whole.
//!
//! "Came first" is by the arrival of a trace's first span, not by its own clock: a sender whose clock is wrong can neither pin its
//! traces nor lose them at once. Spans of a trace that was let go begin it anew.

mod catalogue;
mod entry;
mod finding;
mod incoming;
mod mapping;
mod need;
mod recent;
mod shared;
mod signature;
mod vocabulary;
mod weight;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use throughline_model::{Span, SpanId, SpanKind, TraceId};

use self::catalogue::Catalogue;
use self::entry::{Entry, Names};
use self::incoming::Incoming;
use self::recent::Recent;
use self::shared::{Alone, Shared};
use self::vocabulary::{Change, Vocabulary};
use crate::{
    Changes, Completions, Dependency, Find, Found, Occupancy, Operation, Query, Scope, Store,
    Summary, System, Trace, Wanted,
};

/// A store in memory, bounded by bytes.
#[derive(Debug)]
pub struct MemoryStore {
    /// At most so many bytes, as [`weight`] has it.
    capacity: usize,
    shelf: RwLock<Shelf>,
}

/// All that is kept.
#[derive(Debug, Default)]
struct Shelf {
    traces: HashMap<TraceId, Entry>,
    /// Ids in order of arrival, the first to go in front.
    arrivals: VecDeque<TraceId>,
    /// Ids by start, for newest first.
    by_start: BTreeSet<(u64, TraceId)>,
    /// Resources and scopes, which spans share.
    shared: Shared,
    /// Services and operations.
    catalogue: Catalogue,
    /// Attributes and their values.
    vocabulary: Vocabulary,
    /// Links backwards.
    incoming: Incoming,
    /// What changed last.
    recent: Recent,
    /// Names of services and topics in the entries.
    names: Names,
    spans: usize,
    /// Bytes of the traces, without what they share and what lists them.
    bytes: usize,
    evicted_traces: u64,
    evicted_spans: u64,
}

// === impl MemoryStore ===

impl MemoryStore {
    /// An empty store that keeps about `capacity` bytes.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            shelf: RwLock::default(),
        }
    }

    /// A panic under the lock would leave counters off by a span, not memory unsound: going on is better than answering nothing.
    fn read(&self) -> RwLockReadGuard<'_, Shelf> {
        self.shelf.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Shelf> {
        self.shelf.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn insert(&self, spans: Vec<Span>) {
        let mut shelf = self.write();
        let moment = shelf.recent.tick();
        let mut changed_shape = BTreeSet::new();
        for span in spans {
            let id = span.trace_id;
            if shelf.insert(&Arc::new(span), moment) {
                changed_shape.insert(id);
            }
            while shelf.bytes() > self.capacity && shelf.evict() {}
        }
        for id in changed_shape {
            shelf.measure(id);
        }
    }

    fn trace(&self, id: TraceId) -> Option<Trace> {
        self.read().traces.get(&id).map(|entry| entry.to_trace(id))
    }

    fn search(&self, query: &Query) -> Vec<Trace> {
        let shelf = self.read();
        let mut found = Vec::new();
        if query.start.is_empty() || !shelf.catalogue.may_answer(query) {
            return found;
        }
        let mut spans = 0;
        for (_, id) in shelf.started_until(*query.start.end()).rev() {
            if found.len() >= query.limit || spans >= query.spans_max {
                break;
            }
            let Some(entry) = shelf.traces.get(id) else {
                continue;
            };
            if entry.last_start >= *query.start.start()
                && entry.spans.values().any(|span| query.matches(span))
            {
                spans += entry.spans.len();
                found.push(entry.to_trace(*id));
            }
        }
        found
    }

    fn find(&self, find: &Find) -> Found {
        self.page(find)
    }

    fn summary(&self, id: TraceId) -> Option<Summary> {
        self.read()
            .traces
            .get(&id)
            .map(|entry| entry.to_summary(id, None))
    }

    fn span(&self, trace: TraceId, span: SpanId) -> Option<Arc<Span>> {
        self.read().span(trace, span).map(Arc::clone)
    }

    fn links_from(&self, id: TraceId, limit: usize) -> Vec<Arc<Span>> {
        let shelf = self.read();
        let spans = shelf
            .traces
            .get(&id)
            .into_iter()
            .flat_map(|entry| entry.spans.values());
        spans
            .filter(|span| span.links.iter().any(|link| link.trace_id != id))
            .take(limit)
            .map(Arc::clone)
            .collect()
    }

    fn links_to(&self, id: TraceId, limit: usize) -> Vec<Arc<Span>> {
        let shelf = self.read();
        let spans = shelf
            .incoming
            .of(id)
            .filter_map(|(trace, span)| shelf.span(trace, span));
        spans.take(limit).map(Arc::clone).collect()
    }

    fn system(&self, from: u64, until: u64) -> System {
        self.map(from, until)
    }

    fn complete(&self, wanted: &Wanted, text: &str, limit: usize) -> Completions {
        let (items, is_whole) = self.read().listed(wanted);
        Completions::choose(items, is_whole, text, limit)
    }

    fn changes(&self, since: u64) -> Changes {
        let shelf = self.read();
        shelf
            .recent
            .since(since, |id| shelf.traces.contains_key(&id))
    }

    fn services(&self) -> Vec<String> {
        self.read()
            .catalogue
            .services()
            .map(str::to_owned)
            .collect()
    }

    fn operations(&self, service: Option<&str>, kind: Option<SpanKind>) -> Vec<Operation> {
        self.read().catalogue.operations(service, kind)
    }

    fn dependencies(&self, from: u64, until: u64) -> Vec<Dependency> {
        let shelf = self.read();
        let mut calls: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for span in shelf
            .spans()
            .filter(|span| (from..=until).contains(&span.start))
        {
            for caller in shelf.callers(span) {
                let pair = (caller.service(), span.service());
                if pair.0 != pair.1 {
                    *calls.entry(pair).or_default() += 1;
                }
            }
        }
        calls
            .into_iter()
            .map(|((parent, child), calls)| Dependency {
                parent: parent.to_owned(),
                child: child.to_owned(),
                calls,
            })
            .collect()
    }

    fn occupancy(&self) -> Occupancy {
        let shelf = self.read();
        Occupancy {
            traces: shelf.traces.len(),
            spans: shelf.spans,
            bytes: shelf.bytes(),
            evicted_traces: shelf.evicted_traces,
            evicted_spans: shelf.evicted_spans,
        }
    }
}

// === impl Shelf ===

impl Shelf {
    fn bytes(&self) -> usize {
        self.bytes
            + self.shared.bytes()
            + self.catalogue.bytes()
            + self.vocabulary.bytes()
            + self.incoming.bytes()
    }

    /// Traces whose first span started at `end` or before, by that start.
    fn started_until(&self, end: u64) -> impl DoubleEndedIterator<Item = &(u64, TraceId)> {
        let after = end
            .checked_add(1)
            .zip(TraceId::from_bytes(1u128.to_be_bytes()));
        self.by_start.range((
            Bound::Unbounded,
            after.map_or(Bound::Unbounded, Bound::Excluded),
        ))
    }

    fn spans(&self) -> impl Iterator<Item = &Arc<Span>> {
        self.traces.values().flat_map(|entry| entry.spans.values())
    }

    fn span(&self, trace: TraceId, span: SpanId) -> Option<&Arc<Span>> {
        self.traces.get(&trace)?.spans.get(&span)
    }

    /// The span's parent; for a span without one, what it links to.
    fn callers<'a>(&'a self, span: &'a Span) -> impl Iterator<Item = &'a Arc<Span>> {
        let parent = span
            .parent_span_id
            .and_then(|parent| self.span(span.trace_id, parent));
        let links = if span.parent_span_id.is_some() {
            &[]
        } else {
            span.links.as_slice()
        };
        parent.into_iter().chain(
            links
                .iter()
                .filter_map(|link| self.span(link.trace_id, link.span_id)),
        )
    }

    /// Keeps a span; `true` when its trace must be measured anew.
    fn insert(&mut self, span: &Arc<Span>, moment: u64) -> bool {
        let id = span.trace_id;
        let topic = entry::topic(span);
        let alone = self.shared.hold(span);
        self.list(span, topic, alone, Change::Comes);
        let (arrivals, by_start, total) = (&mut self.arrivals, &mut self.by_start, &mut self.bytes);
        let entry = self.traces.entry(id).or_insert_with(|| {
            arrivals.push_back(id);
            by_start.insert((span.start, id));
            let entry = Entry::new(span);
            *total += entry.bytes();
            entry
        });
        if entry.touched != moment {
            entry.touched = moment;
            self.recent.note(id);
        }
        let (bytes, first_start) = (entry.bytes(), entry.first_start);
        let (resource, scope) = self.shared.hashes(span);
        entry.signature.add(span, topic, resource, scope);
        entry.count_in(span, topic, &mut self.names);
        let replaced = entry.spans.insert(span.span_id, Arc::clone(span));
        let must_measure = match &replaced {
            Some(replaced) => entry.count_out(replaced, entry::topic(replaced), &mut self.names),
            None => false,
        };
        if entry.first_start < first_start {
            by_start.remove(&(first_start, id));
            by_start.insert((entry.first_start, id));
        }
        self.bytes = self.bytes - bytes + entry.bytes();
        match replaced {
            Some(replaced) => {
                self.unlist(&replaced);
                // The link of the one that went had the same place.
                self.incoming.add(span);
            }
            None => self.spans += 1,
        }
        must_measure
    }

    /// Counts a span in or out of all that lists spans.
    fn list(&mut self, span: &Span, topic: Option<&str>, alone: Alone, change: Change) {
        match change {
            Change::Comes => {
                self.catalogue.add(span);
                self.incoming.add(span);
            }
            Change::Goes => {
                self.catalogue.remove(span);
                self.incoming.remove(span);
            }
        }
        self.vocabulary.count_span(span, topic, change);
        if alone.resource {
            self.vocabulary
                .count(&span.resource.attributes, Scope::Resource, change);
        }
        if alone.scope {
            self.vocabulary
                .count(&span.scope.attributes, Scope::Instrumentation, change);
        }
    }

    fn unlist(&mut self, span: &Span) {
        let alone = self.shared.release(span);
        self.list(span, entry::topic(span), alone, Change::Goes);
    }

    /// Measures a trace anew.
    fn measure(&mut self, id: TraceId) {
        let Some(entry) = self.traces.get_mut(&id) else {
            return;
        };
        let first_start = entry.first_start;
        entry.measure();
        if entry.first_start != first_start {
            self.by_start.remove(&(first_start, id));
            self.by_start.insert((entry.first_start, id));
        }
    }

    /// What there is to complete with, and whether that is all.
    fn listed(&self, wanted: &Wanted) -> (Vec<(String, u64)>, bool) {
        match wanted {
            Wanted::Keys => (self.vocabulary.keys().collect(), true),
            Wanted::Values(key) => self.vocabulary.values(key),
            Wanted::Services => (self.catalogue.service_counts().collect(), true),
            Wanted::Operations(service) => (
                self.catalogue
                    .operation_counts(service.as_deref())
                    .into_iter()
                    .collect(),
                true,
            ),
            Wanted::Topics => (self.vocabulary.topics().collect(), true),
        }
    }

    /// Lets the first trace go; `false` when there is none.
    fn evict(&mut self) -> bool {
        let Some(id) = self.arrivals.pop_front() else {
            return false;
        };
        let Some(entry) = self.traces.remove(&id) else {
            return true;
        };
        self.by_start.remove(&(entry.first_start, id));
        self.bytes -= entry.bytes();
        self.spans -= entry.spans.len();
        self.evicted_traces += 1;
        self.evicted_spans += entry.spans.len() as u64;
        for span in entry.spans.values() {
            self.unlist(span);
        }
        for name in entry.into_names() {
            self.names.give_back(name);
        }
        true
    }
}
