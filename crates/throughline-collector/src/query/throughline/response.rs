//! Responses: compressed JSON, or an error.

use std::io::Write as _;

use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, HeaderValue, VARY};
use http::{HeaderMap, StatusCode};
use throughline_store::Store;

use super::api_error::{ApiError, ErrorResponse};
use crate::query::state::{QueryError, QueryState, json_response, to_json};

/// Size from which a body is compressed; a smaller one fits into a packet as it is.
const MIN_COMPRESSED_BYTES: usize = 1400;

/// First bytes of gzip; JSON never begins with them.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Compression level: speed matters more than size, since most clients are near.
const COMPRESSION_LEVEL: u32 = 3;

/// Runs a planned query and returns its response, compressed for a client that accepts it.
pub(super) async fn respond<F>(
    state: &QueryState,
    headers: &HeaderMap,
    query: Result<F, ApiError>,
) -> Response
where
    F: FnOnce(&dyn Store) -> Result<Vec<u8>, QueryError> + Send + 'static,
{
    let query = match query {
        Ok(query) => query,
        Err(error) => return error_response(error),
    };
    let accepts_gzip = accepts_gzip(headers);
    // Compressed within the query's task: it keeps the threads that serve connections free.
    let body = state.run(move |store| {
        let body = query(store)?;
        if accepts_gzip && body.len() >= MIN_COMPRESSED_BYTES {
            compress(&body)
        } else {
            Ok(body)
        }
    });
    let body = match body.await {
        Ok(body) => body,
        Err(error) => return error_response(ApiError::from(error)),
    };
    // The bytes show it: the closure cannot return more than the body.
    let is_compressed = body.starts_with(&GZIP_MAGIC);
    let mut response = json_response(StatusCode::OK, body);
    let headers = response.headers_mut();
    // RFC 9110, section 12.5.5: caches must not give a compressed body to another client.
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if is_compressed {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn error_response(error: ApiError) -> Response {
    let (status, body): (StatusCode, ErrorResponse) = error.into();
    json_response(status, to_json(&body).unwrap_or_default())
}

/// Returns whether `accept-encoding` lists gzip with a weight above zero.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers
        .get_all(ACCEPT_ENCODING)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        // RFC 9110, section 12.4.2: a weight of 0 means "not acceptable".
        let weight = weight
            .trim()
            .strip_prefix("q=")
            .and_then(|weight| weight.parse::<f32>().ok())
            .unwrap_or(1.0);
        name.trim().eq_ignore_ascii_case("gzip") && weight > 0.0
    })
}

fn compress(body: &[u8]) -> Result<Vec<u8>, QueryError> {
    let mut encoder = GzEncoder::new(
        // JSON with many numbers shrinks to about a quarter.
        Vec::with_capacity(body.len() / 4),
        Compression::new(COMPRESSION_LEVEL),
    );
    encoder
        .write_all(body)
        .and_then(|()| encoder.finish())
        .map_err(|_| QueryError::Internal)
}
