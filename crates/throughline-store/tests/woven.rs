//! Decisions about parents: joined traces are one under any of their ids, and nothing that was
//! reported changes.
#![expect(
    clippy::unwrap_used,
    reason = "a test reports its failure by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use throughline_model::convention::{PARENT_EVIDENCE, WOVEN_TRACE_ID};
use throughline_model::{
    DroppedCounts, KeyValue, Resource, Span, SpanId, SpanKind, Status, TraceId, Value,
};
use throughline_store::{
    AlternativeParent, MemoryStore, SpanField, SpanFilter, SpanKey, Store, TraceExpression,
    TraceQuery, ValuePredicate, WeaveOutcome, WeavingView, WovenEdge, WovenEvidence,
};

fn key(trace: u128, id: u64) -> SpanKey {
    SpanKey {
        trace_id: TraceId::from_bytes(trace.to_be_bytes()).unwrap(),
        span_id: SpanId::from_bytes(id.to_be_bytes()).unwrap(),
    }
}

fn span(key: SpanKey, parent: Option<SpanKey>, service: &str, start: u64) -> Span {
    Span {
        trace_id: key.trace_id,
        span_id: key.span_id,
        parent_span_id: parent.map(|parent| parent.span_id),
        flags: 1,
        trace_state: String::new(),
        name: format!("{service} works"),
        kind: SpanKind::Internal,
        start,
        end: start + 10,
        attributes: vec![KeyValue::new(PARENT_EVIDENCE, "open")],
        events: Vec::new(),
        links: Vec::new(),
        status: Status::Unset,
        status_message: Box::default(),
        dropped: DroppedCounts::default(),
        resource: Arc::new(Resource::of_service(service)),
        scope: Arc::default(),
    }
}

fn edge(child: SpanKey, parent: SpanKey) -> WovenEdge {
    WovenEdge {
        child,
        parent: Some(parent),
        evidence: WovenEvidence::Timing,
        confidence: 0.97,
        alternatives: Vec::new(),
        is_joined: true,
    }
}

/// Three traces: shop and its two spans, billing, and mail.
fn store() -> MemoryStore {
    let store = MemoryStore::new(1 << 20);
    store.insert(vec![
        span(key(1, 1), None, "shop", 100),
        span(key(1, 2), Some(key(1, 1)), "shop", 110),
        span(key(2, 3), None, "billing", 120),
        span(key(3, 4), None, "mail", 130),
    ]);
    store
}

fn ids(store: &MemoryStore, query: &TraceQuery) -> Vec<(TraceId, u64, u64)> {
    let traces = store.search(query).traces;
    let ids = traces.iter().map(|it| (it.id, it.spans, it.fragments));
    ids.collect()
}

#[test]
fn joined_traces_are_one_under_any_of_their_ids() {
    let store = store();
    let outcome = store.weave(vec![edge(key(2, 3), key(1, 2)), edge(key(3, 4), key(2, 3))]);
    assert_eq!((outcome.joined, outcome.missing), (2, 0));
    for number in 1..4 {
        let id = key(number, 1).trace_id;
        let trace = store.trace(id, WeavingView::Woven).unwrap();
        assert_eq!(trace.id, key(1, 1).trace_id);
        assert_eq!((trace.spans.len(), trace.fragments), (4, 3));
        assert!(trace.spans.iter().all(|span| span.trace_id == trace.id));
        let parents: Vec<_> = trace.spans.iter().map(|span| span.parent_span_id).collect();
        let expected = [None, Some(1), Some(2), Some(3)];
        let expected = expected.map(|id| id.map(|id| key(1, id).span_id));
        assert_eq!(parents, expected);
        let mail = &trace.spans[3];
        assert_eq!(
            mail.attribute(PARENT_EVIDENCE).and_then(Value::as_str),
            Some("timing")
        );
        let reported = mail.attribute(WOVEN_TRACE_ID).and_then(Value::as_str);
        assert_eq!(reported, Some(key(3, 4).trace_id.to_string().as_str()));
    }
    // The lists have it once, with the sums of all.
    assert_eq!(
        ids(&store, &TraceQuery::default()),
        [(key(1, 1).trace_id, 4, 3)]
    );
    let summary = store
        .summary(key(3, 4).trace_id, WeavingView::Woven)
        .unwrap();
    assert_eq!((&*summary.service, summary.duration), ("shop", 40));
    assert_eq!((summary.inferred, summary.services.len()), (2, 3));
    assert_eq!(store.search(&TraceQuery::default()).total, Some(1));
}

