//! Weaving over real sockets: spans of several senders become one trace, in every API.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use throughline_collector::WeavingMode;
use throughline_model::{
    DroppedCounts, KeyValue, Resource, Span, SpanId, SpanKind, Status, TraceId,
};
use throughline_segments::{DiskSettings, DiskStore};

use crate::running::{JSON, RunningCollector, eventually};

const SHOP: &str = "0af7651916cd43dd8448eb211c80319c";
const MAIL: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SEND: &str = "00000000000000a2";
const RECEIVE: &str = "00000000000000b1";

fn attribute(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

/// Sends one span of a service with the position of a record.
fn send_record(collector: &RunningCollector, service: &str, ids: (&str, &str), kind: u8, at: u64) {
    let start = 1_700_000_000_000_000_000 + at;
    collector.send(&json!({ "resourceSpans": [{
        "resource": { "attributes": [attribute("service.name", service)] },
        "scopeSpans": [{ "spans": [{
            "traceId": ids.0, "spanId": ids.1, "name": format!("{service} orders"), "kind": kind,
            "startTimeUnixNano": start.to_string(), "endTimeUnixNano": (start + 1000).to_string(),
            "attributes": [
                attribute("messaging.kafka.cluster.id", "c1"),
                attribute("messaging.destination.name", "orders"),
                attribute("messaging.destination.partition.id", "3"),
                { "key": "messaging.kafka.offset", "value": { "intValue": "17" } },
            ],
        }] }],
    }] }));
}

#[test]
fn record_without_a_context_is_joined_by_its_offset_under_both_ids_in_every_api() {
    let collector = RunningCollector::start();
    // The consumer's span arrives first.
    send_record(&collector, "mail", (MAIL, RECEIVE), 5, 5_000);
    send_record(&collector, "shop", (SHOP, SEND), 4, 0);
    eventually("the join", || {
        let trace = collector.query(&format!("/api/throughline/traces/{MAIL}"));
        (trace["fragments"] == 2).then_some(())
    });
    for id in [SHOP, MAIL] {
        let trace = collector.query(&format!("/api/throughline/traces/{id}"));
        assert_eq!(trace["trace_id"], SHOP);
        assert_eq!(trace["spans"]["parent"], json!([-1, 0]));
        assert_eq!(trace["evidence"]["inferred"], json!([false]));
        assert_eq!(trace["messages"]["producer"], json!([-1, 0]));
        let jaeger = collector.query(&format!("/api/traces/{id}"));
        let spans = jaeger["data"][0]["spans"].as_array().unwrap();
        assert_eq!(spans.len(), 2);
        // The sender does not wait for the consumer.
        assert_eq!(
            spans[1]["references"][0],
            json!({ "refType": "FOLLOWS_FROM", "traceID": SHOP, "spanID": SEND,
                    "tags": [{ "key": "opentracing.ref_type", "type": "string",
                               "value": "follows_from" }] })
        );
        let otlp = collector.query(&format!("/api/v3/traces/{id}"));
        assert!(
            !otlp
                .to_string()
                .contains(&format!("\"traceId\":\"{MAIL}\""))
        );
        assert!(otlp.to_string().contains("\"stringValue\":\"offset\""));
        // As it was reported.
        let raw = collector.query(&format!("/api/throughline/traces/{id}?raw=true"));
        assert_eq!(
            (&raw["trace_id"], &raw["fragments"]),
            (&json!(id), &json!(1))
        );
        let raw = collector.query(&format!("/api/traces/{id}?raw=true"));
        assert_eq!(raw["data"][0]["spans"][0]["references"], json!([]));
    }
    let found = collector.query("/api/throughline/search?service=mail");
    let traces = found["traces"].as_array().unwrap();
    assert_eq!((traces.len(), &traces[0]["trace_id"]), (1, &json!(SHOP)));
    let found = collector.query("/api/throughline/search?raw=true");
    assert_eq!(found["traces"].as_array().unwrap().len(), 2);
    let both = collector.query(&format!("/api/traces?traceID={SHOP}&traceID={MAIL}"));
    assert_eq!(both["data"].as_array().unwrap().len(), 1);
    let metrics = collector.get("/metrics").text();
    for line in [
        "throughline_woven_total{evidence=\"offset\"} 1",
        "throughline_store_woven_traces 1",
        "throughline_store_woven_spans 1",
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
}

#[test]
fn nothing_is_joined_when_weaving_is_off() {
    let collector = RunningCollector::configured(|config| config.weaving.mode = WeavingMode::Off);
    send_record(&collector, "shop", (SHOP, SEND), 4, 0);
    send_record(&collector, "mail", (MAIL, RECEIVE), 5, 5_000);
    let metrics = collector.get("/metrics").text();
    assert!(metrics.contains("throughline_store_spans 2"), "{metrics}");
    assert!(!metrics.contains("throughline_woven_total{"), "{metrics}");
    let found = collector.query("/api/throughline/search");
    assert_eq!(found["traces"].as_array().unwrap().len(), 2);
}

const REQUESTS: u64 = 80;

/// A span of Envoy's tracer, which begins a trace for each call of a service that does not
/// propagate contexts.
fn envoy_span(trace: u64, kind: &str, start: u64, duration: u64, path: &str) -> Value {
    json!({
        "traceId": format!("{trace:016x}"), "id": format!("{trace:016x}"), "kind": kind,
        "name": "shop:80/*", "timestamp": start, "duration": duration,
        "localEndpoint": { "serviceName": "shop" },
        "tags": { "component": "proxy", "k8s.pod.name": "shop-1", "http.url": path,
                  "upstream_cluster": format!("{kind} of shop") },
    })
}

/// Requests of a service, each with its number, start and duration in microseconds, and the start
/// of the call that it makes.
fn requests() -> impl Iterator<Item = (u64, u64, u64, u64)> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = u64::try_from(now.as_micros()).unwrap();
    (1..=REQUESTS).map(move |number| {
        let start = now - 4_000_000 + number * 40_000;
        // The times vary, as they do.
        let vary = (number * 7919) % 3_000;
        (number, start, 20_000 + vary, start + 3_000 + vary / 2)
    })
}

fn send_to_zipkin(collector: &RunningCollector, spans: Vec<Value>) {
    let body = Value::from(spans).to_string();
    let zipkin = collector.addresses.zipkin;
    let response = collector.post(zipkin, "/api/v2/spans", &[JSON], body.as_bytes());
    assert_eq!(response.status, 202, "{}", response.text());
}

/// Waits for all decisions; each request must have joined the trace of its own call.
fn assert_requests_are_joined(collector: &RunningCollector) {
    let decided = |metrics: &str| {
        let counts = metrics.lines().filter(|line| {
            line.starts_with("throughline_woven_total{")
                || line.starts_with("throughline_weave_abandoned_total{")
        });
        let counts = counts.filter_map(|line| line.split(' ').next_back()?.parse::<u64>().ok());
        counts.sum::<u64>()
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    let metrics = loop {
        let metrics = collector.get("/metrics").text();
        if decided(&metrics) >= REQUESTS {
            break metrics;
        }
        assert!(Instant::now() < deadline, "not in time:\n{metrics}");
        std::thread::park_timeout(Duration::from_millis(20));
    };
    let found = collector.query("/api/throughline/search?limit=1000");
    let (mut joined, mut wrong) = (0, 0);
    for trace in found["traces"].as_array().unwrap() {
        if trace["fragments"] == 2 {
            joined += 1;
            let id = trace["trace_id"].as_str().unwrap();
            let trace = collector.query(&format!("/api/traces/{id}"));
            let ids = trace["data"][0]["spans"].as_array().unwrap().iter();
            let ids: Vec<u64> = ids
                .map(|span| u64::from_str_radix(span["spanID"].as_str().unwrap(), 16).unwrap())
                .collect();
            wrong += u64::from(ids[0].abs_diff(ids[1]) != 1_000);
        }
    }
    assert_eq!(wrong, 0, "of {joined}");
    // The first ones show what the process does; nothing is certain before.
    assert!(joined >= REQUESTS - 10, "{joined} joined:\n{metrics}");
    assert!(metrics.contains("throughline_weave_open 0"), "{metrics}");
}

#[test]
fn calls_in_traces_of_envoy_join_the_requests_that_made_them() {
    let collector = RunningCollector::configured(|config| {
        config.weaving.wait = Duration::from_millis(100);
    });
    let mut spans = Vec::new();
    for (number, start, duration, call) in requests() {
        let (inbound, outbound) = ("http://shop/buy", "http://bank/pay");
        spans.push(envoy_span(number, "SERVER", start, duration, inbound));
        spans.push(envoy_span(1_000 + number, "CLIENT", call, 9_000, outbound));
    }
    send_to_zipkin(&collector, spans);
    assert_requests_are_joined(&collector);
}

/// A store on disk keeps such requests without decoding them while no proxy reports spans.
#[test]
fn calls_in_traces_of_envoy_join_the_requests_that_a_plain_sdk_reports() {
    let folder = tempfile::tempdir().unwrap();
    let settings = DiskSettings {
        min_free_bytes: 0,
        ..DiskSettings::default()
    };
    let store = Arc::new(DiskStore::open(folder.path(), settings).unwrap());
    let collector = RunningCollector::with_store(store, |config| {
        config.weaving.wait = Duration::from_millis(100);
    });
    let mut resource = Resource::of_service("shop");
    let instance = KeyValue::new("k8s.pod.name", "shop-1");
    resource.attributes.push(instance);
    let resource = Arc::new(resource);
    let (mut sdk, mut envoy) = (Vec::new(), Vec::new());
    for (number, start, duration, call) in requests() {
        sdk.push(Span {
            trace_id: TraceId::from_bytes(u128::from(number).to_be_bytes()).unwrap(),
            span_id: SpanId::from_bytes(number.to_be_bytes()).unwrap(),
            parent_span_id: None,
            flags: 0x101,
            trace_state: String::new(),
            name: "POST /buy".to_owned(),
            kind: SpanKind::Server,
            start: start * 1_000,
            end: (start + duration) * 1_000,
            attributes: vec![KeyValue::new("http.request.method", "POST")],
            events: Vec::new(),
            links: Vec::new(),
            status: Status::Unset,
            status_message: Box::default(),
            dropped: DroppedCounts::default(),
            resource: Arc::clone(&resource),
            scope: Arc::default(),
        });
        let path = "http://bank/pay";
        envoy.push(envoy_span(1_000 + number, "CLIENT", call, 9_000, path));
    }
    let otlp = throughline_otlp::encode_protobuf(&sdk);
    let headers = [("content-type", "application/x-protobuf")];
    let to = collector.addresses.otlp_http;
    let response = collector.post(to, "/v1/traces", &headers, &otlp);
    assert_eq!(response.status, 200, "{}", response.text());
    send_to_zipkin(&collector, envoy);
    assert_requests_are_joined(&collector);
}
