//! Two stores that are written, and a third one that answers queries about both.
#![expect(
    clippy::unwrap_used,
    reason = "a test reports its failure by panicking"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use throughline_model::{
    DroppedCounts, KeyValue, Resource, Scope, Span, SpanId, SpanKind, Status, TraceId,
};
use throughline_segments::{DiskSettings, DiskStore};
use throughline_store::{
    InsertError, MemoryStore, SpanKey, Store, TraceQuery, WeavingView, WovenEdge, WovenEvidence,
};

const BEGIN: u64 = 1_764_450_000_000_000_000;
const TIMEOUT: Duration = Duration::from_secs(20);

fn settings() -> DiskSettings {
    DiskSettings {
        min_free_bytes: 0,
        refresh_interval: Duration::from_millis(20),
        ..DiskSettings::default()
    }
}

/// Returns a span of a trace; its parent is the one with the id before.
fn span(trace: u64, id: u64, service: &str) -> Span {
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
fn halves(traces: std::ops::Range<u64>) -> [Vec<Span>; 2] {
    let half = |ids: [u64; 2], service: &str| {
        let spans = traces
            .clone()
            .flat_map(|trace| ids.map(|id| span(trace, id, service)));
        spans.collect()
    };
    [half([1, 2], "shop"), half([3, 4], "billing")]
}

/// Waits until both stores give the same answers.
fn assert_same(queried: &dyn Store, expected: &dyn Store) {
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

fn open(root: &Path, name: &str) -> DiskStore {
    DiskStore::open(&root.join(name), settings()).unwrap()
}

#[test]
fn two_stores_are_queried_as_one_while_they_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let expected = MemoryStore::new(usize::MAX);
    let stores = [open(root, "a"), open(root, "b")];
    let queried = DiskStore::open_query_only(root, settings()).unwrap();
    let other = DiskStore::open_query_only(root, settings()).unwrap();
    assert_eq!(queried.services(), Vec::<String>::new());
    for first in [1, 21, 41] {
        for (store, spans) in stores.iter().zip(halves(first..first + 20)) {
            expected.insert(spans.clone());
            store.insert(spans).unwrap();
            store.seal();
        }
        assert_same(&*queried, &expected);
        assert_same(&*other, &expected);
    }
    // A span that came to both, as after the death of a member of a group, is one.
    let [_, spans] = halves(1..3);
    stores[0].insert(spans).unwrap();
    stores[0].seal();
    // A decision of one of them.
    let key = |trace: u64| {
        let span = span(trace, 1, "shop");
        SpanKey::of(&span)
    };
    let edge = WovenEdge {
        child: key(7),
        parent: Some(key(6)),
        evidence: WovenEvidence::ALL[0],
        confidence: 1.0,
        alternatives: Vec::new(),
        is_joined: true,
    };
    assert_eq!(expected.weave(vec![edge.clone()]).joined, 1);
    assert_eq!(stores[0].weave(vec![edge]).joined, 1);
    assert_same(&*queried, &expected);
    // Segments are merged, and others come, while they are read.
    for store in &stores {
        assert_eq!(store.compact(), 1);
    }
    assert_same(&*queried, &expected);
    let [a, b] = stores;
    drop(a);
    let a = open(root, "a");
    assert_same(&*queried, &expected);
    drop((a, b, queried));
    // A later one begins with all there is.
    let late = DiskStore::open_query_only(root, settings()).unwrap();
    assert_same(&*late, &expected);
    assert_same(&*other, &expected);
}

#[test]
fn a_store_for_queries_refuses_spans_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let queried = DiskStore::open_query_only(folder.path(), settings()).unwrap();
    let refused = queried.insert(vec![span(1, 1, "shop")]);
    assert!(matches!(refused, Err(InsertError::QueryOnly)));
    drop(queried);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let absent = folder.path().join("absent");
    assert!(DiskStore::open_query_only(&absent, settings()).is_err());
}
