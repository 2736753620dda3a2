//! Pages, orders, expressions, completions and backlinks agree with a reference store, and eviction
//! leaves nothing behind.
#![expect(
    clippy::unwrap_used,
    reason = "a test reports its failure by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use throughline_model::{
    DroppedCounts, KeyValue, Link, Resource, Span, SpanId, SpanKind, Status, TraceId, Value,
};
use throughline_store::{
    AttributeScope, ComparisonOperator, CompletionKind, MemoryStore, SortOrder, SortPosition,
    SpanField, SpanFilter, SpanKey, Store, TraceExpression, TraceProperties, TraceQuery,
    ValuePredicate, WeavingView,
};

fn trace_id(number: u128) -> TraceId {
    TraceId::from_bytes(number.to_be_bytes()).unwrap()
}

fn span_id(number: u64) -> SpanId {
    SpanId::from_bytes(number.to_be_bytes()).unwrap()
}

fn blank_span(trace: u128, id: u64, start: u64, end: u64) -> Span {
    Span {
        trace_id: trace_id(trace),
        span_id: span_id(id),
        parent_span_id: None,
        flags: 0,
        trace_state: String::new(),
        name: "x".to_owned(),
        kind: SpanKind::Internal,
        start,
        end,
        attributes: Vec::new(),
        events: Vec::new(),
        links: Vec::new(),
        status: Status::Unset,
        status_message: Box::default(),
        dropped: DroppedCounts::default(),
        resource: Arc::new(Resource::of_service("a")),
        scope: Arc::default(),
    }
}

fn values() -> impl Strategy<Value = Value> {
    prop_oneof![
        (0i64..4).prop_map(Value::Int),
        (0i64..4).prop_map(|number| Value::from(number.to_string())),
        (0u8..4).prop_map(|number| Value::Double(f64::from(number) / 2.0)),
        any::<bool>().prop_map(Value::Bool),
        Just(Value::Array(vec![Value::Int(1), Value::from("2")])),
        Just(Value::Bytes(vec![1])),
        Just(Value::from("v".repeat(300))),
    ]
}

prop_compose! {
    fn spans()(
        ids in (1u128..7, 1u64..5),
        name in prop::sample::select(vec!["x", "y"]),
        times in (0u64..100, 0u64..50),
        attributes in vec((prop::sample::select(vec!["k", "l", "error"]), values()), 0..3),
        parent in prop::option::of(1u64..5),
        topic in prop::option::of(prop::sample::select(vec!["t", "u"])),
        failed in any::<bool>(),
        link in prop::option::of(1u128..7),
    ) -> Span {
        let pairs = attributes.into_iter().map(|(key, value)| KeyValue::new(key, value));
        let mut attributes: Vec<KeyValue> = pairs.collect();
        attributes.extend(topic.map(|topic| KeyValue::new("messaging.destination.name", topic)));
        let links = link.map(|trace| Link {
            trace_id: trace_id(trace),
            span_id: span_id(1),
            trace_state: String::new(),
            flags: 0,
            attributes: vec![KeyValue::new("k", 3)],
        });
        // Service and kind belong to the identity of a span, so they follow from its id here.
        let (service, kind) = match ids.1 {
            1 => ("a", SpanKind::Producer),
            2 => ("b", SpanKind::Consumer),
            3 => ("", SpanKind::Internal),
            _ => ("b", SpanKind::Consumer),
        };
        Span {
            name: name.to_owned(),
            parent_span_id: parent.map(span_id),
            kind,
            attributes,
            links: links.into_iter().collect(),
            status: if failed { Status::Error(String::new()) } else { Status::Unset },
            resource: Arc::new(Resource::of_service(service)),
            ..blank_span(ids.0, ids.1, times.0, times.0 + times.1)
        }
    }
}

fn filters() -> impl Strategy<Value = SpanFilter> {
    let scopes = prop::sample::select(vec![
        AttributeScope::Any,
        AttributeScope::Span,
        AttributeScope::Link,
        AttributeScope::JaegerTag,
        AttributeScope::Instrumentation,
    ]);
    let attribute = (scopes, prop::sample::select(vec!["k", "l", "error"]))
        .prop_map(|(scope, key)| SpanField::Attribute(scope, key.to_owned()));
    let fields = prop_oneof![
        3 => attribute,
        2 => prop::sample::select(vec![
            SpanField::Name,
            SpanField::Service,
            SpanField::Kind,
            SpanField::Status,
            SpanField::Topic,
            SpanField::Duration,
        ]),
    ];
    let literals = prop::sample::select(vec![
        "0",
        "1",
        "2",
        "0.5",
        "1.0",
        "[1,2]",
        "true",
        "x",
        "a",
        "t",
        "error",
        "consumer",
        "unknown_service",
    ]);
    let tests = (0usize..10, literals).prop_map(|(which, literal)| match which {
        0 => ValuePredicate::Present,
        1 => ValuePredicate::Absent,
        2..=4 => ValuePredicate::equal(literal),
        5 => ValuePredicate::unequal(literal),
        6 => ValuePredicate::matching(&format!("{literal}.*")).unwrap(),
        7 => ValuePredicate::mismatching(literal).unwrap(),
        8 => ValuePredicate::Number(ComparisonOperator::AtLeast, 1.0),
        _ => ValuePredicate::Text(ComparisonOperator::More, literal.to_owned()),
    });
    let leaf = (fields, tests).prop_map(|(field, test)| SpanFilter::Is(field, test));
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(SpanFilter::All),
            vec(inner.clone(), 0..3).prop_map(SpanFilter::Any),
            inner.prop_map(|filter| SpanFilter::Not(Box::new(filter))),
        ]
    })
}

