//! Messages that a process receives and sends, as the engine keeps them.

use std::collections::BTreeMap;

use crate::MAX_TOKENS;
use crate::event::{
    InboundId, InboundStart, Nanos, OperationKey, OutboundId, OutboundStart, QueuePosition,
};

/// Operations of one process that are distinguished.
const MAX_OPERATIONS: u32 = 4096;

/// Resolution of the timestamps of records.
pub(crate) const RECORD_TICK_NS: Nanos = 1_000_000;

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

/// Consecutive small numbers for operations.
#[derive(Debug, Clone, Default)]
pub(crate) struct OperationIndex {
    ids: BTreeMap<OperationKey, u32>,
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

    /// Returns how much earlier than its start it may have been made.
    pub(crate) const fn tick_ns(&self) -> Nanos {
        if self.is_record { RECORD_TICK_NS } else { 0 }
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
