//! The spans since the last one was sealed: in columns for queries, and in a log.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use throughline_model::TraceId;
use throughline_otlp::ScannedRequest;
use throughline_store::{Prefilter, TraceBounds, TraceExpression};

use crate::columns::{ColumnTrace, HotColumns, RequestPlace};
use crate::index::{NameTotals, SegmentNames};
use crate::request_log::{LogRecord, LogRecords, LogWriter, RecordKind};
use crate::segment::SegmentSpan;

/// Spans of a segment, at most.
const MAX_SPANS: usize = 1 << 18;

/// Rows that are counted while nothing can be added.
const COUNTED_ROWS: usize = 1 << 14;

/// The spans that become one segment.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) number: u64,
    columns: RwLock<HotColumns>,
    pub(crate) log: LogWriter,
    /// Hour of the first span, since the Unix epoch, and when it came.
    begun: Mutex<(u64, Instant)>,
    /// True once nothing is added any more.
    is_closed: RwLock<bool>,
    names: Mutex<CountedNames>,
}

/// The names and values of a generation, as far as they are counted.
#[derive(Debug)]
struct CountedNames {
    totals: NameTotals,
    /// Those of all rows that are counted; `None` once there are more.
    names: Option<Arc<SegmentNames>>,
}

/// The outcome of an insertion.
#[derive(Debug)]
pub(crate) enum RequestInsertion {
    /// It is in the log, which has this length.
    Kept(u64),
    /// The generation is closed, and there is another one.
    Closed,
    /// It has to be decoded to be understood.
    Malformed,
}

/// A trace of a generation, for a search.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ListedTrace {
    pub(crate) trace: ColumnTrace,
    /// Whether it can match.
    pub(crate) is_candidate: bool,
    /// Whether a span may have come twice: only the spans show what the trace is like.
    pub(crate) is_repeated: bool,
}

// === impl Generation ===

impl Generation {
    pub(crate) fn new(number: u64, hour: u64, log: LogWriter) -> Self {
        Self {
            number,
            begun: Mutex::new((hour, Instant::now())),
            columns: RwLock::new(HotColumns::new()),
            log,
            is_closed: RwLock::new(false),
            names: Mutex::new(CountedNames::new()),
        }
    }

    /// Reads a log that a former process left, and continues it behind its intact part.
    pub(crate) fn recover(number: u64, hour: u64, path: &Path) -> io::Result<Self> {
        let bytes = std::fs::read(path)?;
        let read = LogRecords::read(&bytes);
        let torn = bytes.len() - read.intact_bytes;
        if torn > 0 {
            let path = path.display();
            tracing::warn!(%path, bytes = torn, "the end of a log is torn and was dropped");
        }
        let log = LogWriter::resume(path.to_path_buf(), read.intact_bytes as u64)?;
        let generation = Self::new(number, hour, log);
        for record in &read.records {
            if !generation.recover_record(record) {
                tracing::error!("a request in the log cannot be decoded");
            }
        }
        Ok(generation)
    }

    fn recover_record(&self, record: &LogRecord<'_>) -> bool {
        let is_fragment = match record.kind {
            RecordKind::Spans => false,
            RecordKind::Fragments => true,
            RecordKind::Decisions => return true,
        };
        let mut columns = self.columns_mut();
        if let Some(scanned) = ScannedRequest::scan(record.payload)
            && let Some(prepared) = columns.prepare(record.payload, &scanned)
        {
            let place = RequestPlace::Log(record.position as u64);
            columns.append(&scanned, &prepared, place, is_fragment, false);
            return true;
        }
        let Ok(decoded) = throughline_otlp::decode_protobuf(record.payload) else {
            return false;
        };
        let spans = decoded.spans.into_iter().map(|span| SegmentSpan {
            span: Arc::new(span),
            is_fragment,
        });
        columns.append_spans(&spans.collect::<Vec<_>>())
    }

    /// Adds the spans of a request, to the log first.
    pub(crate) fn insert(
        &self,
        kind: RecordKind,
        otlp: &[u8],
        scanned: &ScannedRequest,
    ) -> io::Result<RequestInsertion> {
        let is_closed = self
            .is_closed
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if *is_closed {
            return Ok(RequestInsertion::Closed);
        }
        // Two short locks: none is held while the log is written.
        let Some(prepared) = self.columns_mut().prepare(otlp, scanned) else {
            return Ok(RequestInsertion::Malformed);
        };
        let length = self.log.append(kind, otlp)?;
        let place = RequestPlace::Log(length - otlp.len() as u64);
        let is_fragment = kind == RecordKind::Fragments;
        self.columns_mut()
            .append(scanned, &prepared, place, is_fragment, false);
        Ok(RequestInsertion::Kept(length))
    }

