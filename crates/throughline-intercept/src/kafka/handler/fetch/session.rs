//! Fetch session: the position of the client in each partition (KIP-227).

use std::collections::HashMap;

use throughline_kafka::types::Offset;

use crate::kafka::topic::PartitionKey;

/// Fetch that waits for its response: its changes to the fetch session.
#[derive(Debug)]
pub(in crate::kafka) struct FetchState {
    /// Whether the request names every partition, so that earlier positions do not count.
    pub(super) is_full: bool,
    pub(super) is_read_committed: bool,
    pub(super) positions: Vec<(PartitionKey, Offset)>,
    pub(super) forgotten: Vec<PartitionKey>,
}

/// Positions of a client on one connection.
#[derive(Debug, Default)]
pub(super) struct FetchSession {
    requested: HashMap<PartitionKey, Offset>,
    /// Offsets behind the last record that was delivered on this connection.
    delivered: HashMap<PartitionKey, Offset>,
}

/// Position of a client in one partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct FetchPosition {
    /// Offset that was requested; [`None`] when it is unknown.
    pub(super) offset: Option<Offset>,
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
            is_read_committed: false,
            positions: Vec::new(),
            forgotten: Vec::new(),
        }
    }
}

// === impl FetchSession ===

impl FetchSession {
    /// Applies the changes of a request, once its response has arrived.
    pub(super) fn apply(&mut self, fetch: FetchState, max_partitions: usize) {
        if fetch.is_full {
            self.requested.clear();
        }
        for key in &fetch.forgotten {
            self.requested.remove(key);
        }
        for (key, offset) in fetch.positions {
            if self.requested.len() < max_partitions || self.requested.contains_key(&key) {
                self.requested.insert(key, offset);
            }
        }
    }

    /// Returns the position in a partition that ends at `high_watermark`.
    pub(super) fn position(
        &mut self,
        key: &PartitionKey,
        high_watermark: Offset,
        is_read_committed: bool,
    ) -> FetchPosition {
        // A log that ends before delivered records is another one: the topic was created again, or
        // the log was truncated.
        let is_other_log = |end: &Offset| (0..end.0).contains(&high_watermark.0);
        if self.delivered.get(key).is_some_and(is_other_log) {
            self.delivered.remove(key);
        }
        let delivered = self.delivered.get(key).copied();
        FetchPosition {
            offset: self.requested.get(key).copied(),
            redelivered_before: delivered.unwrap_or(Offset(i64::MIN)),
            is_read_committed,
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
        let behind = Offset(last.0.saturating_add(1));
        if let Some(end) = self.delivered.get_mut(&key) {
            *end = (*end).max(behind);
        } else if self.delivered.len() < max_partitions {
            self.delivered.insert(key, behind);
        }
    }
}
