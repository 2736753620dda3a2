//! Pages, orders, expressions, completions and back links: as the simplest store there is would answer, whatever comes, and with nothing
//! left behind when all is gone.
#![expect(clippy::unwrap_used, reason = "a test says what failed by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use throughline_model::{KeyValue, Link, Resource, Span, SpanId, SpanKind, Status, TraceId, Value};
use throughline_store::{
    Comparison, Expression, Facts, Field, Filter, Find, MemoryStore, Order, Place, Scope, Store,
    Test, Wanted,
};

fn trace_id(number: u128) -> TraceId {
    TraceId::from_bytes(number.to_be_bytes()).unwrap()
}

fn span_id(number: u64) -> SpanId {
    SpanId::from_bytes(number.to_be_bytes()).unwrap()
}

fn plain(trace: u128, id: u64, start: u64, end: u64) -> Span {
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
        dropped: 0,
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
        names in (prop::sample::select(vec!["a", "b", ""]), prop::sample::select(vec!["x", "y"])),
        times in (0u64..100, 0u64..50),
        attributes in vec((prop::sample::select(vec!["k", "l", "error"]), values()), 0..3),
        parent in prop::option::of(1u64..5),
        kind in prop::sample::select(vec![SpanKind::Internal, SpanKind::Producer, SpanKind::Consumer]),
        topic in prop::option::of(prop::sample::select(vec!["t", "u"])),
        failed in any::<bool>(),
        link in prop::option::of(1u128..7),
    ) -> Span {
        let mut attributes: Vec<KeyValue> = attributes.into_iter().map(|(key, value)| KeyValue::new(key, value)).collect();
        attributes.extend(topic.map(|topic| KeyValue::new("messaging.destination.name", topic)));
        let links = link.map(|trace| Link {
            trace_id: trace_id(trace),
            span_id: span_id(1),
            trace_state: String::new(),
            flags: 0,
            attributes: vec![KeyValue::new("k", 3)],
        });
        Span {
            name: names.1.to_owned(),
            parent_span_id: parent.map(span_id),
            kind,
            attributes,
            links: links.into_iter().collect(),
            status: if failed { Status::Error(String::new()) } else { Status::Unset },
            resource: Arc::new(Resource::of_service(names.0)),
            ..plain(ids.0, ids.1, times.0, times.0 + times.1)
        }
    }
}

fn filters() -> impl Strategy<Value = Filter> {
    let scopes = prop::sample::select(vec![Scope::Any, Scope::Span, Scope::Link, Scope::Tag]);
    let attribute = (scopes, prop::sample::select(vec!["k", "l", "error"]))
        .prop_map(|(scope, key)| Field::Attribute(scope, key.to_owned()));
    let fields = prop_oneof![
        3 => attribute,
        2 => prop::sample::select(vec![Field::Name, Field::Service, Field::Kind, Field::Status, Field::Topic, Field::Duration]),
    ];
    let literals = prop::sample::select(vec![
        "0",
        "1",
        "2",
        "0.5",
        "1.0",
        "true",
        "x",
        "a",
        "t",
        "error",
        "consumer",
        "unknown_service",
    ]);
    let tests = (0usize..10, literals).prop_map(|(which, literal)| match which {
        0 => Test::Present,
        1 => Test::Absent,
        2..=4 => Test::equal(literal),
        5 => Test::unequal(literal),
        6 => Test::matched(&format!("{literal}.*")).unwrap(),
        7 => Test::mismatched(literal).unwrap(),
        8 => Test::Number(Comparison::AtLeast, 1.0),
        _ => Test::Text(Comparison::More, literal.to_owned()),
    });
    let leaf = (fields, tests).prop_map(|(field, test)| Filter::Is(field, test));
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Filter::All),
            vec(inner.clone(), 0..3).prop_map(Filter::Any),
            inner.prop_map(|filter| Filter::Not(Box::new(filter))),
        ]
    })
}

