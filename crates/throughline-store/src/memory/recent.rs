//! Which traces changed last: a ring of bounded length.

use std::collections::VecDeque;

use throughline_model::TraceId;

use crate::Changes;

/// The last changes, each with its moment by the store's own counting.
#[derive(Debug, Default)]
pub(super) struct Recent {
    ring: VecDeque<(u64, TraceId)>,
    /// The moment of the last change that is no longer in the ring.
    forgotten: u64,
    now: u64,
}

impl Recent {
    /// Spans come in: the moment of what they change.
    pub(super) const fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    /// A trace changed.
    pub(super) fn note(&mut self, id: TraceId) {
        if self.ring.len() >= RING
            && let Some((moment, _)) = self.ring.pop_front()
        {
            self.forgotten = moment;
        }
        self.ring.push_back((self.now, id));
    }

    /// What changed since a moment.
    pub(super) fn since(&self, moment: u64, is_kept: impl Fn(TraceId) -> bool) -> Changes {
        let mut traces: Vec<TraceId> = Vec::new();
        let mut more = moment < self.forgotten || moment > self.now;
        for (_, id) in self.ring.iter().rev().take_while(|(own, _)| *own > moment) {
            if traces.contains(id) || !is_kept(*id) {
                continue;
            }
            if traces.len() >= CHANGES_MAX {
                more = true;
                break;
            }
            traces.push(*id);
        }
        Changes {
            now: self.now,
            traces,
            more,
        }
    }
}

/// Changes that are remembered; 24 bytes each.
const RING: usize = 4096;

/// Changes that are told at once.
const CHANGES_MAX: usize = 200;
