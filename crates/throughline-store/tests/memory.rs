//! The store in memory: bounds, replacement, order, and Jaeger's rules of search.
#![expect(
    clippy::unwrap_used,
    reason = "a test reports its failure by panicking"
)]

use std::sync::Arc;

use throughline_model::{
    DroppedCounts, Event, KeyValue, Link, Resource, Scope, Span, SpanId, SpanKind, Status, TraceId,
    Value,
};
use throughline_store::{
    MemoryStore, ServiceDependency, SpanSearch, Store, TagCondition, TraceQuery, WeavingView,
};

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
        status_message: Box::default(),
        dropped: DroppedCounts::default(),
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
    let trace = store.trace(trace_id(1), WeavingView::Woven).unwrap();
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
        .trace(trace_id(1), WeavingView::Woven)
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
    assert!(
        store.trace(trace_id(1), WeavingView::Woven).is_none()
            && store.trace(trace_id(2), WeavingView::Woven).is_none()
    );
    assert_eq!(
        store
            .trace(trace_id(3), WeavingView::Woven)
            .unwrap()
            .spans
            .len(),
        2
    );
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
        attributes: vec![
            KeyValue::new("service.name", "a"),
            KeyValue::new("k", "v".repeat(10_000)),
        ],
        ..Resource::default()
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
    // A span is replaced by one of the same service, so names change and services do not.
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
    store.insert(vec![span(1, 1, "a", "new", (0, 1))]);
    assert_eq!(names(&store), ["new", "old"]);
    store.insert(vec![span(1, 2, "a", "new", (0, 1))]);
    assert_eq!(names(&store), ["new"]);
    // A fragment that learns its service replaces the one that had none.
    let mut unnamed = span(2, 1, "b", "new", (0, 1));
    unnamed.resource = Arc::default();
    store.insert(vec![unnamed]);
    assert_eq!(store.services(), ["a", "unknown_service"]);
    store.insert_fragments(vec![span(2, 1, "b", "new", (0, 1))]);
    assert_eq!(store.services(), ["a", "b"]);
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

fn of_kind(mut span: Span, kind: SpanKind) -> Span {
    span.kind = kind;
    span
}

fn with_address(mut span: Span, address: &str) -> Span {
    let pair = KeyValue::new("network.local.address", address.to_owned());
    span.attributes.push(pair);
    span
}

/// Returns name, id and parent of the spans of trace 1, in the order of the names.
fn tree(store: &MemoryStore) -> Vec<(String, SpanId, Option<SpanId>)> {
    let spans = store.trace(trace_id(1), WeavingView::Woven).unwrap().spans;
    let mut tree: Vec<_> = spans
        .iter()
        .map(|span| (span.name.clone(), span.span_id, span.parent_span_id))
        .collect();
    tree.sort();
    tree
}

#[test]
fn halves_with_one_id_are_both_kept_and_the_server_is_below_its_client_in_any_order() {
    let client = of_kind(span(1, 7, "a", "client", (10, 40)), SpanKind::Client);
    let server = span(1, 7, "b", "server", (20, 30));
    let mut child = span(1, 8, "b", "work", (22, 28));
    child.parent_span_id = Some(span_id(7));
    let mut trees = Vec::new();
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let spans = [client.clone(), server.clone(), child.clone()];
        let sent = order.map(|index: usize| spans.get(index).unwrap().clone());
        let store = store(sent.to_vec());
        // A span that is sent twice stays one.
        store.insert(vec![server.clone(), client.clone()]);
        assert_eq!(store.occupancy().spans, 3);
        let summary = store.summary(trace_id(1), WeavingView::Woven).unwrap();
        assert_eq!(
            (&*summary.service, summary.operation.as_str()),
            ("a", "client")
        );
        trees.push(tree(&store));
    }
    assert!(trees.iter().all(|tree| *tree == trees[0]));
    let [client, server, work] = trees[0].as_slice() else {
        panic!("{trees:?}");
    };
    assert_eq!((client.1, client.2), (span_id(7), None));
    assert_eq!(server.2, Some(client.1));
    assert_ne!(server.1, client.1);
    assert_eq!(work.2, Some(server.1));
}

