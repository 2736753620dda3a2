//! Converts OTLP's JSON to Jaeger's, for files that Jaeger's UI opens.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::Response;
use axum::routing::post;
use bytes::Bytes;
use throughline_model::{Span, TraceId};
use throughline_otlp::decode_json;
use throughline_store::StoredTrace;

use crate::query::state::{QueryError, QueryState};

/// Maximum size of a file.
const MAX_FILE_BYTES: usize = 32 << 20;

/// Returns the route.
pub(super) fn routes() -> Router<QueryState> {
    Router::new()
        .route("/api/transform", post(transform))
        .layer(DefaultBodyLimit::max(MAX_FILE_BYTES))
}

async fn transform(State(state): State<QueryState>, body: Bytes) -> Response {
    let body = state.run(move |_| {
        let decoded = decode_json(&body)
            .map_err(|error| QueryError::Invalid(format!("the body is not OTLP JSON: {error}")))?;
        super::legacy::traces_json(&traces(decoded.spans), None)
    });
    super::legacy::respond(body.await)
}

/// Returns the spans by trace, in the order of the ids, each trace by start.
fn traces(spans: Vec<Span>) -> Vec<StoredTrace> {
    let mut by_id: BTreeMap<TraceId, Vec<Arc<Span>>> = BTreeMap::new();
    for span in spans {
        by_id.entry(span.trace_id).or_default().push(Arc::new(span));
    }
    let traces = by_id.into_iter().map(|(id, mut spans)| {
        spans.sort_by_key(|span| span.start);
        StoredTrace {
            id,
            spans,
            edges: Vec::new(),
            fragments: 1,
        }
    });
    traces.collect()
}
