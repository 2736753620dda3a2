//! The store in memory: bounds, replacement, order, and Jaeger's rules of search.
#![expect(
    clippy::unwrap_used,
    reason = "a test reports its failure by panicking"
)]

use std::sync::Arc;

use throughline_model::{
    Event, KeyValue, Link, Resource, Scope, Span, SpanId, SpanKind, Status, TraceId, Value,
};
use throughline_store::{MemoryStore, ServiceDependency, SpanSearch, Store, TagCondition};

const MAX_BYTES: usize = 1 << 20;

fn trace_id(number: u128) -> TraceId {
    TraceId::from_bytes(number.to_be_bytes()).unwrap()
}

fn span_id(number: u64) -> SpanId {
    SpanId::from_bytes(number.to_be_bytes()).unwrap()
}

fn span(trace: u128, id: u64, service: &str, name: &str, times: (u64, u64)) -> Span {
    Span {
        trace_id: trace_id(trace),
        span_id: span_id(id),
        parent_span_id: None,
        flags: 1,
        trace_state: String::new(),
        name: name.to_owned(),
        kind: SpanKind::Server,
        start: times.0,
        end: times.1,
        attributes: Vec::new(),
        events: Vec::new(),
        links: Vec::new(),
        status: Status::Unset,
        dropped: 0,
        resource: Arc::new(Resource::of_service(service)),
        scope: Arc::default(),
    }
}

fn store(spans: Vec<Span>) -> MemoryStore {
    let store = MemoryStore::new(MAX_BYTES);
    store.insert(spans);
    store
}

fn found(store: &MemoryStore, search: &SpanSearch) -> Vec<u128> {
    store
        .search_traces(&search.clone().into())
        .iter()
        .map(|trace| u128::from_be_bytes(trace.id.to_bytes()))
        .collect()
}

fn tagged(key: &str, value: &str) -> SpanSearch {
    SpanSearch {
        tags: vec![TagCondition {
            key: key.into(),
            value: value.into(),
        }],
        ..SpanSearch::default()
    }
}

#[test]
fn a_repeated_span_replaces_itself() {
    let store = store(vec![
        span(1, 1, "a", "first", (10, 20)),
        span(1, 1, "a", "second", (10, 30)),
    ]);
    let trace = store.trace(trace_id(1)).unwrap();
    assert_eq!(trace.spans.len(), 1);
    assert_eq!(trace.spans[0].name, "second");
    assert_eq!(store.occupancy().spans, 1);
}

#[test]
fn spans_in_any_order_make_one_trace_ordered_by_start() {
    let store = store(vec![
        span(1, 3, "a", "c", (30, 31)),
        span(2, 1, "a", "x", (20, 21)),
        span(1, 2, "a", "b", (20, 22)),
    ]);
    store.insert(vec![span(1, 1, "a", "a", (10, 40))]);
    let names: Vec<String> = store
        .trace(trace_id(1))
        .unwrap()
        .spans
        .iter()
        .map(|span| span.name.clone())
        .collect();
    assert_eq!(names, ["a", "b", "c"]);
}

#[test]
fn newest_first_follows_the_first_start_even_when_that_span_arrives_late() {
    let store = store(vec![
        span(1, 1, "a", "x", (50, 51)),
        span(2, 1, "a", "x", (40, 41)),
        span(3, 1, "a", "x", (30, 31)),
    ]);
    assert_eq!(found(&store, &SpanSearch::default()), [1, 2, 3]);
    store.insert(vec![span(1, 2, "a", "x", (35, 36))]);
    assert_eq!(found(&store, &SpanSearch::default()), [2, 1, 3]);
    assert_eq!(
        found(
            &store,
            &SpanSearch {
                limit: 2,
                ..SpanSearch::default()
            }
        ),
        [2, 1]
    );
}

