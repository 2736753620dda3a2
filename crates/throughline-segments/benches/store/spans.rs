//! The spans of the measurements of ingest and of queries.
//!
//! A span has 11 attributes and 6 of its resource, about 420 bytes of OTLP; traces have 8 spans.

use std::sync::Arc;

use throughline_model::{
    DroppedCounts, KeyValue, Resource, Span, SpanId, SpanKind, Status, TraceId,
};
use throughline_otlp::encode_protobuf;

/// Spans of a request.
pub(crate) const BATCH_SPANS: u64 = 512;
/// Spans of a trace.
pub(crate) const TRACE_SPANS: u64 = 8;
/// Number of services.
const SERVICES: u64 = 20;
/// Time between two spans: a million is an hour.
pub(crate) const SPACING: u64 = 3_600_000;
/// Start of the first span.
pub(crate) const START: u64 = 1_764_450_000_000_000_000;

/// A number that looks random and depends on the number of a span.
const fn mix(number: u64) -> u64 {
    let mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 31)
}

/// Returns the id of a trace.
pub(crate) fn trace_id(trace: u64) -> TraceId {
    let id = (u128::from(mix(trace)) << 64) | u128::from(trace + 1);
    TraceId::from_bytes(id.to_be_bytes()).unwrap()
}

/// Returns a span.
fn span(number: u64, resources: &[Arc<Resource>]) -> Span {
    let (trace, position) = (number / TRACE_SPANS, number % TRACE_SPANS);
    let random = mix(number);
    let id = |number: u64| SpanId::from_bytes((mix(number) | 1).to_be_bytes()).unwrap();
    let start = START + number * SPACING;
    let status = if random.is_multiple_of(50) {
        500i64
    } else {
        200
    };
    let path = format!("/api/v1/items/{}", random % 1000);
    let service = usize::try_from((trace + position) % SERVICES).unwrap();
    Span {
        trace_id: trace_id(trace),
        span_id: id(number),
        parent_span_id: (position > 0).then(|| id(number - 1)),
        flags: 0x101,
        trace_state: String::new(),
        name: format!("GET /api/v1/items/{{id}}/{position}"),
        kind: SpanKind::Server,
        start,
        end: start + random % 100_000_000,
        attributes: vec![
            KeyValue::new("http.request.method", "GET"),
            KeyValue::new("http.route", "/api/v1/items/{id}"),
            KeyValue::new("http.response.status_code", status),
            KeyValue::new("url.path", path),
            KeyValue::new("url.scheme", "http"),
            KeyValue::new("server.address", "items.shop.internal"),
            KeyValue::new("server.port", 8080i64),
            KeyValue::new("network.protocol.version", "1.1"),
            KeyValue::new(
                "client.address",
                format!("10.0.{}.{}", random % 16, random % 251),
            ),
            KeyValue::new("user.id", (random % 100_000).to_string()),
            KeyValue::new("thread.id", i64::try_from(random % 16).unwrap()),
        ],
        events: Vec::new(),
        links: Vec::new(),
        status: if status == 500 {
            Status::Error(String::new())
        } else {
            Status::Unset
        },
        status_message: Box::default(),
        dropped: DroppedCounts::default(),
        resource: Arc::clone(resources.get(service).unwrap()),
        scope: Arc::default(),
    }
}

/// Returns the resources of the services.
pub(crate) fn resources() -> Vec<Arc<Resource>> {
    let resource = |service: u64| {
        let mut resource = Resource::of_service(&format!("service-{service}"));
        for (key, value) in [
            ("service.namespace", "shop"),
            ("service.version", "1.2.3"),
            ("host.name", "node-1"),
            ("telemetry.sdk.language", "rust"),
            ("deployment.environment.name", "production"),
        ] {
            resource.attributes.push(KeyValue::new(key, value));
        }
        Arc::new(resource)
    };
    (0..SERVICES).map(resource).collect()
}

/// Returns a request with the spans from a number on.
pub(crate) fn request(first: u64, resources: &[Arc<Resource>]) -> Vec<u8> {
    let batch = (first..first + BATCH_SPANS).map(|it| span(it, resources));
    encode_protobuf(&batch.collect::<Vec<Span>>())
}
