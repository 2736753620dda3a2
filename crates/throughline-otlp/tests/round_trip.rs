//! Round trips of arbitrary spans through both encodings.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

#[path = "checks/otlp.rs"]
mod checks;

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message as _;
use throughline_model::context::{Sampling, SpanContext, TraceState};
use throughline_model::{
    DroppedCounts, Event, GroupContent, GroupedSpan, KeyValue, Link, Resource, Scope, Span,
    SpanGroup, SpanId, SpanKind, Status, TraceId, Value,
};
use throughline_otlp::{
    SpanRef, decode_json, decode_protobuf, encode_protobuf, encode_protobuf_into, spans_to_json,
};

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Empty),
        any::<String>().prop_map(Value::from),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        // NaN is not equal to itself; it has a test of its own.
        (proptest::num::f64::NORMAL | proptest::num::f64::ZERO | proptest::num::f64::INFINITE)
            .prop_map(Value::Double),
        vec(any::<u8>(), 0..20).prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::Array),
            vec((any::<String>(), inner), 0..4).prop_map(|pairs| Value::Map(key_values(pairs))),
        ]
    })
}

fn key_values(pairs: Vec<(String, Value)>) -> Vec<KeyValue> {
    pairs
        .into_iter()
        .map(|(key, value)| KeyValue::new(key, value))
        .collect()
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    vec((any::<String>(), values()), 0..4).prop_map(key_values)
}

fn trace_ids() -> impl Strategy<Value = TraceId> {
    (1..=u128::MAX).prop_map(|id| TraceId::from_bytes(id.to_be_bytes()).unwrap())
}

fn span_ids() -> impl Strategy<Value = SpanId> {
    (1..=u64::MAX).prop_map(|id| SpanId::from_bytes(id.to_be_bytes()).unwrap())
}

fn kinds() -> impl Strategy<Value = SpanKind> {
    prop_oneof![
        Just(SpanKind::Unspecified),
        Just(SpanKind::Internal),
        Just(SpanKind::Server),
        Just(SpanKind::Client),
        Just(SpanKind::Producer),
        Just(SpanKind::Consumer),
    ]
}

fn statuses() -> impl Strategy<Value = Status> {
    prop_oneof![
        Just(Status::Unset),
        Just(Status::Ok),
        any::<String>().prop_map(Status::Error)
    ]
}

fn events() -> impl Strategy<Value = Event> {
    (any::<u64>(), any::<String>(), attributes()).prop_map(|(time, name, attributes)| Event {
        time,
        name,
        attributes,
    })
}

fn links() -> impl Strategy<Value = Link> {
    (
        trace_ids(),
        span_ids(),
        any::<String>(),
        any::<u32>(),
        attributes(),
    )
        .prop_map(|(trace_id, span_id, trace_state, flags, attributes)| Link {
            trace_id,
            span_id,
            trace_state,
            flags,
            attributes,
        })
}

prop_compose! {
    fn spans()(
        ids in ids(),
        (flags, start, end) in any::<(u32, u64, u64)>(),
        dropped in any::<(u32, u32, u32)>(),
        (name, trace_state, message) in any::<(String, String, String)>(),
        kind in kinds(),
        status in statuses(),
        attributes in attributes(),
        events in vec(events(), 0..3),
        links in vec(links(), 0..3),
    ) -> Span {
        let (trace_id, span_id, parent_span_id) = ids;
        let (dropped_attributes, dropped_events, dropped_links) = dropped;
        let status_message = match status {
            Status::Error(_) => Box::default(),
            Status::Unset | Status::Ok => message.into_boxed_str(),
        };
        Span {
            trace_id, span_id, parent_span_id, flags, trace_state, name, kind, start, end,
            attributes, events, links, status, status_message,
            dropped: DroppedCounts {
                attributes: dropped_attributes,
                events: dropped_events,
                links: dropped_links,
            },
            resource: Arc::default(), scope: Arc::default(),
        }
    }
}

prop_compose! {
    /// Spans of one resource and scope, as one export has them.
    fn exports()(
        resource in attributes(),
        (name, version, schema_url) in any::<(String, String, String)>(),
        scope in attributes(),
        resource_schema_url in any::<String>(),
        spans in vec(spans(), 1..5),
    ) -> Vec<Span> {
        let resource = Arc::new(Resource {
            attributes: resource,
            schema_url: resource_schema_url,
        });
        let scope = Arc::new(Scope { name, version, attributes: scope, schema_url });
        spans.into_iter().map(|span| Span {
            resource: Arc::clone(&resource),
            scope: Arc::clone(&scope),
            ..span
        }).collect()
    }
}

