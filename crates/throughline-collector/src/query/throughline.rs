//! Our own API, for what Jaeger's two have no words for; the web UI is its first client.
//!
//! The types here are the description: `/api/throughline/openapi.json` is made of them, and `docs/openapi.json` is a copy that a test
//! holds to it. Every answer is bounded, and every refusal is JSON that says what to do.

#![expect(dead_code, reason = "described first, answered next")]

mod complete;
mod journey;
mod live;
mod map;
mod micros;
mod search;
mod summary;
mod trace;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query as QueryString, State};
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use self::complete::{CompleteAnswer, CompleteParams};
use self::journey::{JourneyAnswer, JourneyParams};
use self::live::{LiveAnswer, LiveParams};
use self::map::{MapAnswer, MapParams};
use self::search::{SearchAnswer, SearchParams};
use self::trace::{TraceAnswer, TraceParams};
use super::{Desk, json_response, to_json};

/// The routes of the API.
pub(super) fn routes() -> Router<Desk> {
    Router::new()
        .route("/api/throughline/openapi.json", get(openapi))
        .route("/api/throughline/search", get(search))
        .route("/api/throughline/complete", get(complete))
        .route("/api/throughline/traces/{id}", get(trace))
        .route("/api/throughline/journey/{id}", get(journey))
        .route("/api/throughline/map", get(map))
        .route("/api/throughline/live", get(live))
}

/// The API as OpenAPI describes it.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "Throughline's query API",
        description = "What the web UI asks the collector. Times are microseconds: moments are whole numbers since the Unix epoch; \
                       offsets and durations may have three decimals, so that no nanosecond is lost. Every answer is bounded and is \
                       compressed with gzip for who accepts it.",
        license(name = "Apache-2.0"),
    ),
    paths(search, complete, trace, journey, map, live),
    components(schemas(search::Order, complete::Wanted))
)]
struct Description;

/// Why there is no answer.
#[derive(Debug, Serialize, ToSchema)]
struct ErrorAnswer {
    /// The HTTP status.
    status: u16,
    /// What is wrong and what to do.
    message: String,
    /// The parameter that is wrong, when one is.
    parameter: Option<String>,
    /// In `q`: the place of the mistake, counted in characters from 0.
    position: Option<u32>,
}

async fn openapi() -> Response {
    json_response(StatusCode::OK, description())
}

/// The description, as it is served and committed.
fn description() -> String {
    let mut text = Description::openapi().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// Finds traces.
#[utoipa::path(
    get, path = "/api/throughline/search", params(SearchParams),
    responses((status = 200, body = SearchAnswer), (status = 400, body = ErrorAnswer), (status = 503, body = ErrorAnswer))
)]
async fn search(State(_desk): State<Desk>, params: Result<QueryString<SearchParams>, QueryRejection>) -> Response {
    drop(params);
    not_yet()
}

/// Completes names and values.
#[utoipa::path(
    get, path = "/api/throughline/complete", params(CompleteParams),
    responses((status = 200, body = CompleteAnswer), (status = 400, body = ErrorAnswer))
)]
async fn complete(State(_desk): State<Desk>, params: Result<QueryString<CompleteParams>, QueryRejection>) -> Response {
    drop(params);
    not_yet()
}

/// A whole trace, in columns.
#[utoipa::path(
    get, path = "/api/throughline/traces/{id}",
    params(("id" = String, Path, description = "the trace: hex, or base64 of its bytes"), TraceParams),
    responses((status = 200, body = TraceAnswer), (status = 400, body = ErrorAnswer), (status = 404, body = ErrorAnswer))
)]
async fn trace(
    State(_desk): State<Desk>,
    Path(_id): Path<String>,
    params: Result<QueryString<TraceParams>, QueryRejection>,
) -> Response {
    drop(params);
    not_yet()
}

/// The traces that a trace is linked with.
#[utoipa::path(
    get, path = "/api/throughline/journey/{id}",
    params(("id" = String, Path, description = "the trace: hex, or base64 of its bytes"), JourneyParams),
    responses((status = 200, body = JourneyAnswer), (status = 400, body = ErrorAnswer), (status = 404, body = ErrorAnswer))
)]
async fn journey(
    State(_desk): State<Desk>,
    Path(_id): Path<String>,
    params: Result<QueryString<JourneyParams>, QueryRejection>,
) -> Response {
    drop(params);
    not_yet()
}

/// The system: services, topics and what goes between them.
#[utoipa::path(
    get, path = "/api/throughline/map", params(MapParams),
    responses((status = 200, body = MapAnswer), (status = 400, body = ErrorAnswer))
)]
async fn map(State(_desk): State<Desk>, params: Result<QueryString<MapParams>, QueryRejection>) -> Response {
    drop(params);
    not_yet()
}

/// What is new since a search.
#[utoipa::path(
    get, path = "/api/throughline/live", params(LiveParams),
    responses((status = 200, body = LiveAnswer), (status = 400, body = ErrorAnswer))
)]
async fn live(State(_desk): State<Desk>, params: Result<QueryString<LiveParams>, QueryRejection>) -> Response {
    drop(params);
    not_yet()
}

fn not_yet() -> Response {
    let status = StatusCode::NOT_IMPLEMENTED;
    let message = "described, and not built yet".to_owned();
    let error = ErrorAnswer { status: status.as_u16(), message, parameter: None, position: None };
    json_response(status, to_json(&error).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE_EXPECT=1` writes it anew.
    #[test]
    fn the_committed_description_is_that_of_the_code() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&path, description()).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == description(),
            "docs/openapi.json is not that of the code: run this test with UPDATE_EXPECT=1"
        );
    }
}
