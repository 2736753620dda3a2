//! Fetch session of a connection: the position of the client in each partition (KIP-227).

use std::collections::HashMap;

use throughline_kafka::types::Offset;

use crate::Timestamp;
use crate::kafka::cluster::{CutBatch, FetchPositions, RequestedPosition};
use crate::kafka::topic::PartitionKey;

/// Fetch that waits for its response: its changes to the fetch session.
#[derive(Debug)]
pub(in crate::kafka) struct FetchState {
    /// Whether the request names every partition, so that earlier positions do not count.
    pub(super) is_full: bool,
    /// Session of the request; 0 for none.
    pub(super) session_id: i32,
    pub(super) sent_at: Timestamp,
    pub(super) is_read_committed: bool,
    pub(super) positions: Vec<(PartitionKey, Offset)>,
    pub(super) forgotten: Vec<PartitionKey>,
}

/// Properties of a request that its response is read by.
#[derive(Debug, Clone, Copy)]
pub(super) struct FetchOptions {
    pub(super) sent_at: Timestamp,
    pub(super) is_read_committed: bool,
}

/// Positions of the client of a connection.
#[derive(Debug, Default)]
pub(super) struct FetchSession {
    /// Number of the session at the broker; 0 for none.
    id: i32,
    positions: FetchPositions,
    /// Whether the positions were kept for another connection.
    is_kept: bool,
}

/// Position of a client in one partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct FetchPosition {
    /// Offset that was requested; [`None`] when it is unknown.
    pub(super) offset: Option<Offset>,
    /// Offset of the first record for the client: it may have taken records before the requested
    /// one from a batch that was cut.
    pub(super) first: Option<Offset>,
    /// Time of the first request for the partition.
    pub(super) since: Timestamp,
    /// Records before this offset were delivered before.
    pub(super) redelivered_before: Offset,
    pub(super) is_read_committed: bool,
}

// === impl FetchState ===

impl FetchState {
    /// Returns the state of a request that passed unread: no position is known from here on.
    pub(in crate::kafka) const fn unread() -> Self {
        Self {
            is_full: true,
            session_id: 0,
            sent_at: 0,
            is_read_committed: false,
            positions: Vec::new(),
            forgotten: Vec::new(),
        }
    }

    pub(super) const fn options(&self) -> FetchOptions {
        FetchOptions {
            sent_at: self.sent_at,
            is_read_committed: self.is_read_committed,
        }
    }
}

// === impl FetchSession ===

impl FetchSession {
    pub(super) const fn new(id: i32, positions: FetchPositions) -> Self {
        Self {
            id,
            positions,
            is_kept: false,
        }
    }

    /// Records the number of the session that a broker answers with.
    pub(super) const fn set_id(&mut self, id: i32) {
        self.id = id;
    }

    /// Returns the number of the session and its positions once, if it can be continued on another
    /// connection. Responses may still arrive on this one.
    pub(super) fn keep(&mut self) -> Option<(i32, FetchPositions)> {
        let is_kept = std::mem::replace(&mut self.is_kept, true);
        (self.id != 0 && !is_kept).then(|| (self.id, self.positions.clone()))
    }

    /// Returns the number of the session that a request continues, if it began on another
    /// connection.
    pub(super) fn continued_id(&self, fetch: &FetchState) -> Option<i32> {
        let is_other = fetch.session_id != 0 && fetch.session_id != self.id;
        (is_other && !fetch.is_full).then_some(fetch.session_id)
    }

    /// Applies the changes of a request, once its response has arrived. Returns the partitions that
    /// it does not fetch any more.
    pub(super) fn apply(&mut self, fetch: FetchState, max_partitions: usize) -> Vec<PartitionKey> {
        let requested = &mut self.positions.requested;
        let mut before = if fetch.is_full {
            std::mem::take(requested)
        } else {
            HashMap::new()
        };
        let mut released = Vec::new();
        // Before the positions: a partition may be removed and added in one request.
        for key in fetch.forgotten {
            if requested.remove(&key).is_some() {
                released.push(key);
            }
        }
        for (key, offset) in fetch.positions {
            let known = before.remove(&key);
            // A known partition is always updated, so that its position is never out of date.
            if let Some(position) = requested.get_mut(&key) {
                position.offset = offset;
            } else if requested.len() < max_partitions {
                let since = known.map_or(fetch.sent_at, |known| known.since);
                let cut = known.and_then(|known| known.cut);
                requested.insert(key, RequestedPosition { offset, since, cut });
            }
        }
        released.extend(before.into_keys());
        released
    }

    /// Returns the position in a partition that ends at `high_watermark`.
    pub(super) fn position(
        &mut self,
        key: &PartitionKey,
        high_watermark: Offset,
        request: FetchOptions,
    ) -> FetchPosition {
        let FetchPositions {
            requested,
            delivered,
        } = &mut self.positions;
        // A log that ends before delivered records is another one: the topic was created again, or
        // the log was truncated.
        let is_other_log = |end: &Offset| (0..end.0).contains(&high_watermark.0);
        if delivered.get(key).is_some_and(is_other_log) {
            delivered.remove(key);
        }
        let requested = requested.get(key);
        FetchPosition {
            offset: requested.map(|position| position.offset),
            first: requested.map(RequestedPosition::first),
            since: requested.map_or(request.sent_at, |position| position.since),
            redelivered_before: delivered.get(key).copied().unwrap_or(Offset(i64::MIN)),
            is_read_committed: request.is_read_committed,
        }
    }

    /// Records the batch that was cut at the end of a response with records.
    pub(super) fn record_cut(&mut self, key: &PartitionKey, cut: Option<CutBatch>) {
        if let Some(position) = self.positions.requested.get_mut(key) {
            position.cut = cut;
        }
    }

    /// Records that records up to `last` were delivered.
    pub(super) fn record_delivered(
        &mut self,
        key: PartitionKey,
        last: Option<Offset>,
        max_partitions: usize,
    ) {
        let Some(last) = last else { return };
        let delivered = &mut self.positions.delivered;
        let behind = Offset(last.0.saturating_add(1));
        if let Some(end) = delivered.get_mut(&key) {
            // A consumer that seeks back does not make later records new ones.
            *end = (*end).max(behind);
        } else if delivered.len() < max_partitions {
            delivered.insert(key, behind);
        }
    }
}