prop_compose! {
    /// A group of spans that differ as those of one batch of messages do.
    fn groups()(
        first in spans(),
        members in vec((ids(), any::<u32>(), sampled_sender(), attributes()), 0..5),
        resource in attributes(),
    ) -> SpanGroup {
        let Span { name, kind, start, end, attributes, events, status, scope, .. } = first;
        let resource = Arc::new(Resource { attributes: resource, ..Resource::default() });
        let common = GroupContent {
            name, kind, start, end, attributes, events, status, resource, scope,
        };
        let mut group = SpanGroup::new(Arc::new(common));
        for ((trace_id, span_id, parent_span_id), flags, sender, own) in members {
            let span = GroupedSpan {
                parent_span_id,
                sender,
                trace_state: TraceState::parse("vendor=1").unwrap(),
                ..GroupedSpan::root(trace_id, span_id, flags)
            };
            group.push(span, |to| to.extend(own));
        }
        group
    }
}

fn ids() -> impl Strategy<Value = (TraceId, SpanId, Option<SpanId>)> {
    (trace_ids(), span_ids(), proptest::option::of(span_ids()))
}

fn sampled_sender() -> impl Strategy<Value = Option<SpanContext>> {
    let sender = (trace_ids(), span_ids())
        .prop_map(|(trace_id, span_id)| SpanContext::new(trace_id, span_id, Sampling::Sample));
    proptest::option::of(sender)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn protobuf_round_trip_preserves_spans(exports in vec(exports(), 0..3)) {
        let spans = exports.concat();
        let decoded = decode_protobuf(&encode_protobuf(&spans)).unwrap();
        prop_assert_eq!(decoded.rejected.total(), 0);
        prop_assert_eq!(decoded.spans, spans);
    }

    /// prost encodes a decoded request to the same bytes: no field is out of order, repeated or
    /// superfluous.
    #[test]
    fn protobuf_equals_the_bytes_of_prost(exports in vec(exports(), 0..3)) {
        let bytes = encode_protobuf(&exports.concat());
        let request = ExportTraceServiceRequest::decode(bytes.as_slice()).unwrap();
        prop_assert_eq!(request.encode_to_vec(), bytes);
    }

    /// A group is encoded to the same bytes as its spans, written out in full.
    #[test]
    fn group_equals_its_spans(group in groups(), others in vec(spans(), 0..2)) {
        let spans: Vec<Span> = group.spans().chain(others.iter().cloned()).collect();
        let mixed = [SpanRef::from(&group)].into_iter().filter(|_| !group.is_empty());
        let mixed = mixed.chain(others.iter().map(SpanRef::from));
        let reused = encode_protobuf_into(vec![7; 100], mixed);
        prop_assert_eq!(reused, encode_protobuf(&spans));
    }

    #[test]
    fn json_round_trip_preserves_spans(exports in vec(exports(), 0..3)) {
        let spans = exports.concat();
        let request = serde_json::json!({ "resourceSpans": spans_to_json(&spans) }).to_string();
        let decoded = decode_json(request.as_bytes()).unwrap();
        prop_assert_eq!(decoded.rejected.total(), 0);
        prop_assert_eq!(decoded.spans, spans);
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in vec(any::<u8>(), 0..200)) {
        checks::reading_and_writing_agree(&bytes);
    }

    #[test]
    fn damaged_request_does_not_panic(
        spans in exports(), index in any::<prop::sample::Index>(), byte: u8
    ) {
        let mut bytes = encode_protobuf(&spans);
        let index = (!bytes.is_empty()).then(|| index.index(bytes.len()));
        if let Some(damaged) = index.and_then(|index| bytes.get_mut(index)) {
            *damaged = byte;
        }
        checks::reading_and_writing_agree(&bytes);
    }
}

/// Replays the inputs that fuzzing starts from, and every one that once failed.
#[test]
fn fuzz_seeds_pass() {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/otlp");
    let mut count = 0;
    for entry in std::fs::read_dir(seeds).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let is_request = decode_protobuf(&bytes).is_ok() || decode_json(&bytes).is_ok();
        let name = path.file_name().unwrap().to_string_lossy();
        assert_ne!(is_request, name.starts_with("not-"), "{name}");
        checks::reading_and_writing_agree(&bytes);
        count += 1;
    }
    assert!(count >= 6, "fuzz seeds are missing");
}
