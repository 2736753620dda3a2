use throughline_model::{Span, SpanKind, Status, Value};

use super::*;

fn one(json: &str) -> Span {
    let decoded = decode(format!("[{json}]").as_bytes()).unwrap();
    assert_eq!(decoded.rejected.total(), 0, "{}", decoded.rejected);
    decoded.spans.into_iter().next().unwrap()
}

#[test]
fn every_field_is_converted() {
    let span = one(
        r#"{"traceId":"5af7183fb1d4cf5f","id":"352bff9a74ca9ad2","parentId":"6b221d5bc9e6496c",
        "kind":"CONSUMER",
        "name":"poll","timestamp":1556604172355737,"duration":1431,"debug":true,
        "localEndpoint":{"serviceName":"billing","ipv4":"10.0.0.1","port":8080},
        "remoteEndpoint":{"serviceName":"kafka","ipv6":"::1"},
        "annotations":[{"timestamp":1556604172355800,"value":"brave.flush"}],
        "tags":{"http.path":"/payment","error":"card declined"}}"#,
    );
    assert_eq!(
        span.trace_id.to_string(),
        "00000000000000005af7183fb1d4cf5f"
    );
    assert_eq!(span.parent_span_id.unwrap().to_string(), "6b221d5bc9e6496c");
    assert_eq!(
        (span.kind, span.name.as_str(), span.service()),
        (SpanKind::Consumer, "poll", "billing")
    );
    assert_eq!(
        (span.start, span.duration()),
        (1_556_604_172_355_737_000, 1_431_000)
    );
    assert_eq!(span.status, Status::Error("card declined".to_owned()));
    assert_eq!(
        (span.events[0].time, span.events[0].name.as_str()),
        (1_556_604_172_355_800_000, "brave.flush")
    );
    let attributes: Vec<_> = span
        .attributes
        .iter()
        .map(|pair| (pair.key.as_str(), pair.value.clone()))
        .collect();
    assert_eq!(
        attributes,
        [
            ("http.path", Value::from("/payment")),
            ("network.local.address", Value::from("10.0.0.1")),
            ("network.local.port", Value::Int(8080)),
            ("peer.service", Value::from("kafka")),
            ("network.peer.address", Value::from("::1")),
        ]
    );
}

#[test]
fn omitted_leading_zeros_do_not_change_a_trace_id() {
    for id in ["63ac35c9f6413ad", "063ac35c9f6413ad", "0063ac35c9f6413ad"] {
        let span = one(&format!(r#"{{"traceId":"{id}","id":"352bff9a74ca9ad2"}}"#));
        assert_eq!(
            span.trace_id.to_string(),
            "0000000000000000063ac35c9f6413ad"
        );
    }
}

#[test]
fn zeros_and_the_own_id_are_not_a_parent() {
    for parent in ["", "0000000000000000", "352bff9a74ca9ad2"] {
        let span = one(&format!(
            r#"{{"traceId":"5af7183fb1d4cf5f","id":"352bff9a74ca9ad2","parentId":"{parent}"}}"#
        ));
        assert_eq!(span.parent_span_id, None, "{parent:?}");
    }
}

proptest::proptest! {
    #[test]
    fn decoding_a_damaged_list_does_not_panic(at in 0..DAMAGED.len(), byte: u8) {
        let mut body = DAMAGED.as_bytes().to_vec();
        body[at] = byte;
        drop(decode(&body));
    }
}

const DAMAGED: &str = r#"[{"traceId":"5af7183fb1d4cf5f","id":"352bff9a74ca9ad2",
    "parentId":"6b221d5bc9e6496c","kind":"SERVER","name":"poll","timestamp":1556604172355737,
    "duration":1431,"shared":true,"localEndpoint":{"serviceName":"a","port":80},
    "remoteEndpoint":{"ipv6":"::1"},"annotations":[{"timestamp":1,"value":"v"}],
    "tags":{"a":[1,{"b":null}],"error":"no"}}]"#;

#[test]
fn spans_without_usable_ids_are_rejected_and_counted() {
    let body = r#"[{"traceId":"0","id":"1"},{"traceId":"5af7183fb1d4cf5f","id":"xyz"},
        {"traceId":"5af7183fb1d4cf5f","id":"1","parentId":"-"},
        {"traceId":"5af7183fb1d4cf5f","id":"1"}]"#;
    let decoded = decode(body.as_bytes()).unwrap();
    assert_eq!((decoded.spans.len(), decoded.rejected.total()), (1, 3));
}

#[test]
fn other_json_than_a_list_is_malformed() {
    for body in ["", "{}", "null", "[{}", "[] x"] {
        assert!(
            matches!(decode(body.as_bytes()), Err(IngestError::Malformed(_))),
            "{body}"
        );
    }
    for body in ["[1]", "[{}]", r#"[{"traceId":1,"id":"1"}]"#] {
        let decoded = decode(body.as_bytes()).unwrap();
        assert_eq!(
            (decoded.spans.len(), decoded.rejected.total()),
            (0, 1),
            "{body}"
        );
    }
}

fn fixture(name: &str) -> DecodedSpans {
    let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/zipkin");
    decode(&std::fs::read(fixtures.join(format!("{name}.json"))).unwrap()).unwrap()
}

fn only(name: &str) -> Span {
    let decoded = fixture(name);
    assert_eq!(decoded.rejected.total(), 0, "{name}: {}", decoded.rejected);
    assert_eq!(decoded.spans.len(), 1, "{name}");
    decoded.spans.into_iter().next().unwrap()
}

