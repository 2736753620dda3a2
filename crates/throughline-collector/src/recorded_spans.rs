//! Spans in files: OTLP's JSON and Jaeger's.

use serde::Deserialize;
use serde::de::IgnoredAny;
use throughline_otlp::{DecodedSpans, decode_json};

use crate::jaeger_receiver;

/// A document that holds no spans of either format.
#[derive(Debug, thiserror::Error)]
pub enum RecordedSpansError {
    /// OTLP's JSON is malformed.
    #[error("not OTLP JSON: {0}")]
    Otlp(#[source] throughline_otlp::Error),
    /// Jaeger's JSON is malformed.
    #[error("not Jaeger JSON: {0}")]
    Jaeger(#[source] serde_json::Error),
}

/// The keys by which Jaeger's JSON is recognised.
#[derive(Debug, Deserialize)]
struct JaegerKeys {
    data: Option<IgnoredAny>,
    spans: Option<IgnoredAny>,
}

/// Decodes a JSON document: a request of OTLP, or traces as Jaeger exports them.
///
/// # Errors
///
/// [`RecordedSpansError`] for anything else.
pub fn decode_recorded_spans(document: &[u8]) -> Result<DecodedSpans, RecordedSpansError> {
    // A list is one of OTLP requests.
    let keys: Option<JaegerKeys> = serde_json::from_slice(document).ok();
    if keys.is_some_and(|keys| keys.data.is_some() || keys.spans.is_some()) {
        jaeger_receiver::json::decode(document).map_err(RecordedSpansError::Jaeger)
    } else {
        decode_json(document).map_err(RecordedSpansError::Otlp)
    }
}
