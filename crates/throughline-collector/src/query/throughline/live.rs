//! What is new since a search: cheap enough to be asked every second.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Since when.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LiveParams {
    /// `live` of a search or `cursor` of the answer before; without it only a cursor is given.
    pub(crate) since: Option<String>,
}

/// What is new.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LiveAnswer {
    /// The `since` of the next question.
    pub(crate) cursor: String,
    /// Traces that got spans meanwhile, the last to get one first; at most 200.
    pub(crate) changed: Vec<String>,
    /// Whether there were more, or it is no longer known which: search again.
    pub(crate) more: bool,
    /// Traces stored.
    pub(crate) traces: u64,
    /// Spans stored.
    pub(crate) spans: u64,
}
