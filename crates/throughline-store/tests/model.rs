//! The store agrees with a reference store on arbitrary input, and stays within its bounds.
#![expect(
    clippy::unwrap_used,
    reason = "a test reports its failure by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use throughline_model::{
    DroppedCounts, KeyValue, Resource, Span, SpanId, SpanKind, Status, TraceId, Value,
};
use throughline_store::{MemoryStore, SpanSearch, Store, TagCondition, TraceQuery};

/// Generates spans of few traces, ids, services and names, so that they collide.
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
            status_message: Box::default(),
            dropped: DroppedCounts::default(),
            resource: Arc::new(Resource::of_service(service)),
            scope: Arc::default(),
        },
    )
}

prop_compose! {
    fn searches()(
        service in prop::option::of(prop::sample::select(vec!["a", "b", "c"])),
        operation in prop::option::of(prop::sample::select(vec!["x", "y"])),
        tag in prop::option::of(0i64..4),
        duration in (0u64..60, 0u64..60),
        start in (0u64..110, 0u64..110),
        limit in 1usize..8,
    ) -> SpanSearch {
        SpanSearch {
            service: service.map(str::to_owned),
            operation: operation.map(str::to_owned),
            tags: tag
                .map(|tag| TagCondition { key: "tag".into(), value: tag.to_string() })
                .into_iter()
                .collect(),
            duration: duration.0..=duration.1,
            start: start.0..=start.1,
            limit,
            max_spans: usize::MAX,
        }
    }
}

/// The reference store: spans by id.
type ReferenceStore = BTreeMap<(TraceId, SpanId), Span>;

/// Jaeger's rule, written without the engine: one span satisfies every condition.
fn matches(search: &SpanSearch, span: &Span) -> bool {
    let has_tag = |tag: &TagCondition| {
        span.attributes
            .iter()
            .any(|pair| pair.key == tag.key && pair.value == Value::Int(tag.value.parse().unwrap()))
    };
    search.start.contains(&span.start)
        && search.duration.contains(&span.duration())
        && search.operation.as_ref().is_none_or(|it| *it == span.name)
        && search
            .service
            .as_ref()
            .is_none_or(|it| *it == span.service())
        && search.tags.iter().all(has_tag)
}

fn reference_search(reference: &ReferenceStore, search: &SpanSearch) -> Vec<TraceId> {
    let mut starts: BTreeMap<TraceId, u64> = BTreeMap::new();
    for ((trace, _), span) in reference {
        let start = starts.entry(*trace).or_insert(u64::MAX);
        *start = (*start).min(span.start);
    }
    let is_match = |trace: &TraceId| {
        reference
            .iter()
            .any(|((id, _), span)| id == trace && matches(search, span))
    };
    let mut found: Vec<(u64, TraceId)> = starts
        .into_iter()
        .filter(|(trace, _)| is_match(trace))
        .map(|(trace, start)| (start, trace))
        .collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    found
        .into_iter()
        .map(|(_, trace)| trace)
        .take(search.limit)
        .collect()
}

proptest! {
    #[test]
    fn search_equals_the_reference(
        spans in vec(spans(), 0..40),
        searches in vec(searches(), 1..8),
    ) {
        // Spans are repeated unchanged, which is what senders do: a repeated span with a later
        // start may leave its trace at the earlier position.
        let mut reference = ReferenceStore::new();
        for span in spans {
            reference.entry((span.trace_id, span.span_id)).or_insert(span);
        }
        let store = MemoryStore::new(usize::MAX);
        store.insert(reference.values().cloned().collect());
        store.insert(reference.values().rev().cloned().collect());
        prop_assert_eq!(store.occupancy().spans, reference.len());
        let names = reference.values().map(|span| span.name.as_str());
        let operations: BTreeSet<&str> = names.collect();
        let listed = store.operations(None, None).into_iter().map(|operation| operation.name);
        prop_assert!(listed.eq(operations));
        for search in &searches {
            let traces = store.search_traces(&search.clone().into());
            let found: Vec<TraceId> = traces.iter().map(|trace| trace.id).collect();
            prop_assert_eq!(found, reference_search(&reference, search));
        }
    }

    #[test]
    fn the_byte_limit_holds_and_the_counts_add_up(
        spans in vec(vec(spans(), 0..6), 0..20),
        capacity in 0usize..6000,
    ) {
        let store = MemoryStore::new(capacity);
        for batch in spans {
            store.insert(batch);
            let occupancy = store.occupancy();
            prop_assert!(occupancy.bytes <= capacity);
            let stored = store.search_traces(&TraceQuery::default());
            prop_assert_eq!(stored.len(), occupancy.traces);
            let spans: usize = stored.iter().map(|trace| trace.spans.len()).sum();
            prop_assert_eq!(spans, occupancy.spans);
            prop_assert_eq!(occupancy.bytes == 0, occupancy.spans == 0);
        }
    }
}
