//! The store on disk answers as the one in memory does, whatever arrives, is sealed, merged and
//! opened again in between.
#![expect(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test reports its failure by panicking"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use throughline_model::{
    DroppedCounts, Event, KeyValue, Link, Resource, Span, SpanId, SpanKind, Status, TraceId, Value,
};
use throughline_segments::{DiskSettings, DiskStore};
use throughline_store::{
    AttributeScope, ComparisonOperator, CompletionKind, MemoryStore, SortOrder, SpanField,
    SpanFilter, SpanKey, Store, TraceExpression, TraceQuery, ValuePredicate, WeavingView,
    WovenEdge, WovenEvidence,
};

/// An event in the life of a store.
#[derive(Debug, Clone)]
enum StoreStep {
    Insert(Vec<Span>),
    Weave(Vec<(SpanKey, SpanKey)>),
    Seal,
    Compact,
    Reopen,
    /// Opened again without any index.
    Rebuild,
}

fn trace_id(number: u128) -> TraceId {
    TraceId::from_bytes(number.to_be_bytes()).unwrap()
}

fn span_id(number: u64) -> SpanId {
    SpanId::from_bytes(number.to_be_bytes()).unwrap()
}

fn key(trace: u128, span: u64) -> SpanKey {
    SpanKey {
        trace_id: trace_id(trace),
        span_id: span_id(span),
    }
}

prop_compose! {
    /// A span whose content depends on its ids alone: a sender repeats a span unchanged.
    fn spans()(trace in 1u128..12, span in 1u64..5) -> Span {
        let seed = u64::try_from(trace).unwrap() * 31 + span * 7;
        // Some traces have nothing but names, times and simple attributes.
        let is_plain = trace % 4 == 1;
        let link = (seed % 3 == 0 && !is_plain && trace % 4 != 2).then(|| Link {
            trace_id: trace_id(u128::from(seed % 11 + 1)),
            span_id: span_id(1),
            trace_state: "a=b".to_owned(),
            flags: 1,
            attributes: vec![KeyValue::new("opentracing.ref_type", "follows_from")],
        });
        // Half of the traces are of calls alone.
        let is_message = trace % 2 == 0;
        let kinds = if is_message {
            [SpanKind::Server, SpanKind::Client, SpanKind::Producer, SpanKind::Consumer]
        } else {
            [SpanKind::Server, SpanKind::Client, SpanKind::Internal, SpanKind::Unspecified]
        };
        let mut attributes = vec![KeyValue::new("tag", i64::try_from(seed % 3).unwrap())];
        if is_message {
            let topic = ["orders", "bills"][span as usize % 2];
            attributes.push(KeyValue::new("messaging.destination.name", topic));
        }
        if seed % 10 == 0 && !is_plain {
            attributes.push(KeyValue::new("error", true));
        }
        // In one of the plain traces, attributes matter to the summary.
        if trace == 9 && seed % 3 == 0 {
            attributes.push(KeyValue::new("throughline.parent.evidence", "open"));
        }
        if seed % 5 == 0 && !is_plain {
            let list = vec![Value::Bytes(vec![1]), Value::Empty];
            attributes.push(KeyValue::new("tag", Value::Array(list)));
        }
        let parent = span > 1 && seed % 4 != 0;
        Span {
            trace_id: trace_id(trace),
            span_id: span_id(span),
            parent_span_id: parent.then(|| span_id(span - 1)),
            flags: 0x101,
            trace_state: String::new(),
            name: ["x", "y", "z"][seed as usize % 3].to_owned(),
            kind: kinds[seed as usize % 4],
            start: seed % 97,
            end: seed % 97 + seed % 13,
            attributes,
            events: (0..if is_plain { 0 } else { seed % 3 })
                .map(|at| Event {
                    time: seed + at,
                    name: "event".to_owned(),
                    attributes: vec![KeyValue::new("at", 0.5 * at as f64)],
                })
                .collect(),
            links: link.into_iter().collect(),
            status: match seed % 6 {
                0 if is_plain => Status::Error(String::new()),
                0 => Status::Error("no".to_owned()),
                _ => Status::Unset,
            },
            status_message: Box::default(),
            dropped: DroppedCounts {
                attributes: if is_plain { 0 } else { span as u32 },
                events: 0,
                links: 0,
            },
            resource: Arc::new(Resource::of_service(["shop", "bill"][seed as usize % 2])),
            scope: Arc::default(),
        }
    }
}

