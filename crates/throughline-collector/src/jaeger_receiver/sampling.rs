//! Remote sampling: clients ask how many traces of a service to sample, and the answer is all.
//!
//! Clients without an answer sample one trace in a thousand by default, so a service that was
//! configured for Jaeger would show next to nothing.

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};

/// The answer for every service (`sampling.thrift`, `SamplingStrategyResponse`).
const EVERY_TRACE: &str =
    r#"{"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":1.0}}"#;

/// The same answer with the strategy as a number, as clients from before Thrift 0.9.3 parse it;
/// Jaeger's agent serves them on `/`.
const EVERY_TRACE_LEGACY: &str =
    r#"{"strategyType":0,"probabilisticSampling":{"samplingRate":1.0}}"#;

/// Returns the routes of the agent's port.
pub(crate) fn router() -> Router {
    Router::new()
        .route("/sampling", get(async || json(EVERY_TRACE)))
        .route("/", get(async || json(EVERY_TRACE_LEGACY)))
        // No baggage key has restrictions.
        .route("/baggageRestrictions", get(async || json("[]")))
}

/// Returns the routes on the port of batches over HTTP.
pub(super) fn collector_router() -> Router {
    Router::new()
        .route("/api/sampling", get(async || json(EVERY_TRACE)))
        .route("/api/baggageRestrictions", get(async || json("[]")))
}

fn json(body: &'static str) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::OK;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
