//! Tempo's HTTP API (grafana.com/docs/tempo/latest/api_docs), under `/tempo`, for Grafana's Tempo
//! data source. The prefix is needed because Jaeger's API has `/api/traces` too.
//!
//! Errors are plain text, as Tempo's are. `start` and `end` of a trace by id are ignored: a trace
//! is returned whole. Not served: gRPC streaming, which the data source uses only when it is
//! switched on.

mod attribute_json;
mod metrics;
mod search;
mod tags;
mod tempo_response;
mod time_range;
mod trace_by_id;

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
use serde_json::json;

use super::state::{QueryState, json_response};

/// Version of Tempo whose API this is. The data source reads it to know what it may ask for.
const TEMPO_VERSION: &str = "2.9.0";

/// Returns the routes of the API.
pub(super) fn routes() -> Router<QueryState> {
    let api = Router::new()
        .route("/echo", get(async || "echo"))
        .route("/status/buildinfo", get(build_info))
        .route("/search", get(search::search))
        .route("/search/tags", get(tags::names))
        .route("/v2/search/tags", get(tags::scoped_names))
        .route("/search/tag/{tag}/values", get(tags::values))
        .route("/v2/search/tag/{tag}/values", get(tags::typed_values))
        .route("/traces/{id}", get(trace_by_id::trace))
        .route("/v2/traces/{id}", get(trace_by_id::trace_v2))
        .route("/metrics/query_range", get(metrics::query_range))
        .route("/metrics/query", get(metrics::query));
    Router::new().nest("/tempo/api", api)
}

async fn build_info() -> Response {
    let info = json!({
        "version": TEMPO_VERSION,
        "revision": concat!("throughline-", env!("CARGO_PKG_VERSION")),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    });
    json_response(StatusCode::OK, info.to_string())
}
