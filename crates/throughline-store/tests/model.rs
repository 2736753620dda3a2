//! Whatever comes in, the store answers as the simplest store there is would, and stays within its bounds.
#![expect(clippy::unwrap_used, reason = "a test says what failed by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use throughline_model::{KeyValue, Resource, Span, SpanId, SpanKind, Status, TraceId};
use throughline_store::{AttributeFilter, MemoryStore, Query, Store};

/// Spans of few traces, ids, services and names, so that they meet.
fn spans() -> impl Strategy<Value = Span> {
    let ids = (1u128..6, 1u64..5);
    let names = (
        prop::sample::select(vec!["a", "b"]),
        prop::sample::select(vec!["x", "y"]),
    );
    (ids, names, 0u64..100, 0u64..50, 0i64..3).prop_map(
        |((trace, id), (service, name), start, duration, tag)| Span {
            trace_id: TraceId::from_bytes(trace.to_be_bytes()).unwrap(),
            span_id: SpanId::from_bytes(id.to_be_bytes()).unwrap(),
            parent_span_id: None,
            flags: 0,
            trace_state: String::new(),
            name: name.to_owned(),
            kind: SpanKind::Internal,
            start,
            end: start + duration,
            attributes: vec![KeyValue::new("tag", tag)],
            events: Vec::new(),
            links: Vec::new(),
            status: Status::Unset,
            dropped: 0,
            resource: Arc::new(Resource::of_service(service)),
            scope: Arc::default(),
        },
    )
}

prop_compose! {
    fn queries()(
        service in prop::option::of(prop::sample::select(vec!["a", "b", "c"])),
        operation in prop::option::of(prop::sample::select(vec!["x", "y"])),
        tag in prop::option::of(0i64..4),
        duration in (0u64..60, 0u64..60),
        start in (0u64..110, 0u64..110),
        limit in 1usize..8,
    ) -> Query {
        Query {
            service: service.map(str::to_owned),
            operation: operation.map(str::to_owned),
            attributes: tag.map(|tag| AttributeFilter { key: "tag".into(), value: tag.to_string() }).into_iter().collect(),
            duration: duration.0..=duration.1,
            start: start.0..=start.1,
            limit,
            spans_max: usize::MAX,
        }
    }
}

/// The simplest store: spans by id.
type Plain = BTreeMap<(TraceId, SpanId), Span>;

fn search(plain: &Plain, query: &Query) -> Vec<TraceId> {
    let mut starts: BTreeMap<TraceId, u64> = BTreeMap::new();
    for ((trace, _), span) in plain {
        let start = starts.entry(*trace).or_insert(u64::MAX);
        *start = (*start).min(span.start);
    }
    let matches = |trace: &TraceId| {
        plain
            .iter()
            .any(|((id, _), span)| id == trace && query.matches(span))
    };
    let mut found: Vec<(u64, TraceId)> = starts
        .into_iter()
        .filter(|(trace, _)| matches(trace))
        .map(|(trace, start)| (start, trace))
        .collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    found
        .into_iter()
        .map(|(_, trace)| trace)
        .take(query.limit)
        .collect()
}

proptest! {
    #[test]
    fn search_answers_as_the_simplest_store_would(spans in vec(spans(), 0..40), queries in vec(queries(), 1..8)) {
        // A span that comes again may start later than before, and a store may keep a trace's place as it was: what is repeated here is
        // repeated as it was, which is what senders do.
        let mut plain = Plain::new();
        for span in spans {
            plain.entry((span.trace_id, span.span_id)).or_insert(span);
        }
        let store = MemoryStore::new(usize::MAX);
        store.insert(plain.values().cloned().collect());
        store.insert(plain.values().rev().cloned().collect());
        prop_assert_eq!(store.occupancy().spans, plain.len());
        let operations: BTreeSet<&str> = plain.values().map(|span| span.name.as_str()).collect();
        let listed = store.operations(None, None).into_iter().map(|operation| operation.name);
        prop_assert!(listed.eq(operations));
        for query in &queries {
            let found: Vec<TraceId> = store.search(query).iter().map(|trace| trace.id).collect();
            prop_assert_eq!(found, search(&plain, query));
        }
    }

    #[test]
    fn the_bound_holds_and_the_books_balance(spans in vec(vec(spans(), 0..6), 0..20), capacity in 0usize..6000) {
        let store = MemoryStore::new(capacity);
        for batch in spans {
            store.insert(batch);
            let occupancy = store.occupancy();
            prop_assert!(occupancy.bytes <= capacity);
            let kept = store.search(&Query::default());
            prop_assert_eq!(kept.len(), occupancy.traces);
            prop_assert_eq!(kept.iter().map(|trace| trace.spans.len()).sum::<usize>(), occupancy.spans);
            prop_assert_eq!(occupancy.bytes == 0, occupancy.spans == 0);
        }
    }
}
