//! Decisions about parents, in memory and in a log of their own.
//!
//! A payload is the decisions one after another, as lines of JSON: they are few, and their fields
//! may grow.

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use serde_json::{Value, json};
use throughline_model::{SpanId, TraceId};
use throughline_store::{AlternativeParent, SpanKey, WovenEdge, WovenEvidence, WovenIndex};

use crate::request_log::{LogRecords, LogWriter, RecordKind};

/// Length at which a record of the log ends: no more than this is read to upload a part of it.
const RECORD_BYTES: usize = 4 << 20;

/// Length that the log may have beyond twice that of the decisions that were left when it was
/// written last.
const SPARE_BYTES: u64 = 1 << 20;

/// All decisions.
#[derive(Debug)]
pub(crate) struct WovenLayer {
    index: RwLock<WovenIndex>,
    /// None for decisions of others.
    log: Option<RwLock<WovenLog>>,
    /// Whether the log could not be written again.
    is_failing: AtomicBool,
    /// One decider at a time: a decision depends on the earlier ones.
    deciding: Mutex<()>,
}

/// The log of decisions. It has those that were replaced or forgotten too, until it is written
/// again.
#[derive(Debug, Clone)]
struct WovenLog {
    path: PathBuf,
    writer: Arc<LogWriter>,
    /// Its length when it was written.
    written: u64,
}

// === impl WovenLayer ===

impl WovenLayer {
    /// Reads the decisions that a former process left. `start_of` returns the start of a stored
    /// trace, and the greatest number for another. A decision of which no trace is stored is
    /// forgotten.
    pub(crate) fn open(path: &Path, start_of: &impl Fn(TraceId) -> u64) -> io::Result<Self> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut index = WovenIndex::default();
        let read = LogRecords::read(&bytes);
        let is_stored = |key: SpanKey| start_of(key.trace_id) != u64::MAX;
        for record in &read.records {
            for edge in decode(record.payload) {
                if is_stored(edge.child) || edge.parent.is_some_and(is_stored) {
                    index.insert(edge, start_of);
                }
            }
        }
        // Written again, without the decisions that were replaced or are no longer needed.
        let mut layer = Self::of_others();
        layer.index = RwLock::new(index);
        layer.log = Some(RwLock::new(layer.write_log(path)?));
        Ok(layer)
    }

    /// Writes a log with the decisions that are kept, in place of another one.
    fn write_log(&self, path: &Path) -> io::Result<WovenLog> {
        let temporary = path.with_extension("log.tmp");
        std::fs::remove_file(&temporary).unwrap_or_default();
        let writer = LogWriter::create(temporary.clone())?;
        let traces = self.read().decided_traces();
        let edges = traces.chunks(256).flat_map(|chunk| {
            // For a moment only: those who add spans and query need the lock as well.
            let index = self.read();
            let edges = chunk.iter().flat_map(|id| index.edges_of(*id));
            edges.cloned().collect::<Vec<_>>()
        });
        append(&writer, edges)?;
        writer.sync(u64::MAX)?;
        std::fs::rename(&temporary, path)?;
        Ok(WovenLog {
            path: path.to_path_buf(),
            written: writer.bytes(),
            writer: Arc::new(writer),
        })
    }

    /// Writes the log again once most of it may have been replaced or forgotten; returns whether it
    /// was.
    pub(crate) fn shorten_log(&self) -> bool {
        let is_due = |log: &WovenLog| log.writer.bytes() > log.written * 2 + SPARE_BYTES;
        let Some(log) = self.log().filter(is_due) else {
            return false;
        };
        // Nothing is appended meanwhile.
        let Ok(_guard) = self.deciding.try_lock() else {
            return false;
        };
        let shorter = self.write_log(&log.path);
        let was_failing = self.is_failing.swap(shorter.is_err(), Ordering::Relaxed);
        match (shorter, &self.log) {
            (Ok(shorter), Some(log)) => {
                *log.write().unwrap_or_else(PoisonError::into_inner) = shorter;
                return true;
            }
            (Err(error), _) if !was_failing => {
                let path = log.path.display();
                tracing::error!(%path, %error, "decisions about parents cannot be written again");
            }
            _ => {}
        }
        false
    }

    fn log(&self) -> Option<WovenLog> {
        let log = self.log.as_ref()?;
        Some(log.read().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Runs `decide` while no one else decides.
    pub(crate) fn decide<T>(&self, decide: impl FnOnce() -> T) -> T {
        let _guard = self.deciding.lock().unwrap_or_else(PoisonError::into_inner);
        decide()
    }

    /// Keeps decisions, but those that are kept already.
    pub(crate) fn keep(&self, edges: &[WovenEdge], start_of: &impl Fn(TraceId) -> u64) {
        let edges = &self.changed(edges);
        if edges.is_empty() {
            return;
        }
        let appended = self
            .log()
            .map_or(Ok(()), |log| append(&log.writer, edges.iter()));
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
            for edge in edges {
                index.insert(edge.clone(), &start_of);
            }
        });
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
        Some((LogRecords::START, self.log()?.writer.bytes()))
    }

    /// Returns the records of a part of the log that are whole.
    pub(crate) fn read_log(&self, start: u64, end: u64) -> io::Result<Vec<u8>> {
        let Some(log) = self.log() else {
            return Ok(Vec::new());
        };
        let length = usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX);
        let mut part = log.writer.read(start, length)?;
        part.truncate(LogRecords::read_part(&part).intact_bytes);
        Ok(part)
    }

    /// Returns a layer of decisions that others make.
    pub(crate) fn of_others() -> Self {
        Self {
            index: RwLock::default(),
            log: None,
            is_failing: AtomicBool::new(false),
            deciding: Mutex::default(),
        }
    }

    /// Forgets all decisions.
    pub(crate) fn clear(&self) {
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = WovenIndex::default();
    }

    /// Forgets all about traces that are no longer stored; returns the number of lost joins.
    pub(crate) fn forget(&self, ids: &[TraceId], start_of: &impl Fn(TraceId) -> u64) -> u64 {
        let touched = |_: &WovenIndex| ids.to_vec();
        self.change(touched, start_of, |index, start_of| {
            let lost = ids.iter().map(|id| index.remove_trace(*id, &start_of));
            lost.sum()
        })
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
        let log = self.log();
        log.map_or(Ok(()), |log| log.writer.sync(log.writer.bytes()))
    }

    fn read(&self) -> RwLockReadGuard<'_, WovenIndex> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Appends decisions to a log, as records of a limited length.
