//! The journey of a request across traces: the traces that a trace links to, and those that link to
//! it.

mod link_walk;
mod response;

use serde::Deserialize;
use throughline_store::Store;
use utoipa::IntoParams;

use self::link_walk::LinkWalk;
pub(crate) use self::response::JourneyResponse;
use super::api_error::{ApiError, NOT_STORED};
use super::parameter;
use crate::query::state::{QueryError, to_json};
use crate::query::trace_id;

/// Default number of links to follow one after the other.
const DEFAULT_HOPS: usize = 3;

const MAX_HOPS: usize = 10;

/// Default number of spans of all traces.
const DEFAULT_SPANS: usize = 20_000;

const MAX_SPANS: usize = 250_000;

/// The extent of a journey.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct JourneyParams {
    /// Links to follow one after the other: 3 by default, 10 at most.
    #[param(value_type = Option<u32>, minimum = 0, maximum = 10)]
    pub(crate) hops: Option<String>,
    /// Number of spans after which no further trace is added: 20000 by default, 250000 at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 250_000)]
    pub(crate) spans: Option<String>,
    /// `true`: traces as they were reported, without the joins that were found after the fact.
    #[param(value_type = Option<bool>)]
    pub(crate) raw: Option<String>,
}

/// Plans the query of a request.
pub(super) fn plan(
    id: &str,
    params: &JourneyParams,
) -> Result<impl FnOnce(&dyn Store) -> Result<Vec<u8>, QueryError> + use<>, ApiError> {
    let id = trace_id::parse(id)?;
    let hops = parameter::count("hops", params.hops.as_deref(), 0..=MAX_HOPS)?;
    let spans = parameter::count("spans", params.spans.as_deref(), 1..=MAX_SPANS)?;
    let view = parameter::view(params.raw.as_deref())?;
    let (hops, spans) = (hops.unwrap_or(DEFAULT_HOPS), spans.unwrap_or(DEFAULT_SPANS));
    Ok(move |store: &dyn Store| {
        let first = store.summary(id, view);
        let first = first.ok_or(QueryError::NotFound(NOT_STORED))?;
        to_json(&LinkWalk::new(store, view, hops, spans).run(&first))
    })
}
