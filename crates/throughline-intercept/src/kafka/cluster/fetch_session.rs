//! Fetch sessions: the positions of a client at one broker (KIP-227). A session belongs to no
//! connection: clients continue it on another one.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use throughline_kafka::types::Offset;

use crate::Timestamp;
use crate::kafka::topic::PartitionKey;

/// Identity of a fetch session: brokers number them, each on its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::kafka) struct FetchSessionKey {
    pub(in crate::kafka) broker: Option<(Arc<str>, u16)>,
    pub(in crate::kafka) session_id: i32,
}

/// Positions of a client.
#[derive(Debug, Clone, Default)]
pub(in crate::kafka) struct FetchPositions {
    pub(in crate::kafka) requested: HashMap<PartitionKey, RequestedPosition>,
    /// Offsets behind the last record that was delivered.
    pub(in crate::kafka) delivered: HashMap<PartitionKey, Offset>,
}

/// Position in a partition that a client requested.
#[derive(Debug, Clone, Copy)]
pub(in crate::kafka) struct RequestedPosition {
    pub(in crate::kafka) offset: Offset,
    /// Time of the first request for the partition.
    pub(in crate::kafka) since: Timestamp,
    pub(in crate::kafka) cut: Option<CutBatch>,
}

/// Batch that was cut at the end of a response. Whether the client takes the records before the cut
/// shows in the position that it requests next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kafka) struct CutBatch {
    /// Offset of the first record that has no span yet.
    pub(in crate::kafka) first: Offset,
    /// Offset behind the last complete record.
    pub(in crate::kafka) end: Offset,
}

/// Sessions whose connections were closed.
#[derive(Debug)]
pub(super) struct FetchSessionStore {
    sessions: HashMap<FetchSessionKey, FetchPositions>,
    /// Keys of the sessions, the oldest first.
    order: VecDeque<FetchSessionKey>,
    count: usize,
    max_positions: usize,
}

/// Maximum number of sessions that are kept.
const MAX_SESSIONS: usize = 1024;

// === impl RequestedPosition ===

impl RequestedPosition {
    /// Returns the offset of the first record that a response brings the client, or that it has
    /// taken from a batch that was cut.
    pub(in crate::kafka) fn first(&self) -> Offset {
        let taken = |cut: &CutBatch| cut.first < self.offset && self.offset <= cut.end;
        self.cut.filter(taken).map_or(self.offset, |cut| cut.first)
    }
}

// === impl FetchPositions ===

impl FetchPositions {
    fn len(&self) -> usize {
        // A session without positions takes room as well.
        self.requested.len() + self.delivered.len() + 1
    }
}

// === impl FetchSessionStore ===

impl FetchSessionStore {
    pub(super) fn new(max_positions: usize) -> Self {
        Self {
            sessions: HashMap::new(),
            order: VecDeque::new(),
            count: 0,
            max_positions,
        }
    }

    /// Adds a session. The oldest ones make room for it.
    pub(super) fn insert(&mut self, key: FetchSessionKey, positions: FetchPositions) {
        drop(self.remove(&key));
        self.count += positions.len();
        self.order.push_back(key.clone());
        self.sessions.insert(key, positions);
        while (self.count > self.max_positions || self.order.len() > MAX_SESSIONS)
            && let Some(oldest) = self.order.front().cloned()
        {
            drop(self.remove(&oldest));
        }
    }

    /// Removes and returns a session.
    pub(super) fn remove(&mut self, key: &FetchSessionKey) -> Option<FetchPositions> {
        let positions = self.sessions.remove(key)?;
        self.count = self.count.saturating_sub(positions.len());
        self.order.retain(|other| other != key);
        Some(positions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_sessions_make_room_for_new_ones() {
        let mut store = FetchSessionStore::new(2);
        let key = |session_id| FetchSessionKey {
            broker: None,
            session_id,
        };
        for session_id in [1, 2, 1, 3] {
            store.insert(key(session_id), FetchPositions::default());
        }
        assert!(store.remove(&key(2)).is_none());
        assert!(store.remove(&key(1)).is_some());
        assert!(store.remove(&key(1)).is_none());
        assert!(store.remove(&key(3)).is_some());
        assert_eq!((store.count, store.order.len()), (0, 0));
    }
}
