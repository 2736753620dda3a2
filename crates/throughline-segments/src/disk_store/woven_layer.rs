//! Decisions about parents, in memory and in a log of their own.
//!
//! A payload is decisions one after another. The log has those that were replaced or forgotten too,
//! until they are more than half of it: then it is written again, while decisions are made and
//! appended to the former one.

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use throughline_model::TraceId;
use throughline_store::{SpanKey, WovenEdge, WovenIndex};

use super::decision_ages::DecisionAges;
use super::decision_codec::{decode, encode, encoded_bytes};
use super::repeated_work::RepeatedWork;
use crate::request_log::{LogReader, LogRecords, LogWriter, RecordKind};

/// Length at which a record of the log ends: no more than this is read to upload a part of it.
const RECORD_BYTES: usize = 4 << 20;

/// Length that the log may have beyond twice that of the decisions that are kept.
const SPARE_BYTES: u64 = 1 << 20;

/// Number of decisions that are read at once to write the log again.
const CHUNK_DECISIONS: usize = 1024;

/// Length of the end of the former log that is copied to a new one while no one decides.
const MAX_TAIL_BYTES: u64 = 64 << 10;

/// All decisions.
#[derive(Debug)]
pub(crate) struct WovenLayer {
    index: RwLock<WovenIndex>,
    ages: Mutex<DecisionAges>,
    /// Maximum memory of the decisions.
    max_bytes: usize,
    /// Whether joins were forgotten for it.
    has_evicted: AtomicBool,
    /// None for decisions of others.
    log: Option<WovenLog>,
    /// Attempts to write the log again.
    rewriting: Mutex<RepeatedWork>,
    /// One decider at a time: a decision depends on the earlier ones.
    deciding: Mutex<()>,
}

/// The log of decisions.
#[derive(Debug)]
struct WovenLog {
    path: PathBuf,
    writer: RwLock<Arc<LogWriter>>,
}

// === impl WovenLayer ===

impl WovenLayer {
    /// Reads the decisions that a former process left. `start_of` returns the start of a stored
    /// trace, and the greatest number for another. A decision of which no trace is stored is
    /// forgotten, and the earliest beyond `max_bytes` are.
    pub(crate) fn open(
        path: &Path,
        max_bytes: usize,
        start_of: &impl Fn(TraceId) -> u64,
    ) -> io::Result<Self> {
        let mut layer = Self::of_others(max_bytes);
        std::fs::remove_file(temporary(path)).unwrap_or_default();
        let is_stored = |key: SpanKey| start_of(key.trace_id) != u64::MAX;
        let writer = match File::open(path) {
            Ok(file) => {
                let mut reader = LogReader::of_log(file)?;
                while let Some(payload) = reader.next_payload()? {
                    let mut edges = decode(&payload);
                    edges.retain(|it| is_stored(it.child) || it.parent.is_some_and(is_stored));
                    layer.keep(&edges, start_of);
                }
                LogWriter::resume(path.to_path_buf(), reader.intact_bytes())?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let writer = LogWriter::create(path.to_path_buf())?;
                sync_folder(path)?;
                writer
            }
            Err(error) => return Err(error),
        };
        layer.log = Some(WovenLog {
            path: path.to_path_buf(),
            writer: RwLock::new(Arc::new(writer)),
        });
        Ok(layer)
    }

    /// Writes the log again once more than half of it was replaced or forgotten; returns whether it
    /// was. One thread does it.
    pub(crate) fn shorten_log(&self) -> bool {
        let Some(log) = &self.log else {
            return false;
        };
        let kept = self.encoded_bytes();
        let mut rewriting = self
            .rewriting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if log.writer().bytes() <= kept * 2 + SPARE_BYTES || !rewriting.is_due() {
            return false;
        }
        let rewritten = self.rewrite(log);
        let has_changed = rewriting.note(&rewritten);
        if let (Err(error), true) = (&rewritten, has_changed) {
            let path = log.path.display();
            tracing::error!(%path, %error, "decisions about parents cannot be written again");
        }
        rewritten.is_ok()
    }

