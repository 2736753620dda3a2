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
fn other_json_than_a_list_of_spans_is_malformed() {
    for body in ["", "{}", "[1]", "[{}]", r#"[{"traceId":1,"id":"1"}]"#] {
        assert!(
            matches!(decode(body.as_bytes()), Err(IngestError::Malformed(_))),
            "{body}"
        );
    }
}
