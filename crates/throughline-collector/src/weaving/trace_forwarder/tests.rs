use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use throughline_model::{Link, SpanId, SpanKind, Value};
use throughline_store::{
    CompletionKind, CompletionList, InsertError, MemoryStore, SearchPage, ServiceGraph,
    ServiceOperation, StoreOccupancy, TraceChanges, TraceQuery, TraceSummary, WeaveOutcome,
    WovenEvidence,
};

use super::*;
use crate::weaving::test_span::call_span;
use crate::weaving::trace_sink::TraceSinkCounts;

const QUIET: u64 = 100;

#[derive(Debug, Default)]
struct SpanRecorder(Mutex<Vec<Span>>);

/// A sink whose queue takes some traces, and that delivers none.
#[derive(Debug)]
struct StuckSink {
    room: AtomicUsize,
}

impl WovenTraceSink for StuckSink {
    fn send(&self, _spans: Vec<Span>) {
        let before = self.room.fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0, "more than the queue takes");
    }

    fn has_room(&self) -> bool {
        self.room.load(Ordering::Relaxed) > 0
    }

    fn flush(&self) -> bool {
        false
    }

    fn counts(&self) -> TraceSinkCounts {
        TraceSinkCounts::default()
    }
}

impl WovenTraceSink for SpanRecorder {
    fn send(&self, spans: Vec<Span>) {
        self.0.lock().unwrap().extend(spans);
    }

    fn counts(&self) -> TraceSinkCounts {
        TraceSinkCounts::default()
    }
}

/// A store whose traces cannot be read for a while.
#[derive(Debug)]
struct UnreadableStore {
    store: MemoryStore,
    is_readable: bool,
}

impl Store for UnreadableStore {
    fn insert(&self, spans: Vec<Span>) -> Result<(), InsertError> {
        self.store.insert(spans);
        Ok(())
    }

    fn insert_fragments(&self, fragments: Vec<Span>) -> Result<(), InsertError> {
        self.store.insert_fragments(fragments);
        Ok(())
    }

    fn weave(&self, edges: Vec<WovenEdge>) -> WeaveOutcome {
        self.store.weave(edges)
    }

    fn trace(&self, id: TraceId, view: WeavingView) -> Option<StoredTrace> {
        let trace = self.store.trace(id, view);
        trace.filter(|_| self.is_readable)
    }

    fn search(&self, query: &TraceQuery) -> SearchPage {
        self.store.search(query)
    }

    fn search_traces(&self, query: &TraceQuery) -> Vec<StoredTrace> {
        self.store.search_traces(query)
    }

    fn summary(&self, id: TraceId, view: WeavingView) -> Option<TraceSummary> {
        self.store.summary(id, view)
    }

    fn span(&self, key: SpanKey) -> Option<Arc<Span>> {
        self.store.span(key)
    }

    fn links_from(&self, id: TraceId, view: WeavingView, limit: usize) -> Vec<Arc<Span>> {
        self.store.links_from(id, view, limit)
    }

    fn links_to(&self, id: TraceId, view: WeavingView, limit: usize) -> Vec<Arc<Span>> {
        self.store.links_to(id, view, limit)
    }

    fn service_graph(&self, from: u64, until: u64) -> ServiceGraph {
        self.store.service_graph(from, until)
    }

    fn complete(&self, kind: &CompletionKind, text: &str, limit: usize) -> CompletionList {
        self.store.complete(kind, text, limit)
    }

    fn changes(&self, since: u64, view: WeavingView) -> TraceChanges {
        self.store.changes(since, view)
    }

    fn services(&self) -> Vec<String> {
        self.store.services()
    }

    fn operations(&self, service: Option<&str>, kind: Option<SpanKind>) -> Vec<ServiceOperation> {
        self.store.operations(service, kind)
    }

    fn occupancy(&self) -> StoreOccupancy {
        self.store.occupancy()
    }
}

/// A forwarder over a store.
struct ForwardingFixture {
    forwarder: TraceForwarder,
    sink: Arc<SpanRecorder>,
    store: MemoryStore,
}