    /// Takes note that the first span comes in this hour at the earliest.
    pub(crate) fn begin(&self, hour: u64) {
        *self.begun.lock().unwrap_or_else(PoisonError::into_inner) = (hour, Instant::now());
    }

    pub(crate) fn hour(&self) -> u64 {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    pub(crate) fn age(&self) -> Duration {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.1.elapsed()
    }

    /// Refuses further spans from now on.
    pub(crate) fn close(&self) {
        *self
            .is_closed
            .write()
            .unwrap_or_else(PoisonError::into_inner) = true;
    }

    pub(crate) fn columns(&self) -> RwLockReadGuard<'_, HotColumns> {
        self.columns.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn columns_mut(&self) -> RwLockWriteGuard<'_, HotColumns> {
        self.columns.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes one span of those that came twice, before the generation is sealed.
    pub(crate) fn settle(&self) {
        let mut names = self.counted_names();
        self.columns_mut().settle(Some(&self.log));
        // Rows that are counted may be no more.
        *names = CountedNames::new();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.columns().spans() == 0
    }

    /// Returns an estimate of the memory.
    pub(crate) fn bytes(&self) -> usize {
        self.columns().memory()
    }

    /// Returns whether it is to be sealed, with this limit of its memory.
    pub(crate) fn is_full(&self, max_bytes: usize) -> bool {
        let columns = self.columns();
        columns.spans() >= MAX_SPANS || columns.memory() >= max_bytes
    }

    /// Returns the spans of a trace in the order in which they came.
    pub(crate) fn spans_of(&self, id: TraceId) -> Vec<SegmentSpan> {
        let columns = self.columns();
        let trace = columns.trace_number(id);
        trace.map_or_else(Vec::new, |trace| columns.spans_of(trace, Some(&self.log)))
    }

    pub(crate) fn has_trace(&self, id: TraceId) -> bool {
        self.columns().trace_number(id).is_some()
    }

    /// Returns the bounds of a trace.
    pub(crate) fn bounds(&self, id: TraceId) -> Option<TraceBounds> {
        let columns = self.columns();
        let number = columns.trace_number(id)?;
        if columns.is_repeated(number) {
            return columns.load_trace(number, Some(&self.log)).bounds(id);
        }
        columns.trace(number).map(ColumnTrace::bounds)
    }

    /// Returns the ids of all traces.
    pub(crate) fn trace_ids(&self) -> Vec<TraceId> {
        self.columns().traces().map(|(_, trace)| trace.id).collect()
    }

    /// Returns the traces with a span that links to this trace.
    pub(crate) fn links_to(&self, id: TraceId) -> Vec<TraceId> {
        let columns = self.columns();
        let links = columns.links().iter().filter(|link| link.target == id);
        let sources = links.filter_map(|link| {
            let row = columns.row(link.row).filter(|row| columns.is_live(row))?;
            Some(columns.trace(row.trace)?.id)
        });
        sources.collect()
    }

    /// Returns the names and values of the spans.
    pub(crate) fn names(&self) -> Arc<SegmentNames> {
        let mut counted = self.counted_names();
        loop {
            // Some rows at a time: spans that arrive wait for the lock.
            let columns = self.columns();
            if !counted.totals.has_all(&columns) {
                counted.names = None;
            } else if let Some(names) = &counted.names {
                return Arc::clone(names);
            }
            if counted.totals.add(&columns, COUNTED_ROWS) {
                let names = Arc::new(counted.totals.names(&columns));
                counted.names = Some(Arc::clone(&names));
                return names;
            }
        }
    }

    fn counted_names(&self) -> MutexGuard<'_, CountedNames> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns all traces, and whether they can match an expression and have a topic.
    pub(crate) fn list(
        &self,
        expression: Option<&TraceExpression>,
        topic: Option<&str>,
    ) -> Vec<ListedTrace> {
        let columns = self.columns();
        let of_expression = expression.map(|it| Prefilter::of_expression(it, &*columns));
        let of_topic = topic.map(Prefilter::of_topic_name);
        let prefilter = Prefilter::All(of_expression.into_iter().chain(of_topic).collect());
        let is_satisfiable = !prefilter.is_unsatisfiable();
        let mut candidates = Vec::new();
        if is_satisfiable {
            candidates = columns.candidates(&prefilter);
        }
        let mut candidates = candidates.into_iter().peekable();
        let listed = columns.traces().map(|(number, trace)| ListedTrace {
            trace: *trace,
            is_candidate: candidates.next_if(|it| *it == number).is_some(),
            is_repeated: columns.is_repeated(number),
        });
        listed.collect()
    }
}

// === impl CountedNames ===

impl CountedNames {
    fn new() -> Self {
        Self {
            totals: NameTotals::new(),
            names: None,
        }
    }
}
