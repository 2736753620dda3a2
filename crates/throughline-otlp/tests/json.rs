//! JSON of real senders, within the specification and beyond it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use throughline_model::{Span, SpanKind, Status, Value};
use throughline_otlp::{
    DecodedSpans, Error, RejectionReason, decode_json, response, spans_to_json,
};

const TRACE: &str = r#""traceId":"5b8efff798038103d269b633813fc60c""#;

fn decode(spans: &str) -> DecodedSpans {
    decode_json(
        format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#).as_bytes(),
    )
    .unwrap()
}

fn span(fields: &str) -> Span {
    let decoded = decode(&format!(
        r#"{{{TRACE},"spanId":"eee19b7ec3c1b174",{fields}}}"#
    ));
    assert_eq!(decoded.rejected.total(), 0, "{}", decoded.rejected);
    decoded.spans.into_iter().next().unwrap()
}

fn value(json: &str) -> Value {
    span(&format!(r#""attributes":[{{"key":"k","value":{json}}}]"#))
        .attribute("k")
        .unwrap()
        .clone()
}

#[test]
fn numbers_of_64_bits_are_parsed_from_text_and_numbers() {
    for (start, end) in [
        ("\"1544712660000000000\"", "1544712661000000000"),
        ("1544712660000000000", "1544712661.0e9"),
    ] {
        let span = span(&format!(
            r#""startTimeUnixNano":{start},"endTimeUnixNano":{end}"#
        ));
        assert_eq!(
            (span.start, span.end),
            (1_544_712_660_000_000_000, 1_544_712_661_000_000_000)
        );
    }
    assert_eq!(
        value(r#"{"intValue":"-9223372036854775808"}"#),
        Value::Int(i64::MIN)
    );
    assert_eq!(value(r#"{"intValue":7}"#), Value::Int(7));
}

#[test]
fn enums_are_parsed_from_numbers_and_names() {
    for kind in ["2", "\"SPAN_KIND_SERVER\""] {
        assert_eq!(
            span(&format!(r#""kind":{kind}"#)).kind,
            SpanKind::Server,
            "{kind}"
        );
    }
    for code in ["2", "\"STATUS_CODE_ERROR\""] {
        let status = span(&format!(r#""status":{{"code":{code},"message":"no"}}"#)).status;
        assert_eq!(status, Status::Error("no".to_owned()), "{code}");
    }
    for kind in ["77", "\"SPAN_KIND_TELEPATHIC\""] {
        assert_eq!(
            span(&format!(r#""kind":{kind}"#)).kind,
            SpanKind::Unspecified,
            "{kind}"
        );
    }
}

#[test]
fn unknown_fields_and_nulls_are_skipped_everywhere() {
    let span = span(
        r#""new":{"a":[1]},"parentSpanId":null,"name":"x","kind":null,"links":null,"status":null,
        "attributes":[
            {"key":"k","value":{"newValue":1,"stringValue":"v"},"new":1},
            {"key":"n","value":null}
        ],
        "events":[{"new":1,"name":null,"timeUnixNano":null}]"#,
    );
    assert_eq!(span.attribute("k"), Some(&Value::from("v")));
    assert_eq!(span.attribute("n"), Some(&Value::Empty));
    assert_eq!(
        (span.parent_span_id, span.events.len(), span.name.as_str()),
        (None, 1, "x")
    );
}

#[test]
fn values_of_every_type_are_parsed() {
    assert_eq!(value(r#"{"boolValue":false}"#), Value::Bool(false));
    assert_eq!(value(r#"{"doubleValue":0.5}"#), Value::Double(0.5));
    assert_eq!(value(r#"{"doubleValue":3}"#), Value::Double(3.0));
    assert_eq!(
        value(r#"{"doubleValue":"-Infinity"}"#),
        Value::Double(f64::NEG_INFINITY)
    );
    assert!(matches!(value(r#"{"doubleValue":"NaN"}"#), Value::Double(number) if number.is_nan()));
    assert_eq!(value(r#"{"bytesValue":"AQI="}"#), Value::Bytes(vec![1, 2]));
    assert_eq!(value(r#"{"bytesValue":"AQI"}"#), Value::Bytes(vec![1, 2]));
    assert_eq!(
        value(r#"{"arrayValue":{"values":[{"intValue":1},{}]}}"#),
        Value::Array(vec![Value::Int(1), Value::Empty])
    );
    assert!(matches!(
        value(r#"{"kvlistValue":{"values":[{"key":"a","value":{"stringValue":"b"}}]}}"#),
        Value::Map(_)
    ));
    assert_eq!(value(r#"{"arrayValue":{}}"#), Value::Array(Vec::new()));
    assert_eq!(value("{}"), Value::Empty);
}

#[test]
fn nan_is_written_and_read_back() {
    let mut span = span(r#""name":"x""#);
    span.attributes
        .push(throughline_model::KeyValue::new("k", f64::NAN));
    let json = serde_json::to_value(spans_to_json([&span])).unwrap();
    assert_eq!(
        json[0]["scopeSpans"][0]["spans"][0]["attributes"][0]["value"]["doubleValue"],
        "NaN"
    );
}

#[test]
fn invalid_span_is_rejected_alone() {
    let decoded = decode(&format!(
        r#"{{{TRACE},"spanId":"eee19b7ec3c1b174"}},
        {{"traceId":"00000000000000000000000000000000","spanId":"eee19b7ec3c1b174"}},
        {{"traceId":"5b8efff798038103","spanId":"eee19b7ec3c1b174"}},
        {{"traceId":"W47/95gDgQPSabYzgT/GDA==","spanId":"eee19b7ec3c1b174"}},
        {{{TRACE},"spanId":""}},
        {{{TRACE},"spanId":"eee19b7ec3c1b174","parentSpanId":"12"}}"#
    ));
    assert_eq!(decoded.spans.len(), 1);
    let counts: Vec<_> = decoded.rejected.iter().collect();
    assert_eq!(
        counts,
        [
            (RejectionReason::Trace, 3),
            (RejectionReason::Span, 1),
            (RejectionReason::ParentSpan, 1)
        ]
    );
    let answer: serde_json::Value =
        serde_json::from_str(&response::export_json(&decoded.rejected)).unwrap();
    assert_eq!(answer["partialSuccess"]["rejectedSpans"], "5");
    assert!(
        answer["partialSuccess"]["errorMessage"]
            .as_str()
            .unwrap()
            .contains("3 spans rejected: the trace id")
    );
}

#[test]
fn ids_are_parsed_in_either_case_and_a_zero_parent_is_none() {
    let span = span(
        r#""parentSpanId":"0000000000000000","links":[{"traceId":"5B8EFFF798038103D269B633813FC60C",
        "spanId":"EEE19B7EC3C1B174"},{"traceId":"","spanId":""}]"#,
    );
    assert_eq!(span.parent_span_id, None);
    assert_eq!((span.links.len(), span.dropped.links), (1, 1));
    assert_eq!(span.links[0].span_id, span.span_id);
}

#[test]
fn malformed_request_is_an_error() {
    for body in ["", "[]", "null", "{", r#"{"resourceSpans":{}}"#] {
        assert!(
            matches!(decode_json(body.as_bytes()), Err(Error::Json(_))),
            "{body}"
        );
    }
    assert_eq!(decode_json(b"{}").unwrap(), DecodedSpans::default());
}

#[test]
fn deeply_nested_values_are_an_error() {
    let deep = r#"{"arrayValue":{"values":["#.repeat(10_000);
    let body =
        format!(r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"k","value":{deep}"#);
    assert!(matches!(decode_json(body.as_bytes()), Err(Error::Json(_))));
}
