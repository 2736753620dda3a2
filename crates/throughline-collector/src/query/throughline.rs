//! Our own API, for what Jaeger's two have no words for; the web UI is its first client.
//!
//! The types here are the description: `/api/throughline/openapi.json` is made of them, and `docs/openapi.json` is a copy that a test
//! holds to it. Every answer is bounded, and every refusal is JSON that says what to do.

mod columns;
mod complete;
mod journey;
mod language;
mod live;
mod map;
mod micros;
mod parameter;
mod search;
mod summary;
mod trace;

use std::io::Write as _;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query as QueryString, State};
use axum::response::Response;
use axum::routing::get;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, HeaderValue, VARY};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use throughline_store::Store;
use utoipa::{OpenApi, ToSchema};

use self::complete::{CompleteAnswer, CompleteParams};
use self::journey::{JourneyAnswer, JourneyParams};
use self::live::{LiveAnswer, LiveParams};
use self::map::{MapAnswer, MapParams};
use self::search::{SearchAnswer, SearchParams};
use self::trace::{TraceAnswer, TraceParams};
use super::{Desk, Failure, json_response, to_json};

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
async fn search(
    State(desk): State<Desk>,
    headers: HeaderMap,
    params: Asked<SearchParams>,
) -> Response {
    let question = read(params).and_then(|params| search::question(&params, desk.epoch));
    answer(&desk, &headers, question).await
}

/// Completes names and values.
#[utoipa::path(
    get, path = "/api/throughline/complete", params(CompleteParams),
    responses((status = 200, body = CompleteAnswer), (status = 400, body = ErrorAnswer))
)]
async fn complete(
    State(desk): State<Desk>,
    headers: HeaderMap,
    params: Asked<CompleteParams>,
) -> Response {
    let question = read(params).and_then(|params| complete::question(&params));
    answer(&desk, &headers, question).await
}

/// A whole trace, in columns.
#[utoipa::path(
    get, path = "/api/throughline/traces/{id}",
    params(("id" = String, Path, description = "the trace: hex, or base64 of its bytes"), TraceParams),
    responses((status = 200, body = TraceAnswer), (status = 400, body = ErrorAnswer), (status = 404, body = ErrorAnswer))
)]
async fn trace(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    headers: HeaderMap,
    params: Asked<TraceParams>,
) -> Response {
    let question = read(params).and_then(|params| trace::question(&id, &params));
    answer(&desk, &headers, question).await
}

/// The traces that a trace is linked with.
#[utoipa::path(
    get, path = "/api/throughline/journey/{id}",
    params(("id" = String, Path, description = "the trace: hex, or base64 of its bytes"), JourneyParams),
    responses((status = 200, body = JourneyAnswer), (status = 400, body = ErrorAnswer), (status = 404, body = ErrorAnswer))
)]
async fn journey(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    headers: HeaderMap,
    params: Asked<JourneyParams>,
) -> Response {
    let question = read(params).and_then(|params| journey::question(&id, &params));
    answer(&desk, &headers, question).await
}

/// The system: services, topics and what goes between them.
#[utoipa::path(
    get, path = "/api/throughline/map", params(MapParams),
    responses((status = 200, body = MapAnswer), (status = 400, body = ErrorAnswer))
)]
async fn map(State(desk): State<Desk>, headers: HeaderMap, params: Asked<MapParams>) -> Response {
    let question = read(params).and_then(|params| map::question(&params));
    answer(&desk, &headers, question).await
}

/// What is new since a search.
#[utoipa::path(
    get, path = "/api/throughline/live", params(LiveParams),
    responses((status = 200, body = LiveAnswer), (status = 400, body = ErrorAnswer))
)]
async fn live(State(desk): State<Desk>, headers: HeaderMap, params: Asked<LiveParams>) -> Response {
    let question = read(params).and_then(|params| live::question(&params, desk.epoch));
    answer(&desk, &headers, question).await
}

/// The parameters of a request, read or not.
type Asked<T> = Result<QueryString<T>, QueryRejection>;

/// Why there is no answer, and which parameter is to blame.
#[derive(Debug)]
struct Refusal {
    failure: Failure,
    parameter: Option<&'static str>,
    position: Option<usize>,
}

fn read<T>(params: Asked<T>) -> Result<T, Refusal> {
    let QueryString(params) =
        params.map_err(|rejection| Refusal::from(Failure::Bad(rejection.body_text())))?;
    Ok(params)
}

/// Has a question answered, compressed for who accepts it.
async fn answer<F>(desk: &Desk, headers: &HeaderMap, question: Result<F, Refusal>) -> Response
where
    F: FnOnce(&dyn Store) -> Result<Vec<u8>, Failure> + Send + 'static,
{
    let question = match question {
        Ok(question) => question,
        Err(refusal) => return refused(refusal),
    };
    let accepts_gzip = accepts_gzip(headers);
    let work = desk.ask(move |store| {
        let body = question(store)?;
        if accepts_gzip && body.len() >= WORTH_COMPRESSING {
            compressed(&body)
        } else {
            Ok(body)
        }
    });
    let body = match work.await {
        Ok(body) => body,
        Err(failure) => return refused(Refusal::from(failure)),
    };
    let is_compressed = body.starts_with(&GZIP_MAGIC);
    let mut response = json_response(StatusCode::OK, body);
    let headers = response.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if is_compressed {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn refused(refusal: Refusal) -> Response {
    let (status, message) = refusal.failure.told();
    let position = refusal
        .position
        .and_then(|position| u32::try_from(position).ok());
    let parameter = refusal.parameter.map(str::to_owned);
    let error = ErrorAnswer {
        status: status.as_u16(),
        message,
        parameter,
        position,
    };
    json_response(status, to_json(&error).unwrap_or_default())
}

/// Whether gzip is named, and not with `q=0`.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers
        .get_all(ACCEPT_ENCODING)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight
            .trim()
            .strip_prefix("q=")
            .and_then(|weight| weight.parse::<f32>().ok())
            .unwrap_or(1.0);
        name.trim().eq_ignore_ascii_case("gzip") && weight > 0.0
    })
}

fn compressed(body: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut encoder = GzEncoder::new(
        Vec::with_capacity(body.len() / 4),
        Compression::new(COMPRESSION),
    );
    encoder
        .write_all(body)
        .and_then(|()| encoder.finish())
        .map_err(|_| Failure::Internal)
}

// === impl Refusal ===

impl Refusal {
    /// A parameter makes no sense.
    fn of(parameter: &'static str, message: impl Into<String>) -> Self {
        Self {
            failure: Failure::Bad(message.into()),
            parameter: Some(parameter),
            position: None,
        }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            parameter: None,
            position: None,
        }
    }
}

/// A trace that nobody sent, or that has been let go.
const NOT_STORED: &str = "this trace is not stored, or no longer";

/// Bytes below which an answer fits a packet as it is.
const WORTH_COMPRESSING: usize = 1400;

/// What gzip begins with, and JSON does not.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Quick rather than small: most collectors are near.
const COMPRESSION: u32 = 3;

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
