use std::sync::Mutex;

use throughline_model::{Span, SpanId, TraceId};
use throughline_store::{InsertError, MemoryStore, SpanKey, WeavingView, WovenEvidence};

use super::*;
use crate::weaving::sent_traces::ReportedSpan;
use crate::weaving::test_span::call_span;
use crate::weaving::trace_forwarder::SpanArrival;

/// A log that keeps what it gets, and has entries of another collector.
#[derive(Debug, Default)]
struct RecordingLog {
    values: Mutex<Vec<Vec<u8>>>,
    others: Vec<SharedEntry>,
}

impl DecisionLog for RecordingLog {
    fn append(&self, _key: &str, value: &[u8]) -> bool {
        self.values.lock().unwrap().push(value.to_vec());
        true
    }

    fn flush(&self) -> Result<(), InsertError> {
        Ok(())
    }

    fn written(&self) -> u64 {
        self.values.lock().unwrap().len() as u64
    }

    fn read(&self, take: &dyn Fn(Option<&[u8]>) -> Option<String>, _stop: &CancellationToken) {
        for entry in &self.others {
            assert_eq!(take(Some(&entry.encode("other"))), None);
        }
    }
}

impl RecordingLog {
    /// Returns the decisions that were appended.
    fn decisions(&self) -> Vec<(SpanKey, Option<SpanKey>, bool)> {
        let values = self.values.lock().unwrap();
        let entries = values.iter().map(|value| {
            match SharedEntry::decode(value, "reader").unwrap().unwrap() {
                SharedEntry::Parent(edge) => (edge.child, edge.parent, edge.is_joined),
                SharedEntry::Record(record) => panic!("{record:?}"),
            }
        });
        entries.collect()
    }
}

fn key(trace: u64) -> SpanKey {
    SpanKey {
        trace_id: TraceId::from_bytes(u128::from(trace).to_be_bytes()).unwrap(),
        span_id: SpanId::from_bytes(trace.to_be_bytes()).unwrap(),
    }
}

fn span(trace: u64) -> Span {
    call_span(key(trace), None, (1_000, 2_000))
}

fn edge(child: u64, parent: u64) -> WovenEdge {
    WovenEdge {
        child: key(child),
        parent: Some(key(parent)),
        evidence: WovenEvidence::Timing,
        confidence: 0.97,
        alternatives: Vec::new(),
        is_joined: true,
    }
}

/// Makes a weaver with these traces of one span.
fn weaver(log: &Arc<RecordingLog>, traces: &[u64]) -> (WeavingFeed, WeavingTask) {
    let store = Arc::new(MemoryStore::new(1 << 20));
    store.insert(traces.iter().copied().map(span).collect());
    let links = WeavingLinks {
        decisions: Some(Arc::clone(log) as _),
        ..WeavingLinks::default()
    };
    let settings = WeavingSettings::default();
    WeavingTask::new(store, Arc::default(), settings, links)
}

fn parent_of(state: &WeavingState, child: u64) -> Option<SpanKey> {
    let trace = state.store.trace(key(child).trace_id, WeavingView::Woven)?;
    let mut edges = trace.edges.into_iter();
    let edge = edges.find(|edge| edge.child == key(child));
    edge.and_then(|edge| edge.parent.filter(|_| edge.is_joined))
}

#[test]
fn decisions_are_shared_once_they_are_kept_and_final() {
    let log = Arc::new(RecordingLog::default());
    let (_feed, WeavingTask { mut state, .. }) = weaver(&log, &[1, 2, 3, 4]);
    // The store has neither of these spans, and refuses a circle.
    state.decide(
        vec![edge(2, 1), edge(8, 9), edge(1, 2)],
        DecisionOrigin::Final,
    );
    assert_eq!(log.decisions(), [(key(2), Some(key(1)), true)]);
    state.decide(vec![edge(3, 1)], DecisionOrigin::Provisional);
    assert_eq!(log.decisions().len(), 1);
    let separated = WovenEdge {
        is_joined: false,
        ..edge(3, 1)
    };
    state.decide(vec![separated], DecisionOrigin::Separated);
    state.decide(vec![edge(4, 1)], DecisionOrigin::Confirmed);
    assert_eq!(
        log.decisions()[1..],
        [(key(3), Some(key(1)), false), (key(4), Some(key(1)), true)]
    );
    // Others know their decisions.
    state.decide(vec![edge(3, 2)], DecisionOrigin::Shared);
    assert_eq!(log.decisions().len(), 3);
    assert_eq!(parent_of(&state, 3), Some(key(2)));
    let counted = |key| state.metrics.sum(|other| other == key);
    assert_eq!(counted(CounterKey::Woven("timing")), 2);
    assert_eq!(counted(CounterKey::WeaveAbandoned("evicted")), 1);
    assert_eq!(counted(CounterKey::WeaveAbandoned("cyclic")), 1);
}

#[test]
fn decision_that_was_superseded_does_not_come_back_with_its_spans() {
    let log = Arc::new(RecordingLog::default());
    let (_feed, WeavingTask { mut state, .. }) = weaver(&log, &[2]);
    // Neither the child nor the first parent is stored; the second parent is.
    state.decide(vec![edge(3, 1)], DecisionOrigin::Shared);
    state.decide(vec![edge(3, 2)], DecisionOrigin::Shared);
    for trace in [1, 3] {
        state.store.insert(vec![span(trace)]).unwrap();
        let batch = WeavingBatch {
            arrivals: vec![SpanArrival {
                trace: key(trace).trace_id,
                span: ReportedSpan::of(&span(trace)),
            }],
            ..WeavingBatch::default()
        };
        state.take_batches(vec![batch], 1);
    }
    assert_eq!(parent_of(&state, 3), Some(key(2)));
}

#[tokio::test]
async fn spans_that_come_here_do_not_wait_for_the_entries_of_others() {
    let log = Arc::new(RecordingLog {
        others: (0..1_000)
            .map(|child| SharedEntry::Parent(edge(child + 10, 1)))
            .collect(),
        ..RecordingLog::default()
    });
    let (feed, mut task) = weaver(&log, &[]);
    let reader = task.decision_reader().unwrap();
    let (stopping, mut ticks) = (
        CancellationToken::new(),
        tokio::time::interval(POLL_INTERVAL),
    );
    let reading = stopping.clone();
    tokio::task::spawn_blocking(move || reader(reading))
        .await
        .unwrap();
    let mut entries = 0;
    for _ in 0..10 {
        feed.offer(feed.read(&[span(2)]));
        let turn = task.inputs.next_turn(&mut ticks, &stopping).await;
        assert_eq!(turn.batches.len(), 1);
        assert!(!turn.is_last && turn.entries.len() <= MAX_JOINED_ENTRIES);
        entries += turn.entries.len();
    }
    // They have their share nevertheless.
    assert_eq!(entries, 10 * MAX_JOINED_ENTRIES);
}
