//! Zipkin v2 JSON.

use serde_json::json;

use crate::running::{GZIP, JSON, RunningCollector, gzip};

const PATH: &str = "/api/v2/spans";

#[test]
fn spans_are_stored_and_found_by_64_bit_ids_in_both_lengths() {
    let collector = RunningCollector::start();
    let spans = json!([{
        "traceId": "463ac35c9f6413ad", "id": "a2fb4a1d1a96d312", "kind": "PRODUCER",
        "name": "send", "timestamp": 1_700_000_000_000_000_u64, "duration": 1500,
        "localEndpoint": { "serviceName": "eshop" },
    }]);
    let response = collector.post(
        collector.addresses.zipkin,
        PATH,
        &[JSON, GZIP],
        &gzip(spans.to_string().as_bytes()),
    );
    assert_eq!(response.status, 202, "{}", response.text());
    for id in [
        "463ac35c9f6413ad",
        "0000000000000000463ac35c9f6413ad",
        "RjrDXJ9kE60=",
    ] {
        let trace = collector.query(&format!("/api/traces/{id}"));
        let span = &trace["data"][0]["spans"][0];
        assert_eq!(span["traceID"], "0000000000000000463ac35c9f6413ad");
        assert_eq!(
            (&span["operationName"], &span["duration"]),
            (&json!("send"), &json!(1500))
        );
        assert_eq!(
            span["tags"],
            json!([{ "key": "span.kind", "type": "string", "value": "producer" }])
        );
    }
}

#[test]
fn children_of_a_shared_span_move_below_the_half_of_their_service_in_any_order_of_arrival() {
    let collector = RunningCollector::start();
    let span = |service: &str, id: &str, parent: Option<&str>, kind: Option<&str>, shared: bool| {
        json!([{
            "traceId": "5af7183fb1d4cf5f", "id": id, "parentId": parent, "kind": kind,
            "shared": shared, "name": format!("{service} {id}"),
            "timestamp": 1_700_000_000_000_000_u64, "duration": 10,
            "localEndpoint": { "serviceName": service },
        }])
    };
    for spans in [
        span(
            "billing",
            "000000000000000c",
            Some("000000000000000b"),
            None,
            false,
        ),
        span(
            "billing",
            "000000000000000b",
            Some("000000000000000a"),
            Some("SERVER"),
            true,
        ),
        span(
            "eshop",
            "000000000000000b",
            Some("000000000000000a"),
            Some("CLIENT"),
            false,
        ),
        span("eshop", "000000000000000a", None, Some("SERVER"), false),
    ] {
        let body = spans.to_string();
        assert_eq!(
            collector
                .post(collector.addresses.zipkin, PATH, &[JSON], body.as_bytes())
                .status,
            202
        );
    }
    let trace = collector.query("/api/traces/5af7183fb1d4cf5f");
    let spans = trace["data"][0]["spans"].as_array().unwrap();
    assert_eq!(spans.len(), 4);
    let id = |name: &str| {
        spans
            .iter()
            .find(|span| span["operationName"] == name)
            .unwrap()["spanID"]
            .clone()
    };
    let parent = |name: &str| {
        let span = spans
            .iter()
            .find(|span| span["operationName"] == name)
            .unwrap();
        span["references"][0]["spanID"].clone()
    };
    assert_eq!(
        parent("billing 000000000000000c"),
        id("billing 000000000000000b")
    );
    assert_eq!(
        parent("billing 000000000000000b"),
        id("eshop 000000000000000b")
    );
    assert_eq!(
        parent("eshop 000000000000000b"),
        id("eshop 000000000000000a")
    );
}

#[test]
fn every_content_type_but_the_binary_ones_is_read_as_json() {
    let collector = RunningCollector::start();
    let zipkin = collector.addresses.zipkin;
    for media_type in [
        "application/json; charset=utf-8",
        "text/plain;charset=UTF-8",
        "application/octet-stream",
        "",
    ] {
        let headers = [("content-type", media_type)];
        let response = collector.post(zipkin, PATH, &headers, b"[]");
        assert_eq!(response.status, 202, "{media_type}: {}", response.text());
    }
    let headers = [("content-type", "application/x-protobuf")];
    assert_eq!(collector.post(zipkin, PATH, &headers, b"").status, 415);
}

#[test]
fn other_content_than_a_list_of_spans_is_rejected() {
    let collector = RunningCollector::with(|limits| limits.max_body_bytes = 1 << 20);
    let zipkin = collector.addresses.zipkin;
    assert_eq!(
        collector
            .post(
                zipkin,
                PATH,
                &[("content-type", "application/x-thrift")],
                b"[]"
            )
            .status,
        415
    );
    assert_eq!(collector.post(zipkin, PATH, &[JSON], b"{}").status, 400);
    let bomb = gzip(format!("[{}]", " ".repeat(2 << 20)).as_bytes());
    assert_eq!(
        collector.post(zipkin, PATH, &[JSON, GZIP], &bomb).status,
        413
    );
    assert_eq!(collector.post(zipkin, PATH, &[JSON], b"[]").status, 202);
}
