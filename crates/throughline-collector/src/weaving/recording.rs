//! Weaving of a recording: all spans at once, with what can be learned from all of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use throughline_model::Span;
use throughline_store::{MemoryStore, Store as _, TraceQuery, WovenEdge};
use throughline_weave::{WeaveEvent, weave_recording};

use super::activity_span::{ActivityRole, ActivitySpan};
use super::kept_edges::MIN_NONE;
use super::offset_join::OffsetJoin;
use super::process_weaver::SpanNumbers;
use super::record_endpoint::RecordEndpoint;

/// The spans of a recording with the parents that were found, and a report.
#[derive(Debug)]
pub struct WovenSpans {
    /// All spans, by trace.
    pub spans: Vec<Arc<Span>>,
    /// Counts of the parents that were found.
    pub report: WeavingReport,
}

/// Counts of the parents that were found in a recording.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WeavingReport {
    /// Number of spans.
    pub spans: u64,
    /// Traces as they were reported.
    pub reported_traces: u64,
    /// Traces after weaving.
    pub traces: u64,
    /// Number of processes with spans that lack a parent.
    pub processes: u64,
    /// Spans that were joined with a parent, by evidence.
    pub joined: BTreeMap<&'static str, JoinedSpans>,
    /// Spans whose most likely parent is not certain enough.
    pub uncertain: u64,
    /// Spans that most likely have no parent: those of jobs and timers.
    pub without_parent: u64,
}

/// Spans that were joined by one kind of evidence.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct JoinedSpans {
    /// Their number.
    pub count: u64,
    /// Sum of their confidences: the number of them that is expected to be right.
    pub confidence: f64,
}

/// The state of weaving a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeavingProgress {
    /// Processes that are done.
    pub done: usize,
    /// All processes.
    pub processes: usize,
}

/// Weaves a recording.
#[must_use]
pub fn weave_spans(
    spans: Vec<Span>,
    min_confidence: f64,
    progress: &mut dyn FnMut(WeavingProgress),
) -> WovenSpans {
    let mut edges = Vec::new();
    // Nothing is forgotten: the recording is in memory anyway.
    let mut offsets = OffsetJoin::with_limit(usize::MAX);
    for record in spans.iter().filter_map(RecordEndpoint::of) {
        offsets.push(record, &mut edges);
    }
    drop(offsets);
    let mut processes: BTreeMap<u64, Vec<ActivitySpan>> = BTreeMap::new();
    for span in spans.iter().filter_map(ActivitySpan::of) {
        processes.entry(span.process).or_default().push(span);
    }
    processes.retain(|_, spans| spans.iter().any(ActivitySpan::is_open));
    let count = processes.len();
    for (done, (_, spans)) in processes.into_iter().enumerate() {
        progress(WeavingProgress {
            done,
            processes: count,
        });
        edges.extend(weave_process(spans, min_confidence));
    }
    let mut report = WeavingReport {
        spans: spans.len() as u64,
        processes: count as u64,
        ..WeavingReport::default()
    };
    report.count(&edges);
    let store = MemoryStore::new(usize::MAX);
    store.insert(spans);
    report.reported_traces = store.occupancy().traces as u64;
    store.weave(edges);
    let traces = store.search_traces(&TraceQuery::default());
    report.traces = traces.len() as u64;
    WovenSpans {
        spans: traces.into_iter().flat_map(|trace| trace.spans).collect(),
        report,
    }
}

/// Finds the parents of the spans of one process.
fn weave_process(mut spans: Vec<ActivitySpan>, min_confidence: f64) -> Vec<WovenEdge> {
    let mut numbers = SpanNumbers::with_limit(usize::MAX);
    spans.sort_by_key(|span| (span.start, span.end, span.key));
    let is_received = |span: &ActivitySpan| {
        matches!(
            span.role,
            ActivityRole::Request { .. } | ActivityRole::Record { .. }
        )
    };
    // Received ones first: the others refer to them.
    let (received, others): (Vec<_>, Vec<_>) = spans.iter().partition(|span| is_received(span));
    let events: Vec<WeaveEvent> = received
        .into_iter()
        .chain(others)
        .flat_map(|span| numbers.events(span))
        .collect();
    let woven = weave_recording(&events, None);
    let decisions = woven.decisions.iter();
    decisions
        .filter_map(|decision| numbers.edge(decision, min_confidence))
        .collect()
}

// === impl WeavingReport ===

impl WeavingReport {
    fn count(&mut self, edges: &[WovenEdge]) {
        for edge in edges {
            if edge.is_joined {
                let joined = self.joined.entry(edge.evidence.name()).or_default();
                joined.count += 1;
                joined.confidence += edge.confidence;
            } else if edge.parent.is_some() || edge.confidence < MIN_NONE {
                self.uncertain += 1;
            } else {
                self.without_parent += 1;
            }
        }
    }
}
