//! What is new since a search: cheap enough to be asked every second.

use std::fmt;

use serde::{Deserialize, Serialize};
use throughline_store::{Changes, Store};
use utoipa::{IntoParams, ToSchema};

use super::parameter;
use super::{Failure, Refusal, to_json};

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

/// A moment by the counting of one collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    /// When that collector began.
    pub(super) epoch: u64,
    pub(super) moment: u64,
}

/// What is asked of the store.
pub(super) fn question(
    params: &LiveParams,
    epoch: u64,
) -> Result<impl FnOnce(&dyn Store) -> Result<Vec<u8>, Failure> + use<>, Refusal> {
    let since = parameter::text(params.since.as_deref())
        .map(Cursor::read)
        .transpose()?;
    Ok(move |store: &dyn Store| {
        let changes = match since {
            None => Changes {
                more: false,
                ..store.changes(u64::MAX)
            },
            Some(since) if since.epoch == epoch => store.changes(since.moment),
            // Of another collector: nothing is known of what changed since.
            Some(_) => Changes {
                more: true,
                ..store.changes(u64::MAX)
            },
        };
        let occupancy = store.occupancy();
        to_json(&LiveAnswer {
            cursor: Cursor {
                epoch,
                moment: changes.now,
            }
            .to_string(),
            changed: changes.traces.iter().map(ToString::to_string).collect(),
            more: changes.more,
            traces: occupancy.traces as u64,
            spans: occupancy.spans as u64,
        })
    })
}

// === impl Cursor ===

impl Cursor {
    fn read(text: &str) -> Result<Self, Refusal> {
        let number = |text| u64::from_str_radix(text, 16).ok();
        let read = text.split_once('.').and_then(|(epoch, moment)| {
            Some(Self {
                epoch: number(epoch)?,
                moment: number(moment)?,
            })
        });
        read.ok_or_else(|| {
            Refusal::of("since", "since is `live` of a search or `cursor` of the answer before; leave it out to begin")
        })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{:x}", self.epoch, self.moment)
    }
}
