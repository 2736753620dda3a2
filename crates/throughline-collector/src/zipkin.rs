//! Zipkin v2 JSON: `POST /api/v2/spans` (openzipkin/zipkin-api, `zipkin2-api.yaml`).

mod span;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use http::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use throughline_otlp::{DecodedSpans, RejectedSpans, check_json};

pub(crate) use self::span::SHARED_ID;
use self::span::SpanJson;
use crate::config::Door;
use crate::intake::{Intake, Refusal};
use crate::otlp_http::verdict;

/// The routes of the door.
pub(crate) fn router(intake: Arc<Intake>) -> Router {
    Router::new()
        .route("/api/v2/spans", post(spans))
        .with_state(intake)
}

async fn spans(State(intake): State<Arc<Intake>>, headers: HeaderMap, body: Body) -> Response {
    if !is_json(&headers) {
        intake.discard(body).await;
        let message = "the content type must be application/json: of Zipkin's encodings, v2 JSON is the one taken here\n";
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, message).into_response();
    }
    match take(&intake, &headers, body).await {
        // Zipkin has no partial success; what was left out is in the metrics and, for people, here.
        Ok(rejected) => (StatusCode::ACCEPTED, rejected.to_string()).into_response(),
        Err(refusal) => {
            let (status, _) = verdict(&refusal);
            let mut response = (status, format!("{refusal}\n")).into_response();
            if status == StatusCode::SERVICE_UNAVAILABLE {
                response
                    .headers_mut()
                    .insert(RETRY_AFTER, intake.retry_after().as_secs().into());
            }
            response
        }
    }
}

async fn take(
    intake: &Arc<Intake>,
    headers: &HeaderMap,
    body: Body,
) -> Result<RejectedSpans, Refusal> {
    let (encoding, body) = intake.admit_encoded(headers, body).await?;
    intake.keep(Door::Zipkin, body, encoding, decode).await
}

fn is_json(headers: &HeaderMap) -> bool {
    let media_type = headers
        .get(CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    let media_type = media_type
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default();
    media_type
        .trim_ascii()
        .eq_ignore_ascii_case(b"application/json")
}

/// Reads a list of spans. Those without usable ids are left out and counted.
fn decode(body: &[u8]) -> Result<DecodedSpans, Refusal> {
    let malformed = |message: &dyn std::fmt::Display| {
        Refusal::Malformed(format!("not a list of Zipkin v2 spans: {message}"))
    };
    check_json(body).map_err(|error| malformed(&error))?;
    let spans: Vec<SpanJson> = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    let mut decoded = DecodedSpans::default();
    let mut resources = span::Resources::default();
    for span in spans {
        match span.into_span(&mut resources) {
            Ok(span) => decoded.spans.push(span),
            Err(reason) => decoded.rejected.add(reason),
        }
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests;