fn expressions() -> impl Strategy<Value = TraceExpression> {
    filters()
        .prop_map(TraceExpression::Spans)
        .prop_recursive(2, 6, 3, |inner| {
            prop_oneof![
                vec(inner.clone(), 1..3).prop_map(TraceExpression::All),
                vec(inner.clone(), 1..3).prop_map(TraceExpression::Any),
                inner.prop_map(|of| TraceExpression::Count(
                    Box::new(of),
                    ComparisonOperator::More,
                    1
                )),
            ]
        })
}

prop_compose! {
    fn queries()(
        expression in prop::option::of(expressions()),
        topic in prop::option::of(prop::sample::select(vec!["t", "w"])),
        duration in (0u64..60, 0u64..200),
        start in (0u64..110, 0u64..130),
        order in prop::sample::select(vec![
            SortOrder::Newest,
            SortOrder::Duration,
            SortOrder::Spans,
            SortOrder::Errors,
        ]),
        limit in 1usize..5,
    ) -> TraceQuery {
        let topic = topic.map(str::to_owned);
        TraceQuery {
            expression,
            topic,
            duration: duration.0..=duration.1,
            start: start.0..=start.1,
            order,
            limit,
            ..TraceQuery::default()
        }
    }
}

/// The reference store: spans by trace and id.
type ReferenceStore = BTreeMap<TraceId, BTreeMap<SpanId, Span>>;

/// Returns the position of every matching trace, in order.
fn positions(reference: &ReferenceStore, query: &TraceQuery) -> Vec<SortPosition> {
    let mut positions: Vec<SortPosition> = Vec::new();
    for (id, spans) in reference {
        let start = spans.values().map(|span| span.start).min().unwrap();
        let duration = spans.values().map(|span| span.end).max().unwrap() - start;
        let root = spans
            .values()
            .min_by_key(|span| (span.parent_span_id.is_some(), span.start, span.span_id));
        let properties = TraceProperties {
            id: *id,
            duration,
            root,
        };
        let topics: BTreeSet<&str> = spans
            .values()
            .filter_map(|span| span.attribute("messaging.destination.name")?.as_str())
            .collect();
        let matches = query.start.contains(&start)
            && query.duration.contains(&duration)
            && query
                .topic
                .as_ref()
                .is_none_or(|topic| topics.contains(topic.as_str()))
            && query
                .expression
                .as_ref()
                .is_none_or(|expression| expression.matches_trace(&properties, &|| spans.values()));
        if matches {
            let value = match query.order {
                SortOrder::Newest => start,
                SortOrder::Duration => duration,
                SortOrder::Spans => spans.len() as u64,
                SortOrder::Errors => spans.values().filter(|span| span.failed()).count() as u64,
            };
            positions.push(SortPosition {
                value,
                start,
                id: *id,
            });
        }
    }
    positions.sort_unstable_by(|a, b| b.cmp(a));
    positions
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn pages_and_backlinks_equal_the_reference_after_replacements(
        batches in vec(vec(spans(), 0..12), 0..4),
        queries in vec(queries(), 1..6),
    ) {
        let mut reference = ReferenceStore::new();
        let store = MemoryStore::new(usize::MAX);
        for batch in batches {
            for span in &batch {
                reference.entry(span.trace_id).or_default().insert(span.span_id, span.clone());
            }
            store.insert(batch);
        }
        for mut query in queries {
            let expected = positions(&reference, &query);
            let mut found = Vec::new();
            loop {
                let page = store.search(&query);
                prop_assert!(page.traces.len() <= query.limit);
                if let Some(total) = page.total.filter(|_| query.after.is_none()) {
                    prop_assert_eq!(total, expected.len() as u64);
                }
                found.extend(page.traces.iter().map(|trace| trace.id));
                let Some(next) = page.next else { break };
                query.after = Some(next);
            }
            let expected: Vec<_> = expected.iter().map(|position| position.id).collect();
            prop_assert_eq!(found, expected, "{:?}", query);
        }
        let links = store.links_to(trace_id(1), WeavingView::Woven, 100);
        let links: BTreeSet<SpanKey> = links.iter().map(|span| SpanKey::of(span)).collect();
        let expected = reference.values().flat_map(BTreeMap::values).filter(|span| {
            let links_to = |id| span.links.iter().any(|link| link.trace_id == id);
            span.trace_id != trace_id(1) && links_to(trace_id(1))
        });
        let expected: BTreeSet<SpanKey> = expected.map(SpanKey::of).collect();
        prop_assert_eq!(links, expected);
    }

    #[test]
    fn eviction_leaves_nothing_behind(batches in vec(vec(spans(), 0..12), 0..8)) {
        let store = MemoryStore::new(20_000);
        for (number, batch) in batches.into_iter().enumerate() {
            if number % 2 == 0 {
                store.insert(batch);
            } else {
                // Merged with whatever has the same id, endpoint and kind.
                store.insert_fragments(batch);
            }
            prop_assert!(store.occupancy().bytes <= 20_000);
        }
        // A span larger than the store evicts everything, itself included.
        let mut large = blank_span(99, 1, 0, 1);
        large.name = "x".repeat(30_000);
        store.insert(vec![large]);
        prop_assert_eq!(store.occupancy().bytes, 0);
        for kind in [
            CompletionKind::Keys,
            CompletionKind::Values("k".to_owned()),
            CompletionKind::Services,
            CompletionKind::Operations(None),
            CompletionKind::Topics,
        ] {
            prop_assert_eq!(store.complete(&kind, "", 10).items, Vec::new());
        }
        prop_assert!(store.links_to(trace_id(1), WeavingView::Woven, 10).is_empty());
    }
}

