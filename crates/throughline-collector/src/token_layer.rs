//! The layers that ask requests for a token.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use http::header::WWW_AUTHENTICATE;
use http::{HeaderValue, StatusCode};
use tonic::Status;

use crate::access::AccessControl;
use crate::config::CollectorEndpoint;
use crate::ingest::IngestPipeline;

/// The path that load balancers and orchestrators probe; its answer holds no data.
const HEALTH_PATH: &str = "/healthz";

/// The state of a layer.
#[derive(Clone)]
struct TokenRequirement {
    access: AccessControl,
    endpoint: CollectorEndpoint,
    /// Reads the bodies of rejected requests; none for queries, which have none.
    pipeline: Option<Arc<IngestPipeline>>,
    is_logged: Arc<AtomicBool>,
}

/// Returns the router with a token required of senders.
pub(crate) fn require_ingest_token(
    router: Router,
    endpoint: CollectorEndpoint,
    access: &AccessControl,
    pipeline: &Arc<IngestPipeline>,
) -> Router {
    let requirement = TokenRequirement {
        access: access.clone(),
        endpoint,
        pipeline: Some(Arc::clone(pipeline)),
        is_logged: Arc::default(),
    };
    router.layer(middleware::from_fn_with_state(requirement, check_sender))
}

/// Returns the router with a token, or the header of a proxy, required of queries.
pub(crate) fn require_query_token(
    router: Router,
    access: &AccessControl,
    endpoint: CollectorEndpoint,
) -> Router {
    let requirement = TokenRequirement {
        access: access.clone(),
        endpoint,
        pipeline: None,
        is_logged: Arc::default(),
    };
    router.layer(middleware::from_fn_with_state(requirement, check_query))
}

async fn check_sender(
    State(requirement): State<TokenRequirement>,
    mut request: Request,
    next: Next,
) -> Response {
    let rules = requirement.access.rules();
    if let Some(grant) = rules.grant_of(request.headers()) {
        request.extensions_mut().insert(grant);
        return next.run(request).await;
    }
    // A client that is still sending when the connection closes sees a reset, no response.
    if let Some(pipeline) = &requirement.pipeline {
        pipeline.discard(request.into_body()).await;
    }
    requirement.reject("Bearer")
}

async fn check_query(
    State(requirement): State<TokenRequirement>,
    request: Request,
    next: Next,
) -> Response {
    let rules = requirement.access.rules();
    if request.uri().path() == HEALTH_PATH || rules.allows_query(request.headers()) {
        return next.run(request).await;
    }
    // A browser asks its user for Basic credentials and sends them with every request of the page,
    // so the page needs no cookie.
    requirement.reject("Basic realm=\"throughline\", charset=\"UTF-8\"")
}

// === impl TokenRequirement ===

impl TokenRequirement {
    fn reject(&self, challenge: &'static str) -> Response {
        if !self.is_logged.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                endpoint = self.endpoint.label(),
                "request without a valid token rejected; further ones are only counted, see \
                 /metrics"
            );
        }
        let message = "a valid token is required in the header authorization";
        if self.endpoint.is_grpc() {
            return Status::unauthenticated(message).into_http();
        }
        let mut response = (StatusCode::UNAUTHORIZED, format!("{message}\n")).into_response();
        let challenge = HeaderValue::from_static(challenge);
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        response
    }
}