fn append<E: Borrow<WovenEdge>>(log: &LogWriter, edges: impl Iterator<Item = E>) -> io::Result<()> {
    let mut payload = Vec::new();
    for edge in edges {
        if !payload.is_empty() {
            payload.push(b'\n');
        }
        payload.extend_from_slice(encode(edge.borrow()).as_bytes());
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

fn encode(edge: &WovenEdge) -> String {
    let alternatives = edge.alternatives.iter();
    let alternatives = alternatives
        .map(|other| json!([other.parent.map(encode_key), other.confidence]))
        .collect::<Vec<_>>();
    json!({
        "child": encode_key(edge.child),
        "parent": edge.parent.map(encode_key),
        "evidence": edge.evidence.name(),
        "confidence": edge.confidence,
        "alternatives": alternatives,
        "joined": edge.is_joined,
    })
    .to_string()
}

fn encode_key(key: SpanKey) -> String {
    format!("{}-{}", key.trace_id, key.span_id)
}

/// Decodes the payload of a record.
pub(crate) fn decode(payload: &[u8]) -> Vec<WovenEdge> {
    let lines = payload.split(|byte| *byte == b'\n');
    lines
        .filter_map(|line| decode_edge(&serde_json::from_slice(line).ok()?))
        .collect()
}

fn decode_edge(line: &Value) -> Option<WovenEdge> {
    let name = line.get("evidence")?.as_str()?;
    let mut evidence = WovenEvidence::ALL.into_iter();
    let alternatives = line.get("alternatives")?.as_array()?.iter();
    let alternative = |other: &Value| {
        Some(AlternativeParent {
            parent: decode_key(other.get(0)?),
            confidence: other.get(1)?.as_f64()?,
        })
    };
    Some(WovenEdge {
        child: decode_key(line.get("child")?)?,
        parent: decode_key(line.get("parent")?),
        evidence: evidence.find(|evidence| evidence.name() == name)?,
        confidence: line.get("confidence")?.as_f64()?,
        alternatives: alternatives.filter_map(alternative).collect(),
        is_joined: line.get("joined")?.as_bool()?,
    })
}

fn decode_key(value: &Value) -> Option<SpanKey> {
    let (trace_id, span_id) = value.as_str()?.split_once('-')?;
    Some(SpanKey {
        trace_id: TraceId::from_hex(trace_id)?,
        span_id: SpanId::from_hex(span_id)?,
    })
}

#[cfg(test)]
mod tests {
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

    const fn start_of(_: TraceId) -> u64 {
        7
    }

    fn length(layer: &WovenLayer) -> u64 {
        layer.log_range().unwrap().1
    }

    #[test]
    fn any_part_of_the_log_has_a_record() {
        let folder = tempfile::tempdir().unwrap();
        let layer = WovenLayer::open(&folder.path().join("woven.log"), &start_of).unwrap();
        let edges: Vec<WovenEdge> = (1..=60_000).map(|it| edge(it * 2, it * 2 + 1)).collect();
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
        let layer = WovenLayer::open(&path, &start_of).unwrap();
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
        let layer = WovenLayer::open(&path, &start_of).unwrap();
        assert_eq!(layer.counts().0, 10);
        assert_eq!(layer.edges_of(key(991).trace_id), [edge(991, 3991)]);
    }
}
