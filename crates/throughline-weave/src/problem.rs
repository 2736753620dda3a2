//! The inbound and outbound events of one process over a stretch of time, and which of them can
//! belong together.

use std::collections::BTreeMap;

use crate::MAX_TOKENS;
use crate::event::{
    InboundId, InboundStart, Nanos, OperationKey, OutboundId, OutboundStart, QueuePosition,
};

/// Operations of one process that are distinguished.
const MAX_OPERATIONS: u32 = 4096;

/// The time of an end that has not been seen.
pub(crate) const OPEN: Nanos = Nanos::MAX;

#[derive(Debug, Clone)]
pub(crate) struct Inbound {
    pub(crate) id: InboundId,
    pub(crate) operation: u32,
    pub(crate) start: Nanos,
    pub(crate) end: Nanos,
    pub(crate) abandoned: bool,
    pub(crate) position: Option<QueuePosition>,
    pub(crate) tokens: Vec<u64>,
}

#[derive(Debug, Clone)]
pub(crate) struct Outbound {
    pub(crate) id: OutboundId,
    pub(crate) kind: u32,
    pub(crate) start: Nanos,
    /// A record is sent at a moment: nobody waits for its acknowledgement.
    pub(crate) end: Nanos,
    pub(crate) tokens: Vec<u64>,
    pub(crate) is_record: bool,
    /// The inbound event that the message itself names.
    pub(crate) exact: Option<InboundId>,
}

/// Inbound events that are handled one after the other: a request by itself, or the records of a
/// partition.
#[derive(Debug, Clone)]
pub(crate) struct Lane {
    /// Indices of inbound events, in the order in which they are handled.
    pub(crate) members: Vec<u32>,
    pub(crate) is_queue: bool,
    /// Outbound events that a member may have caused, in the order of their starts.
    pub(crate) candidates: Vec<u32>,
}

/// Consecutive small numbers for operations.
#[derive(Debug, Clone, Default)]
pub(crate) struct OperationIndex {
    ids: BTreeMap<OperationKey, u32>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Problem {
    pub(crate) inbound: Vec<Inbound>,
    pub(crate) outbound: Vec<Outbound>,
    pub(crate) now: Nanos,
}

// === impl Inbound ===

impl Inbound {
    pub(crate) fn new(start: &InboundStart, operation: u32) -> Self {
        let mut tokens = start.tokens.clone();
        tokens.truncate(MAX_TOKENS);
        Self {
            id: start.id,
            operation,
            start: start.at,
            end: OPEN,
            abandoned: false,
            position: start.position,
            tokens,
        }
    }
}

// === impl Outbound ===

impl Outbound {
    pub(crate) fn new(start: &OutboundStart, kind: u32) -> Self {
        let mut tokens = start.tokens.clone();
        tokens.truncate(MAX_TOKENS);
        Self {
            id: start.id,
            kind,
            start: start.at,
            end: if start.is_record { start.at } else { OPEN },
            is_record: start.is_record,
            tokens,
            exact: start.exact,
        }
    }
}

impl Outbound {
    /// Returns whether the message does not name another cause.
    pub(crate) fn may_be_of(&self, inbound: &Inbound) -> bool {
        self.exact.is_none_or(|named| named == inbound.id)
    }
}

// === impl OperationIndex ===

impl OperationIndex {
    pub(crate) fn get(&mut self, key: OperationKey) -> u32 {
        // Beyond the bound all share one number and are not distinguished.
        let next = (self.ids.len() as u32).min(MAX_OPERATIONS - 1);
        if let Some(known) = self.ids.get(&key) {
            return *known;
        }
        if self.ids.len() < MAX_OPERATIONS as usize {
            self.ids.insert(key, next);
        }
        next
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (OperationKey, u32)> {
        self.ids.iter().map(|(key, id)| (*key, *id))
    }

    /// Gives an operation the number that it had.
    pub(crate) fn restore(&mut self, id: u32, key: OperationKey) {
        self.ids.insert(key, id);
    }
}

// === impl Problem ===

impl Problem {
    /// Sorts events by what is known of them, so that the order in which equal ones were pushed
    /// makes no difference.
    pub(crate) fn sort(&mut self) {
        self.inbound.sort_by_key(|inbound| {
            (
                inbound.start,
                inbound.position,
                inbound.end,
                inbound.operation,
                scatter(inbound.id.0),
            )
        });
        self.outbound.sort_by_key(|outbound| {
            (
                outbound.start,
                outbound.kind,
                outbound.end,
                scatter(outbound.id.0),
            )
        });
    }

    /// Groups inbound events into lanes and finds the candidates of each.
    ///
    /// `admits` decides about an outbound event that starts while the inbound one is open, or up to
    /// `linger_ns` later.
    pub(crate) fn lanes(
        &self,
        linger_ns: impl Fn(u32) -> Nanos,
        admits: impl Fn(u32, u32) -> bool,
    ) -> Vec<Lane> {
        let mut lanes = self.group();
        // One sweep over both sides in the order of time; `open` holds lanes that may still act.
        lanes.sort_by_key(|lane| self.inbound[lane.members[0] as usize].start);
        let until = |lane: &Lane| {
            let ends = lane.members.iter().map(|member| {
                let inbound = &self.inbound[*member as usize];
                inbound.end.saturating_add(linger_ns(inbound.operation))
            });
            ends.max().unwrap_or(OPEN)
        };
        let ends: Vec<Nanos> = lanes.iter().map(until).collect();
        let mut open: Vec<usize> = Vec::new();
        let mut next = 0;
        for (index, outbound) in self.outbound.iter().enumerate() {
            while next < lanes.len()
                && self.inbound[lanes[next].members[0] as usize].start <= outbound.start
            {
                open.push(next);
                next += 1;
            }
            open.retain(|lane| ends[*lane] >= outbound.start);
            for lane in &open {
                let lane = &mut lanes[*lane];
                if lane.is_queue || admits(lane.members[0], index as u32) {
                    lane.candidates.push(index as u32);
                }
            }
        }
        lanes
    }

    fn group(&self) -> Vec<Lane> {
        let mut lanes: Vec<Lane> = Vec::new();
        let mut queues: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        for (index, inbound) in self.inbound.iter().enumerate() {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            match inbound.position {
                Some(position) => queues.entry(position.queue).or_default().push(index),
                None => lanes.push(Lane {
                    members: vec![index],
                    is_queue: false,
                    candidates: Vec::new(),
                }),
            }
        }
        for mut members in queues.into_values() {
            members.sort_by_key(|member| self.inbound[*member as usize].position);
            lanes.push(Lane {
                members,
                is_queue: true,
                candidates: Vec::new(),
            });
        }
        lanes
    }
}

/// Spreads ids, so that the order among equals is none that an id could give away.
fn scatter(id: u64) -> u64 {
    let mixed = (id ^ (id >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}