#[test]
fn raw_view_shows_what_was_reported() {
    let store = store();
    let before: Vec<_> = (1..4)
        .map(|number| store.trace(key(number, 1).trace_id, WeavingView::Raw))
        .collect();
    store.weave(vec![edge(key(2, 3), key(1, 2))]);
    for (number, before) in (1..4).zip(before) {
        assert_eq!(
            store.trace(key(number, 1).trace_id, WeavingView::Raw),
            before
        );
    }
    let raw = TraceQuery {
        view: WeavingView::Raw,
        ..TraceQuery::default()
    };
    assert_eq!(ids(&store, &raw).len(), 3);
    assert_eq!(store.changes(1, WeavingView::Raw).traces.len(), 2);
    assert_eq!(
        store.changes(1, WeavingView::Woven).traces,
        [key(1, 1).trace_id]
    );
}

#[test]
fn conditions_of_a_search_hold_across_joined_traces() {
    let store = store();
    let of = |service: &str| {
        TraceExpression::Spans(SpanFilter::Is(
            SpanField::Service,
            ValuePredicate::equal(service),
        ))
    };
    let both = TraceQuery {
        expression: Some(TraceExpression::All(vec![of("shop"), of("mail")])),
        ..TraceQuery::default()
    };
    assert!(ids(&store, &both).is_empty());
    store.weave(vec![edge(key(3, 4), key(1, 1))]);
    assert_eq!(ids(&store, &both), [(key(1, 1).trace_id, 3, 2)]);
    // Each of its ids finds it.
    let by_id = TraceQuery {
        expression: Some(TraceExpression::Spans(SpanFilter::Is(
            SpanField::TraceId,
            ValuePredicate::equal(&key(3, 4).trace_id.to_string()),
        ))),
        ..TraceQuery::default()
    };
    assert_eq!(ids(&store, &by_id), [(key(1, 1).trace_id, 3, 2)]);
}

#[test]
fn decisions_can_be_revised() {
    let store = store();
    store.weave(vec![edge(key(3, 4), key(1, 1))]);
    let mut revised = edge(key(3, 4), key(2, 3));
    revised.alternatives.push(AlternativeParent {
        parent: Some(key(1, 1)),
        confidence: 0.02,
    });
    store.weave(vec![revised.clone()]);
    let trace = store.trace(key(2, 3).trace_id, WeavingView::Woven).unwrap();
    assert_eq!(
        (trace.spans.len(), &trace.edges[..]),
        (2, &[revised.clone()][..])
    );
    assert_eq!(
        store
            .trace(key(1, 1).trace_id, WeavingView::Woven)
            .unwrap()
            .spans
            .len(),
        2
    );
    // Less certain: it is kept, and joins nothing.
    revised.is_joined = false;
    assert_eq!(store.weave(vec![revised]).kept, 1);
    assert_eq!(ids(&store, &TraceQuery::default()).len(), 3);
    assert_eq!(store.occupancy().woven_traces, 0);
    let trace = store.trace(key(3, 4).trace_id, WeavingView::Woven).unwrap();
    assert_eq!(
        (trace.spans[0].parent_span_id, trace.edges.len()),
        (None, 1)
    );
}

#[test]
fn decisions_of_which_another_store_has_a_part_join_what_is_stored() {
    let store = MemoryStore::new(1 << 20);
    let (here, parent, root) = (key(3, 4), key(2, 3), key(1, 1));
    store.insert(vec![span(here, None, "mail", 100)]);
    // Its parent, and the parent of that, are stored elsewhere.
    let mut root_join = edge(key(2, 2), root);
    let joins = vec![edge(here, parent), root_join.clone()];
    let outcome = store.weave_shared(joins);
    assert_eq!((outcome.joined, outcome.missing), (2, 0));
    for id in [here, parent, root] {
        let trace = store.trace(id.trace_id, WeavingView::Woven).unwrap();
        assert_eq!(trace.id, here.trace_id);
        assert_eq!(trace.spans[0].parent_span_id, Some(parent.span_id));
        assert_eq!(trace.edges.len(), 2);
    }
    // Neither is known.
    let unknown = store.weave_shared(vec![edge(key(8, 8), key(9, 9))]);
    assert_eq!(unknown.missing, 1);
    // The collector that decided has changed its mind.
    root_join.is_joined = false;
    assert_eq!(store.weave_shared(vec![root_join]).kept, 1);
    assert!(store.trace(root.trace_id, WeavingView::Woven).is_none());
    // The parent comes here as well, and the trace begins with it.
    store.insert(vec![span(parent, None, "shop", 50)]);
    let trace = store.trace(here.trace_id, WeavingView::Woven).unwrap();
    assert_eq!(trace.spans.len(), 2);
}

#[test]
fn decisions_that_contradict_the_spans_are_refused() {
    let store = store();
    let refused = store.weave(vec![
        edge(key(1, 2), key(2, 3)),
        edge(key(2, 3), key(9, 9)),
        edge(key(9, 9), key(1, 1)),
        edge(key(1, 1), key(1, 2)),
    ]);
    let expected = WeaveOutcome {
        reported: 1,
        missing: 2,
        cyclic: 1,
        ..WeaveOutcome::default()
    };
    assert_eq!(refused, expected);
    // Neither in a circle over several traces.
    let outcome = store.weave(vec![
        edge(key(2, 3), key(1, 2)),
        edge(key(3, 4), key(2, 3)),
        edge(key(1, 1), key(3, 4)),
    ]);
    assert_eq!((outcome.joined, outcome.cyclic), (2, 1));
}

