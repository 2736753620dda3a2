//! The traces that changed since a search: cheap enough to poll every second.

use std::fmt;

use serde::{Deserialize, Serialize};
use throughline_store::{Store, TraceChanges};
use utoipa::{IntoParams, ToSchema};

use super::api_error::ApiError;
use super::parameter;
use crate::query::state::{QueryError, to_json};

/// The parameters of the change feed.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LiveParams {
    /// `live` of a search, or `cursor` of the previous response; without it the response holds a
    /// cursor only.
    pub(crate) since: Option<String>,
    /// `true`: traces as they were reported, without the joins that were found after the fact.
    #[param(value_type = Option<bool>)]
    pub(crate) raw: Option<String>,
}

/// The traces that changed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LiveResponse {
    /// `since` of the next request.
    pub(crate) cursor: String,
    /// Traces that received spans since, latest change first; at most 200.
    pub(crate) changed: Vec<String>,
    /// True when there were more changes, or when they are no longer known: repeat the search.
    pub(crate) more: bool,
    /// Number of stored traces.
    pub(crate) traces: u64,
    /// Number of stored spans.
    pub(crate) spans: u64,
}

/// A revision of one collector's store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChangeCursor {
    /// Start of the collector: revisions of different runs do not compare.
    pub(super) epoch: u64,
    pub(super) revision: u64,
}

/// Plans the query of a request.
pub(super) fn plan(
    params: &LiveParams,
    epoch: u64,
) -> Result<impl FnOnce(&dyn Store) -> Result<Vec<u8>, QueryError> + use<>, ApiError> {
    let since = parameter::text(params.since.as_deref())
        .map(ChangeCursor::parse)
        .transpose()?;
    let view = parameter::view(params.raw.as_deref())?;
    Ok(move |store: &dyn Store| {
        // The store answers from a bounded ring, whatever the cursor.
        let changes = match since {
            Some(since) if since.epoch == epoch => store.changes(since.revision, view),
            // No revision is later than the greatest number, so this returns the current
            // revision alone. Changes since another run's cursor are unknown.
            _ => TraceChanges {
                more: since.is_some(),
                ..store.changes(u64::MAX, view)
            },
        };
        let occupancy = store.occupancy();
        let cursor = ChangeCursor {
            epoch,
            revision: changes.revision,
        };
        to_json(&LiveResponse {
            cursor: cursor.to_string(),
            changed: changes.traces.iter().map(ToString::to_string).collect(),
            more: changes.more,
            traces: occupancy.traces as u64,
            spans: occupancy.spans as u64,
        })
    })
}

// === impl ChangeCursor ===

impl ChangeCursor {
    fn parse(text: &str) -> Result<Self, ApiError> {
        let number = |text| u64::from_str_radix(text, 16).ok();
        let cursor = text.split_once('.').and_then(|(epoch, revision)| {
            Some(Self {
                epoch: number(epoch)?,
                revision: number(revision)?,
            })
        });
        cursor.ok_or_else(|| {
            let message = "since must be `live` of a search or `cursor` of the previous response; \
                           leave it out to begin";
            ApiError::invalid("since", message)
        })
    }
}

impl fmt::Display for ChangeCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{:x}", self.epoch, self.revision)
    }
}