impl ForwardingFixture {
    fn new() -> Self {
        let sink = Arc::new(SpanRecorder::default());
        Self {
            forwarder: TraceForwarder::new(Arc::clone(&sink) as _, QUIET, None),
            sink,
            store: MemoryStore::new(1 << 20),
        }
    }

    fn arrive(&mut self, span: Span, now: u64) {
        let arrival = SpanArrival {
            trace: span.trace_id,
            span: ReportedSpan::of(&span),
        };
        self.store.insert(vec![span]);
        self.forwarder.push(arrival, 0, now);
    }

    fn decide(&mut self, child: SpanKey, parent: SpanKey) {
        let edge = WovenEdge {
            child,
            parent: Some(parent),
            evidence: WovenEvidence::Timing,
            confidence: 0.97,
            alternatives: Vec::new(),
            is_joined: true,
        };
        self.forwarder.note_edge(&edge);
        assert_eq!(self.store.weave(vec![edge]).joined, 1);
        self.forwarder.note_decided(child);
    }

    /// Returns the trace and span ids that are sent now, with the parents.
    fn sent(&mut self, now: u64) -> Vec<(u8, u8, Option<u8>)> {
        self.forwarder.poll(&self.store, now);
        let last = |bytes: &[u8]| *bytes.last().unwrap();
        let spans = std::mem::take(&mut *self.sink.0.lock().unwrap());
        let spans = spans.iter().map(|span| {
            let parent = span.parent_span_id.map(|id| last(&id.to_bytes()));
            (
                last(&span.trace_id.to_bytes()),
                last(&span.span_id.to_bytes()),
                parent,
            )
        });
        spans.collect()
    }
}

fn key(trace: u8, span: u8) -> SpanKey {
    SpanKey {
        trace_id: TraceId::from_bytes([trace; 16]).unwrap(),
        span_id: SpanId::from_bytes([span; 8]).unwrap(),
    }
}

fn span(trace: u8, id: u8, parent: Option<u8>) -> Span {
    let parent = parent.map(|id| key(trace, id).span_id);
    call_span(key(trace, id), parent, (u64::from(id), 1_000))
}

#[test]
fn woven_trace_is_sent_once_with_one_id_and_the_parents_that_were_found() {
    let mut fixture = ForwardingFixture::new();
    fixture.arrive(span(2, 20, None), 0);
    fixture.forwarder.expect_decision(key(2, 20).trace_id);
    fixture.arrive(span(2, 21, Some(20)), 10);
    // It is quiet, but its first span waits for a decision.
    assert_eq!(fixture.sent(2 * QUIET), []);
    fixture.arrive(span(1, 10, None), 2 * QUIET);
    fixture.decide(key(2, 20), key(1, 10));
    // Now it waits for the trace that it is joined with.
    assert_eq!(
        fixture.sent(2 * RECHECK),
        [(1, 10, None), (1, 20, Some(10)), (1, 21, Some(20))]
    );
    assert_eq!(fixture.sent(u64::MAX), []);
    // The sender repeats a request, and sends another span.
    fixture.arrive(span(2, 21, Some(20)), 3 * RECHECK);
    fixture.arrive(span(2, 22, Some(21)), 3 * RECHECK);
    assert_eq!(fixture.sent(4 * RECHECK), [(1, 22, Some(21))]);
    let counts = fixture.forwarder.counts();
    assert_eq!(
        (counts.pending, counts.unsettled, counts.evicted),
        (0, 0, 0)
    );
}

#[test]
fn trace_is_sent_though_a_decision_never_comes_and_a_late_one_is_counted() {
    let mut fixture = ForwardingFixture::new();
    fixture.arrive(span(2, 20, None), 0);
    fixture.forwarder.expect_decision(key(2, 20).trace_id);
    assert_eq!(fixture.sent(MAX_WAIT - 1), []);
    assert_eq!(fixture.sent(MAX_WAIT), [(2, 20, None)]);
    fixture.arrive(span(1, 10, None), MAX_WAIT);
    fixture.decide(key(2, 20), key(1, 10));
    // The join cannot be sent any more; what comes for either trace has one id.
    assert_eq!(fixture.sent(2 * MAX_WAIT), [(2, 10, None)]);
    assert_eq!(fixture.forwarder.counts().late_joins, 1);
}

