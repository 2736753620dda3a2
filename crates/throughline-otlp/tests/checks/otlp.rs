//! Properties that hold for any bytes. Shared by the tests and the fuzz target.

use throughline_model::Span;
use throughline_otlp::{
    DecodedSpans, RepairCounts, decode_json, decode_protobuf, encode_protobuf, spans_to_json,
};

/// Checks that spans decoded from either encoding survive a round trip through both.
pub(crate) fn reading_and_writing_agree(body: &[u8]) {
    if let Ok(decoded) = decode_protobuf(body) {
        survives_protobuf(&decoded.spans);
        // JSON nests deeper for the same value, so one at the limit of protobuf exceeds that of
        // JSON.
        if let Some(again) = through_json(&decoded.spans) {
            assert_same(&again, &decoded.spans);
        }
    }
    if let Ok(decoded) = decode_json(body) {
        survives_protobuf(&decoded.spans);
        if let Some(again) = through_json(&decoded.spans) {
            assert_same(&again, &decoded.spans);
        }
    }
}

fn survives_protobuf(spans: &[Span]) {
    assert_same(
        &decode_protobuf(&encode_protobuf(spans)).expect("encoded protobuf can be decoded"),
        spans,
    );
}

fn through_json(spans: &[Span]) -> Option<DecodedSpans> {
    let request = serde_json::json!({ "resourceSpans": spans_to_json(spans) });
    let decoded = decode_json(request.to_string().as_bytes()).ok()?;
    // Values nested too deeply for JSON were cut.
    (decoded.repairs == RepairCounts::default()).then_some(decoded)
}

/// Compares the debug output, because NaN does not equal itself.
fn assert_same(again: &DecodedSpans, spans: &[Span]) {
    assert_eq!(again.rejected.total(), 0, "{}", again.rejected);
    assert_eq!(format!("{:?}", again.spans), format!("{spans:?}"));
}
