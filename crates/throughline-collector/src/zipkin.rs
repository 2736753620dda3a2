//! Zipkin's JSON: `POST /api/v2/spans` and `/api/v1/spans` (openzipkin/zipkin-api). Either path
//! accepts spans of either version, because clients have separate settings for path and encoder.

mod reader;
mod span;
mod v1;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use http::header::{CONTENT_TYPE, HeaderMap};
use http::{HeaderValue, StatusCode};
use serde_json::Value;
use throughline_otlp::{DecodedSpans, RejectedSpans, RejectionReason, read_json};

use self::reader::FieldReader;
use self::span::{ResourceCache, ZipkinSpan};
use crate::access::IngestGrant;
use crate::config::CollectorEndpoint;
use crate::ingest::{IngestError, IngestPipeline};

/// Returns the routes of the endpoint.
pub(crate) fn router(pipeline: Arc<IngestPipeline>) -> Router {
    Router::new()
        .route("/api/v2/spans", post(export))
        .route("/api/v1/spans", post(export))
        .with_state(pipeline)
}

async fn export(
    State(pipeline): State<Arc<IngestPipeline>>,
    grant: IngestGrant,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if is_other_encoding(&headers) {
        pipeline.discard(body).await;
        let message = "of Zipkin's encodings, only JSON is accepted: \
                       neither thrift nor protobuf\n";
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, message).into_response();
    }
    match ingest(&pipeline, grant, &headers, body).await {
        // Zipkin has no partial success: rejected spans are counted in the metrics, and named here
        // for people.
        Ok(rejected) => (StatusCode::ACCEPTED, rejected.to_string()).into_response(),
        Err(error) => {
            // Zipkin has no format for errors, so the message is plain text.
            let (status, _) = error.status();
            let mut response = (status, format!("{error}\n")).into_response();
            error.add_retry_header(&mut response);
            response
        }
    }
}

async fn ingest(
    pipeline: &Arc<IngestPipeline>,
    grant: IngestGrant,
    headers: &HeaderMap,
    body: Body,
) -> Result<RejectedSpans, IngestError> {
    let (codings, body) = pipeline.admit_encoded(headers, body).await?;
    let endpoint = CollectorEndpoint::Zipkin;
    pipeline.store(endpoint, grant, body, codings, decode).await
}

/// Returns whether the content type names another encoding. Any other type, or none, counts as
/// JSON, as in Zipkin's own server.
fn is_other_encoding(headers: &HeaderMap) -> bool {
    let media_type = headers
        .get(CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    let media_type = media_type
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii();
    ["application/x-thrift", "application/x-protobuf"]
        .iter()
        .any(|other| media_type.eq_ignore_ascii_case(other.as_bytes()))
}

/// Decodes a list of spans. Spans without usable ids are left out and counted; values that are not
/// of their types are too.
pub(crate) fn decode(body: &[u8]) -> Result<DecodedSpans, IngestError> {
    let malformed = |message: &dyn std::fmt::Display| {
        IngestError::Malformed(format!("not a list of Zipkin spans: {message}"))
    };
    let mut reader = FieldReader::default();
    let documents = read_json(body, &mut reader.repairs).map_err(|error| malformed(&error))?;
    let mut decoded = DecodedSpans::default();
    let mut resources = ResourceCache::default();
    for document in documents {
        let Value::Array(spans) = document else {
            return Err(malformed(&"expected a list"));
        };
        for span in spans {
            let Value::Object(fields) = span else {
                // One bad span must not cost the others of the request.
                decoded.rejected.add(RejectionReason::Malformed);
                continue;
            };
            let sides = if v1::is_v1(&fields) {
                v1::read(fields, &mut reader)
            } else {
                vec![ZipkinSpan::read(fields, &mut reader)]
            };
            for side in sides {
                match side.into_span(&mut resources) {
                    Ok(span) => decoded.spans.push(span),
                    Err(reason) => decoded.rejected.add(reason),
                }
            }
        }
    }
    decoded.repairs = reader.repairs;
    Ok(decoded)
}

#[cfg(test)]
mod tests;