    /// Writes a log with the decisions that are kept, in place of the former one.
    fn rewrite(&self, log: &WovenLog) -> io::Result<()> {
        let temporary = temporary(&log.path);
        std::fs::remove_file(&temporary).unwrap_or_default();
        let replaced = self.replace_log(log, &temporary);
        if replaced.is_err() {
            std::fs::remove_file(&temporary).unwrap_or_default();
        }
        replaced
    }

    fn replace_log(&self, log: &WovenLog, temporary: &Path) -> io::Result<()> {
        let former = log.writer();
        let (next, copied) = self.write_kept(&former, temporary)?;
        self.publish(log, &former, next, copied)
    }

    /// Writes the decisions that are kept to a new log, while others are made; returns it with the
    /// position in the former log behind which it may not have them.
    fn write_kept(&self, former: &LogWriter, temporary: &Path) -> io::Result<(LogWriter, u64)> {
        let mut copied = {
            let _guard = self.deciding();
            // All before this position is in memory.
            former.bytes()
        };
        let next = LogWriter::create(temporary.to_path_buf())?;
        // In the order in which they came, which is that of a later start too.
        let spans = self.ages().spans();
        let edges = spans.chunks(CHUNK_DECISIONS).flat_map(|chunk| {
            // For a moment only: those who add spans and query need the lock as well.
            let index = self.read();
            let edges = chunk.iter().filter_map(|span| index.edge(*span));
            edges.cloned().collect::<Vec<_>>()
        });
        append(&next, edges)?;
        while former.bytes() - copied > MAX_TAIL_BYTES {
            copied = copy(former, copied, &next)?;
        }
        next.sync(next.bytes())?;
        Ok((next, copied))
    }

    /// Puts a new log in place of the former one, with what came behind a position of that.
    fn publish(
        &self,
        log: &WovenLog,
        former: &LogWriter,
        next: LogWriter,
        mut copied: u64,
    ) -> io::Result<()> {
        let _guard = self.deciding();
        while former.bytes() > copied {
            copied = copy(former, copied, &next)?;
        }
        std::fs::rename(next.path(), &log.path)?;
        // Before anything is appended that would be lost with the name.
        let synced = sync_folder(&log.path);
        *log.writer.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        synced
    }

    /// Returns the length that the decisions that are kept have in a log.
    fn encoded_bytes(&self) -> u64 {
        let index = self.read();
        encoded_bytes(index.decisions(), index.alternatives())
    }

    fn deciding(&self) -> MutexGuard<'_, ()> {
        self.deciding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `decide` while no one else decides.
    pub(crate) fn decide<T>(&self, decide: impl FnOnce() -> T) -> T {
        let _guard = self.deciding();
        decide()
    }

    /// Keeps decisions, but those that are kept already; returns the number of joins that were
    /// forgotten for them.
    pub(crate) fn keep(&self, edges: &[WovenEdge], start_of: &impl Fn(TraceId) -> u64) -> u64 {
        let chunks = edges.chunks(CHUNK_DECISIONS).map(|chunk| {
            self.keep_some(chunk, start_of);
            self.evict(start_of)
        });
        chunks.sum()
    }

    fn keep_some(&self, edges: &[WovenEdge], start_of: &impl Fn(TraceId) -> u64) {
        let edges = &self.changed(edges);
        if edges.is_empty() {
            return;
        }
        let log = self.log.as_ref();
        let appended = log.map_or(Ok(()), |log| append(&log.writer(), edges.iter()));
        // A decision that is not written is found again, or missed after a restart.
        if let Err(error) = appended {
            tracing::warn!(%error, "decisions about parents are not kept");
        }
        let touched = |index: &WovenIndex| {
            let mut touched = Vec::new();
            for edge in edges {
                let parent = edge.parent.filter(|_| edge.is_joined);
                let former = index.joined_parent(edge.child);
                // Without a join, and with the same one, the groups stay.
                if parent != former {
                    touched.push(edge.child.trace_id);
                    touched.extend(parent.map(|parent| parent.trace_id));
                }
            }
            touched
        };
        self.change(touched, start_of, |index, start_of| {
            let mut ages = self.ages();
            for edge in edges {
                ages.note(edge, index.edge(edge.child));
                index.insert(edge.clone(), &start_of);
            }
        });
    }

