//! The index of a segment: where its traces are, which of them have a name or value, and all that
//! lists show without a look at the spans. It is built from the spans, and can be built again.

mod byte_codec;
mod file;
mod names;
mod trace_filter;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use throughline_model::{SpanId, TraceId};
use throughline_store::{
    MemoryStore, Prefilter, PrefilterTarget, Store as _, WeavingView, span_hashes, target_hash,
};

pub(crate) use self::file::{read_body, read_header, write};
pub(crate) use self::names::SegmentNames;
pub(crate) use self::trace_filter::TraceFilter;
use crate::segment::SegmentSpan;

/// All about a segment that stays in memory.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct IndexHeader {
    /// Number of spans.
    pub(crate) spans: u64,
    /// Number of traces.
    pub(crate) traces: u64,
    /// Start of the first span.
    pub(crate) first_start: u64,
    /// Greatest start of a trace's first span.
    pub(crate) last_first_start: u64,
    /// Start of the last span.
    pub(crate) last_start: u64,
    /// The traces that the segment may have.
    pub(crate) filter: TraceFilter,
    /// Traces of which an earlier segment has spans too.
    pub(crate) shared: Vec<TraceId>,
}

/// The rest of an index.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct SegmentIndex {
    /// By id, which is the order of the rows.
    pub(crate) traces: Vec<IndexedTrace>,
    pub(crate) postings: PostingLists,
    pub(crate) names: SegmentNames,
}

/// A trace of a segment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct IndexedTrace {
    pub(crate) id: TraceId,
    pub(crate) first_row: u32,
    pub(crate) spans: u32,
    pub(crate) first_start: u64,
    pub(crate) last_start: u64,
    pub(crate) duration: u64,
    pub(crate) errors: u64,
}

/// The traces, by number, that have a name, a value, a span or a link with a hash.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct PostingLists {
    /// Sorted.
    hashes: Vec<u32>,
    /// End of the list of each hash in `lists`.
    ends: Vec<u32>,
    /// Distances of the numbers of a list, as varints.
    lists: Vec<u8>,
}

/// A set of traces, by number.
#[derive(Debug, Default)]
pub(crate) struct TraceBitmap(Vec<u64>);

/// The answers of an index to one prefilter. Each list is decoded once.
#[derive(Debug)]
pub(crate) struct IndexQuery<'a> {
    index: &'a SegmentIndex,
    prefilter: &'a Prefilter,
    sets: HashMap<u32, TraceBitmap>,
}

/// A trace of an [`IndexQuery`].
struct QueriedTrace<'a> {
    trace: &'a IndexedTrace,
    number: usize,
    sets: &'a HashMap<u32, TraceBitmap>,
}

// === impl SegmentIndex ===

impl SegmentIndex {
    /// Builds the index of spans that are ordered by trace and are all that `memory` holds.
    pub(crate) fn build(memory: &MemoryStore, spans: &[SegmentSpan]) -> Self {
        let mut traces: Vec<IndexedTrace> = Vec::new();
        let mut pairs: Vec<(u32, u32)> = Vec::new();
        let mut row = 0;
        for group in spans.chunk_by(|a, b| a.span.trace_id == b.span.trace_id) {
            let count = u32::try_from(group.len()).unwrap_or(u32::MAX);
            let number = u32::try_from(traces.len()).unwrap_or(u32::MAX);
            for SegmentSpan { span, .. } in group {
                span_hashes(span, &mut |hash| pairs.push((hash, number)));
                pairs.push((span_id_hash(span.span_id), number));
                let targets = span.links.iter().map(|link| link.trace_id);
                let targets = targets.filter(|target| *target != span.trace_id);
                pairs.extend(targets.map(|target| (target_hash(target), number)));
            }
            if let Some(trace) = Self::describe(memory, group, row, count) {
                traces.push(trace);
            }
            row = row.saturating_add(count);
        }
        pairs.sort_unstable();
        pairs.dedup();
        Self {
            traces,
            postings: PostingLists::of_pairs(&pairs),
            names: SegmentNames::of(memory),
        }
    }

    fn describe(
        memory: &MemoryStore,
        spans: &[SegmentSpan],
        first_row: u32,
        count: u32,
    ) -> Option<IndexedTrace> {
        let id = spans.first()?.span.trace_id;
        let summary = memory.summary(id, WeavingView::Raw)?;
        let starts = spans.iter().map(|it| it.span.start);
        Some(IndexedTrace {
            id,
            first_row,
            spans: count,
            first_start: summary.start,
            last_start: starts.max()?,
            duration: summary.duration,
            errors: summary.errors,
        })
    }

    /// Returns the header of the index.
    pub(crate) fn header(&self, shared: Vec<TraceId>) -> IndexHeader {
        let traces = || self.traces.iter();
        IndexHeader {
            spans: traces().map(|trace| u64::from(trace.spans)).sum(),
            traces: self.traces.len() as u64,
            first_start: traces().map(|it| it.first_start).min().unwrap_or(u64::MAX),
            last_first_start: traces().map(|it| it.first_start).max().unwrap_or_default(),
            last_start: traces().map(|it| it.last_start).max().unwrap_or_default(),
            filter: TraceFilter::of(traces().map(|trace| trace.id)),
            shared,
        }
    }

