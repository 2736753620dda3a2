//! Calls from one service to the next: the URL for an order, and a failed call as a response.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

/// A request that could not be served because a call to another service failed.
#[derive(Debug)]
pub(crate) struct UpstreamFailure(pub(crate) String);

/// Returns the URL for this order, or the plain URL if the request named no order.
pub(super) fn order_url(url: &str, order: Option<&str>) -> String {
    order.map_or_else(|| url.to_owned(), |order| format!("{url}?order={order}"))
}

// === impl UpstreamFailure ===

impl IntoResponse for UpstreamFailure {
    fn into_response(self) -> Response {
        (StatusCode::BAD_GATEWAY, self.0).into_response()
    }
}
