//! Queries over gRPC: Jaeger's API v3 ([`api_v3`]), and the interface by which a Jaeger reads the
//! store of another program ([`remote_storage`]).
//!
//! Only reading is served: Jaeger's writer is the OTLP port. Browsers cannot send such requests
//! across origins, so there is no check of the host's name.

mod api_v3;
mod call;
mod message;
mod remote_storage;
mod trace_messages;

use axum::Router;
use axum::body::Body;
use tonic::Status;

use super::state::QueryState;
use crate::config::{CollectorEndpoint, Config};
use crate::token_layer::require_query_token;

/// Returns the routes of the methods; others are answered UNIMPLEMENTED.
pub(crate) fn router(state: QueryState, config: &Config) -> Router {
    let router = Router::new()
        .merge(api_v3::routes())
        .merge(remote_storage::routes())
        .fallback(async || {
            let message = "only jaeger.api_v3.QueryService and jaeger.storage.v2 are served here; \
                           spans go to the port for OTLP over gRPC, in Jaeger writer.endpoint";
            Status::unimplemented(message).into_http::<Body>()
        })
        .with_state(state);
    require_query_token(router, &config.access, CollectorEndpoint::QueryGrpc)
}