    /// Forgets decisions beyond the limit; returns the number of joins among them.
    fn evict(&self, start_of: &impl Fn(TraceId) -> u64) -> u64 {
        let excess = {
            let index = self.read();
            self.ages().take_excess(&index, self.max_bytes)
        };
        if excess.is_empty() {
            return 0;
        }
        // The groups of the others stay as they are.
        let touched = |index: &WovenIndex| {
            let joined = excess.iter();
            let joined = joined.filter(|span| index.joined_parent(**span).is_some());
            joined.map(|span| span.trace_id).collect()
        };
        let lost = self.change(touched, start_of, |index, start_of| {
            let lost = excess.iter().filter(|span| index.remove(**span, &start_of));
            lost.count()
        });
        if lost > 0 && !self.has_evicted.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                max_bytes = self.max_bytes,
                "the earliest joins of traces are forgotten, because all take more memory than a \
                 quarter of --store-memory; raise it to keep more"
            );
        }
        lost as u64
    }

    fn ages(&self) -> MutexGuard<'_, DecisionAges> {
        self.ages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the decisions that differ from the one about the same span that they follow.
    fn changed(&self, edges: &[WovenEdge]) -> Vec<WovenEdge> {
        let index = self.read();
        let mut latest: HashMap<SpanKey, &WovenEdge> = HashMap::new();
        let changed = edges.iter().filter(|edge| {
            let former = latest.insert(edge.child, edge);
            former.or_else(|| index.edge(edge.child)) != Some(edge)
        });
        changed.cloned().collect()
    }

    /// Changes decisions about the traces that `touched` returns. The starts of these and of those
    /// that they are joined with are looked up before the decisions are locked, because all queries
    /// need them, and a start may have to be downloaded.
    fn change<T>(
        &self,
        touched: impl Fn(&WovenIndex) -> Vec<TraceId>,
        start_of: &impl Fn(TraceId) -> u64,
        change: impl FnOnce(&mut WovenIndex, &dyn Fn(TraceId) -> u64) -> T,
    ) -> T {
        let needed = |index: &WovenIndex| -> BTreeSet<TraceId> {
            let touched = touched(index).into_iter();
            let joined = touched.flat_map(|id| {
                let members = index.members(id).iter().copied();
                members.chain([id])
            });
            joined.collect()
        };
        let mut starts: HashMap<TraceId, u64> = HashMap::new();
        loop {
            let missing = needed(&self.read());
            for id in missing {
                starts.entry(id).or_insert_with(|| start_of(id));
            }
            let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
            // Others may have joined traces meanwhile.
            if needed(&index).iter().all(|id| starts.contains_key(id)) {
                return change(&mut index, &|id| {
                    starts.get(&id).copied().unwrap_or(u64::MAX)
                });
            }
        }
    }

    /// Returns where the records of the log begin and end; `None` for decisions of others.
    pub(crate) fn log_range(&self) -> Option<(u64, u64)> {
        Some((LogRecords::START, self.log.as_ref()?.writer().bytes()))
    }

    /// Returns the records of a part of the log that are whole.
    pub(crate) fn read_log(&self, start: u64, end: u64) -> io::Result<Vec<u8>> {
        let Some(log) = &self.log else {
            return Ok(Vec::new());
        };
        let length = usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX);
        let mut part = log.writer().read(start, length)?;
        part.truncate(LogRecords::read_part(&part).intact_bytes);
        Ok(part)
    }

    /// Returns a layer of decisions that others make.
    pub(crate) fn of_others(max_bytes: usize) -> Self {
        Self {
            index: RwLock::default(),
            ages: Mutex::default(),
            max_bytes,
            has_evicted: AtomicBool::new(false),
            log: None,
            rewriting: Mutex::new(RepeatedWork::every(Duration::ZERO)),
            deciding: Mutex::default(),
        }
    }

    /// Forgets all decisions.
    pub(crate) fn clear(&self) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        *index = WovenIndex::default();
        *self.ages() = DecisionAges::default();
    }

    /// Forgets all about traces that are no longer stored; returns the number of lost joins.
    pub(crate) fn forget(&self, ids: &[TraceId], start_of: &impl Fn(TraceId) -> u64) -> u64 {
        let touched = |_: &WovenIndex| ids.to_vec();
        self.change(touched, start_of, |index, start_of| {
            let lost = ids.iter().map(|id| index.remove_trace(*id, &start_of));
            lost.sum()
        })
    }

    /// Returns the estimated memory.
    pub(crate) fn bytes(&self) -> usize {
        self.read().bytes()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.read().bytes() == 0
    }

    pub(crate) fn is_joined(&self, id: TraceId) -> bool {
        !self.read().members(id).is_empty()
    }

    /// Returns whether there are decisions about the trace, or it is joined with another one.
    pub(crate) fn has_edges(&self, id: TraceId) -> bool {
        let index = self.read();
        !index.members(id).is_empty() || index.edges_of(id).next().is_some()
    }

    pub(crate) fn members(&self, id: TraceId) -> Vec<TraceId> {
        self.read().members(id).to_vec()
    }

    pub(crate) fn representative(&self, id: TraceId) -> TraceId {
        self.read().representative(id)
    }

    pub(crate) fn edges_of(&self, id: TraceId) -> Vec<WovenEdge> {
        self.read().edges_of(id).cloned().collect()
    }

    /// Takes note of another start of traces.
    pub(crate) fn start_changed(&self, ids: &[TraceId], start_of: &impl Fn(TraceId) -> u64) {
        if ids.is_empty() || self.is_empty() {
            return;
        }
        let touched = |_: &WovenIndex| ids.to_vec();
        self.change(touched, start_of, |index, start_of| {
            for id in ids {
                index.start_changed(*id, &start_of);
            }
        });
    }

    /// Returns the numbers of joins and of joined traces.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let index = self.read();
        (index.joined(), index.groups())
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        let writer = self.log.as_ref().map(WovenLog::writer);
        writer.map_or(Ok(()), |writer| writer.sync(writer.bytes()))
    }

    fn read(&self) -> RwLockReadGuard<'_, WovenIndex> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl WovenLog ===

