//! Polls: which records a client has handled, where its fetches show it.
//!
//! Java's consumer sends a Fetch only within `poll()`, one at a time to each broker. When it hands
//! records over to the application it sends the next Fetch first, so that the response arrives
//! while they are handled; it sends the one after that in another call of `poll()`, which an
//! application makes when it has handled the records:
//!
//! ```text
//!   response with records ... Fetch behind them ... response ... Fetch
//!                             poll() returns them                the next poll()
//!                             +----------- handled ------------+
//! ```
//!
//! With `max.poll.records` a partition is not fetched until the last part of its records is handed
//! over. Other clients fetch in the background. Kafka Streams polls while it still has records.

use std::sync::Arc;

use throughline_kafka::types::Offset;

use crate::Timestamp;
use crate::kafka::cluster::{ClientPartition, ClusterHandle, SettledOffsets};
use crate::kafka::handler::context::HandlerContext;
use crate::kafka::handler::correlation::SettledQueues;
use crate::kafka::topic::PartitionKey;

/// Records of a connection that its client is not known to have handled.
#[derive(Debug, Default)]
pub(super) struct PollTracker {
    /// Records that the application does not have yet, for all that is known.
    delivered: Vec<PolledRecords>,
    /// Records that the application has.
    handed_over: Vec<PolledRecords>,
}

/// Records of a partition that one response delivered.
#[derive(Debug)]
pub(super) struct PolledRecords {
    pub(super) key: PartitionKey,
    pub(super) partition: ClientPartition,
    pub(super) group: Arc<str>,
    /// Offset behind the last of them.
    pub(super) end: Offset,
}

// === impl PollTracker ===

impl PollTracker {
    /// Records that a response delivered records.
    pub(super) fn deliver(&mut self, records: PolledRecords, max_partitions: usize) {
        if self.delivered.len() + self.handed_over.len() < max_partitions {
            self.delivered.push(records);
        }
    }

    /// Takes the positions of a Fetch. Reports the records that the client has handled.
    pub(super) fn fetch<C: ClusterHandle>(
        &mut self,
        context: &HandlerContext<C>,
        positions: &[(PartitionKey, Offset)],
        now: Timestamp,
    ) {
        for records in self.handed_over.drain(..) {
            let queues = SettledQueues {
                partition: &records.partition,
                group: Some(&records.group),
                is_only_group: false,
            };
            let handled = SettledOffsets::Before(records.end);
            queues.report(&context.cluster, &handled, now, now);
        }
        // The client continues behind records once it has handed them over.
        let is_behind = |records: &mut PolledRecords| {
            let mut positions = positions.iter();
            positions.any(|(key, offset)| *key == records.key && *offset >= records.end)
        };
        self.handed_over = self.delivered.extract_if(.., is_behind).collect();
    }
}
