//! Jaeger's two query APIs.

mod legacy;
mod summary_json;
mod trace_json;
mod v3;

use axum::Router;

use super::state::QueryState;

/// Returns the routes of both APIs.
pub(super) fn routes() -> Router<QueryState> {
    legacy::routes().merge(v3::routes())
}