#[test]
fn receivers_with_one_id_are_distinguished_by_their_addresses() {
    let mut spans = vec![of_kind(span(1, 7, "a", "send", (0, 1)), SpanKind::Client)];
    for host in 0..5 {
        let receiver = span(1, 7, "b", "receive", (2, 3));
        spans.push(with_address(receiver, &format!("10.0.0.{host}")));
    }
    let store = store(spans.clone());
    store.insert_fragments(spans);
    let tree = tree(&store);
    let ids: std::collections::HashSet<SpanId> = tree.iter().map(|(_, id, _)| *id).collect();
    assert_eq!((tree.len(), ids.len()), (6, 6));
    let receivers = tree.iter().filter(|(name, ..)| name == "receive");
    assert!(
        receivers
            .clone()
            .all(|(_, _, parent)| *parent == Some(span_id(7)))
    );
}

#[test]
fn a_server_half_without_a_client_keeps_the_parent_that_was_sent_until_the_client_arrives() {
    let mut server = span(1, 7, "b", "server", (20, 30));
    server.parent_span_id = Some(span_id(6));
    let store = store(vec![server]);
    assert_eq!(
        tree(&store),
        [("server".to_owned(), span_id(7), Some(span_id(6)))]
    );
    let mut client = of_kind(span(1, 7, "a", "client", (10, 40)), SpanKind::Client);
    client.parent_span_id = Some(span_id(6));
    store.insert(vec![client]);
    let parents: Vec<_> = tree(&store)
        .into_iter()
        .map(|(_, _, parent)| parent)
        .collect();
    assert_eq!(parents, [Some(span_id(6)), Some(span_id(7))]);
}

#[test]
fn fragments_of_one_side_merge_field_by_field_in_either_order() {
    let mut start = of_kind(span(1, 7, "a", "get", (1000, 1000)), SpanKind::Client);
    start.attributes.push(KeyValue::new("a", "1"));
    // The finish gives no start, no name and no endpoint.
    let mut finish = of_kind(span(1, 7, "a", "", (5000, 5400)), SpanKind::Client);
    finish.attributes.push(KeyValue::new("b", "2"));
    finish
        .attributes
        .push(KeyValue::new("throughline.start.assumed", true));
    finish.resource = Arc::default();
    finish.status = Status::Error("late".to_owned());
    // A fragment without a kind adds tags, and overwrites nothing.
    let mut tags = of_kind(
        span(1, 7, "a", "other", (1100, 9000)),
        SpanKind::Unspecified,
    );
    tags.attributes.push(KeyValue::new("c", "3"));
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let store = MemoryStore::new(MAX_BYTES);
        let fragments = [start.clone(), finish.clone(), tags.clone()];
        for index in order {
            let fragment: &Span = fragments.get::<usize>(index).unwrap();
            store.insert_fragments(vec![fragment.clone()]);
        }
        let spans = store.trace(trace_id(1), WeavingView::Woven).unwrap().spans;
        assert_eq!((spans.len(), store.occupancy().spans), (1, 1));
        let merged = &spans[0];
        assert_eq!((merged.service(), merged.kind), ("a", SpanKind::Client));
        assert_eq!(merged.start, 1000, "{order:?}");
        assert_eq!(merged.status, Status::Error("late".to_owned()));
        for (key, value) in [("a", "1"), ("b", "2"), ("c", "3")] {
            assert_eq!(merged.attribute(key), Some(&Value::from(value)));
        }
        assert_eq!(merged.attribute("throughline.start.assumed"), None);
        if order[0] == 0 {
            assert_eq!((merged.name.as_str(), merged.duration()), ("get", 400));
        }
        assert_eq!(
            store
                .summary(trace_id(1), WeavingView::Woven)
                .unwrap()
                .start,
            1000
        );
    }
}

#[test]
fn a_link_costs_less_than_100_bytes() {
    const LINKS: u128 = 200;
    let mut receiver = of_kind(span(1, 1, "a", "receive", (0, 1)), SpanKind::Consumer);
    let store = store(vec![receiver.clone()]);
    let without = store.occupancy().bytes;
    receiver.links = (0..LINKS)
        .map(|number| Link {
            trace_id: trace_id(1000 + number),
            span_id: span_id(1),
            trace_state: String::new(),
            flags: 0x301,
            attributes: Vec::new(),
        })
        .collect();
    store.insert(vec![receiver]);
    let added = u128::try_from(store.occupancy().bytes - without).unwrap();
    assert!(added < 100 * LINKS, "{}", added / LINKS);
    assert_eq!(
        store
            .links_to(trace_id(1000 + LINKS - 1), WeavingView::Woven, 10)
            .len(),
        1
    );
    assert!(
        store
            .links_to(trace_id(1000 + LINKS), WeavingView::Woven, 10)
            .is_empty()
    );
}

