//! Calls from one service to the next: their URLs, and a failed call as a response.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::reference::derive;

/// A request that could not be served because a call to another service failed.
#[derive(Debug)]
pub(crate) struct UpstreamFailure(pub(crate) String);

/// Returns the URL of a call for this reference, or the plain URL if the request had none.
pub(super) fn call_url(url: &str, reference: Option<&str>) -> String {
    let step = url.rsplit('/').next().unwrap_or_default();
    reference.map_or_else(
        || url.to_owned(),
        |reference| format!("{url}?reference={}", derive(reference, step)),
    )
}

// === impl UpstreamFailure ===

impl IntoResponse for UpstreamFailure {
    fn into_response(self) -> Response {
        (StatusCode::BAD_GATEWAY, self.0).into_response()
    }
}
