//! Cross-origin requests of web pages that send spans (Fetch standard, section "CORS protocol").
//!
//! No page may read an answer of the collector unless its origin is allowed. An allowed origin may
//! use any header, because exporters send headers of their own, and credentials, because browsers
//! send beacons with them; the collector has nothing that a cookie would open.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
};
use http::{Method, StatusCode};

use crate::config::Config;

/// Allows every origin.
const ANY_ORIGIN: &str = "*";

/// Seconds for which a browser may keep the answer to a preflight; Chromium's maximum.
const MAX_AGE_SECONDS: &str = "7200";

/// Asked by a browser before a public page may reach a private address (Private Network Access).
const REQUEST_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-allow-private-network");

/// Returns the router with the configured origins allowed; unchanged when there are none.
pub(crate) fn allow_origins(router: Router, config: &Config) -> Router {
    if config.cors_origins.is_empty() {
        return router;
    }
    let origins: Arc<[String]> = config.cors_origins.clone().into();
    router.layer(middleware::from_fn_with_state(origins, answer))
}

async fn answer(State(origins): State<Arc<[String]>>, request: Request, next: Next) -> Response {
    let origin = request
        .headers()
        .get(ORIGIN)
        .filter(|origin| is_allowed(origin, &origins))
        .cloned();
    let mut response = match &origin {
        Some(_) if is_preflight(&request) => preflight_response(request.headers()),
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    // Without an allowed origin too: a cache must not give the answer to another page.
    headers.append(VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(
            ACCESS_CONTROL_ALLOW_CREDENTIALS,
            HeaderValue::from_static("true"),
        );
    }
    response
}

/// Returns whether the origin is allowed. Browsers send origins in lower case without a default
/// port, as the option requires them.
fn is_allowed(origin: &HeaderValue, origins: &[String]) -> bool {
    origins
        .iter()
        .any(|own| own == ANY_ORIGIN || own.as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
}

fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight_response(request: &HeaderMap) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("POST"),
    );
    headers.insert(
        ACCESS_CONTROL_MAX_AGE,
        HeaderValue::from_static(MAX_AGE_SECONDS),
    );
    if let Some(names) = request.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    if request.contains_key(REQUEST_PRIVATE_NETWORK) {
        headers.insert(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
    }
    response
}