#[test]
fn links_of_replaced_spans_and_evicted_traces_are_forgotten() {
    let link_to = |target: u128| {
        let mut span = span(1, 1, "a", "x", (0, 1));
        span.links = vec![Link {
            trace_id: trace_id(target),
            span_id: span_id(1),
            trace_state: String::new(),
            flags: 0,
            attributes: Vec::new(),
        }];
        span
    };
    let store = MemoryStore::new(3500);
    store.insert(vec![link_to(5)]);
    store.insert(vec![link_to(6)]);
    assert!(
        store
            .links_to(trace_id(5), WeavingView::Woven, 10)
            .is_empty()
    );
    assert_eq!(store.links_to(trace_id(6), WeavingView::Woven, 10).len(), 1);
    for number in 10..20 {
        store.insert(vec![span(number, 1, "a", "x", (0, 1))]);
    }
    assert!(store.trace(trace_id(1), WeavingView::Woven).is_none());
    assert!(
        store
            .links_to(trace_id(6), WeavingView::Woven, 10)
            .is_empty()
    );
}

#[test]
fn the_topic_is_read_by_every_name_that_senders_give_it() {
    for key in [
        "messaging.destination.name",
        "messaging.destination",
        "messaging.destination_name",
        "message_bus.destination",
        "kafka.topic",
        "rabbit.exchange",
        "jms.queue",
        "channel",
    ] {
        let mut receiver = of_kind(span(1, 1, "a", "poll", (0, 1)), SpanKind::Consumer);
        receiver.attributes.push(KeyValue::new(key, "orders"));
        let graph = store(vec![receiver]).service_graph(0, 10);
        assert_eq!(graph.topics.len(), 1, "{key}");
        assert_eq!(&*graph.topics[0].name, "orders");
    }
}

#[test]
fn a_batch_that_grows_one_span_tag_by_tag_is_bounded() {
    let tag = |number: usize| {
        let mut fragment = of_kind(span(1, 7, "a", "get", (0, 1)), SpanKind::Client);
        let key = format!("key {number}");
        fragment.attributes.push(KeyValue::new(key, "v"));
        fragment
    };
    let store = MemoryStore::new(64 << 20);
    store.insert_fragments((0..2000).map(tag).collect());
    let tags = store.trace(trace_id(1), WeavingView::Woven).unwrap().spans[0]
        .attributes
        .len();
    // 10 000 and 64 for each fragment may be copied: 523 merges, each of one more.
    assert!((500..600).contains(&tags), "{tags}");
    assert_eq!(store.occupancy().spans, 1);
}

#[test]
fn settlements_do_not_count_for_the_duration_of_a_trace() {
    let commit = |end| Span {
        attributes: vec![KeyValue::new("messaging.operation.type", "settle")],
        ..span(1, 2, "b", "commit t", (end - 1, end))
    };
    let duration = |store: &MemoryStore| {
        let page = store.search(&TraceQuery::default());
        let summary = page.traces.first().unwrap();
        (summary.duration, summary.settled_after)
    };
    let work = || span(1, 1, "a", "x", (100, 322));
    // In either order of arrival.
    assert_eq!(
        duration(&store(vec![work(), commit(5_140)])),
        (222, Some(4_818))
    );
    assert_eq!(
        duration(&store(vec![commit(5_140), work()])),
        (222, Some(4_818))
    );
    assert_eq!(duration(&store(vec![work(), commit(200)])), (222, None));
    assert_eq!(duration(&store(vec![commit(200)])), (1, None));
    // A span that is sent again without what made it one is work.
    let sent_again = store(vec![work(), commit(5_140)]);
    sent_again.insert(vec![span(1, 2, "b", "commit t", (5_000, 5_100))]);
    assert_eq!(duration(&sent_again), (5_000, None));
}