#[test]
fn joined_traces_are_evicted_together() {
    let store = MemoryStore::new(20_000);
    let text = "x".repeat(1_000);
    let insert = |number: u64| {
        let mut one = span(key(u128::from(number), number), None, "shop", number);
        one.attributes.push(KeyValue::new("text", text.clone()));
        store.insert(vec![one]);
    };
    insert(1);
    insert(2);
    insert(3);
    store.weave(vec![edge(key(3, 3), key(1, 1))]);
    let mut next = 4;
    while store.trace(key(1, 1).trace_id, WeavingView::Raw).is_some() {
        insert(next);
        next += 1;
    }
    assert!(store.trace(key(3, 3).trace_id, WeavingView::Raw).is_none());
    assert!(
        store.trace(key(2, 2).trace_id, WeavingView::Raw).is_some(),
        "it is not joined"
    );
    let occupancy = store.occupancy();
    assert_eq!((occupancy.evicted_traces, occupancy.evicted_joins), (2, 1));
    assert_eq!((occupancy.woven_spans, occupancy.woven_traces), (0, 0));
    // The id comes again, and is a trace of its own, which its earlier place does not evict.
    insert(3);
    assert!(
        store
            .trace(key(3, 3).trace_id, WeavingView::Woven)
            .is_some()
    );
}

/// A step of the model: insert, join, separate.
#[derive(Debug, Clone, Copy)]
enum Step {
    Insert { trace: u128, start: u64 },
    Join { child: u128, parent: u128 },
    Part { child: u128 },
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1u128..9, 0u64..50).prop_map(|(trace, start)| Step::Insert { trace, start }),
        (1u128..9, 1u128..9).prop_map(|(child, parent)| Step::Join { child, parent }),
        (1u128..9).prop_map(|child| Step::Part { child }),
    ]
}

/// Returns the root of a trace in the model.
fn root(parents: &BTreeMap<u128, u128>, mut trace: u128) -> u128 {
    while let Some(parent) = parents.get(&trace) {
        trace = *parent;
    }
    trace
}

proptest! {
    /// After any steps, lists and traces agree with a model of joined sets; a small store evicts on
    /// the way.
    #[test]
    fn groups_agree_with_a_model(
        steps in proptest::collection::vec(steps(), 1..80),
        max_bytes in prop::sample::select(vec![4_000usize, 8_000, 1 << 20]),
    ) {
        let store = MemoryStore::new(max_bytes);
        let mut parents: BTreeMap<u128, u128> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Insert { trace, start } => {
                    store.insert(vec![span(key(trace, 1), None, "shop", start)]);
                }
                Step::Join { child, parent } => {
                    let outcome = store.weave(vec![edge(key(child, 1), key(parent, 1))]);
                    if outcome.joined == 1 {
                        parents.insert(child, parent);
                    }
                }
                Step::Part { child } => {
                    let mut decision = edge(key(child, 1), key(child, 1));
                    decision.is_joined = false;
                    if store.weave(vec![decision]).kept == 1 {
                        parents.remove(&child);
                    }
                }
            }
            let stored: BTreeSet<u128> = (1..9)
                .filter(|it| store.trace(key(*it, 1).trace_id, WeavingView::Raw).is_some())
                .collect();
            // Eviction takes the joins of a trace with it.
            parents.retain(|child, parent| stored.contains(child) && stored.contains(parent));
            let mut groups: BTreeMap<u128, usize> = BTreeMap::new();
            for trace in &stored {
                *groups.entry(root(&parents, *trace)).or_default() += 1;
            }
            let listed = ids(&store, &TraceQuery::default());
            let mut sizes: Vec<u64> = listed.iter().map(|(_, _, fragments)| *fragments).collect();
            let mut expected: Vec<u64> = groups.values().map(|size| *size as u64).collect();
            sizes.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(sizes, expected);
            for trace in &stored {
                let woven = store.trace(key(*trace, 1).trace_id, WeavingView::Woven).unwrap();
                prop_assert_eq!(woven.fragments, groups[&root(&parents, *trace)]);
                prop_assert!(listed.iter().any(|(id, _, _)| *id == woven.id));
            }
            let occupancy = store.occupancy();
            prop_assert_eq!(occupancy.woven_spans, parents.len());
            let joined = groups.values().filter(|size| **size > 1).count();
            prop_assert_eq!(occupancy.woven_traces, joined);
            prop_assert!(occupancy.bytes <= max_bytes.max(4_000) || stored.len() <= 1);
        }
    }
}