fn steps() -> impl Strategy<Value = StoreStep> {
    let keys = (1u128..12, 1u64..5).prop_map(|(trace, span)| key(trace, span));
    let edges = vec((keys.clone(), keys), 1..4);
    prop_oneof![
        6 => vec(spans(), 1..8).prop_map(StoreStep::Insert),
        2 => edges.prop_map(StoreStep::Weave),
        3 => Just(StoreStep::Seal),
        1 => Just(StoreStep::Compact),
        1 => Just(StoreStep::Reopen),
        1 => Just(StoreStep::Rebuild),
    ]
}

fn expressions() -> impl Strategy<Value = TraceExpression> {
    let tag = || SpanField::Attribute(AttributeScope::Span, "tag".to_owned());
    let filter = prop_oneof![
        (0i64..4).prop_map(move |value| {
            SpanFilter::Is(tag(), ValuePredicate::equal(&value.to_string()))
        }),
        Just(SpanFilter::Is(
            SpanField::Name,
            ValuePredicate::matching("x|z").unwrap()
        )),
        Just(SpanFilter::Is(
            SpanField::Service,
            ValuePredicate::equal("shop")
        )),
        (1u64..6).prop_map(|id| {
            SpanFilter::Is(
                SpanField::Id,
                ValuePredicate::equal(&span_id(id).to_string()),
            )
        }),
        (0u64..14, prop::sample::select(vec!["shop", "bill", "none"])).prop_map(
            |(duration, service)| {
                let time = ValuePredicate::Time(ComparisonOperator::More, duration);
                SpanFilter::All(vec![
                    SpanFilter::Is(SpanField::Service, ValuePredicate::equal(service)),
                    SpanFilter::Is(SpanField::Duration, time),
                ])
            }
        ),
        prop::sample::select(vec![
            (SpanField::Status, "error"),
            (SpanField::Kind, "client"),
            (SpanField::RootName, "x"),
            (SpanField::RootService, "bill"),
        ])
        .prop_map(|(field, value)| SpanFilter::Is(field, ValuePredicate::equal(value))),
        Just(SpanFilter::Not(Box::new(SpanFilter::Is(
            SpanField::Service,
            ValuePredicate::equal("shop")
        )))),
        Just(SpanFilter::Is(
            SpanField::Topic,
            ValuePredicate::matching("ord.*").unwrap()
        )),
    ];
    let spans = filter.prop_map(TraceExpression::Spans);
    prop_oneof![
        spans.clone(),
        vec(spans.clone(), 2..3).prop_map(TraceExpression::All),
        vec(spans, 2..3).prop_map(TraceExpression::Any),
    ]
}

prop_compose! {
    fn queries()(
        expression in prop::option::of(expressions()),
        topic in prop::option::of(prop::sample::select(vec!["orders", "none"])),
        start in (0u64..100, 0u64..100),
        duration in 0u64..20,
        order in prop::sample::select(vec![
            SortOrder::Newest, SortOrder::Duration, SortOrder::Spans, SortOrder::Errors,
        ]),
        limit in 1usize..5,
        is_raw in any::<bool>(),
    ) -> TraceQuery {
        TraceQuery {
            expression,
            topic: topic.map(str::to_owned),
            start: start.0.min(start.1)..=start.0.max(start.1),
            duration: duration.saturating_sub(10)..=u64::MAX,
            order,
            limit,
            view: if is_raw { WeavingView::Raw } else { WeavingView::Woven },
            ..TraceQuery::default()
        }
    }
}

fn open(folder: &Path) -> DiskStore {
    let settings = DiskSettings {
        min_free_bytes: 0,
        ..DiskSettings::default()
    };
    DiskStore::open(folder, settings).unwrap()
}

fn remove_indexes(folder: &Path) {
    for hour in std::fs::read_dir(folder.join("segments")).unwrap() {
        for file in std::fs::read_dir(hour.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|it| it == "index") {
                std::fs::remove_file(path).unwrap();
            }
        }
    }
}