fn span_with(trace: u128, key: &'static str, value: &str) -> Span {
    Span {
        attributes: vec![KeyValue::new(key, value.to_owned())],
        ..blank_span(trace, 1, trace.try_into().unwrap(), 200)
    }
}

fn found(store: &MemoryStore, test: ValuePredicate) -> usize {
    let field = SpanField::Attribute(AttributeScope::Span, "k".to_owned());
    let expression = Some(TraceExpression::Spans(SpanFilter::Is(field, test)));
    store
        .search(&TraceQuery {
            expression,
            ..TraceQuery::default()
        })
        .traces
        .len()
}

#[test]
fn values_beyond_the_listed_sample_are_found() {
    let store = MemoryStore::new(usize::MAX);
    store.insert(
        (1..=3000)
            .map(|number| span_with(number, "k", &format!("v{number}")))
            .collect(),
    );
    assert_eq!(
        found(&store, ValuePredicate::matching("v29.*").unwrap()),
        1 + 10 + 100
    );
    assert_eq!(found(&store, ValuePredicate::equal("v2999")), 1);
    let values = store.complete(&CompletionKind::Values("k".to_owned()), "v", 10);
    assert!(values.more && values.items.len() == 10);
}

#[test]
fn a_trace_with_a_full_fingerprint_is_still_examined() {
    let store = MemoryStore::new(usize::MAX);
    let spans = (1..=6000).map(|number| Span {
        span_id: span_id(number),
        ..span_with(1, "k", &format!("v{number}"))
    });
    store.insert(spans.collect());
    assert_eq!(found(&store, ValuePredicate::equal("v5999")), 1);
    assert_eq!(found(&store, ValuePredicate::equal("v6001")), 0);
}

#[test]
fn patterns_with_catastrophic_backtracking_finish_or_are_rejected() {
    let store = MemoryStore::new(usize::MAX);
    store.insert(vec![span_with(1, "k", &"a".repeat(100_000))]);
    assert_eq!(
        found(&store, ValuePredicate::matching("(a*)*b").unwrap()),
        0
    );
    assert!(ValuePredicate::matching("(a{1000}){1000}").is_err());
    assert!(ValuePredicate::matching("a)|(b").is_err());
}

#[test]
fn each_change_is_reported_once_and_dropped_changes_set_more() {
    let store = MemoryStore::new(usize::MAX);
    store.insert(vec![
        blank_span(1, 1, 0, 1),
        blank_span(2, 1, 0, 1),
        blank_span(1, 2, 0, 1),
    ]);
    let first = store.changes(0, WeavingView::Woven);
    assert_eq!(
        (first.traces, first.more),
        (vec![trace_id(2), trace_id(1)], false)
    );
    store.insert(vec![blank_span(2, 2, 0, 1)]);
    let second = store.changes(first.revision, WeavingView::Woven);
    assert_eq!((second.traces, second.more), (vec![trace_id(2)], false));
    store.insert(
        (10..10_000)
            .map(|trace| blank_span(trace, 1, 0, 1))
            .collect(),
    );
    let many = store.changes(second.revision, WeavingView::Woven);
    assert!(many.more && many.traces.len() == 200);
    assert!(store.changes(many.revision + 1, WeavingView::Woven).more);
}
