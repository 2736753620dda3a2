//! Two traces of a shop, and queries over them.

use std::sync::Arc;

use throughline_model::{
    Event, KeyValue, Resource, Scope, Span, SpanId, SpanKind, Status, TraceId, Value,
};
use throughline_query::{
    MetricSeries, MetricsRange, ParsedQuery, SearchRequest, evaluate_metrics, parse_traceql,
    search_matches,
};
use throughline_store::{MemoryStore, SortOrder, TraceQuery, WeavingView};

/// A second in nanoseconds.
pub(crate) const SECOND: u64 = 1_000_000_000;

/// Start of the first trace.
pub(crate) const START: u64 = 1_700_000_000 * SECOND;

/// `checkout` calls `pay` and `stock`, and `pay` calls the bank twice; the second call fails. The
/// other trace has a `checkout` alone, ten seconds later.
///
/// ```text
/// shop checkout 1 s
/// ├─ shop pay 400 ms
/// │  ├─ bank transfer 100 ms, 10 bytes
/// │  └─ bank transfer 200 ms, 30 bytes, failed
/// └─ stock reserve 300 ms, tags a and b, event "cache miss"
/// ```
pub(crate) fn store() -> MemoryStore {
    let store = MemoryStore::new(1 << 24);
    let mut checkout = span(1, 1, None, "shop", "checkout", (0, 1000));
    checkout.kind = SpanKind::Server;
    let pay = span(1, 2, Some(1), "shop", "pay", (10, 400));
    let mut first = span(1, 3, Some(2), "bank", "transfer", (20, 100));
    first.attributes.push(KeyValue::new("bytes", 10_i64));
    let mut second = span(1, 4, Some(2), "bank", "transfer", (130, 200));
    second.attributes.push(KeyValue::new("bytes", 30_i64));
    second.status = Status::Error("no money".to_owned());
    let mut reserve = span(1, 5, Some(1), "stock", "reserve", (500, 300));
    let tags = ["a", "b"].map(Value::from).to_vec();
    reserve.attributes.push(KeyValue {
        key: "tags".into(),
        value: Value::Array(tags),
    });
    reserve.events.push(Event {
        time: reserve.start,
        name: "cache miss".to_owned(),
        attributes: Vec::new(),
    });
    let alone = span(2, 1, None, "shop", "checkout", (10_000, 50));
    store.insert(vec![checkout, pay, first, second, reserve, alone]);
    store
}

/// Returns a span with its start after the first trace's and its duration, in milliseconds.
fn span(
    trace: u128,
    id: u64,
    parent: Option<u64>,
    service: &str,
    name: &str,
    (start, duration): (u64, u64),
) -> Span {
    let start = START + start * 1_000_000;
    let span_id = |id: u64| SpanId::from_bytes(id.to_be_bytes()).unwrap();
    Span {
        trace_id: TraceId::from_bytes(trace.to_be_bytes()).unwrap(),
        span_id: span_id(id),
        parent_span_id: parent.map(span_id),
        flags: 0,
        trace_state: String::new(),
        name: name.to_owned(),
        kind: SpanKind::Internal,
        start,
        end: start + duration * 1_000_000,
        attributes: Vec::new(),
        events: Vec::new(),
        links: Vec::new(),
        status: Status::Unset,
        status_message: "".into(),
        dropped: Default::default(),
        resource: Arc::new(Resource::of_service(service)),
        scope: Arc::new(Scope::default()),
    }
}

/// Returns the matching spansets: for each trace, its number and the numbers of the spans.
pub(crate) fn matches(query: &str) -> Vec<(u8, Vec<u8>)> {
    ordered_matches(query, SortOrder::Newest)
}

pub(crate) fn ordered_matches(query: &str, order: SortOrder) -> Vec<(u8, Vec<u8>)> {
    let Ok(ParsedQuery::Spansets(spansets)) = parse_traceql(query) else {
        panic!("{query} selects no spansets");
    };
    let request = SearchRequest {
        query: TraceQuery {
            order,
            ..TraceQuery::default()
        },
        spansets: &spansets,
    };
    let page = search_matches(&store(), request, |view, matched| {
        let id = view.trace().id.to_bytes();
        let ids = |spans: Vec<usize>| {
            let ids = spans.into_iter().map(|at| view.span(at).unwrap().span_id);
            ids.map(|id| id.to_bytes()[7]).collect::<Vec<_>>()
        };
        let spansets = matched.into_iter().map(|it| (id[15], ids(it.spans)));
        spansets.collect::<Vec<_>>()
    });
    let traces = page.traces.into_iter();
    traces.flat_map(|trace| trace.content).collect()
}

/// Returns the series of a metrics query over 20 seconds in steps of ten, each as its labels and
/// its samples by second.
pub(crate) fn series(query: &str) -> Vec<(String, Vec<(u64, f64)>)> {
    let Ok(ParsedQuery::Metrics(expression)) = parse_traceql(query) else {
        panic!("{query} is no metrics query");
    };
    let range = MetricsRange::covering(START - 1, START + 19 * SECOND, 10 * SECOND);
    let result = evaluate_metrics(&store(), &expression, range, WeavingView::Woven).unwrap();
    assert!(!result.is_partial);
    let shown = |series: MetricSeries| {
        let labels = series.labels.iter();
        let labels: Vec<String> = labels
            .map(|(name, value)| format!("{name}={}", value.to_text()))
            .collect();
        let samples = series.samples.iter();
        let samples = samples.map(|it| ((it.time - START) / SECOND, it.value));
        (labels.join(","), samples.collect())
    };
    result.series.into_iter().map(shown).collect()
}
