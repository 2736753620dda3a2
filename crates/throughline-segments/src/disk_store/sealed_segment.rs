//! A segment with its index.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use throughline_model::{SpanId, TraceId};
use throughline_store::SpanKey;

use super::folder::SegmentName;
use crate::columns::{HotColumns, SealedOrder};
use crate::index::{
    self, BuiltIndex, IndexHeader, IndexedTrace, RowDurations, RowFacts, SegmentIndex,
    SegmentRowSource,
};
use crate::objects::StoredFile;
use crate::segment::{SegmentError, SegmentReader, SegmentSpan};

/// Spans that are encoded together.
const BATCH_SPANS: usize = 1024;

/// A segment with its index.
#[derive(Debug)]
pub(crate) struct SealedSegment {
    pub(crate) name: SegmentName,
    pub(crate) file: StoredFile,
    /// Size of the file and its index.
    pub(crate) bytes: u64,
    pub(crate) header: IndexHeader,
}

/// Traces to read.
#[derive(Debug, Default)]
pub(crate) struct WantedTraces {
    pub(crate) whole: BTreeSet<TraceId>,
    /// Traces of which the summary is all that matters, and that have no spans elsewhere.
    pub(crate) outlined: BTreeSet<TraceId>,
}

/// The indexes that were used last, bounded by bytes.
#[derive(Debug)]
pub(crate) struct IndexCache {
    max_bytes: usize,
    state: Mutex<CacheState>,
}

#[derive(Debug, Default)]
struct CacheState {
    /// By folder and first generation of the segment.
    entries: HashMap<(u32, u64), CachedIndex>,
    bytes: usize,
    clock: u64,
}

#[derive(Debug)]
struct CachedIndex {
    index: Arc<SegmentIndex>,
    last: u64,
    used: u64,
}

// === impl SealedSegment ===

impl SealedSegment {
    /// Opens a segment that a former process left; its index is built where it is missing.
    pub(crate) fn open(
        name: SegmentName,
        (file, bytes): (StoredFile, u64),
        earlier: &[Arc<Self>],
        cache: &IndexCache,
    ) -> Result<Self, SegmentError> {
        let header = index::read_header(&file.index());
        let header = header.map_or_else(|| rebuild_index(&file, earlier, cache), Ok)?;
        let bytes = bytes + file.index_bytes();
        Ok(Self {
            name,
            file,
            bytes,
            header,
        })
    }

    /// Opens a segment that another process owns; `None` without an index that can be read.
    pub(crate) fn open_foreign(
        name: SegmentName,
        (file, bytes): (StoredFile, u64),
    ) -> Option<Self> {
        let index = file.index();
        let header = index::read_header(&index);
        if header.is_none() {
            index.discard_copy();
        }
        let header = header?;
        Some(Self {
            name,
            file,
            bytes,
            header,
        })
    }

    /// Returns the index; an empty one where it cannot be read. The segment is gone or damaged, or
    /// the object store is away: its traces are not found, and others are.
    pub(crate) fn index(&self, cache: &IndexCache) -> Arc<SegmentIndex> {
        self.try_index(cache).unwrap_or_default()
    }

    fn try_index(&self, cache: &IndexCache) -> Option<Arc<SegmentIndex>> {
        if let Some(index) = cache.get(self.name) {
            return Some(index);
        }
        let file = self.file.index();
        let index = index::read_body(&file).or_else(|| {
            let built = build_index(&self.file);
            let built = built.inspect_err(|error| self.log_unreadable(error)).ok()?;
            write_index(&file, &self.header, &built).unwrap_or_default();
            index::read_body(&file)
        });
        let index = Arc::new(index?);
        cache.insert(self.name, &index);
        Some(index)
    }

    /// Returns the index where it is here, and need not be downloaded.
    fn local_index(&self, cache: &IndexCache) -> Option<Arc<SegmentIndex>> {
        let file = self.file.index();
        let is_local = file.is_local();
        cache
            .get(self.name)
            .or_else(|| is_local.then(|| self.try_index(cache)).flatten())
    }

