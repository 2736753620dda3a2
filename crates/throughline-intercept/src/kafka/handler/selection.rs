//! Selection of the records of a response that are meant for the client.
//!
//! A broker sends whole batches as they are stored: records before the requested offset, records of
//! aborted transactions and transaction markers come along, and the client leaves them out.

use std::collections::HashSet;

use throughline_kafka::batch::{RecordBatch, RecordBatches, RecordSetEntry};
use throughline_kafka::message::fetch::AbortedTransaction;
use throughline_kafka::message::share::AcquiredRecords;
use throughline_kafka::types::Offset;
use throughline_kafka::wire::WireArray;

/// Records of a partition that the client takes.
#[derive(Debug)]
pub(super) enum RecordSelection {
    /// Fetch: records from an offset on.
    From {
        position: Offset,
        /// Transactions to leave out, for a reader of committed records.
        aborted: Option<AbortedTransactions>,
    },
    /// ShareFetch: records that were acquired, by their last offset.
    Acquired(Vec<AcquiredRecords>),
}

/// Number of deliveries of a record, this one included, where the protocol counts them.
pub(super) type DeliveryCount = Option<i16>;

/// Aborted transactions, followed as a reader of committed records follows them.
#[derive(Debug, Clone)]
pub(super) struct AbortedTransactions {
    /// Transactions that have not begun yet; the one with the lowest first offset comes last.
    upcoming: Vec<AbortedTransaction>,
    /// Producers whose current transaction is aborted.
    producers: HashSet<i64>,
}

/// Type of an abort marker in `ControlRecordType`.
const ABORT_MARKER: &[u8] = &[0, 0];

/// Returns the offset of the last record that the batch was written with.
pub(super) fn last_offset(batch: &RecordBatch<'_>) -> Offset {
    let delta = i64::from(batch.last_offset_delta());
    Offset(batch.base_offset().0.saturating_add(delta))
}

/// Returns the number of offsets that the batch was written with.
pub(super) fn offset_count(batch: &RecordBatch<'_>) -> i64 {
    let last = last_offset(batch).0;
    last.saturating_sub(batch.base_offset().0)
        .saturating_add(1)
        .max(0)
}

// === impl RecordSelection ===

impl RecordSelection {
    /// Returns the selection of a share group from the ranges that it acquired.
    pub(super) fn acquired(ranges: &WireArray<'_, AcquiredRecords>) -> Self {
        let mut ranges: Vec<_> = ranges.iter().collect();
        // The protocol does not promise an order.
        ranges.sort_by_key(|range| range.last_offset);
        Self::Acquired(ranges)
    }

    /// Returns whether a batch may hold selected records. Batches are given in their order.
    pub(super) fn selects_batch(&mut self, batch: &RecordBatch<'_>) -> bool {
        match self {
            Self::From { position, aborted } => {
                let is_aborted = aborted.as_mut().is_some_and(|it| it.covers(batch));
                !is_aborted && last_offset(batch) >= *position
            }
            Self::Acquired(_) => true,
        }
    }

    /// Returns the number of offsets in a record set that are not for the client: markers, and
    /// aborted transactions for a reader of committed records.
    pub(super) fn skipped_offsets(&self, record_set: &[u8]) -> i64 {
        let Self::From { position, aborted } = self else {
            return 0;
        };
        let mut aborted = aborted.clone();
        let mut skipped = 0_i64;
        for entry in RecordBatches::new(record_set) {
            let RecordSetEntry::Batch(batch) = entry else {
                continue;
            };
            let is_aborted = aborted.as_mut().is_some_and(|it| it.covers(&batch));
            if is_aborted || batch.is_control() || last_offset(&batch) < *position {
                skipped = skipped.saturating_add(offset_count(&batch));
            }
        }
        skipped
    }

    /// Returns the delivery count of a record; [`None`] when the record is not selected.
    #[inline]
    pub(super) fn delivery_count(&self, offset: Offset) -> Option<DeliveryCount> {
        match self {
            Self::From { position, .. } => (offset >= *position).then_some(None),
            Self::Acquired(ranges) => {
                let at = ranges.partition_point(|range| range.last_offset < offset);
                let range = ranges.get(at)?;
                (range.first_offset <= offset).then_some(Some(range.delivery_count))
            }
        }
    }
}

// === impl AbortedTransactions ===

impl AbortedTransactions {
    pub(super) fn new(transactions: &WireArray<'_, AbortedTransaction>) -> Self {
        let mut upcoming: Vec<_> = transactions.iter().collect();
        upcoming.sort_by_key(|transaction| std::cmp::Reverse(transaction.first_offset));
        Self {
            upcoming,
            producers: HashSet::new(),
        }
    }

    /// Returns whether the batch belongs to an aborted transaction. Its abort marker ends it.
    fn covers(&mut self, batch: &RecordBatch<'_>) -> bool {
        // A transaction may begin within the batch that is looked at.
        let last = last_offset(batch);
        while let Some(next) = self.upcoming.pop_if(|next| next.first_offset <= last) {
            self.producers.insert(next.producer_id);
        }
        let producer = batch.producer_id();
        if batch.is_control() {
            // A commit marker ends a transaction that is not in the list of aborted ones.
            if is_abort_marker(batch) {
                self.producers.remove(&producer);
            }
            return false;
        }
        batch.is_transactional() && self.producers.contains(&producer)
    }
}

/// Returns whether a control batch is an abort marker: its key holds a version and a type.
fn is_abort_marker(batch: &RecordBatch<'_>) -> bool {
    let first = batch.records().and_then(|mut records| records.next());
    first
        .and_then(Result::ok)
        .and_then(|record| record.key)
        .is_some_and(|key| key.get(2..4) == Some(ABORT_MARKER))
}