fn expressions() -> impl Strategy<Value = Expression> {
    filters()
        .prop_map(Expression::Spans)
        .prop_recursive(2, 6, 3, |inner| {
            prop_oneof![
                vec(inner.clone(), 1..3).prop_map(Expression::All),
                vec(inner.clone(), 1..3).prop_map(Expression::Any),
                inner.prop_map(|of| Expression::Count(Box::new(of), Comparison::More, 1)),
            ]
        })
}

prop_compose! {
    fn finds()(
        expression in prop::option::of(expressions()),
        topic in prop::option::of(prop::sample::select(vec!["t", "w"])),
        duration in (0u64..60, 0u64..200),
        start in (0u64..110, 0u64..130),
        order in prop::sample::select(vec![Order::Newest, Order::Duration, Order::Spans, Order::Errors]),
        limit in 1usize..5,
    ) -> Find {
        let topic = topic.map(str::to_owned);
        Find { expression, topic, duration: duration.0..=duration.1, start: start.0..=start.1, order, limit, after: None }
    }
}

type Plain = BTreeMap<TraceId, BTreeMap<SpanId, Span>>;

/// Every place, in order.
fn places(plain: &Plain, find: &Find) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    for (id, spans) in plain {
        let start = spans.values().map(|span| span.start).min().unwrap();
        let duration = spans.values().map(|span| span.end).max().unwrap() - start;
        let root = spans
            .values()
            .min_by_key(|span| (span.parent_span_id.is_some(), span.start, span.span_id));
        let facts = Facts {
            id: *id,
            duration,
            root,
        };
        let topics: BTreeSet<&str> = spans
            .values()
            .filter_map(|span| span.attribute("messaging.destination.name")?.as_str())
            .collect();
        let is_it = find.start.contains(&start)
            && find.duration.contains(&duration)
            && find
                .topic
                .as_ref()
                .is_none_or(|topic| topics.contains(topic.as_str()))
            && find
                .expression
                .as_ref()
                .is_none_or(|expression| expression.holds(&facts, &|| spans.values()));
        if is_it {
            let value = match find.order {
                Order::Newest => start,
                Order::Duration => duration,
                Order::Spans => spans.len() as u64,
                Order::Errors => spans.values().filter(|span| span.failed()).count() as u64,
            };
            places.push(Place {
                value,
                start,
                id: *id,
            });
        }
    }
    places.sort_unstable_by(|a, b| b.cmp(a));
    places
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn pages_answer_as_the_simplest_store_would_also_after_replacements(batches in vec(vec(spans(), 0..12), 0..4), finds in vec(finds(), 1..6)) {
        let mut plain = Plain::new();
        let store = MemoryStore::new(usize::MAX);
        for batch in batches {
            for span in &batch {
                plain.entry(span.trace_id).or_default().insert(span.span_id, span.clone());
            }
            store.insert(batch);
        }
        for mut find in finds {
            let expected = places(&plain, &find);
            let mut found = Vec::new();
            loop {
                let page = store.find(&find);
                prop_assert!(page.traces.len() <= find.limit);
                if let Some(total) = page.total.filter(|_| find.after.is_none()) {
                    prop_assert_eq!(total, expected.len() as u64);
                }
                found.extend(page.traces.iter().map(|trace| trace.id));
                let Some(next) = page.next else { break };
                find.after = Some(next);
            }
            prop_assert_eq!(found, expected.iter().map(|place| place.id).collect::<Vec<_>>(), "{:?}", find);
        }
        let links: BTreeSet<(TraceId, SpanId)> = store.links_to(trace_id(1), 100).iter().map(|span| (span.trace_id, span.span_id)).collect();
        let expected = plain.values().flat_map(BTreeMap::values).filter(|span| {
            span.trace_id != trace_id(1) && span.links.iter().any(|link| link.trace_id == trace_id(1))
        });
        prop_assert_eq!(links, expected.map(|span| (span.trace_id, span.span_id)).collect::<BTreeSet<_>>());
    }

    #[test]
    fn what_goes_leaves_nothing_behind(batches in vec(vec(spans(), 0..12), 0..8)) {
        let store = MemoryStore::new(20_000);
        for batch in batches {
            store.insert(batch);
            prop_assert!(store.occupancy().bytes <= 20_000);
        }
        // One span that has no room pushes everything out, itself included.
        let mut large = plain(99, 1, 0, 1);
        large.name = "x".repeat(30_000);
        store.insert(vec![large]);
        prop_assert_eq!(store.occupancy().bytes, 0);
        for wanted in [Wanted::Keys, Wanted::Values("k".to_owned()), Wanted::Services, Wanted::Operations(None), Wanted::Topics] {
            prop_assert_eq!(store.complete(&wanted, "", 10).items, Vec::new());
        }
        prop_assert!(store.links_to(trace_id(1), 10).is_empty());
    }
}

