//! A store in memory, bounded by bytes: when it is full, the traces that came first are let go whole.
//!
//! "Came first" is by the arrival of a trace's first span, not by its own clock: a sender whose clock is wrong can neither pin its
//! traces nor lose them at once. Spans of a trace that was let go begin it anew.

mod catalogue;
mod shared;
mod weight;

use std::collections::btree_map::{BTreeMap, Entry as Slot};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use throughline_model::{Span, SpanId, SpanKind, TraceId};

use self::catalogue::Catalogue;
use self::shared::Shared;
use crate::{Dependency, Occupancy, Operation, Query, Store, Trace};

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
    spans: usize,
    /// Bytes of the traces, without what they share and the catalogue.
    bytes: usize,
    evicted_traces: u64,
    evicted_spans: u64,
}

/// A trace. The map keeps it free of doubles.
#[derive(Debug)]
struct Entry {
    spans: BTreeMap<SpanId, Arc<Span>>,
    /// The start of its first span, as in `by_start`.
    first_start: u64,
    /// The start of its last span; may be too late after a replacement, which costs a look and no answer.
    last_start: u64,
    bytes: usize,
}

// === impl MemoryStore ===

impl MemoryStore {
    /// An empty store that keeps about `capacity` bytes.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { capacity, shelf: RwLock::default() }
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
        for span in spans {
            shelf.insert(Arc::new(span));
            while shelf.bytes() > self.capacity && shelf.evict() {}
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
            let Some(entry) = shelf.traces.get(id) else { continue };
            if entry.last_start >= *query.start.start() && entry.spans.values().any(|span| query.matches(span)) {
                spans += entry.spans.len();
                found.push(entry.to_trace(*id));
            }
        }
        found
    }

    fn services(&self) -> Vec<String> {
        self.read().catalogue.services().map(str::to_owned).collect()
    }

    fn operations(&self, service: Option<&str>, kind: Option<SpanKind>) -> Vec<Operation> {
        self.read().catalogue.operations(service, kind)
    }

    fn dependencies(&self, from: u64, until: u64) -> Vec<Dependency> {
        let shelf = self.read();
        let mut calls: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for span in shelf.spans().filter(|span| (from..=until).contains(&span.start)) {
            for caller in shelf.callers(span) {
                let pair = (caller.service(), span.service());
                if pair.0 != pair.1 {
                    *calls.entry(pair).or_default() += 1;
                }
            }
        }
        calls
            .into_iter()
            .map(|((parent, child), calls)| Dependency { parent: parent.to_owned(), child: child.to_owned(), calls })
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
        self.bytes + self.shared.bytes() + self.catalogue.bytes()
    }

    /// Traces whose first span started at `end` or before, by that start.
    fn started_until(&self, end: u64) -> impl DoubleEndedIterator<Item = &(u64, TraceId)> {
        let after = end.checked_add(1).zip(TraceId::from_bytes(1u128.to_be_bytes()));
        self.by_start.range((Bound::Unbounded, after.map_or(Bound::Unbounded, Bound::Excluded)))
    }

    fn spans(&self) -> impl Iterator<Item = &Arc<Span>> {
        self.traces.values().flat_map(|entry| entry.spans.values())
    }

    fn span(&self, trace: TraceId, span: SpanId) -> Option<&Arc<Span>> {
        self.traces.get(&trace)?.spans.get(&span)
    }

    /// The span's parent; for a span without one, what it links to.
    fn callers<'a>(&'a self, span: &'a Span) -> impl Iterator<Item = &'a Arc<Span>> {
        let parent = span.parent_span_id.and_then(|parent| self.span(span.trace_id, parent));
        let links = if span.parent_span_id.is_some() { &[] } else { span.links.as_slice() };
        parent.into_iter().chain(links.iter().filter_map(|link| self.span(link.trace_id, link.span_id)))
    }

    fn insert(&mut self, span: Arc<Span>) {
        let id = span.trace_id;
        let start = span.start;
        let bytes = weight::span(&span);
        self.shared.hold(&span);
        self.catalogue.add(&span);
        let entry = self.traces.entry(id).or_insert_with(|| {
            self.arrivals.push_back(id);
            self.by_start.insert((start, id));
            self.bytes += TRACE_OVERHEAD;
            Entry { spans: BTreeMap::new(), first_start: start, last_start: start, bytes: TRACE_OVERHEAD }
        });
        entry.bytes += bytes;
        self.bytes += bytes;
        entry.last_start = entry.last_start.max(start);
        match entry.spans.entry(span.span_id) {
            Slot::Vacant(slot) => {
                slot.insert(span);
                self.spans += 1;
            }
            Slot::Occupied(mut slot) => {
                let replaced = slot.insert(span);
                let bytes = weight::span(&replaced);
                entry.bytes -= bytes;
                self.bytes -= bytes;
                self.shared.release(&replaced);
                self.catalogue.remove(&replaced);
            }
        }
        if start < entry.first_start {
            self.by_start.remove(&(entry.first_start, id));
            self.by_start.insert((start, id));
            entry.first_start = start;
        }
    }

    /// Lets the first trace go; `false` when there is none.
    fn evict(&mut self) -> bool {
        let Some(id) = self.arrivals.pop_front() else { return false };
        let Some(entry) = self.traces.remove(&id) else { return true };
        self.by_start.remove(&(entry.first_start, id));
        self.bytes -= entry.bytes;
        self.spans -= entry.spans.len();
        self.evicted_traces += 1;
        self.evicted_spans += entry.spans.len() as u64;
        for span in entry.spans.values() {
            self.shared.release(span);
            self.catalogue.remove(span);
        }
        true
    }
}

// === impl Entry ===

impl Entry {
    fn to_trace(&self, id: TraceId) -> Trace {
        let mut spans: Vec<Arc<Span>> = self.spans.values().map(Arc::clone).collect();
        spans.sort_by_key(|span| span.start);
        Trace { id, spans }
    }
}

/// A trace's place in the map, the queue and the order by start, and the smallest map of spans.
const TRACE_OVERHEAD: usize = 320;
