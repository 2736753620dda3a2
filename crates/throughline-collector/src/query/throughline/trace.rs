//! A whole trace in columns: small in transfer, and quick to turn into typed arrays.

mod column_builder;
mod response;

use serde::Deserialize;
use throughline_store::Store;
use utoipa::IntoParams;

pub(crate) use self::response::TraceResponse;
use super::api_error::{ApiError, NOT_STORED};
use super::parameter;
use crate::query::state::{QueryError, to_json};
use crate::query::trace_id;

/// Maximum number of spans of one response.
const MAX_SPANS: usize = 250_000;

/// The extent of the response.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TraceParams {
    /// Maximum number of spans, the first by start: 250000 by default and at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 250_000)]
    pub(crate) spans: Option<String>,
    /// `true`: traces as they were reported, without the joins that were found after the fact.
    #[param(value_type = Option<bool>)]
    pub(crate) raw: Option<String>,
}

/// Plans the query of a request.
pub(super) fn plan(
    id: &str,
    params: &TraceParams,
) -> Result<impl FnOnce(&dyn Store) -> Result<Vec<u8>, QueryError> + use<>, ApiError> {
    let id = trace_id::parse(id)?;
    let spans = parameter::count("spans", params.spans.as_deref(), 1..=MAX_SPANS)?;
    let view = parameter::view(params.raw.as_deref())?;
    let max_spans = spans.unwrap_or(MAX_SPANS);
    Ok(move |store: &dyn Store| {
        let trace = store
            .trace(id, view)
            .ok_or(QueryError::NotFound(NOT_STORED))?;
        to_json(&column_builder::build(store, &trace, max_spans))
    })
}
