//! What must hold for any bytes at all. Shared by the tests and the fuzz target.

use throughline_model::Span;
use throughline_otlp::{Decoded, decode_json, decode_protobuf, encode_protobuf, spans_to_json};

/// Whatever is read, in either encoding, is written so that it reads the same in both.
pub(crate) fn reading_and_writing_agree(body: &[u8]) {
    if let Ok(decoded) = decode_protobuf(body) {
        survives_protobuf(&decoded.spans);
        // JSON takes more levels for the same value, so what only just is not too deep for protobuf may be for JSON's readers.
        if let Some(again) = through_json(&decoded.spans) {
            assert_same(&again, &decoded.spans);
        }
    }
    if let Ok(decoded) = decode_json(body) {
        survives_protobuf(&decoded.spans);
        assert_same(
            &through_json(&decoded.spans).expect("what was JSON is JSON again"),
            &decoded.spans,
        );
    }
}

fn survives_protobuf(spans: &[Span]) {
    assert_same(
        &decode_protobuf(&encode_protobuf(spans)).expect("our own protobuf is read"),
        spans,
    );
}

fn through_json(spans: &[Span]) -> Option<Decoded> {
    let request = serde_json::json!({ "resourceSpans": spans_to_json(spans) });
    decode_json(request.to_string().as_bytes()).ok()
}

/// Compares what is printed: not a number is not equal to itself.
fn assert_same(again: &Decoded, spans: &[Span]) {
    assert_eq!(again.rejected.total(), 0, "{}", again.rejected);
    assert_eq!(format!("{:?}", again.spans), format!("{spans:?}"));
}
