//! The spans since the last one was sealed: in memory for queries, and in a log.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use throughline_model::{Span, TraceId};
use throughline_store::{MemoryStore, SpanKey, Store as _};

use crate::request_log::{LogRecords, LogWriter, RecordKind};
use crate::segment::SegmentSpan;

/// The spans that become one segment.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) number: u64,
    pub(crate) memory: MemoryStore,
    pub(crate) log: LogWriter,
    /// Hour of the first span, since the Unix epoch, and when it came.
    begun: Mutex<(u64, Instant)>,
    /// Spans that may be fragments.
    fragments: Mutex<HashSet<SpanKey>>,
    /// True once nothing is added any more.
    is_closed: RwLock<bool>,
}

// === impl Generation ===

impl Generation {
    pub(crate) fn new(number: u64, hour: u64, log: LogWriter) -> Self {
        Self {
            number,
            begun: Mutex::new((hour, Instant::now())),
            memory: MemoryStore::new(usize::MAX),
            log,
            fragments: Mutex::default(),
            is_closed: RwLock::new(false),
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
        let log = LogWriter::resume(path.to_path_buf(), read.intact_bytes)?;
        let generation = Self::new(number, hour, log);
        for record in read.records {
            match throughline_otlp::decode_protobuf(record.payload) {
                Ok(decoded) => generation.remember(record.kind, decoded.spans),
                Err(error) => tracing::error!(%error, "a request in the log cannot be decoded"),
            }
        }
        Ok(generation)
    }

    /// Adds spans, to the log first; returns the length of the log with them, or gives the spans
    /// back when the generation is closed.
    pub(crate) fn insert(
        &self,
        kind: RecordKind,
        otlp: &[u8],
        spans: Vec<Span>,
    ) -> io::Result<Result<u64, Vec<Span>>> {
        let is_closed = self
            .is_closed
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if *is_closed {
            return Ok(Err(spans));
        }
        let length = self.log.append(kind, otlp)?;
        self.remember(kind, spans);
        Ok(Ok(length))
    }

    fn remember(&self, kind: RecordKind, spans: Vec<Span>) {
        match kind {
            RecordKind::Spans => self.memory.insert(spans),
            RecordKind::Fragments => {
                let mut fragments = self
                    .fragments
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                fragments.extend(spans.iter().map(SpanKey::of));
                drop(fragments);
                self.memory.insert_fragments(spans);
            }
            RecordKind::Decisions => {}
        }
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

    pub(crate) fn bytes(&self) -> usize {
        self.memory.occupancy().bytes
    }

    /// Returns the spans of a trace.
    pub(crate) fn spans_of(&self, id: TraceId) -> Vec<SegmentSpan> {
        let fragments = self
            .fragments
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let spans = self.memory.reported_spans(id).into_iter();
        let mut spans: Vec<SegmentSpan> = spans
            .map(|span| SegmentSpan {
                is_fragment: !fragments.is_empty() && fragments.contains(&SpanKey::of(&span)),
                span,
            })
            .collect();
        spans.sort_by_key(|it| it.span.start);
        spans
    }

    /// Returns all spans, ordered by trace.
    pub(crate) fn spans(&self) -> Vec<SegmentSpan> {
        let bounds = self.memory.candidates(None);
        let mut ids: Vec<TraceId> = bounds.iter().map(|bounds| bounds.id).collect();
        ids.sort_unstable();
        ids.into_iter().flat_map(|id| self.spans_of(id)).collect()
    }
}
