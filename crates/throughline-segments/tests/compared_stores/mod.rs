//! Spans of two processes, and stores that must give the same answers about them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use throughline_model::{
    DroppedCounts, KeyValue, Resource, Scope, Span, SpanId, SpanKind, Status, TraceId,
};
use throughline_store::{SpanKey, Store, TraceQuery, WeavingView, WovenEdge, WovenEvidence};

const BEGIN: u64 = 1_764_450_000_000_000_000;
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// Returns a span of a trace; its parent is the one with the id before.
pub(crate) fn span(trace: u64, id: u64, service: &str) -> Span {
    let span_id = |id: u64| SpanId::from_bytes(id.to_be_bytes()).unwrap();
    let start = BEGIN + trace * 1_000_000 + id * 1_000;
    Span {
        trace_id: trace_id(trace),
        span_id: span_id(id),
        parent_span_id: (id > 1).then(|| span_id(id - 1)),
        flags: 0,
        trace_state: String::new(),
        name: format!("step {id}"),
        kind: if id.is_multiple_of(2) {
            SpanKind::Client
        } else {
            SpanKind::Server
        },
        start,
        end: start + 500,
        attributes: vec![KeyValue::new("user.id", (trace % 5).to_string())],
        events: Vec::new(),
        links: Vec::new(),
        status: Status::Unset,
        status_message: Box::default(),
        dropped: DroppedCounts::default(),
        resource: Arc::new(Resource {
            attributes: vec![KeyValue::new("service.name", service.to_owned())],
            schema_url: String::new(),
        }),
        scope: Arc::new(Scope::default()),
    }
}

fn trace_id(trace: u64) -> TraceId {
    TraceId::from_bytes(u128::from(trace).to_be_bytes()).unwrap()
}

/// The spans of some traces: the first two of each are those of one process, the others those of
/// another one.
pub(crate) fn halves(traces: std::ops::Range<u64>) -> [Vec<Span>; 2] {
    let half = |ids: [u64; 2], service: &str| {
        let spans = traces
            .clone()
            .flat_map(|trace| ids.map(|id| span(trace, id, service)));
        spans.collect()
    };
    [half([1, 2], "shop"), half([3, 4], "billing")]
}

/// Waits until both stores give the same answers.
pub(crate) fn assert_same(queried: &dyn Store, expected: &dyn Store) {
    let query = TraceQuery::default();
    let all = |store: &dyn Store| {
        let page = store.search(&query);
        let traces = page.traces.iter().map(|it| {
            let trace = store.trace(it.id, WeavingView::Woven).unwrap();
            (it.id, trace.spans, trace.edges.len(), trace.fragments)
        });
        (traces.collect::<Vec<_>>(), store.services())
    };
    let deadline = Instant::now() + TIMEOUT;
    while all(queried) != all(expected) && Instant::now() < deadline {
        std::thread::park_timeout(Duration::from_millis(20));
    }
    assert_eq!(all(queried), all(expected));
    let graph = |store: &dyn Store| {
        let graph = store.service_graph(0, u64::MAX);
        (graph.spans, graph.dependencies)
    };
    assert_eq!(graph(queried), graph(expected));
    assert!(!graph(expected).1.is_empty());
}

/// Returns a decision that joins the first span of a trace with that of another one.
pub(crate) fn edge(child: u64, parent: u64) -> WovenEdge {
    let key = |trace: u64| SpanKey::of(&span(trace, 1, "shop"));
    WovenEdge {
        child: key(child),
        parent: Some(key(parent)),
        evidence: WovenEvidence::ALL[0],
        confidence: 1.0,
        alternatives: Vec::new(),
        is_joined: true,
    }
}
