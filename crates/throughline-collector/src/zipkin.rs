//! Zipkin v2 JSON: `POST /api/v2/spans` (openzipkin/zipkin-api, `zipkin2-api.yaml`).

mod span;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use http::header::{self, CONTENT_TYPE, HeaderMap};
use http::{HeaderValue, StatusCode};
use throughline_otlp::{DecodedSpans, RejectedSpans, check_json};

pub(crate) use self::span::SHARED_ID;
use self::span::{ResourceCache, ZipkinSpan};
use crate::config::CollectorEndpoint;
use crate::ingest::{IngestError, IngestPipeline, RETRY_AFTER};

/// Returns the routes of the endpoint.
pub(crate) fn router(pipeline: Arc<IngestPipeline>) -> Router {
    Router::new()
        .route("/api/v2/spans", post(export))
        .with_state(pipeline)
}

async fn export(
    State(pipeline): State<Arc<IngestPipeline>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if !is_json(&headers) {
        pipeline.discard(body).await;
        let message = "of Zipkin's encodings, only JSON is accepted; \
                       send it as application/json\n";
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, message).into_response();
    }
    match ingest(&pipeline, &headers, body).await {
        // Zipkin has no partial success: rejected spans are counted in the metrics, and named here
        // for people.
        Ok(rejected) => (StatusCode::ACCEPTED, rejected.to_string()).into_response(),
        Err(error) => {
            // Zipkin has no format for errors, so the message is plain text.
            let (status, _) = error.status();
            let mut response = (status, format!("{error}\n")).into_response();
            if status == StatusCode::SERVICE_UNAVAILABLE {
                let seconds = RETRY_AFTER.as_secs().into();
                response.headers_mut().insert(header::RETRY_AFTER, seconds);
            }
            response
        }
    }
}

async fn ingest(
    pipeline: &Arc<IngestPipeline>,
    headers: &HeaderMap,
    body: Body,
) -> Result<RejectedSpans, IngestError> {
    let (codings, body) = pipeline.admit_encoded(headers, body).await?;
    let endpoint = CollectorEndpoint::Zipkin;
    pipeline.store(endpoint, body, codings, decode).await
}

/// Returns whether the body is JSON. As in Zipkin's own server, it is unless the content type names
/// one of its binary encodings: browsers send `text/plain`, and some clients nothing.
fn is_json(headers: &HeaderMap) -> bool {
    let media_type = headers
        .get(CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    let media_type = media_type
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default();
    !matches!(
        media_type.trim_ascii().to_ascii_lowercase().as_slice(),
        b"application/x-protobuf" | b"application/x-thrift"
    )
}

/// Decodes a list of spans. Spans without usable ids are left out and counted.
fn decode(body: &[u8]) -> Result<DecodedSpans, IngestError> {
    let malformed = |message: &dyn std::fmt::Display| {
        IngestError::Malformed(format!("not a list of Zipkin v2 spans: {message}"))
    };
    // Before serde builds anything: the check bounds the memory that the values will take.
    check_json(body).map_err(|error| malformed(&error))?;
    let spans: Vec<ZipkinSpan> = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    let mut decoded = DecodedSpans::default();
    let mut resources = ResourceCache::default();
    for span in spans {
        match span.into_span(&mut resources) {
            Ok(span) => decoded.spans.push(span),
            // One bad span must not cost the others of the request.
            Err(reason) => decoded.rejected.add(reason),
        }
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests;
