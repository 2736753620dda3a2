//! Spans in columns: the latest ones, which no segment has yet.
//!
//! A span is a row of numbers: ids, times, and the numbers of its name, its attributes, and its
//! resource with its scope, each of which is kept once. The rest is read from the request, which is
//! in the log. Nothing is decoded that was seen before, and a segment is written from the numbers.

mod append;
mod content;
mod order;
mod repeat_filter;
mod statistics;
mod term_table;
mod text_table;
mod trace_set;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use throughline_model::{Resource, Scope, SpanId, SpanKind, TraceId};
use throughline_otlp::NestedScope;
use throughline_store::{HashedField, TraceBounds, field_hash};

pub(crate) use self::append::RequestPlace;
pub(crate) use self::content::insert_in_order;
pub(crate) use self::order::SealedOrder;
use self::repeat_filter::RepeatFilter;
pub(crate) use self::term_table::TermTable;
pub(crate) use self::text_table::{FoldHasher, TextTable};

/// Kinds in the order of their numbers in a row.
pub(crate) const KINDS: [SpanKind; 6] = [
    SpanKind::Unspecified,
    SpanKind::Internal,
    SpanKind::Server,
    SpanKind::Client,
    SpanKind::Producer,
    SpanKind::Consumer,
];

/// Outcomes in the order of their numbers in a row, as filters name them.
const OUTCOMES: [&str; 3] = ["unset", "ok", "error"];

/// Number of the outcome of a span that failed.
const FAILED: u8 = 2;

/// Name of a kind that is not specified.
pub(crate) const UNSPECIFIED: &str = "unspecified";

/// A mark for no row.
const NONE: u32 = u32::MAX;

/// Spans in columns.
#[derive(Debug)]
pub(crate) struct HotColumns {
    rows: Vec<SpanRow>,
    /// Attributes of all rows.
    row_terms: Vec<u32>,
    terms: TermTable,
    names: TextTable,
    /// Hash of each name, by number.
    name_hashes: Vec<u32>,
    services: TextTable,
    origins: Vec<ColumnOrigin>,
    origin_numbers: TextTable,
    traces: Vec<ColumnTrace>,
    trace_numbers: HashMap<TraceId, u32, FoldHasher>,
    /// Attributes of events and links, with their rows.
    nested: Vec<(u32, NestedScope, u32)>,
    links: Vec<ColumnLink>,
    topics: TextTable,
    /// Hash of each topic, by number.
    topic_hashes: Vec<u32>,
    /// Topics of messages, with their rows.
    row_topics: Vec<(u32, u32)>,
    kind_hashes: [u32; KINDS.len()],
    outcome_hashes: [u32; OUTCOMES.len()],
    repeats: RepeatFilter,
    /// Traces with a span that may have come twice, or in fragments.
    repeated: BTreeSet<u32>,
    /// Requests that are in no log.
    buffer: Vec<u8>,
    live_rows: usize,
    live_traces: usize,
}

/// A span.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpanRow {
    pub(crate) trace: u32,
    /// Row of the same trace that came before.
    previous: u32,
    pub(crate) span_id: SpanId,
    pub(crate) parent_span_id: Option<SpanId>,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) name: u32,
    pub(crate) origin: u32,
    first_term: u32,
    term_count: u32,
    pub(crate) flags: u32,
    /// Position of the message in the log, or in the buffer.
    position: u64,
    length: u32,
    /// Number in [`KINDS`].
    pub(crate) kind: u8,
    /// Number of the status as it was reported: unset, ok, error.
    pub(crate) status: u8,
    /// Number in [`OUTCOMES`], with the attribute `error`.
    outcome: u8,
    bits: u8,
}

/// A link of a span.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ColumnLink {
    pub(crate) row: u32,
    pub(crate) target: TraceId,
    /// Hash of the target, by number.
    pub(crate) hash: u32,
}

/// A resource with a scope.
#[derive(Debug)]
pub(crate) struct ColumnOrigin {
    pub(crate) resource: Arc<Resource>,
    pub(crate) scope: Arc<Scope>,
    pub(crate) service: u32,
    /// Hashes of the attributes of both and of the service, by number.
    hashes: Vec<u32>,
}

/// A trace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ColumnTrace {
    pub(crate) id: TraceId,
    last_row: u32,
    pub(crate) spans: u32,
    pub(crate) errors: u32,
    pub(crate) first_start: u64,
    pub(crate) last_start: u64,
    last_end: u64,
    /// End of the last span that is work; 0 while there are only settlements.
    last_work_end: u64,
}