    /// Returns whether the segment has spans of a trace.
    pub(crate) fn has_trace(&self, id: TraceId, cache: &IndexCache) -> bool {
        self.header.filter.may_contain(id) && self.index(cache).trace(id).is_some()
    }

    /// Returns false if the segment certainly does not have a span.
    pub(crate) fn may_have_span(&self, key: SpanKey, cache: &IndexCache) -> bool {
        if !self.header.filter.may_contain(key.trace_id) {
            return false;
        }
        let Some(index) = self.try_index(cache) else {
            return true;
        };
        let Some(trace) = index.trace(key.trace_id) else {
            return false;
        };
        let rows = trace.first_row..trace.first_row.saturating_add(trace.spans);
        let found = self.reader().and_then(|it| it.rows_of_span(key.span_id));
        found.map_or(true, |found| found.iter().any(|row| rows.contains(row)))
    }

    /// Returns the facts of all rows; `None` when they cannot be read.
    pub(crate) fn row_facts(&self) -> Option<RowFacts> {
        index::read_row_facts(&self.file.index())
    }

    /// Passes the spans of traces to `visit`, an outline of them where that is enough.
    pub(crate) fn spans_of(
        &self,
        wanted: &WantedTraces,
        cache: &IndexCache,
        mut visit: impl FnMut(SegmentSpan),
    ) {
        let is_possible = |id: &&TraceId| self.header.filter.may_contain(**id);
        let possible: Vec<&TraceId> = wanted.whole.iter().filter(is_possible).collect();
        let outlined: Vec<&TraceId> = wanted.outlined.iter().filter(is_possible).collect();
        if possible.is_empty() && outlined.is_empty() {
            return;
        }
        let index = self.index(cache);
        let traces = |ids: Vec<&TraceId>| -> Vec<IndexedTrace> {
            let traces = ids.into_iter().filter_map(|id| index.trace(*id).copied());
            traces.collect()
        };
        let mut whole = traces(possible);
        let (outlined, others): (Vec<_>, Vec<_>) =
            traces(outlined).into_iter().partition(|it| it.is_outlined);
        whole.extend(others);
        whole.sort_unstable_by_key(|trace| trace.first_row);
        if whole.is_empty() && outlined.is_empty() {
            return;
        }
        let read = self.reader().and_then(|reader| {
            if !outlined.is_empty() {
                let ids = outlined.iter().map(|trace| trace.id);
                let traces: Vec<_> = ids.zip(ranges(&outlined)).collect();
                reader.read_outlines(&traces, &mut visit)?;
            }
            if !whole.is_empty() {
                reader.read(&ranges(&whole), &mut visit)?;
            }
            Ok(())
        });
        if let Err(error) = read {
            self.log_unreadable(&error);
        }
    }

    /// Returns whether the segment may have spans of one of the traces.
    pub(crate) fn may_have(&self, wanted: &WantedTraces) -> bool {
        let mut ids = wanted.whole.iter().chain(&wanted.outlined);
        ids.any(|id| self.header.filter.may_contain(*id))
    }

    fn reader(&self) -> Result<SegmentReader, SegmentError> {
        SegmentReader::of_file(self.file.open()?)
    }

    fn log_unreadable(&self, error: &SegmentError) {
        // A failed download was reported there.
        if !self.file.is_downloaded() || !matches!(error, SegmentError::Io(_)) {
            let path = self.file.path().display();
            tracing::error!(%path, %error, "a segment cannot be read");
            self.file.discard_copy();
        }
    }
}

impl SegmentRowSource for SealedSegment {
    fn rows_of_span(&self, id: SpanId) -> Vec<u32> {
        let rows = self.reader().and_then(|reader| reader.rows_of_span(id));
        let rows = rows.inspect_err(|error| self.log_unreadable(error));
        rows.unwrap_or_default()
    }

    fn row_durations(&self) -> Option<RowDurations> {
        index::read_row_durations(&self.file.index())
    }
}

/// Returns the rows of traces.
fn ranges(traces: &[IndexedTrace]) -> Vec<Range<usize>> {
    let rows = traces.iter().map(|trace| {
        let first = trace.first_row as usize;
        first..first + trace.spans as usize
    });
    rows.collect()
}