#[test]
fn odd_numbers_are_read_and_bad_ones_cost_themselves() {
    // Envoy writes large numbers with an exponent (envoyproxy/envoy issue 10174).
    assert_eq!(only("envoy_timestamp_sci").start, 1_582_662_767_960_310_000);
    assert_eq!(only("duration_fraction").duration(), 12_500);
    assert_eq!(only("neg_duration").duration(), 0);
    let port = |name| only(name).attribute("network.peer.port").cloned();
    assert_eq!(port("port_string"), Some(Value::Int(443)));
    assert_eq!(port("port_too_big"), None);
    for name in ["neg_duration", "port_too_big"] {
        let repairs: Vec<_> = fixture(name).repairs.iter().collect();
        assert_eq!(
            repairs,
            [(throughline_otlp::RepairKind::Field, 1)],
            "{name}"
        );
    }
    let span = one(
        r#"{"traceId":"1","id":"2","timestamp":"1582662767960310","duration":1.58e+3,
        "localEndpoint":{"serviceName":"e","port":-1}}"#,
    );
    assert_eq!(span.start, 1_582_662_767_960_310_000);
    assert_eq!((span.duration(), span.service()), (1_580_000, "e"));
    assert_eq!(span.attribute("network.local.port"), None);
}

#[test]
fn odd_kinds_ids_and_nulls_are_read() {
    assert_eq!(only("kind_lower").kind, SpanKind::Client);
    assert_eq!(only("kind_unknown").kind, SpanKind::Unspecified);
    let tagged = only("dup_tags_span_kind");
    assert_eq!(
        (tagged.kind, tagged.attribute("span.kind")),
        (SpanKind::Client, None)
    );
    assert_eq!(only("uppercase").span_id.to_string(), "00000000000000fc");
    let nulls = only("localendpoint_null");
    assert_eq!(
        (nulls.service(), nulls.name.as_str()),
        ("unknown_service", "")
    );
    let decoded = fixture("one_bad_id");
    assert_eq!((decoded.spans.len(), decoded.rejected.total()), (1, 1));
}

#[test]
fn fields_of_opentelemetrys_exporter_are_fields_again() {
    let span = only("otel_ok");
    assert_eq!(
        (&span.status, span.trace_state.as_str()),
        (&Status::Ok, "a=b")
    );
    assert_eq!(span.scope.name, "lib");
    assert!(span.attributes.is_empty(), "{:?}", span.attributes);
    let failed = one(
        r#"{"traceId":"1","id":"2","tags":{"otel.status_code":"ERROR","error":"card declined",
        "otel.scope.name":"lib","otel.scope.version":"1.2"}}"#,
    );
    assert_eq!(failed.status, Status::Error("card declined".to_owned()));
    assert_eq!(
        (failed.scope.name.as_str(), failed.scope.version.as_str()),
        ("lib", "1.2")
    );
}

#[test]
fn an_empty_error_is_a_failure_and_false_is_none() {
    assert_eq!(only("error_empty").status, Status::Error(String::new()));
    let span = only("error_false");
    assert_eq!(span.status, Status::Unset);
    assert_eq!(span.attribute("error"), Some(&Value::from("false")));
}

#[test]
fn spans_of_version_1_are_read_whole() {
    let span = only("v1_on_v2_door");
    assert_eq!((span.service(), span.kind), ("catalog", SpanKind::Server));
    assert_eq!((span.name.as_str(), span.duration()), ("post", 5_000_000));
    assert_eq!(span.start, 1_795_933_021_863_734_000);
    assert_eq!(span.attribute("http.path"), Some(&Value::from("/cart")));
    assert_eq!(
        span.attribute("network.local.address"),
        Some(&Value::from("192.0.2.1"))
    );
    assert_eq!(span.status, Status::Error("bad".to_owned()));
    assert!(span.events.is_empty());
}

#[test]
fn both_sides_in_one_span_of_version_1_become_two_spans() {
    let body = r#"[{"traceId":"1","id":"2","name":"get","timestamp":100,"duration":90,
        "annotations":[
            {"timestamp":100,"value":"cs","endpoint":{"serviceName":"a"}},
            {"timestamp":120,"value":"sr","endpoint":{"serviceName":"b"}},
            {"timestamp":130,"value":"cache miss","endpoint":{"serviceName":"b"}},
            {"timestamp":150,"value":"ss","endpoint":{"serviceName":"b"}},
            {"timestamp":190,"value":"cr","endpoint":{"serviceName":"a"}}],
        "binaryAnnotations":[
            {"key":"sql","value":"select","endpoint":{"serviceName":"b"}},
            {"key":"sa","value":true,"endpoint":{"serviceName":"b","ipv4":"10.0.0.2"}}]}]"#;
    let decoded = decode(body.as_bytes()).unwrap();
    let [client, server] = decoded.spans.as_slice() else {
        panic!("{decoded:?}");
    };
    assert_eq!((client.kind, client.service()), (SpanKind::Client, "a"));
    assert_eq!((client.start, client.duration()), (100_000, 90_000));
    assert_eq!(client.attribute("peer.service"), Some(&Value::from("b")));
    assert_eq!((server.kind, server.service()), (SpanKind::Server, "b"));
    assert_eq!((server.start, server.duration()), (120_000, 30_000));
    assert_eq!(server.attribute("sql"), Some(&Value::from("select")));
    assert_eq!(server.events.first().unwrap().name, "cache miss");
}
