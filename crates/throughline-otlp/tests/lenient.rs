//! Requests with one bad value, as real senders and bug reports have them: what is lost is the
//! value, at most its span, and never the request.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::Path;

use throughline_model::{Span, SpanKind, Status, Value};
use throughline_otlp::{
    DecodedSpans, Error, RejectionReason, RepairKind, decode_json, decode_protobuf,
};

fn body(name: &str) -> Vec<u8> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/requests");
    std::fs::read(fixtures.join(name)).unwrap()
}

fn json(name: &str) -> DecodedSpans {
    decode_json(&body(&format!("{name}.json"))).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Returns the span with the odd value, after the ordinary span before it.
fn bad_span(name: &str) -> Span {
    let decoded = json(name);
    assert_eq!(decoded.rejected.total(), 0, "{name}: {}", decoded.rejected);
    let [good, bad] = decoded.spans.as_slice() else {
        panic!("{name}: {} spans", decoded.spans.len());
    };
    assert_eq!(good.name, "good", "{name}");
    bad.clone()
}

#[test]
fn odd_values_keep_their_attribute() {
    for (name, value) in [
        ("bare_value", Value::from("plain")),
        ("bool_string", Value::Bool(true)),
        ("both_values", Value::from("s")),
        ("double_string", Value::Double(1.5)),
        ("infinity_str", Value::Double(f64::INFINITY)),
        ("int_exp_string", Value::Int(1000)),
        ("int_float", Value::Int(1)),
        ("lone_surrogate", Value::from("abc\u{fffd}")),
        ("string_bool", Value::from("true")),
        ("string_number", Value::from("5")),
        ("unknown_fields", Value::from("s")),
    ] {
        assert_eq!(bad_span(name).attribute("k"), Some(&value), "{name}");
    }
    let nan = bad_span("nan_bare");
    assert!(matches!(nan.attribute("k"), Some(Value::Double(number)) if number.is_nan()));
}

#[test]
fn bad_values_cost_their_attribute_which_is_counted() {
    for name in [
        "attributes_object",
        "double_1e400",
        "int_bool",
        "int_empty_string",
        "int_over",
    ] {
        let span = bad_span(name);
        assert_eq!(span.attribute("k"), None, "{name}");
        assert_eq!(span.dropped.attributes, 1, "{name}");
        let repairs: Vec<_> = json(name).repairs.iter().collect();
        assert_eq!(repairs, [(RepairKind::Attribute, 1)], "{name}");
    }
    assert!(bad_span("events_object").events.is_empty());
    assert_eq!(bad_span("link_bad").dropped.links, 1);
    // Nested beyond what parsers take: the innermost values are cut.
    assert!(matches!(
        bad_span("deep100").attribute("k"),
        Some(Value::Array(_))
    ));
}

#[test]
fn bad_ids_and_times_cost_their_span_with_a_reason() {
    for (name, reason) in [
        ("id_64bit", RejectionReason::Trace),
        ("id_base64", RejectionReason::Trace),
        ("id_dashed", RejectionReason::Trace),
        ("id_null", RejectionReason::Span),
        ("id_number", RejectionReason::Span),
        ("time_negative", RejectionReason::Time),
        ("time_object", RejectionReason::Time),
    ] {
        let decoded = json(name);
        assert_eq!(decoded.spans.len(), 1, "{name}");
        let rejected: Vec<_> = decoded.rejected.iter().collect();
        assert_eq!(rejected, [(reason, 1)], "{name}");
    }
    let request = String::from_utf8(body("parent_null.json")).unwrap();
    let request = request.replace(r#""parentSpanId": null"#, r#""parentSpanId": "no hex""#);
    let decoded = decode_json(request.as_bytes()).unwrap();
    let rejected: Vec<_> = decoded.rejected.iter().collect();
    assert_eq!(rejected, [(RejectionReason::ParentSpan, 1)]);
}

#[test]
fn odd_fields_are_read_for_what_they_mean() {
    for (name, kind) in [
        ("kind_big", SpanKind::Unspecified),
        ("kind_float", SpanKind::Client),
        ("kind_numstr", SpanKind::Client),
        ("kind_short", SpanKind::Server),
        ("kind_unknown_name", SpanKind::Unspecified),
    ] {
        assert_eq!(bad_span(name).kind, kind, "{name}");
    }
    for name in ["status_numstr", "status_string"] {
        assert_eq!(
            bad_span(name).status,
            Status::Error(String::new()),
            "{name}"
        );
    }
    for name in ["time_float", "time_frac"] {
        assert_eq!(bad_span(name).start, 1_764_394_000_000_000_000, "{name}");
    }
    for name in ["parent_null", "parent_zero"] {
        assert_eq!(bad_span(name).parent_span_id, None, "{name}");
    }
    let upper = bad_span("id_uppercase").trace_id.to_string();
    assert_eq!(upper, "feed0000000000000000000000000fff");
    assert_eq!(bad_span("invalid_utf8").name, "b\u{fffd}d");
}

#[test]
fn documents_around_the_request_are_read() {
    for (name, spans) in [
        ("bom", 2),
        ("ils", 2),
        ("snake", 2),
        ("top_array", 2),
        ("trailing_newline", 2),
        ("two_docs", 4),
    ] {
        assert_eq!(json(name).spans.len(), spans, "{name}");
    }
}

#[test]
fn only_bytes_that_are_no_request_are_an_error() {
    for name in ["empty", "null", "trailing_garbage", "utf16"] {
        let error = decode_json(&body(&format!("{name}.json")));
        assert!(matches!(error, Err(Error::Json(_))), "{name}");
    }
    for name in ["truncated", "text"] {
        let error = decode_protobuf(&body(&format!("{name}.bin")));
        assert!(matches!(error, Err(Error::Protobuf(_))), "{name}");
    }
}

#[test]
fn raw_control_characters_and_repeated_keys_are_read() {
    let request = "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"name\":\"first\",
        \"name\":\"a\tb\nc\",\"traceId\":\"5b8efff798038103d269b633813fc60c\",
        \"spanId\":\"eee19b7ec3c1b174\",\"attributes\":[
            {\"key\":\"pair\",\"value\":{\"stringValue\":\"\\ud83d\\ude00 \\q\"}}]}]}]}]}";
    let decoded = decode_json(request.as_bytes()).unwrap();
    let span = decoded.spans.first().unwrap();
    assert_eq!(span.name, "a\tb\nc");
    let pair = Value::from("\u{1f600} \u{fffd}q");
    assert_eq!(span.attribute("pair"), Some(&pair));
}

#[test]
fn service_names_of_other_types_are_names() {
    let request = String::from_utf8(body("parent_null.json")).unwrap();
    let request = request.replace(r#"{"stringValue": "j"}"#, r#"{"intValue": "42"}"#);
    let decoded = decode_json(request.as_bytes()).unwrap();
    assert_eq!(decoded.spans.first().unwrap().service(), "42");
}

#[test]
fn protobuf_texts_that_are_not_utf_8_are_replaced_and_counted() {
    for (name, span_name, key, value) in [
        ("ok", "bad#", "k2#", "v2#"),
        ("nul", "ba\0#", "k2#", "v2#"),
        ("invalid_utf8_name", "ba\u{fffd}#", "k2#", "v2#"),
        ("invalid_utf8_key", "bad#", "k\u{fffd}#", "v2#"),
        ("invalid_utf8_attr", "bad#", "k2#", "v\u{fffd}#"),
    ] {
        let decoded = decode_protobuf(&body(&format!("{name}.bin"))).unwrap();
        let [good, bad] = decoded.spans.as_slice() else {
            panic!("{name}: {decoded:?}");
        };
        assert_eq!((good.name.as_str(), bad.name.as_str()), ("good", span_name));
        assert_eq!(good.service(), "pb");
        assert_eq!(
            bad.attribute(key),
            Some(&Value::from(value.to_owned())),
            "{name}"
        );
        let repairs: Vec<_> = decoded.repairs.iter().collect();
        let expected: &[_] = if name.starts_with("invalid") {
            &[(RepairKind::Text, 1)]
        } else {
            &[]
        };
        assert_eq!(repairs, expected, "{name}");
    }
}

#[test]
fn a_malformed_span_or_attribute_in_protobuf_is_left_out_alone() {
    let mut request = body("ok.bin");
    // The key of an attribute of the second span becomes a field of another wire type.
    let at = request
        .windows(3)
        .rposition(|bytes| bytes == b"k2#")
        .unwrap()
        - 2;
    *request.get_mut(at).unwrap() = 1 << 3 | 5;
    let decoded = decode_protobuf(&request).unwrap();
    assert_eq!((decoded.spans.len(), decoded.rejected.total()), (2, 0));
    assert!(decoded.spans.last().unwrap().attributes.is_empty());
    // The name of the second span becomes a number of 64 bits.
    let mut request = body("ok.bin");
    let at = request
        .windows(4)
        .rposition(|bytes| bytes == b"bad#")
        .unwrap()
        - 2;
    *request.get_mut(at).unwrap() = 5 << 3;
    let decoded = decode_protobuf(&request).unwrap();
    assert_eq!((decoded.spans.len(), decoded.rejected.total()), (1, 1));
}
