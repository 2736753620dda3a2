//! Our own API, for everything that Jaeger's two cannot express. The web UI is its first client.
//!
//! The types here are the description: `/api/throughline/openapi.json` is generated from them, and
//! a test keeps `docs/openapi.json` equal to it. Every response is bounded, and every error is JSON
//! that names its remedy.

mod api_error;
mod change_feed;
mod completion;
mod freshness;
mod journey;
mod json_value;
mod microseconds;
mod parameter;
mod response;
mod search;
mod service_map;
mod trace;
mod trace_summary;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query as QueryString, State};
use axum::response::Response;
use axum::routing::get;
use http::{HeaderMap, StatusCode};
use utoipa::OpenApi;

use self::api_error::{ApiError, ErrorResponse};
use self::change_feed::{LiveParams, LiveResponse};
use self::completion::{CompletionParams, CompletionResponse};
use self::freshness::FreshnessResponse;
use self::journey::{JourneyParams, JourneyResponse};
use self::search::{SearchParams, SearchResponse};
use self::service_map::{MapParams, MapResponse};
use self::trace::{TraceParams, TraceResponse};
use super::state::{QueryError, QueryState, json_response};

/// Returns the routes of the API.
pub(super) fn routes() -> Router<QueryState> {
    Router::new()
        .route("/api/throughline/openapi.json", get(openapi))
        .route("/api/throughline/search", get(search))
        .route("/api/throughline/complete", get(complete))
        .route("/api/throughline/traces/{id}", get(trace))
        .route("/api/throughline/journey/{id}", get(journey))
        .route("/api/throughline/map", get(map))
        .route("/api/throughline/live", get(live))
        .route("/api/throughline/freshness", get(freshness))
}

/// The API in OpenAPI's terms.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "Throughline's query API",
        description = "The API that the web UI uses. Times are in microseconds: points in time are \
                       whole numbers since the Unix epoch; offsets and durations may have three \
                       decimals, so that they are exact to the nanosecond. Every response is \
                       bounded, and is compressed with gzip for clients that accept it.",
        license(name = "Apache-2.0"),
    ),
    paths(search, complete, trace, journey, map, live, freshness),
    components(schemas(search::SearchOrder, completion::CompletionSubject))
)]
struct ApiDescription;

async fn openapi() -> Response {
    json_response(StatusCode::OK, description())
}

/// Returns the description as it is served and committed.
fn description() -> String {
    let api = ApiDescription::openapi();
    let mut text = api.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// Finds traces.
#[utoipa::path(
    get, path = "/api/throughline/search", params(SearchParams),
    responses(
        (status = 200, body = SearchResponse),
        (status = 400, body = ErrorResponse),
        (status = 503, body = ErrorResponse),
    )
)]
async fn search(
    State(state): State<QueryState>,
    headers: HeaderMap,
    params: ParsedParams<SearchParams>,
) -> Response {
    let query = read(params).and_then(|params| search::plan(&params, state.epoch()));
    response::respond(&state, &headers, query).await
}

/// Completes names and values.
#[utoipa::path(
    get, path = "/api/throughline/complete", params(CompletionParams),
    responses(
        (status = 200, body = CompletionResponse),
        (status = 400, body = ErrorResponse),
    )
)]
async fn complete(
    State(state): State<QueryState>,
    headers: HeaderMap,
    params: ParsedParams<CompletionParams>,
) -> Response {
    let query = read(params).and_then(|params| completion::plan(&params));
    response::respond(&state, &headers, query).await
}

/// Returns a whole trace, in columns.
#[utoipa::path(
    get, path = "/api/throughline/traces/{id}",
    params(
        ("id" = String, Path, description = "Trace id: hex, or base64 of its bytes"),
        TraceParams,
    ),
    responses(
        (status = 200, body = TraceResponse),
        (status = 400, body = ErrorResponse),
        (status = 404, body = ErrorResponse),
    )
)]
async fn trace(
    State(state): State<QueryState>,
    Path(id): Path<String>,
    headers: HeaderMap,
    params: ParsedParams<TraceParams>,
) -> Response {
    let query = read(params).and_then(|params| trace::plan(&id, &params));
    response::respond(&state, &headers, query).await
}

/// Returns the traces that a trace is linked with.
#[utoipa::path(
    get, path = "/api/throughline/journey/{id}",
    params(
        ("id" = String, Path, description = "Trace id: hex, or base64 of its bytes"),
        JourneyParams,
    ),
    responses(
        (status = 200, body = JourneyResponse),
        (status = 400, body = ErrorResponse),
        (status = 404, body = ErrorResponse),
    )
)]
async fn journey(
    State(state): State<QueryState>,
    Path(id): Path<String>,
    headers: HeaderMap,
    params: ParsedParams<JourneyParams>,
) -> Response {
    let query = read(params).and_then(|params| journey::plan(&id, &params));
    response::respond(&state, &headers, query).await
}

/// Returns the service map: services, topics and the edges between them.
#[utoipa::path(
    get, path = "/api/throughline/map", params(MapParams),
    responses(
        (status = 200, body = MapResponse),
        (status = 400, body = ErrorResponse),
    )
)]
async fn map(
    State(state): State<QueryState>,
    headers: HeaderMap,
    params: ParsedParams<MapParams>,
) -> Response {
    let query = read(params).and_then(|params| service_map::plan(&params));
    response::respond(&state, &headers, query).await
}

/// Returns the traces that changed since a search.
#[utoipa::path(
    get, path = "/api/throughline/live", params(LiveParams),
    responses(
        (status = 200, body = LiveResponse),
        (status = 400, body = ErrorResponse),
    )
)]
async fn live(
    State(state): State<QueryState>,
    headers: HeaderMap,
    params: ParsedParams<LiveParams>,
) -> Response {
    let query = read(params).and_then(|params| change_feed::plan(&params, state.epoch()));
    response::respond(&state, &headers, query).await
}

/// Returns how recent the spans are that a query node shows.
#[utoipa::path(
    get, path = "/api/throughline/freshness",
    responses((status = 200, body = FreshnessResponse))
)]
async fn freshness(State(state): State<QueryState>, headers: HeaderMap) -> Response {
    response::respond(&state, &headers, Ok(freshness::answer)).await
}

/// The parameters of a request. The handlers take the rejection too, to answer it in JSON.
type ParsedParams<T> = Result<QueryString<T>, QueryRejection>;

fn read<T>(params: ParsedParams<T>) -> Result<T, ApiError> {
    let QueryString(params) =
        params.map_err(|rejection| ApiError::from(QueryError::Invalid(rejection.body_text())))?;
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE_EXPECT=1` rewrites the file.
    #[test]
    fn the_committed_description_equals_the_code() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&path, description()).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == description(),
            "docs/openapi.json is out of date: run this test with UPDATE_EXPECT=1"
        );
    }
}