// === impl SpanRow ===

impl SpanRow {
    /// There is nothing in the message that the row does not have.
    const PLAIN: u8 = 1;
    const FRAGMENT: u8 = 2;
    const SETTLES: u8 = 4;
    const IN_BUFFER: u8 = 8;
    /// It may be about a message, or have links.
    const SPECIAL: u8 = 16;

    const fn has(&self, bit: u8) -> bool {
        self.bits & bit != 0
    }

    /// Returns whether the row and its attributes are all of the span.
    pub(crate) const fn is_plain(&self) -> bool {
        self.has(Self::PLAIN)
    }

    /// Returns whether it may be about a message, or have links.
    pub(crate) const fn is_special(&self) -> bool {
        self.has(Self::SPECIAL)
    }

    pub(crate) const fn failed(&self) -> bool {
        self.outcome == FAILED
    }

    pub(crate) const fn is_fragment(&self) -> bool {
        self.has(Self::FRAGMENT)
    }
}

// === impl ColumnTrace ===

impl ColumnTrace {
    pub(crate) const fn bounds(&self) -> TraceBounds {
        TraceBounds {
            id: self.id,
            first_start: self.first_start,
            last_start: self.last_start,
        }
    }

    /// Returns the time from the first start to the end of the work.
    pub(crate) const fn duration(&self) -> u64 {
        let end = if self.last_work_end > 0 {
            self.last_work_end
        } else {
            self.last_end
        };
        end.saturating_sub(self.first_start)
    }
}

// === impl HotColumns ===

impl HotColumns {
    pub(crate) fn new() -> Self {
        let mut terms = TermTable::new();
        let hashes = terms.hashes_mut();
        let kind = |kind: SpanKind| field_hash(HashedField::Kind, kind_name(kind));
        let kind_hashes = KINDS.map(|it| hashes.intern(kind(it)));
        let outcome_hashes = OUTCOMES.map(|it| hashes.intern(field_hash(HashedField::Status, it)));
        Self {
            rows: Vec::new(),
            row_terms: Vec::new(),
            terms,
            names: TextTable::new(),
            name_hashes: Vec::new(),
            services: TextTable::new(),
            origins: Vec::new(),
            origin_numbers: TextTable::new(),
            traces: Vec::new(),
            trace_numbers: HashMap::with_hasher(FoldHasher::new()),
            nested: Vec::new(),
            links: Vec::new(),
            topics: TextTable::new(),
            topic_hashes: Vec::new(),
            row_topics: Vec::new(),
            kind_hashes,
            outcome_hashes,
            repeats: RepeatFilter::new(),
            repeated: BTreeSet::new(),
            buffer: Vec::new(),
            live_rows: 0,
            live_traces: 0,
        }
    }

    /// Returns the number of spans; one that came twice counts twice.
    pub(crate) const fn spans(&self) -> usize {
        self.live_rows
    }

    /// Returns the number of traces.
    pub(crate) const fn trace_count(&self) -> usize {
        self.live_traces
    }

    /// Returns an estimate of the memory.
    pub(crate) fn memory(&self) -> usize {
        let tables = [
            &self.names,
            &self.services,
            &self.origin_numbers,
            &self.topics,
        ];
        self.rows.capacity() * size_of::<SpanRow>()
            + self.row_terms.capacity() * 4
            + self.terms.memory()
            + tables.iter().map(|it| it.memory()).sum::<usize>()
            + self.traces.capacity() * size_of::<ColumnTrace>()
            + self.trace_numbers.capacity() * 24
            // A decoded resource takes about twice the memory of its message, and its hashes.
            + self.origin_numbers.memory() * 3
            + self.nested.capacity() * 12
            + self.links.capacity() * 24
            + self.row_topics.capacity() * 8
            + self.repeats.memory()
            + self.buffer.capacity()
    }

    pub(crate) fn row(&self, row: u32) -> Option<&SpanRow> {
        self.rows.get(row as usize)
    }

    /// Returns the rows from a number on, those of spans that were replaced included.
    pub(crate) fn rows_from(&self, number: usize) -> &[SpanRow] {
        self.rows.get(number..).unwrap_or_default()
    }

    /// Returns the attributes of a row.
    pub(crate) fn terms_of(&self, row: &SpanRow) -> &[u32] {
        let first = row.first_term as usize;
        let terms = self.row_terms.get(first..first + row.term_count as usize);
        terms.unwrap_or_default()
    }