#[test]
fn one_span_must_match_all_conditions() {
    let mut slow = span(1, 1, "a", "slow", (0, 100));
    slow.attributes.push(KeyValue::new("k", "v"));
    let store = store(vec![slow, span(1, 2, "b", "fast", (0, 10))]);
    let query = |service: &str, operation: &str, least: u64| SpanSearch {
        service: Some(service.to_owned()),
        operation: Some(operation.to_owned()),
        duration: least..=u64::MAX,
        ..SpanSearch::default()
    };
    assert_eq!(found(&store, &query("a", "slow", 100)), [1]);
    assert!(found(&store, &query("b", "slow", 0)).is_empty());
    assert!(found(&store, &query("b", "fast", 11)).is_empty());
    assert!(
        found(
            &store,
            &SpanSearch {
                service: Some("b".to_owned()),
                ..tagged("k", "v")
            }
        )
        .is_empty()
    );
}

#[test]
fn a_time_range_matches_traces_with_a_span_that_started_in_it() {
    let store = store(vec![
        span(1, 1, "a", "x", (10, 100)),
        span(1, 2, "a", "y", (60, 70)),
    ]);
    for (range, expected) in [
        (0..=9, 0),
        (0..=10, 1),
        (11..=59, 0),
        (50..=60, 1),
        (61..=200, 0),
    ] {
        assert_eq!(
            found(
                &store,
                &SpanSearch {
                    start: range.clone(),
                    ..SpanSearch::default()
                }
            )
            .len(),
            expected,
            "{range:?}"
        );
    }
}

#[test]
fn tags_match_as_text_wherever_jaeger_shows_them() {
    let mut full = span(1, 1, "a", "x", (0, 1));
    full.attributes = vec![
        KeyValue::new("http.response.status_code", 200),
        KeyValue::new("cached", true),
        KeyValue::new("list", Value::Array(vec![Value::Int(1), Value::Int(2)])),
    ];
    full.events = vec![Event {
        time: 0,
        name: "e".to_owned(),
        attributes: vec![KeyValue::new("exception.type", "Oops")],
    }];
    full.status = Status::Error("declined".to_owned());
    let store = store(vec![full, span(2, 1, "b", "y", (0, 1))]);
    for (key, value) in [
        ("http.response.status_code", "200"),
        ("cached", "true"),
        ("list", "2"),
        ("exception.type", "Oops"),
        ("error", "true"),
        ("otel.status_code", "ERROR"),
        ("otel.status_description", "declined"),
        ("service.name", "a"),
    ] {
        assert_eq!(found(&store, &tagged(key, value)), [1], "{key}={value}");
    }
    assert_eq!(found(&store, &tagged("span.kind", "server")).len(), 2);
    for (key, value) in [
        ("http.response.status_code", "201"),
        ("cached", "false"),
        ("absent", ""),
        ("error", "false"),
    ] {
        assert!(
            found(&store, &tagged(key, value)).is_empty(),
            "{key}={value}"
        );
    }
}

#[test]
fn jaegers_search_looks_at_the_attributes_of_links_and_scope() {
    let link = Link {
        trace_id: trace_id(9),
        span_id: span_id(9),
        trace_state: String::new(),
        flags: 0,
        attributes: vec![KeyValue::new("k", "v")],
    };
    let scope = Scope {
        attributes: vec![KeyValue::new("team", "cart")],
        ..Scope::default()
    };
    let linking = Span {
        links: vec![link],
        scope: Arc::new(scope),
        ..span(1, 1, "a", "x", (0, 1))
    };
    let store = store(vec![linking]);
    assert_eq!(found(&store, &tagged("k", "v")), [1]);
    assert_eq!(found(&store, &tagged("team", "cart")), [1]);
}

