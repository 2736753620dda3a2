//! A segment with its index.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use throughline_model::{SpanId, TraceId};

use super::folder::SegmentName;
use crate::columns::{HotColumns, SealedOrder};
use crate::index::{
    self, BuiltIndex, IndexHeader, IndexedTrace, RowDurations, RowFacts, SegmentIndex,
    SegmentRowSource,
};
use crate::segment::{SegmentError, SegmentReader, SegmentSpan};

/// Spans that are encoded together.
const BATCH_SPANS: usize = 1024;

/// A segment with its index.
#[derive(Debug)]
pub(crate) struct SealedSegment {
    pub(crate) name: SegmentName,
    pub(crate) path: PathBuf,
    /// Size of the file.
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
        path: PathBuf,
        earlier: &[Arc<Self>],
        cache: &IndexCache,
    ) -> Result<Self, SegmentError> {
        let bytes = path.metadata()?.len();
        if let Some(header) = index::read_header(&path.with_extension("index")) {
            return Ok(Self {
                name,
                path,
                bytes,
                header,
            });
        }
        tracing::info!(path = %path.display(), "the index of a segment is built again");
        let index = build_index(&path)?;
        let ids = index.traces.iter().map(|trace| trace.id);
        let shared = shared_with(ids, earlier, cache);
        let header = index.header(shared);
        index::write(&path.with_extension("index"), &header, &index)?;
        Ok(Self {
            name,
            path,
            bytes,
            header,
        })
    }

    /// Opens a segment that another process owns; `None` without an index that can be read.
    pub(crate) fn open_foreign(name: SegmentName, path: PathBuf) -> Option<Self> {
        let bytes = path.metadata().ok()?.len();
        let header = index::read_header(&path.with_extension("index"))?;
        Some(Self {
            name,
            path,
            bytes,
            header,
        })
    }

    /// Returns the index.
    pub(crate) fn index(&self, cache: &IndexCache) -> Arc<SegmentIndex> {
        if let Some(index) = cache.get(self.name) {
            return index;
        }
        let path = self.path.with_extension("index");
        let index = index::read_body(&path).or_else(|| {
            let built = build_index(&self.path);
            let built = built.inspect_err(|error| self.log_unreadable(error)).ok()?;
            index::write(&path, &self.header, &built).unwrap_or_default();
            index::read_body(&path)
        });
        // The segment is gone or damaged; its traces are not found, and others are.
        let index = Arc::new(index.unwrap_or_default());
        cache.insert(self.name, &index);
        index
    }

    /// Returns whether the segment has spans of a trace.
    pub(crate) fn has_trace(&self, id: TraceId, cache: &IndexCache) -> bool {
        self.header.filter.may_contain(id) && self.index(cache).trace(id).is_some()
    }

    /// Returns the facts of all rows; `None` when they cannot be read.
    pub(crate) fn row_facts(&self) -> Option<RowFacts> {
        index::read_row_facts(&self.path.with_extension("index"))
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
        let read = SegmentReader::open(&self.path).and_then(|reader| {
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

    fn log_unreadable(&self, error: &SegmentError) {
        tracing::error!(path = %self.path.display(), %error, "a segment cannot be read");
    }
}

impl SegmentRowSource for SealedSegment {
    fn rows_of_span(&self, id: SpanId) -> Vec<u32> {
        let reader = SegmentReader::open(&self.path);
        let rows = reader.and_then(|reader| reader.rows_of_span(id));
        let rows = rows.inspect_err(|error| self.log_unreadable(error));
        rows.unwrap_or_default()
    }

    fn row_durations(&self) -> Option<RowDurations> {
        index::read_row_durations(&self.path.with_extension("index"))
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
fn build_index(path: &std::path::Path) -> Result<BuiltIndex, SegmentError> {
    let mut columns = HotColumns::new();
    read_into(path, &mut columns)?;
    Ok(BuiltIndex::of(&columns, &SealedOrder::of(&columns)))
}

/// Adds the spans of a segment to columns.
pub(crate) fn read_into(
    path: &std::path::Path,
    columns: &mut HotColumns,
) -> Result<(), SegmentError> {
    let reader = SegmentReader::open(path)?;
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

/// Returns those of the traces of which an earlier segment has spans.
pub(crate) fn shared_with(
    ids: impl Iterator<Item = TraceId>,
    earlier: &[Arc<SealedSegment>],
    cache: &IndexCache,
) -> Vec<TraceId> {
    let hashed = index::hashed(ids);
    let mut shared = BTreeSet::new();
    for segment in earlier {
        let possible = segment.header.filter.possible(&hashed);
        if !possible.is_empty() {
            let index = segment.index(cache);
            shared.extend(possible.into_iter().filter(|id| index.trace(*id).is_some()));
        }
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
