//! How recent the spans are: a query node shows those that other collectors have sealed.

use serde::Serialize;
use throughline_store::Store;
use utoipa::ToSchema;

use super::microseconds::Microseconds;
use crate::query::state::{QueryError, to_json};

/// How recent the spans are that a collector shows.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FreshnessResponse {
    /// Null for a collector that keeps what it receives: it shows spans at once.
    query_node: Option<QueryNodeFreshness>,
}

/// How recent the spans are that a query node read.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QueryNode)]
pub(crate) struct QueryNodeFreshness {
    /// Start of the latest span that a collector has sealed, in microseconds since the Unix epoch;
    /// null without spans. Spans that started earlier may still come, from this or from other
    /// collectors.
    #[schema(value_type = Option<u64>)]
    latest_start: Option<Microseconds>,
    /// Time of the last look for sealed spans that succeeded, in microseconds since the Unix epoch.
    #[schema(value_type = u64)]
    refreshed: Microseconds,
    /// True when a later look failed; the log of the query node has the reason.
    failing: bool,
}

/// Answers a request.
pub(super) fn answer(store: &dyn Store) -> Result<Vec<u8>, QueryError> {
    let query_node = store.freshness().map(|it| QueryNodeFreshness {
        latest_start: it.last_start.map(Microseconds::since_epoch),
        refreshed: Microseconds::since_epoch(it.refreshed),
        failing: it.is_failing,
    });
    to_json(&FreshnessResponse { query_node })
}