#[test]
fn lists_are_found_by_their_text_and_whole_numbers_with_a_fraction_of_zero() {
    let list = Value::Array(vec![
        Value::from("a \"b\"\n"),
        Value::Int(7),
        Value::Double(5.0),
        Value::Bool(true),
    ]);
    let shown = Span {
        attributes: vec![KeyValue::new("list", list), KeyValue::new("count", 5)],
        ..span(1, 1, "a", "x", (0, 1))
    };
    let store = store(vec![shown]);
    for (key, value) in [
        ("list", r#"["a \"b\"\n",7,5.0,true]"#),
        ("list", "7"),
        ("list", "7.0"),
        ("count", "5"),
        ("count", "5.0"),
        ("count", "5e0"),
    ] {
        assert_eq!(found(&store, &tagged(key, value)), [1], "{key}={value}");
    }
    for (key, value) in [("list", "[7]"), ("list", "[]"), ("count", "5.5")] {
        let found = found(&store, &tagged(key, value));
        assert!(found.is_empty(), "{key}={value}");
    }
}

#[test]
fn a_search_ends_with_the_trace_that_reaches_max_spans() {
    let spans = (1..=5).flat_map(|trace| {
        (1..=3).map(move |id| {
            span(
                trace,
                id,
                "a",
                "x",
                (100 - u64::try_from(trace).unwrap(), 100),
            )
        })
    });
    let store = store(spans.collect());
    let search = |max_spans| SpanSearch {
        max_spans,
        ..SpanSearch::default()
    };
    for (max_spans, traces) in [(1, 1), (3, 1), (4, 2), (6, 2), (15, 5), (usize::MAX, 5)] {
        assert_eq!(
            found(&store, &search(max_spans)).len(),
            traces,
            "{max_spans}"
        );
    }
}

#[test]
fn a_search_for_an_unknown_pair_of_service_and_operation_finds_nothing() {
    let store = store(vec![
        span(1, 1, "a", "x", (0, 1)),
        span(1, 2, "b", "y", (0, 1)),
    ]);
    for (service, operation, traces) in [("a", "x", 1), ("a", "y", 0), ("c", "x", 0)] {
        let search = SpanSearch {
            service: Some(service.to_owned()),
            operation: Some(operation.to_owned()),
            ..SpanSearch::default()
        };
        assert_eq!(
            found(&store, &search).len(),
            traces,
            "{service} {operation}"
        );
    }
}

#[test]
fn a_full_store_evicts_whole_traces_in_order_of_arrival_and_counts_them() {
    let trace = |number: u128, start: u64| {
        [
            span(number, 1, "a", "x", (start, 200)),
            span(number, 2, "a", "x", (0, 1)),
        ]
    };
    let max_bytes = store((1..=3).flat_map(|number| trace(number, 0)).collect())
        .occupancy()
        .bytes;
    let store = MemoryStore::new(max_bytes);
    for (number, age) in (1..=5).zip(1..) {
        // Their own time stamps are older, which must not matter.
        store.insert(trace(number, 100 - age).into());
    }
    let occupancy = store.occupancy();
    assert!(occupancy.bytes <= max_bytes);
    assert_eq!((occupancy.traces, occupancy.spans), (3, 6));
    assert_eq!((occupancy.evicted_traces, occupancy.evicted_spans), (2, 4));
    assert!(store.trace(trace_id(1)).is_none() && store.trace(trace_id(2)).is_none());
    assert_eq!(store.trace(trace_id(3)).unwrap().spans.len(), 2);
}

#[test]
fn a_span_larger_than_the_store_is_evicted_at_once() {
    let store = MemoryStore::new(1000);
    let mut large = span(1, 1, "a", "x", (0, 1));
    large.attributes.push(KeyValue::new("k", "v".repeat(2000)));
    store.insert(vec![large]);
    assert_eq!((store.occupancy().traces, store.occupancy().bytes), (0, 0));
    assert_eq!(store.occupancy().evicted_traces, 1);
}

#[test]
fn a_resource_counts_once_while_a_span_refers_to_it() {
    let resource = Arc::new(Resource {
        attributes: vec![KeyValue::new("k", "v".repeat(10_000))],
    });
    let holding = |trace| Span {
        resource: Arc::clone(&resource),
        ..span(trace, 1, "a", "x", (0, 1))
    };
    let store = MemoryStore::new(MAX_BYTES);
    store.insert(vec![holding(1)]);
    let first = store.occupancy().bytes;
    store.insert(vec![holding(2)]);
    assert!(first > 10_000 && store.occupancy().bytes - first < 2_000);
    store.insert(vec![
        span(1, 1, "a", "x", (0, 1)),
        span(2, 1, "a", "x", (0, 1)),
    ]);
    assert!(store.occupancy().bytes < 10_000);
}

#[test]
fn services_and_operations_are_listed_once_and_sorted() {
    let mut client = span(1, 2, "b", "GET", (0, 1));
    client.kind = SpanKind::Client;
    let store = store(vec![
        client,
        span(1, 1, "b", "GET", (0, 1)),
        span(2, 1, "a", "x", (0, 1)),
        span(3, 1, "a", "x", (0, 1)),
    ]);
    assert_eq!(store.services(), ["a", "b"]);
    let names = |service, kind| -> Vec<String> {
        let operations = store.operations(service, kind).into_iter();
        operations
            .map(|operation| format!("{} {}", operation.name, operation.kind))
            .collect()
    };
    assert_eq!(names(None, None), ["GET client", "GET server", "x server"]);
    assert_eq!(names(Some("b"), Some(SpanKind::Client)), ["GET client"]);
    assert!(names(Some("c"), None).is_empty());
}

#[test]
fn services_and_operations_disappear_with_their_last_span() {
    let store = store(vec![
        span(1, 1, "a", "old", (0, 1)),
        span(1, 2, "a", "old", (0, 1)),
    ]);
    let names = |store: &MemoryStore| -> Vec<String> {
        store
            .operations(None, None)
            .into_iter()
            .map(|operation| operation.name)
            .collect()
    };
    store.insert(vec![span(1, 1, "b", "new", (0, 1))]);
    assert_eq!(
        (store.services(), names(&store)),
        (
            vec!["a".to_owned(), "b".to_owned()],
            vec!["new".into(), "old".into()]
        )
    );
    store.insert(vec![span(1, 2, "b", "new", (0, 1))]);
    assert_eq!(
        (store.services(), names(&store)),
        (vec!["b".to_owned()], vec!["new".into()])
    );
    let mut large = span(9, 1, "c", "x", (0, 1));
    large
        .attributes
        .push(KeyValue::new("k", "v".repeat(2 * MAX_BYTES)));
    store.insert(vec![large]);
    assert!(store.services().is_empty() && names(&store).is_empty());
    assert_eq!(store.occupancy().bytes, 0);
}

#[test]
fn unique_span_names_count_towards_the_memory() {
    let named = |count: u64| {
        let spans = (1..=count).map(|id| span(1, id, "a", &format!("{id:0>500}"), (0, 1)));
        let store = MemoryStore::new(usize::MAX);
        store.insert(spans.collect());
        store.occupancy().bytes
    };
    // Once for the span, once for the list of operations.
    assert!(named(101) - named(100) > 2 * 500);
}

#[test]
fn dependencies_follow_parents_or_the_links_of_spans_without_parent() {
    let child = |trace, id, service, parent| Span {
        parent_span_id: Some(span_id(parent)),
        ..span(trace, id, service, "x", (10, 11))
    };
    let link = Link {
        trace_id: trace_id(1),
        span_id: span_id(1),
        trace_state: String::new(),
        flags: 0,
        attributes: Vec::new(),
    };
    let linked = Span {
        links: vec![link],
        ..span(2, 1, "consumer", "From_topic", (20, 21))
    };
    let store = store(vec![
        span(1, 1, "eshop", "GET", (0, 100)),
        child(1, 2, "eshop", 1),
        child(1, 3, "billing", 2),
        child(1, 4, "billing", 2),
        child(1, 5, "lost", 99),
        linked,
    ]);
    let edge = |parent: &str, child: &str, calls| ServiceDependency {
        parent: parent.into(),
        child: child.into(),
        calls,
    };
    assert_eq!(
        store.service_graph(0, 100).dependencies,
        [edge("eshop", "billing", 2), edge("eshop", "consumer", 1)]
    );
    assert_eq!(
        store.service_graph(20, 100).dependencies,
        [edge("eshop", "consumer", 1)]
    );
}