/// Builds the index of a segment from its spans.
fn build_index(segment: &StoredFile) -> Result<BuiltIndex, SegmentError> {
    let mut columns = HotColumns::new();
    read_into(segment, &mut columns)?;
    Ok(BuiltIndex::of(&columns, &SealedOrder::of(&columns)))
}

/// Builds the index of a segment again, and returns its header.
fn rebuild_index(
    segment: &StoredFile,
    earlier: &[Arc<SealedSegment>],
    cache: &IndexCache,
) -> Result<IndexHeader, SegmentError> {
    tracing::info!(path = %segment.path().display(), "the index of a segment is built again");
    let index = build_index(segment)?;
    let ids = index.traces.iter().map(|trace| trace.id);
    let header = index.header(shared_with(ids, earlier, cache));
    write_index(&segment.index(), &header, &index)?;
    Ok(header)
}

/// Writes an index in place of an earlier one.
pub(crate) fn write_index(
    file: &StoredFile,
    header: &IndexHeader,
    index: &BuiltIndex,
) -> io::Result<()> {
    index::write(file.path(), header, index)?;
    file.note_written().map(drop)
}

/// Adds the spans of a segment to columns.
pub(crate) fn read_into(
    segment: &StoredFile,
    columns: &mut HotColumns,
) -> Result<(), SegmentError> {
    let reader = SegmentReader::of_file(segment.open()?)?;
    let mut batch = Vec::with_capacity(BATCH_SPANS);
    let mut is_kept = true;
    reader.read_all(|span| {
        batch.push(span);
        if batch.len() == BATCH_SPANS {
            is_kept &= columns.append_spans(&batch);
            batch.clear();
        }
    })?;
    is_kept &= columns.append_spans(&batch);
    if is_kept {
        Ok(())
    } else {
        Err(SegmentError::Row(reader.rows()))
    }
}

/// Returns those of the traces of which an earlier segment has spans. Where its index is not
/// here, or cannot be read, they are all of which it may have some; they are then read from both.
pub(crate) fn shared_with(
    ids: impl Iterator<Item = TraceId>,
    earlier: &[Arc<SealedSegment>],
    cache: &IndexCache,
) -> Vec<TraceId> {
    let hashed = index::hashed(ids);
    let mut shared = BTreeSet::new();
    for segment in earlier {
        let possible = segment.header.filter.possible(&hashed);
        if possible.is_empty() {
            continue;
        }
        let index = segment.local_index(cache);
        let has = |id: &TraceId| index.as_ref().is_none_or(|it| it.trace(*id).is_some());
        shared.extend(possible.into_iter().filter(has));
    }
    shared.into_iter().collect()
}

// === impl IndexCache ===

impl IndexCache {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            state: Mutex::default(),
        }
    }

    fn get(&self, name: SegmentName) -> Option<Arc<SegmentIndex>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.clock += 1;
        let clock = state.clock;
        let entry = state.entries.get_mut(&(name.folder, name.first))?;
        // A compacted segment begins where one of those began that it is made of.
        if entry.last != name.last {
            return None;
        }
        entry.used = clock;
        Some(Arc::clone(&entry.index))
    }

    fn insert(&self, name: SegmentName, index: &Arc<SegmentIndex>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        state.clock += 1;
        let entry = CachedIndex {
            index: Arc::clone(index),
            last: name.last,
            used: state.clock,
        };
        state.bytes += index.bytes();
        if let Some(old) = state.entries.insert((name.folder, name.first), entry) {
            state.bytes = state.bytes.saturating_sub(old.index.bytes());
        }
        while state.bytes > self.max_bytes && state.entries.len() > 1 {
            let oldest = state.entries.iter().min_by_key(|(_, entry)| entry.used);
            let Some(oldest) = oldest.map(|(key, _)| *key) else {
                return;
            };
            if let Some(old) = state.entries.remove(&oldest) {
                state.bytes = state.bytes.saturating_sub(old.index.bytes());
            }
        }
    }
}
