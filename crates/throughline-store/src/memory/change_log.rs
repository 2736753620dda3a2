//! The traces that changed last, in a ring of bounded length.

use std::collections::VecDeque;

use throughline_model::TraceId;

use crate::TraceChanges;

/// Changes kept; 24 bytes each.
const MAX_ENTRIES: usize = 4096;

/// Maximum number of traces returned at once.
const MAX_CHANGES: usize = 200;

/// The latest changes, each with the revision of the store that made it.
#[derive(Debug, Default)]
pub struct ChangeLog {
    ring: VecDeque<(u64, TraceId)>,
    /// Revision of the last change that was dropped from the ring.
    dropped_revision: u64,
    revision: u64,
}

impl ChangeLog {
    /// Starts a revision and returns its number.
    pub const fn begin_revision(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }

    /// Records a change of a trace in the current revision.
    pub fn record(&mut self, id: TraceId) {
        if self.ring.len() >= MAX_ENTRIES
            && let Some((revision, _)) = self.ring.pop_front()
        {
            self.dropped_revision = revision;
        }
        self.ring.push_back((self.revision, id));
    }

    /// Returns the traces that changed after a revision. `listed` returns the id that a list shows
    /// a trace under, if it is still stored.
    #[must_use]
    pub fn since(&self, since: u64, listed: impl Fn(TraceId) -> Option<TraceId>) -> TraceChanges {
        let mut traces: Vec<TraceId> = Vec::new();
        // The ring no longer reaches back that far, or the revision is another store's.
        let mut more = since < self.dropped_revision || since > self.revision;
        let newer = self.ring.iter().rev();
        for (_, id) in newer.take_while(|(revision, _)| *revision > since) {
            // A linear search: there are at most `MAX_CHANGES` traces.
            let Some(id) = listed(*id).filter(|id| !traces.contains(id)) else {
                continue;
            };
            if traces.len() >= MAX_CHANGES {
                more = true;
                break;
            }
            traces.push(id);
        }
        TraceChanges {
            revision: self.revision,
            traces,
            more,
        }
    }
}