    /// Returns whether a row says how its parent was found.
    pub(crate) fn has_evidence(&self, row: &SpanRow) -> bool {
        self.terms.has_evidence(self.terms_of(row))
    }

    pub(crate) const fn terms(&self) -> &TermTable {
        &self.terms
    }

    pub(crate) const fn names(&self) -> &TextTable {
        &self.names
    }

    pub(crate) const fn services(&self) -> &TextTable {
        &self.services
    }

    pub(crate) fn origins(&self) -> &[ColumnOrigin] {
        &self.origins
    }

    pub(crate) fn origin(&self, number: u32) -> Option<&ColumnOrigin> {
        self.origins.get(number as usize)
    }

    pub(crate) const fn topics(&self) -> &TextTable {
        &self.topics
    }

    /// Returns the topics of messages, with their rows in rising order.
    pub(crate) fn row_topics(&self) -> &[(u32, u32)] {
        &self.row_topics
    }

    /// Returns the attributes of events and links, with their rows in rising order.
    pub(crate) fn nested(&self) -> &[(u32, NestedScope, u32)] {
        &self.nested
    }

    /// Returns the links, by row.
    pub(crate) fn links(&self) -> &[ColumnLink] {
        &self.links
    }

    /// Returns the traces, of which those without spans are no more.
    pub(crate) fn traces(&self) -> impl Iterator<Item = (u32, &ColumnTrace)> {
        (0..).zip(&self.traces).filter(|(_, it)| it.spans > 0)
    }

    pub(crate) fn trace(&self, number: u32) -> Option<&ColumnTrace> {
        let trace = self.traces.get(number as usize);
        trace.filter(|trace| trace.spans > 0)
    }

    /// Returns the number of a trace that has spans.
    pub(crate) fn trace_number(&self, id: TraceId) -> Option<u32> {
        let number = *self.trace_numbers.get(&id)?;
        self.trace(number).map(|_| number)
    }

    /// Returns whether a span of the trace may have come twice: its bounds and counts may be those
    /// of spans that were replaced.
    pub(crate) fn is_repeated(&self, trace: u32) -> bool {
        self.repeated.contains(&trace)
    }

    /// Returns the hashes of a row that its attributes do not have, by number.
    pub(crate) fn field_hashes(&self, row: &SpanRow) -> [u32; 3] {
        let of = |hashes: &[u32], at: usize| hashes.get(at).copied().unwrap_or_default();
        [
            of(&self.name_hashes, row.name as usize),
            of(&self.kind_hashes, row.kind.into()),
            of(&self.outcome_hashes, row.outcome.into()),
        ]
    }

    /// Returns the hash of a topic, by number.
    pub(crate) fn topic_hash(&self, topic: u32) -> u32 {
        let hash = self.topic_hashes.get(topic as usize);
        hash.copied().unwrap_or_default()
    }

    /// Returns the hashes of a resource, its service and its scope, by number.
    pub(crate) fn origin_hashes(&self, origin: u32) -> &[u32] {
        self.origin(origin).map_or(&[], |origin| &origin.hashes)
    }

    /// Returns whether a row is that of a stored span: of those that came twice, one is.
    pub(crate) fn is_live(&self, row: &SpanRow) -> bool {
        row.trace != NONE
    }

    pub(crate) fn live_rows(&self) -> impl Iterator<Item = (u32, &SpanRow)> {
        (0..).zip(&self.rows).filter(|(_, row)| row.trace != NONE)
    }
}

/// Returns the name of a kind.
pub(crate) fn kind_name(kind: SpanKind) -> &'static str {
    kind.name().unwrap_or(UNSPECIFIED)
}

/// Returns a span of the service `shop` with one of two names.
#[cfg(test)]
pub(crate) fn example_span(number: u64) -> throughline_model::Span {
    use throughline_model::{DroppedCounts, Status};
    throughline_model::Span {
        trace_id: TraceId::from_bytes(u128::from(number.div_ceil(4)).to_be_bytes()).unwrap(),
        span_id: SpanId::from_bytes(number.to_be_bytes()).unwrap(),
        parent_span_id: None,
        flags: 0,
        trace_state: String::new(),
        name: format!("buy {}", (number + 1) % 2),
        kind: SpanKind::Server,
        start: number,
        end: number + 1,
        attributes: Vec::new(),
        events: Vec::new(),
        links: Vec::new(),
        status: Status::Unset,
        status_message: Box::default(),
        dropped: DroppedCounts::default(),
        resource: Arc::new(Resource::of_service("shop")),
        scope: Arc::default(),
    }
}
