//! Decisions about parents, in memory and in a log of their own.
//!
//! A payload is the decisions one after another, as lines of JSON: they are few, and their fields
//! may grow.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};

use serde_json::{Value, json};
use throughline_model::{SpanId, TraceId};
use throughline_store::{AlternativeParent, SpanKey, WovenEdge, WovenEvidence, WovenIndex};

use crate::request_log::{LogRecords, LogWriter, RecordKind};

/// All decisions.
#[derive(Debug)]
pub(crate) struct WovenLayer {
    index: RwLock<WovenIndex>,
    /// None for decisions of others.
    log: Option<LogWriter>,
    /// One decider at a time: a decision depends on the earlier ones.
    deciding: Mutex<()>,
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
        let mut kept: Vec<SpanKey> = Vec::new();
        for record in &read.records {
            for edge in decode(record.payload) {
                if is_stored(edge.child) || edge.parent.is_some_and(is_stored) {
                    kept.push(edge.child);
                    index.insert(edge, start_of);
                }
            }
        }
        // Written again, without the decisions that were replaced or are no longer needed.
        kept.sort_unstable();
        kept.dedup();
        let temporary = path.with_extension("log.tmp");
        std::fs::remove_file(&temporary).unwrap_or_default();
        let log = LogWriter::create(temporary.clone())?;
        let mut traces: Vec<TraceId> = kept.iter().map(|child| child.trace_id).collect();
        traces.dedup();
        for chunk in traces.chunks(256) {
            let edges = chunk.iter().flat_map(|id| index.edges_of(*id));
            log.append(RecordKind::Decisions, &encode(edges))?;
        }
        log.sync(u64::MAX)?;
        std::fs::rename(&temporary, path)?;
        Ok(Self {
            index: RwLock::new(index),
            log: Some(log),
            deciding: Mutex::default(),
        })
    }

    /// Runs `decide` while no one else decides.
    pub(crate) fn decide<T>(&self, decide: impl FnOnce() -> T) -> T {
        let _guard = self.deciding.lock().unwrap_or_else(PoisonError::into_inner);
        decide()
    }

    /// Keeps decisions.
    pub(crate) fn keep(&self, edges: &[WovenEdge], start_of: &impl Fn(TraceId) -> u64) {
        if edges.is_empty() {
            return;
        }
        let appended = self.log.as_ref().map_or(Ok(0), |log| {
            log.append(RecordKind::Decisions, &encode(edges.iter()))
        });
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
        let log = self.log.as_ref()?;
        Some((LogRecords::START, log.bytes()))
    }

    /// Returns the records of a part of the log that are whole.
    pub(crate) fn read_log(&self, start: u64, end: u64) -> io::Result<Vec<u8>> {
        let Some(log) = &self.log else {
            return Ok(Vec::new());
        };
        let length = usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX);
        let mut part = log.read(start, length)?;
        part.truncate(LogRecords::read_part(&part).intact_bytes);
        Ok(part)
    }

    /// Returns a layer of decisions that others make.
    pub(crate) fn of_others() -> Self {
        Self {
            index: RwLock::default(),
            log: None,
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
        let log = self.log.as_ref();
        log.map_or(Ok(()), |log| log.sync(log.bytes()))
    }

    fn read(&self) -> RwLockReadGuard<'_, WovenIndex> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn encode<'a>(edges: impl Iterator<Item = &'a WovenEdge>) -> Vec<u8> {
    let lines = edges.map(|edge| {
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
    });
    lines.collect::<Vec<_>>().join("\n").into_bytes()
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