/// Returns all pages of a query as the ids of their traces, and the pages of both stores agree.
fn compare_search(disk: &dyn Store, memory: &dyn Store, query: &TraceQuery) {
    let mut query = query.clone();
    loop {
        let (own, expected) = (disk.search(&query), memory.search(&query));
        assert_eq!(own.traces, expected.traces, "{query:?}");
        assert_eq!(own.next, expected.next, "{query:?}");
        assert!(
            own.total.is_none() || own.total == expected.total,
            "{query:?}"
        );
        assert_eq!(disk.search_traces(&query), memory.search_traces(&query));
        query.after = own.next;
        if own.next.is_none() {
            break;
        }
    }
}

fn keys_of(spans: &[Arc<Span>]) -> BTreeSet<SpanKey> {
    spans.iter().map(|span| SpanKey::of(span)).collect()
}

fn compare(disk: &dyn Store, memory: &dyn Store) {
    for view in [WeavingView::Woven, WeavingView::Raw] {
        for id in (1..13).map(trace_id) {
            assert_eq!(disk.trace(id, view), memory.trace(id, view));
            assert_eq!(disk.summary(id, view), memory.summary(id, view));
            let links = |store: &dyn Store| {
                let to = keys_of(&store.links_to(id, view, 100));
                (to, keys_of(&store.links_from(id, view, 100)))
            };
            assert_eq!(links(disk), links(memory), "links of {id}");
        }
    }
    assert_eq!(disk.services(), memory.services());
    for service in [None, Some("shop"), Some("none")] {
        for kind in [None, Some(SpanKind::Client)] {
            assert_eq!(
                disk.operations(service, kind),
                memory.operations(service, kind)
            );
        }
    }
    assert_eq!(disk.span(key(1, 1)), memory.span(key(1, 1)));
    for range in [(0, u64::MAX), (20, 60)] {
        let graph = |store: &dyn Store| format!("{:?}", store.service_graph(range.0, range.1));
        assert_eq!(graph(disk), graph(memory));
    }
    for kind in [
        CompletionKind::Services,
        CompletionKind::Operations(Some("shop".to_owned())),
        CompletionKind::Topics,
        CompletionKind::Values("tag".to_owned()),
    ] {
        // A span that arrives twice may count twice.
        let texts = |store: &dyn Store| {
            let list = store.complete(&kind, "", 100);
            let texts = list.items.into_iter().map(|(text, _)| text);
            texts.collect::<BTreeSet<String>>()
        };
        assert_eq!(texts(disk), texts(memory), "{kind:?}");
    }
}

fn cases() -> u32 {
    if std::env::var_os("THROUGHLINE_FULL").is_some_and(|full| full == "1") {
        500
    } else {
        24
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]
    #[test]
    fn the_disk_answers_as_the_memory_does(
        steps in vec(steps(), 1..16),
        queries in vec(queries(), 6),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let memory = MemoryStore::new(usize::MAX);
        let mut disk = open(folder.path());
        for step in steps {
            match step {
                StoreStep::Insert(spans) => {
                    memory.insert(spans.clone());
                    disk.insert(spans).unwrap();
                }
                StoreStep::Weave(pairs) => {
                    let edges = pairs.into_iter().map(|(child, parent)| WovenEdge {
                        child,
                        parent: Some(parent),
                        evidence: WovenEvidence::Offset,
                        confidence: 1.0,
                        alternatives: Vec::new(),
                        is_joined: true,
                    });
                    let edges: Vec<WovenEdge> = edges.collect();
                    prop_assert_eq!(disk.weave(edges.clone()), memory.weave(edges));
                }
                StoreStep::Seal => disk.seal(),
                StoreStep::Compact => {
                    let segments = disk.compact();
                    prop_assert!(segments < 3);
                }
                StoreStep::Reopen | StoreStep::Rebuild => {
                    drop(disk);
                    if matches!(step, StoreStep::Rebuild) {
                        remove_indexes(folder.path());
                    }
                    disk = open(folder.path());
                }
            }
        }
        compare(&disk, &memory);
        for query in &queries {
            compare_search(&disk, &memory, query);
        }
    }
}