    /// Returns the trace with this id.
    pub(crate) fn trace(&self, id: TraceId) -> Option<&IndexedTrace> {
        let at = self.traces.binary_search_by_key(&id, |trace| trace.id);
        self.traces.get(at.ok()?)
    }

    /// Returns the traces with a span that links to this trace; a few others may be among them.
    pub(crate) fn links_to(&self, id: TraceId) -> impl Iterator<Item = TraceId> {
        let set = self.postings.set(target_hash(id), self.traces.len());
        let traces = self.traces.iter().enumerate();
        let linking = traces.filter(move |(number, _)| set.contains(*number));
        linking.map(|(_, trace)| trace.id)
    }

    /// Returns an estimate of the memory.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.traces.as_slice())
            + self.postings.hashes.len() * 8
            + self.postings.lists.len()
            + self.names.bytes()
    }
}

/// Returns the hash of a span id in the posting lists. It is that of no trace's, name or value.
fn span_id_hash(id: SpanId) -> u32 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    #[expect(clippy::cast_possible_truncation, reason = "any half of a hash does")]
    let hash = hasher.finish() as u32;
    hash
}

// === impl PostingLists ===

impl PostingLists {
    /// Builds the lists of pairs of hash and number, which are sorted and differ.
    fn of_pairs(pairs: &[(u32, u32)]) -> Self {
        let mut lists = Self::default();
        for group in pairs.chunk_by(|a, b| a.0 == b.0) {
            let mut last = 0;
            for (_, number) in group {
                byte_codec::write_varint(&mut lists.lists, u64::from(number - last));
                last = *number;
            }
            lists.hashes.extend(group.first().map(|(hash, _)| *hash));
            lists
                .ends
                .push(u32::try_from(lists.lists.len()).unwrap_or(u32::MAX));
        }
        lists
    }

    /// Returns the traces with this hash, of this number.
    fn set(&self, hash: u32, traces: usize) -> TraceBitmap {
        let mut set = TraceBitmap(vec![0; traces.div_ceil(64)]);
        let Ok(at) = self.hashes.binary_search(&hash) else {
            return set;
        };
        let start = at.checked_sub(1).and_then(|at| self.ends.get(at));
        let start = start.copied().unwrap_or_default() as usize;
        let end = self.ends.get(at).copied().unwrap_or_default() as usize;
        let mut list = self.lists.get(start..end).unwrap_or_default();
        let mut number = 0;
        while let Some(distance) = byte_codec::read_varint(&mut list) {
            number += distance;
            set.insert(usize::try_from(number).unwrap_or(usize::MAX));
        }
        set
    }
}

// === impl TraceBitmap ===

impl TraceBitmap {
    fn insert(&mut self, number: usize) {
        if let Some(word) = self.0.get_mut(number / 64) {
            *word |= 1 << (number % 64);
        }
    }

    fn contains(&self, number: usize) -> bool {
        let word = self.0.get(number / 64).copied().unwrap_or_default();
        word >> (number % 64) & 1 == 1
    }
}

// === impl IndexQuery ===

impl<'a> IndexQuery<'a> {
    pub(crate) fn new(index: &'a SegmentIndex, prefilter: &'a Prefilter) -> Self {
        let mut sets = HashMap::new();
        prefilter.visit_hashes(&mut |hash| {
            sets.entry(hash)
                .or_insert_with(|| index.postings.set(hash, index.traces.len()));
        });
        prefilter.visit_spans(&mut |id| {
            let hash = span_id_hash(id);
            sets.entry(hash)
                .or_insert_with(|| index.postings.set(hash, index.traces.len()));
        });
        Self {
            index,
            prefilter,
            sets,
        }
    }

    /// Returns the traces that can match.
    pub(crate) fn candidates(&self) -> impl Iterator<Item = &'a IndexedTrace> {
        let traces = self.index.traces.iter().enumerate();
        let accepted = traces.filter(|(number, trace)| {
            self.prefilter.accepts(&QueriedTrace {
                trace,
                number: *number,
                sets: &self.sets,
            })
        });
        accepted.map(|(_, trace)| trace)
    }
}

// === impl QueriedTrace ===

impl PrefilterTarget for QueriedTrace<'_> {
    fn may_contain(&self, hash: u32) -> bool {
        let set = self.sets.get(&hash);
        set.is_none_or(|set| set.contains(self.number))
    }

    fn has_id(&self, id: TraceId) -> bool {
        self.trace.id == id
    }

    fn has_span(&self, id: SpanId) -> bool {
        self.may_contain(span_id_hash(id))
    }

    fn started_since(&self, time: u64) -> bool {
        self.trace.last_start >= time
    }

    fn started_until(&self, time: u64) -> bool {
        self.trace.first_start <= time
    }
}