impl WovenLog {
    fn writer(&self) -> Arc<LogWriter> {
        Arc::clone(&self.writer.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn temporary(path: &Path) -> PathBuf {
    path.with_extension("log.tmp")
}

/// Makes the names in the folder of a file durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent()
        .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Appends decisions to a log, as records of a limited length.
fn append<E: Borrow<WovenEdge>>(log: &LogWriter, edges: impl Iterator<Item = E>) -> io::Result<()> {
    let mut payload = Vec::new();
    for edge in edges {
        encode(edge.borrow(), &mut payload);
        if payload.len() >= RECORD_BYTES {
            log.append(RecordKind::Decisions, &payload)?;
            payload.clear();
        }
    }
    if !payload.is_empty() {
        log.append(RecordKind::Decisions, &payload)?;
    }
    Ok(())
}

/// Copies the records of about one length from a position on; returns the position behind them.
fn copy(from: &LogWriter, position: u64, to: &LogWriter) -> io::Result<u64> {
    let rest = usize::try_from(from.bytes() - position).unwrap_or(usize::MAX);
    let part = from.read(position, rest.min(RECORD_BYTES * 2))?;
    let read = LogRecords::read_part(&part);
    if read.records.is_empty() {
        return Err(io::Error::other("the log of decisions is damaged"));
    }
    for record in &read.records {
        to.append(record.kind, record.payload)?;
    }
    Ok(position + read.intact_bytes as u64)
}

#[cfg(test)]
mod tests {
    use throughline_model::SpanId;
    use throughline_store::{AlternativeParent, WovenEvidence};

    use super::*;

    fn key(number: u64) -> SpanKey {
        SpanKey {
            trace_id: TraceId::from_bytes(u128::from(number).to_be_bytes()).unwrap(),
            span_id: SpanId::from_bytes(number.to_be_bytes()).unwrap(),
        }
    }

    fn edge(child: u64, parent: u64) -> WovenEdge {
        WovenEdge {
            child: key(child),
            parent: Some(key(parent)),
            evidence: WovenEvidence::ALL[0],
            confidence: 0.75,
            alternatives: Vec::new(),
            is_joined: true,
        }
    }

    fn open(path: &Path) -> WovenLayer {
        WovenLayer::open(path, usize::MAX, &start_of).unwrap()
    }

    const fn start_of(_: TraceId) -> u64 {
        7
    }

    fn length(layer: &WovenLayer) -> u64 {
        layer.log_range().unwrap().1
    }

    #[test]
    fn any_part_of_the_log_has_a_record() {
        let folder = tempfile::tempdir().unwrap();
        let layer = open(&folder.path().join("woven.log"));
        let other = AlternativeParent {
            parent: None,
            confidence: 0.25,
        };
        let edges = (1..=70_000).map(|it| WovenEdge {
            alternatives: vec![other; 3],
            ..edge(it * 2, it * 2 + 1)
        });
        let edges: Vec<WovenEdge> = edges.collect();
        layer.keep(&edges, &start_of);
        let (mut start, length) = layer.log_range().unwrap();
        assert!(length > 9 << 20, "{length}");
        let mut read = Vec::new();
        while start < length {
            let part = layer
                .read_log(start, length.min(start + (8 << 20)))
                .unwrap();
            assert!(!part.is_empty(), "nothing can be read at {start}");
            start += part.len() as u64;
            let records = LogRecords::read_part(&part).records;
            read.extend(records.iter().flat_map(|it| decode(it.payload)));
        }
        assert_eq!(read, edges);
    }

    #[test]
    fn the_log_is_as_long_as_the_decisions_that_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("woven.log");
        let layer = open(&path);
        // A decision that is there, and one that is there after another.
        layer.keep(&[edge(1, 2)], &start_of);
        let once = length(&layer);
        layer.keep(&[edge(1, 2)], &start_of);
        assert_eq!(length(&layer), once);
        layer.keep(&[edge(1, 3), edge(1, 2)], &start_of);
        assert_eq!(layer.edges_of(key(1).trace_id), [edge(1, 2)]);
        let mut shortened = 0;
        for round in 0..40 {
            let edges = (1..=1000).map(|child| edge(child, 10_000 + child * 2 + round % 2));
            layer.keep(&edges.collect::<Vec<_>>(), &start_of);
            let before = length(&layer);
            if layer.shorten_log() {
                shortened += 1;
                assert!(length(&layer) < before / 2);
            }
            assert!(length(&layer) < 2 << 20, "{}", length(&layer));
        }
        assert!(shortened > 1);
        // Those of traces that are gone are not written again.
        let gone: Vec<TraceId> = (1..=990).map(|child| key(child).trace_id).collect();
        layer.forget(&gone, &start_of);
        while !layer.shorten_log() {
            let edges =
                (991..=1000).flat_map(|child| [edge(child, 2000), edge(child, child + 3000)]);
            layer.keep(&edges.collect::<Vec<_>>(), &start_of);
        }
        assert!(length(&layer) < 4000, "{}", length(&layer));
        assert_eq!(path.metadata().unwrap().len(), length(&layer));
        drop(layer);
        let layer = open(&path);
        assert_eq!(layer.counts().0, 10);
        assert_eq!(layer.edges_of(key(991).trace_id), [edge(991, 3991)]);
    }

    #[test]
    fn a_log_is_not_written_again_because_it_grows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("woven.log");
        let layer = open(&path);
        let edges = |numbers: std::ops::Range<u64>| {
            let edges = numbers.map(|child| edge(child, child + 1_000_000));
            edges.collect::<Vec<_>>()
        };
        for round in 0..8 {
            let first = 1 + round * 10_000;
            layer.keep(&edges(first..first + 10_000), &start_of);
            assert!(!layer.shorten_log());
        }
        assert!(length(&layer) > 4 * SPARE_BYTES, "{}", length(&layer));
        // Neither at a start.
        let inode = || std::os::unix::fs::MetadataExt::ino(&path.metadata().unwrap());
        let before = inode();
        drop(layer);
        let layer = open(&path);
        assert_eq!((inode(), layer.counts().0), (before, 80_000));
        // Once most of them are gone it is.
        let gone: Vec<TraceId> = (1..50_000).map(|child| key(child).trace_id).collect();
        layer.forget(&gone, &start_of);
        assert!(layer.shorten_log() && inode() != before);
        assert!(length(&layer) < 2 * SPARE_BYTES, "{}", length(&layer));
    }

    #[test]
    fn decisions_are_made_while_the_log_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("woven.log");
        let layer = open(&path);
        layer.keep(&[edge(1, 2), edge(3, 4)], &start_of);
        let log = layer.log.as_ref().unwrap();
        let former = log.writer();
        let (next, copied) = layer.write_kept(&former, &temporary(&path)).unwrap();
        layer.decide(|| layer.keep(&[edge(3, 5), edge(6, 7)], &start_of));
        layer.publish(log, &former, next, copied).unwrap();
        layer.keep(&[edge(8, 9)], &start_of);
        assert!(!temporary(&path).exists());
        drop(layer);
        let layer = open(&path);
        for (child, parent) in [(1, 2), (3, 5), (6, 7), (8, 9)] {
            assert_eq!(layer.edges_of(key(child).trace_id), [edge(child, parent)]);
        }
    }

