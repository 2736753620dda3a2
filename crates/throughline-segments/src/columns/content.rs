//! Rows to spans.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use throughline_model::{Span, TraceId};
use throughline_otlp::{ScannedRequest, decode_span, encode_protobuf};
use throughline_store::{MemoryStore, SpanKey};

use super::{HotColumns, NONE, RequestPlace, SpanRow};
use crate::request_log::LogWriter;
use crate::segment::SegmentSpan;

// === impl HotColumns ===

impl HotColumns {
    /// Returns the rows of a trace in the order in which they came.
    pub(super) fn rows_of(&self, trace: u32) -> Vec<u32> {
        let mut rows = Vec::new();
        self.rows_into(trace, &mut rows);
        rows
    }

    pub(super) fn rows_into(&self, trace: u32, rows: &mut Vec<u32>) {
        let first = rows.len();
        let mut next = self.trace(trace).map_or(NONE, |trace| trace.last_row);
        while let Some(row) = self.row(next) {
            rows.push(next);
            next = row.previous;
        }
        if let Some(own) = rows.get_mut(first..) {
            own.reverse();
        }
    }

    /// Decodes the span of a row.
    ///
    /// # Errors
    /// The log cannot be read.
    pub(crate) fn decode(&self, row: &SpanRow, log: Option<&LogWriter>) -> io::Result<Span> {
        let origin = self.origin(row.origin);
        let decoded = |message: &[u8]| {
            let origin = origin?;
            decode_span(message, &origin.resource, &origin.scope)
        };
        let span = if row.has(SpanRow::IN_BUFFER) {
            let start = usize::try_from(row.position).unwrap_or(usize::MAX);
            let end = start.saturating_add(row.length as usize);
            self.buffer.get(start..end).and_then(decoded)
        } else {
            let log = log.ok_or(io::ErrorKind::NotFound)?;
            decoded(&log.read(row.position, row.length as usize)?)
        };
        span.ok_or_else(|| io::Error::other("a span in the log cannot be decoded"))
    }

    /// Returns the spans of a trace in the order in which they came. One that cannot be read is
    /// left out, and logged.
    pub(crate) fn spans_of(&self, trace: u32, log: Option<&LogWriter>) -> Vec<SegmentSpan> {
        let rows = self.rows_of(trace);
        let spans = rows.iter().filter_map(|row| {
            let row = self.row(*row)?;
            let span = self.decode(row, log);
            let span = span.inspect_err(|error| tracing::error!(%error, "a span cannot be read"));
            Some(SegmentSpan {
                span: Arc::new(span.ok()?),
                is_fragment: row.is_fragment(),
            })
        });
        spans.collect()
    }

    /// Returns a store with the spans of a trace.
    pub(crate) fn load_trace(&self, trace: u32, log: Option<&LogWriter>) -> MemoryStore {
        let memory = MemoryStore::new(usize::MAX);
        insert_in_order(&memory, &self.spans_of(trace, log));
        memory
    }

    /// Adds spans that are in no log; returns whether they could be added.
    pub(crate) fn append_spans(&mut self, spans: &[SegmentSpan]) -> bool {
        self.append_encoded(spans, false)
    }

    fn append_encoded(&mut self, spans: &[SegmentSpan], is_settled: bool) -> bool {
        spans
            .chunk_by(|a, b| a.is_fragment == b.is_fragment)
            .all(|run| {
                let is_fragment = run.first().is_some_and(|first| first.is_fragment);
                let body = encode_protobuf(run.iter().map(|it| &*it.span));
                let scanned = ScannedRequest::scan(&body);
                let prepared = scanned.as_ref().and_then(|it| self.prepare(&body, it));
                let (Some(scanned), Some(prepared)) = (scanned, prepared) else {
                    return false;
                };
                let place = RequestPlace::Memory(&body);
                self.append(&scanned, &prepared, place, is_fragment, is_settled);
                true
            })
    }

    /// Makes one span of those that came twice, and of fragments, as the store in memory does.
    pub(crate) fn settle(&mut self, log: Option<&LogWriter>) {
        for trace in std::mem::take(&mut self.repeated) {
            let Some(id) = self.trace(trace).map(|trace| trace.id) else {
                continue;
            };
            let parts = self.spans_of(trace, log);
            let spans = settled(id, &parts);
            self.clear_trace(trace);
            if !self.append_encoded(&spans, true) {
                tracing::error!(%id, "spans that came twice cannot be kept");
            }
        }
    }
}

/// Returns the spans of a trace, each once.
fn settled(id: TraceId, parts: &[SegmentSpan]) -> Vec<SegmentSpan> {
    let memory = MemoryStore::new(usize::MAX);
    insert_in_order(&memory, parts);
    let fragments = parts.iter().filter(|it| it.is_fragment);
    let fragments: HashSet<SpanKey> = fragments.map(|it| SpanKey::of(&it.span)).collect();
    let mut spans = memory.reported_spans(id);
    spans.sort_by_key(|span| span.start);
    let spans = spans.into_iter().map(|span| SegmentSpan {
        is_fragment: fragments.contains(&SpanKey::of(&span)),
        span,
    });
    spans.collect()
}

/// Adds spans in their order.
pub(crate) fn insert_in_order(memory: &MemoryStore, spans: &[SegmentSpan]) {
    for run in spans.chunk_by(|a, b| a.is_fragment == b.is_fragment) {
        if run.first().is_some_and(|first| first.is_fragment) {
            memory.insert_fragments(run.iter().map(|it| (*it.span).clone()).collect());
        } else {
            let shared: Vec<_> = run.iter().map(|it| Arc::clone(&it.span)).collect();
            memory.insert_shared(&shared);
        }
    }
}
