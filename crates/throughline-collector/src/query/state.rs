//! The state that all query handlers share, and their errors.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use throughline_store::{Store, WeavingView};
use tokio::sync::Semaphore;
use tonic::{Code, Status};

use super::response_budget::ResponseBudget;
use crate::clock;
use crate::config::CollectorLimits;
use crate::metrics::Metrics;

/// Maximum number of spans in all traces of one search response; no further trace is added once it
/// is reached.
pub(super) const MAX_SEARCH_SPANS: usize = 200_000;

/// Maximum number of traces in one search response, the largest number Jaeger's UI requests.
pub(super) const MAX_SEARCH_TRACES: usize = 1500;

/// The state that all query handlers share.
#[derive(Clone)]
pub(crate) struct QueryState {
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    /// One permit for each query, which may build a large response.
    permits: Arc<Semaphore>,
    /// Memory for the responses that clients have not read yet.
    budget: ResponseBudget,
    /// Start of this collector. Change cursors carry it, so that those of another run are
    /// recognised.
    epoch: u64,
}

/// The reason for which a query fails, with a message for the client.
#[derive(Debug)]
pub(crate) enum QueryError {
    /// The request is invalid.
    Invalid(String),
    /// The request is too large.
    TooLarge(String),
    /// The requested object does not exist.
    NotFound(&'static str),
    /// Clients have not read too many earlier responses yet.
    Busy,
    /// The collector failed.
    Internal,
}

// === impl QueryState ===

impl QueryState {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        metrics: Arc<Metrics>,
        limits: &CollectorLimits,
    ) -> Self {
        Self {
            store,
            metrics,
            permits: Arc::new(Semaphore::new(limits.max_concurrent_queries)),
            budget: ResponseBudget::new(limits.max_response_bytes),
            epoch: clock::now(),
        }
    }

    /// Returns the start of this collector, in nanoseconds since the Unix epoch.
    pub(super) const fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn render_metrics(&self) -> String {
        self.metrics.render(self.store.occupancy())
    }

    /// Runs a query on the blocking pool, not on the threads that serve connections.
    pub(super) async fn run<F>(&self, query: F) -> Result<Bytes, QueryError>
    where
        F: FnOnce(&dyn Store) -> Result<Vec<u8>, QueryError> + Send + 'static,
    {
        // The semaphore is never closed.
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
        let store = Arc::clone(&self.store);
        let task = tokio::task::spawn_blocking(move || {
            let body = query(&*store);
            // Held to the end even when the client goes away: the work goes on regardless.
            drop(permit);
            body
        });
        // A panic in a query is one failed request.
        let body = task.await.unwrap_or(Err(QueryError::Internal))?;
        // Reserved after the fact: the size is known only now, and the permits bound the rest.
        self.budget.reserve(body).ok_or(QueryError::Busy)
    }
}

// === impl QueryError ===

impl QueryError {
    /// Returns the status of a gRPC response.
    pub(super) fn into_grpc_status(self) -> Status {
        let code = match &self {
            Self::Invalid(_) => Code::InvalidArgument,
            Self::TooLarge(_) => Code::ResourceExhausted,
            Self::NotFound(_) => Code::NotFound,
            Self::Busy => Code::Unavailable,
            Self::Internal => Code::Internal,
        };
        Status::new(code, self.into_status_and_message().1)
    }

    /// Returns the HTTP status and the message.
    pub(super) fn into_status_and_message(self) -> (StatusCode, String) {
        match self {
            Self::Invalid(message) => (StatusCode::BAD_REQUEST, message),
            Self::TooLarge(message) => (StatusCode::PAYLOAD_TOO_LARGE, message),
            Self::NotFound(message) => (StatusCode::NOT_FOUND, message.to_owned()),
            Self::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "too many large responses are being read; try again later".to_owned(),
            ),
            Self::Internal => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "the collector failed to answer".to_owned(),
            ),
        }
    }
}

/// Returns the traces to show, by the parameter `raw`.
pub(super) const fn view_of(is_raw: bool) -> WeavingView {
    if is_raw {
        WeavingView::Raw
    } else {
        WeavingView::Woven
    }
}

/// Serialises a value as JSON.
pub(super) fn to_json(value: &impl serde::Serialize) -> Result<Vec<u8>, QueryError> {
    serde_json::to_vec(value).map_err(|_| QueryError::Internal)
}

/// Returns a response with a JSON body.
pub(super) fn json_response(status: StatusCode, body: impl Into<Body>) -> Response {
    let body: Body = body.into();
    (
        status,
        [(CONTENT_TYPE, HeaderValue::from_static("application/json"))],
        body,
    )
        .into_response()
}