    #[test]
    fn a_log_that_cannot_be_written_again_leaves_nothing_and_is_tried_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("own").join("woven.log");
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        let layer = open(&path);
        let revisions = (0..40_000).map(|at| edge(1, 2 + at % 2));
        layer.keep(&revisions.collect::<Vec<_>>(), &start_of);
        // A folder that is not empty cannot be replaced by a file.
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir_all(path.join("below")).unwrap();
        assert!(!layer.shorten_log());
        assert!(!temporary(&path).exists());
        std::fs::remove_dir_all(&path).unwrap();
        // The next attempt waits a second.
        assert!(!layer.shorten_log());
        assert!(!path.exists());
    }

    #[test]
    fn decisions_take_no_more_memory_than_they_may_and_open_ones_go_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("woven.log");
        let max_bytes = 1 << 20;
        let layer = WovenLayer::open(&path, max_bytes, &start_of).unwrap();
        let open = |child| WovenEdge {
            is_joined: false,
            ..edge(child, child + 1_000_000)
        };
        let join = |child| edge(child, child + 1_000_000);
        // Open at first, and joined since.
        layer.keep(&[open(300_000), join(300_000)], &start_of);
        let mut lost = 0;
        for first in (1..100_000).step_by(1000) {
            let opens = (first..first + 800).map(open);
            let joins = (first + 800..first + 810).map(join);
            let edges: Vec<WovenEdge> = opens.chain(joins).collect();
            lost += layer.keep(&edges, &start_of);
            assert!(layer.bytes() <= max_bytes, "{}", layer.bytes());
        }
        // All joins have room.
        assert_eq!((lost, layer.counts().0), (0, 1001));
        let is_kept = |child| !layer.edges_of(key(child).trace_id).is_empty();
        assert!(!is_kept(1) && is_kept(801) && is_kept(99_700) && is_kept(300_000));
        let joins: Vec<WovenEdge> = (200_000..205_000).map(join).collect();
        lost += layer.keep(&joins, &start_of);
        assert_eq!(layer.counts().0 as u64 + lost, 6001);
        assert!(!is_kept(801) && !is_kept(99_801) && is_kept(204_999));
        assert!(layer.bytes() <= max_bytes && layer.bytes() > max_bytes / 2);
        // A start keeps as much, and the latest as well, also from a log that was written again.
        while !layer.shorten_log() {
            layer.keep(&(1..1000).map(open).collect::<Vec<_>>(), &start_of);
        }
        drop(layer);
        let layer = WovenLayer::open(&path, max_bytes / 2, &start_of).unwrap();
        assert!(layer.bytes() <= max_bytes / 2 && layer.counts().0 > 300);
        let is_kept = |child| !layer.edges_of(key(child).trace_id).is_empty();
        assert!(is_kept(204_999) && !is_kept(203_000));
    }
}