#[test]
fn links_between_joined_traces_follow_them() {
    let mut fixture = ForwardingFixture::new();
    let mut consumer = span(2, 20, None);
    consumer.links.push(Link {
        trace_id: key(1, 10).trace_id,
        span_id: key(1, 10).span_id,
        trace_state: String::new(),
        flags: 0,
        attributes: Vec::new(),
    });
    fixture.arrive(span(1, 10, None), 0);
    fixture.forwarder.poll(&fixture.store, QUIET);
    fixture.arrive(consumer, QUIET);
    fixture.decide(key(2, 20), key(1, 10));
    fixture.forwarder.finish(&fixture.store, QUIET, &|| true);
    let spans = fixture.sink.0.lock().unwrap();
    let joined = spans.last().unwrap();
    assert_eq!(joined.trace_id, key(1, 10).trace_id);
    assert_eq!(joined.links[0].trace_id, joined.trace_id);
    let evidence = joined.attribute("throughline.parent.evidence");
    assert_eq!(evidence.and_then(Value::as_str), Some("timing"));
}

#[test]
fn spans_of_an_evicted_trace_are_counted() {
    let mut fixture = ForwardingFixture::new();
    fixture.arrive(span(1, 10, None), 0);
    fixture.store = MemoryStore::new(1 << 20);
    assert_eq!(fixture.sent(QUIET), []);
    assert_eq!(fixture.forwarder.counts().evicted, 1);
}

#[test]
fn end_waits_for_a_sink_that_is_stuck_while_there_is_time_and_counts_the_rest() {
    let sink = Arc::new(StuckSink {
        room: AtomicUsize::new(2),
    });
    let store = MemoryStore::new(1 << 20);
    let mut forwarder = TraceForwarder::new(sink, QUIET, None);
    for trace in 1..=5 {
        let span = span(trace, 1, None);
        let arrival = SpanArrival {
            trace: span.trace_id,
            span: ReportedSpan::of(&span),
        };
        store.insert(vec![span]);
        forwarder.push(arrival, 0, 0);
    }
    let looks = AtomicUsize::new(0);
    let has_time = || looks.fetch_add(1, Ordering::Relaxed) < 100;
    forwarder.finish(&store, 1, &has_time);
    let counts = forwarder.counts();
    assert_eq!((counts.pending, counts.abandoned), (0, 3));
    assert_eq!(looks.into_inner(), 102);
}

#[test]
fn trace_that_cannot_be_read_is_tried_again_until_it_must_be_sent() {
    let mut store = UnreadableStore {
        store: MemoryStore::new(1 << 20),
        is_readable: false,
    };
    let sink = Arc::new(SpanRecorder::default());
    let mut forwarder = TraceForwarder::new(Arc::clone(&sink) as _, QUIET, None);
    let arrive = |forwarder: &mut TraceForwarder, store: &UnreadableStore, trace, now| {
        let span = span(trace, 1, None);
        let arrival = SpanArrival {
            trace: span.trace_id,
            span: ReportedSpan::of(&span),
        };
        store.insert(vec![span]).unwrap();
        forwarder.push(arrival, 0, now);
    };
    arrive(&mut forwarder, &store, 1, 0);
    forwarder.poll(&store, QUIET);
    assert_eq!(forwarder.counts().pending, 1);
    store.is_readable = true;
    forwarder.poll(&store, QUIET + RECHECK);
    assert_eq!(sink.0.lock().unwrap().len(), 1);
    store.is_readable = false;
    arrive(&mut forwarder, &store, 2, RECHECK);
    forwarder.poll(&store, RECHECK + MAX_WAIT - 1);
    let counts = forwarder.counts();
    assert_eq!((counts.pending, counts.unreadable), (1, 0));
    forwarder.poll(&store, RECHECK + MAX_WAIT);
    let counts = forwarder.counts();
    assert_eq!(
        (counts.pending, counts.unreadable, counts.evicted),
        (0, 1, 0)
    );
}
