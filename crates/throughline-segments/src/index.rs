//! The index of a segment: where its traces are, which of them have a name or value, and all that
//! lists show without a look at the spans. It is built from columns, and can be built again.

mod byte_codec;
mod file;
mod name_counter;
mod names;
mod posting_builder;
mod posting_file;
mod posting_lists;
mod query;
mod row_facts;
mod trace_bitmap;
mod trace_filter;

use throughline_model::TraceId;
use throughline_store::target_hash;

pub(crate) use self::file::{
    BuiltIndex, read_body, read_header, read_row_durations, read_row_facts, write,
};
pub(crate) use self::name_counter::NameTotals;
pub(crate) use self::names::SegmentNames;
use self::posting_file::PostingFile;
pub(crate) use self::query::{SegmentRowSource, candidates};
pub(crate) use self::row_facts::{RowDurations, RowFact, RowFacts, least_duration};
pub(crate) use self::trace_bitmap::TraceBitmap;
pub(crate) use self::trace_filter::{TraceFilter, hashed};

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
    postings: PostingFile,
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
    /// Whether no attribute matters to the summary: see [`RowFacts::is_outlined`].
    pub(crate) is_outlined: bool,
}

// === impl SegmentIndex ===

impl SegmentIndex {
    /// Returns the trace with this id.
    pub(crate) fn trace(&self, id: TraceId) -> Option<&IndexedTrace> {
        let at = self.traces.binary_search_by_key(&id, |trace| trace.id);
        self.traces.get(at.ok()?)
    }

    /// Returns the number of the trace that has a row.
    fn trace_at(&self, row: u32) -> usize {
        let after = self.traces.partition_point(|trace| trace.first_row <= row);
        after.saturating_sub(1)
    }

    /// Returns the traces with a span that links to this trace; a few others may be among them.
    pub(crate) fn links_to(&self, id: TraceId) -> Vec<TraceId> {
        let set = self.postings.set(target_hash(id), self.traces.len());
        let traces = set.iter().filter_map(|number| self.traces.get(number));
        traces.map(|trace| trace.id).collect()
    }

    /// Returns an estimate of the memory.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.traces.as_slice()) + self.postings.bytes() + self.names.bytes()
    }
}