fn keyed(trace: u128, key: &'static str, value: &str) -> Span {
    Span {
        attributes: vec![KeyValue::new(key, value.to_owned())],
        ..plain(trace, 1, trace.try_into().unwrap(), 200)
    }
}

fn found(store: &MemoryStore, test: Test) -> usize {
    let field = Field::Attribute(Scope::Span, "k".to_owned());
    let expression = Some(Expression::Spans(Filter::Is(field, test)));
    store
        .find(&Find {
            expression,
            ..Find::default()
        })
        .traces
        .len()
}

#[test]
fn values_that_are_too_many_to_be_listed_are_found_all_the_same() {
    let store = MemoryStore::new(usize::MAX);
    store.insert(
        (1..=3000)
            .map(|number| keyed(number, "k", &format!("v{number}")))
            .collect(),
    );
    assert_eq!(found(&store, Test::matched("v29.*").unwrap()), 1 + 10 + 100);
    assert_eq!(found(&store, Test::equal("v2999")), 1);
    let values = store.complete(&Wanted::Values("k".to_owned()), "v", 10);
    assert!(values.more && values.items.len() == 10);
}

#[test]
fn a_trace_with_more_attributes_than_its_signature_holds_is_still_looked_through() {
    let store = MemoryStore::new(usize::MAX);
    let spans = (1..=6000).map(|number| Span {
        span_id: span_id(number),
        ..keyed(1, "k", &format!("v{number}"))
    });
    store.insert(spans.collect());
    assert_eq!(found(&store, Test::equal("v5999")), 1);
    assert_eq!(found(&store, Test::equal("v6001")), 0);
}

#[test]
fn an_expression_that_would_run_away_answers_at_once() {
    let store = MemoryStore::new(usize::MAX);
    store.insert(vec![keyed(1, "k", &"a".repeat(100_000))]);
    assert_eq!(found(&store, Test::matched("(a*)*b").unwrap()), 0);
    assert!(Test::matched("(a{1000}){1000}").is_err());
    assert!(Test::matched("a)|(b").is_err());
}

#[test]
fn changes_are_told_once_and_what_is_forgotten_is_said_to_be() {
    let store = MemoryStore::new(usize::MAX);
    store.insert(vec![
        plain(1, 1, 0, 1),
        plain(2, 1, 0, 1),
        plain(1, 2, 0, 1),
    ]);
    let first = store.changes(0);
    assert_eq!(
        (first.traces, first.more),
        (vec![trace_id(2), trace_id(1)], false)
    );
    store.insert(vec![plain(2, 2, 0, 1)]);
    let second = store.changes(first.now);
    assert_eq!((second.traces, second.more), (vec![trace_id(2)], false));
    store.insert((10..10_000).map(|trace| plain(trace, 1, 0, 1)).collect());
    let many = store.changes(second.now);
    assert!(many.more && many.traces.len() == 200);
    assert!(store.changes(many.now + 1).more);
}
