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

/// Posts a fixture, span by span or at once, and returns the only trace as name, service, id and
/// parent of each span, in the order of the names.
fn posted(fixture: &str, is_split: bool) -> Vec<(String, String, String, Option<String>)> {
    let collector = RunningCollector::start();
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/zipkin");
    let body = std::fs::read(path.join(fixture)).unwrap();
    let spans: Vec<serde_json::Value> = serde_json::from_slice(&body).unwrap();
    let id = spans[0]["traceId"].as_str().unwrap().to_owned();
    let zipkin = collector.addresses.zipkin;
    let batches: Vec<Vec<u8>> = if is_split {
        let reversed = spans.iter().rev();
        reversed
            .map(|span| json!([span]).to_string().into_bytes())
            .collect()
    } else {
        vec![body]
    };
    for batch in batches {
        assert_eq!(collector.post(zipkin, PATH, &[JSON], &batch).status, 202);
    }
    let trace = collector.query(&format!("/api/traces/{id}"));
    let trace = &trace["data"][0];
    let mut spans: Vec<_> = trace["spans"]
        .as_array()
        .unwrap()
        .iter()
        .map(|span| {
            let process = span["processID"].as_str().unwrap();
            let service = trace["processes"][process]["serviceName"].as_str().unwrap();
            (
                span["operationName"].as_str().unwrap().to_owned(),
                service.to_owned(),
                span["spanID"].as_str().unwrap().to_owned(),
                span["references"][0]["spanID"].as_str().map(str::to_owned),
            )
        })
        .collect();
    spans.sort();
    spans
}

#[test]
fn halves_and_receivers_with_one_id_are_whole_in_any_order() {
    for is_split in [false, true] {
        let spans = posted("client_server_no_shared_flag.json", is_split);
        let [(_, caller, id, None), (_, callee, _, Some(parent))] = spans.as_slice() else {
            panic!("{spans:?}");
        };
        assert_eq!((caller.as_str(), callee.as_str(), parent), ("a", "b", id));

        let spans = posted("kafka_fanout_5_receivers_one_shared_id.json", is_split);
        let below = |span: &&(String, String, String, Option<String>)| {
            span.3.as_deref() == Some("00000000000000b1")
        };
        assert_eq!((spans.len(), spans.iter().filter(below).count()), (6, 5));

        // Envoy marks its edge root as shared, although no client half exists.
        let spans = posted("envoy_edge_root_shared.json", is_split);
        let [(_, _, _, Some(parent)), (_, _, id, None)] = spans.as_slice() else {
            panic!("{spans:?}");
        };
        assert_eq!(parent, id);

        let spans = posted("istio_gateway_root_shared.json", is_split);
        let [
            (_, _, egress, Some(below_ingress)),
            (_, _, ingress, None),
            (_, _, _, Some(page)),
        ] = spans.as_slice()
        else {
            panic!("{spans:?}");
        };
        assert_eq!((below_ingress, page), (ingress, egress));
    }
}

#[test]
fn start_and_finish_sent_apart_are_one_span() {
    for is_split in [false, true] {
        let spans = posted("start_then_finish.json", is_split);
        assert_eq!(spans.len(), 1, "{spans:?}");
    }
    let collector = RunningCollector::start();
    let body = include_bytes!("../fixtures/zipkin/start_then_finish.json");
    collector.post(collector.addresses.zipkin, PATH, &[JSON], body);
    let trace = collector.query("/api/traces/bead000000000009");
    let span = &trace["data"][0]["spans"][0];
    assert_eq!(span["startTime"], 1_764_394_000_000_000_u64);
    assert_eq!(span["duration"], 5000);
}

#[test]
fn braves_kafka_tags_name_the_topic() {
    let collector = RunningCollector::start();
    let body = include_bytes!("../fixtures/zipkin/brave_kafka_topic.json");
    collector.post(collector.addresses.zipkin, PATH, &[JSON], body);
    let found = collector.query("/api/throughline/search?q=%7B%20topic%20%3D%20%22orders%22%20%7D");
    assert_eq!(found["traces"].as_array().unwrap().len(), 1, "{found}");
}

#[test]
fn halves_of_zipkin_spans_are_both_kept_over_otlp() {
    // OpenTelemetry's collector turns a shared span into this pair.
    let collector = RunningCollector::start();
    let body = include_bytes!("../fixtures/shared_ids.otlp.json");
    for _ in 0..2 {
        let otlp = collector.addresses.otlp_http;
        assert_eq!(
            collector.post(otlp, "/v1/traces", &[JSON], body).status,
            200
        );
    }
    let trace = collector.query("/api/traces/fade0000000000000000000000000001");
    let spans = trace["data"][0]["spans"].as_array().unwrap();
    let names: Vec<_> = spans.iter().map(|span| &span["operationName"]).collect();
    assert_eq!(names, ["GET /cart", "GET /cart handler"]);
    assert_eq!(spans[1]["references"][0]["spanID"], spans[0]["spanID"]);
}

#[test]
fn version_1_is_read_at_both_paths_and_content_types_are_taken_loosely() {
    let collector = RunningCollector::start();
    let body = include_bytes!("../fixtures/zipkin/v1_on_v2_door.json");
    for (path, header) in [
        ("/api/v1/spans", JSON),
        (PATH, ("content-type", "text/plain;charset=UTF-8")),
    ] {
        let response = collector.post(collector.addresses.zipkin, path, &[header], body);
        assert_eq!(response.status, 202, "{path}");
    }
    assert_eq!(collector.query("/api/services")["data"], json!(["catalog"]));
    let trace = collector.query("/api/traces/deadbeef00000001");
    assert_eq!(trace["data"][0]["spans"].as_array().unwrap().len(), 1);
}

#[test]
fn a_bad_value_costs_itself_and_is_counted_by_kind() {
    let collector = RunningCollector::start();
    let body = include_bytes!("../fixtures/zipkin/port_too_big.json");
    let response = collector.post(collector.addresses.zipkin, PATH, &[JSON], body);
    assert_eq!(response.status, 202);
    let body = b"[{\"traceId\":\"5\",\"id\":\"6\",\"name\":\"b\xffd\"}, 7]";
    let response = collector.post(collector.addresses.zipkin, PATH, &[JSON], body);
    assert_eq!(response.status, 202);
    assert!(
        response
            .text()
            .contains("1 span rejected: the span is malformed")
    );
    let trace = collector.query("/api/traces/5");
    assert_eq!(trace["data"][0]["spans"][0]["operationName"], "b\u{fffd}d");
    let response = collector.get("/metrics");
    for line in [
        r#"throughline_values_repaired_total{door="zipkin",kind="field"} 1"#,
        r#"throughline_values_repaired_total{door="zipkin",kind="text"} 1"#,
        r#"throughline_spans_rejected_total{door="zipkin",reason="malformed"} 1"#,
    ] {
        assert!(response.text().contains(line), "{}", response.text());
    }
}
