//! Jaeger's two query APIs, its metrics of services, and its conversion of files.

mod legacy;
mod metrics;
mod summary_json;
mod trace_json;
mod transform;
mod v3;

use axum::Router;

use super::state::QueryState;

/// Returns the routes of all of them.
pub(super) fn routes() -> Router<QueryState> {
    legacy::routes()
        .merge(v3::routes())
        .merge(metrics::routes())
        .merge(transform::routes())
}
