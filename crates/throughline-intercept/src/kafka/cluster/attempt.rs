//! Attempts to send a batch, by which a retry is recognised: all attempts belong to one trace.
//!
//! A producer sends a batch again when it gets no response, or one with a retriable error. The
//! batch is the same, whichever connection it comes on:
//!
//! ```text
//!   the client is gone, -----> Unanswered ----+
//!   no response yet                           |  the batch comes again
//!   no response, or ---------> Failed --------+-----> Claimed: that attempt has the spans
//!   a retriable error            | timeout    |
//!                                v            |
//!                              its spans      |
//!   answered before the end ---> Answered ----+-----> no other spans
//!   of the connection
//! ```

use std::collections::{HashMap, VecDeque};

use throughline_kafka::batch::RecordBatch;
use throughline_kafka::types::TimestampMs;
use throughline_model::Span;

use super::client::ClientKey;
use crate::Timestamp;
use crate::kafka::topic::PartitionKey;
use crate::trace::{ParentEvidence, SpanIdentity};

/// Fields of a batch that are the same in all its attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::kafka) struct BatchFingerprint {
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    record_count: i32,
    max_timestamp: TimestampMs,
    /// Checksum and length of a batch without a sequence.
    content: Option<(u32, usize)>,
}

/// Batch of a partition, by its producer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::kafka) struct AttemptKey {
    pub(in crate::kafka) partition: PartitionKey,
    pub(in crate::kafka) batch: BatchFingerprint,
    /// Client of a batch without a sequence: another one may send equal records.
    pub(in crate::kafka) client: Option<ClientKey>,
}

/// Attempts to send a batch, up to the last one.
#[derive(Debug, Clone)]
pub(in crate::kafka) struct BatchAttempts {
    /// Beginning of the first attempt.
    pub(in crate::kafka) started_at: Timestamp,
    /// Number of attempts.
    pub(in crate::kafka) count: u32,
    /// Earlier attempts that failed, the first ones.
    pub(in crate::kafka) failures: Vec<FailedAttempt>,
    /// Records that have spans, in their order.
    pub(in crate::kafka) records: Vec<AttemptedRecord>,
    /// Whether an attempt was answered, so that its spans have ended.
    pub(in crate::kafka) is_answered: bool,
}

/// Attempt that was followed by another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kafka) struct FailedAttempt {
    pub(in crate::kafka) error_code: i16,
    /// Beginning of the next attempt.
    pub(in crate::kafka) retried_at: Timestamp,
}

/// Record that has a span.
#[derive(Debug, Clone)]
pub(in crate::kafka) struct AttemptedRecord {
    pub(in crate::kafka) offset_delta: i32,
    pub(in crate::kafka) identity: SpanIdentity,
    pub(in crate::kafka) evidence: Option<ParentEvidence>,
}

/// Table of the attempts that may be followed by another one.
#[derive(Debug, Default)]
pub(super) struct AttemptTable {
    entries: HashMap<AttemptKey, AttemptEntry>,
    /// Keys in the order of their entries. A key of an entry that was replaced is in it twice.
    order: VecDeque<(Timestamp, AttemptKey)>,
    /// Number of records in all entries.
    records: usize,
    /// Spans that no attempt can claim any more.
    abandoned: VecDeque<Span>,
}

#[derive(Debug)]
struct AttemptEntry {
    attempts: BatchAttempts,
    state: AttemptState,
    recorded_at: Timestamp,
}

/// Outcome of the last attempt.
#[derive(Debug)]
pub(in crate::kafka) enum AttemptState {
    /// The client is gone, and the response has not come.
    Unanswered,
    /// The spans of the last attempt, with its error.
    Failed(i16, Vec<Span>),
    /// A later attempt has the spans.
    Claimed,
    /// The spans have ended with a response that the client may not have received.
    Answered,
}

/// Failures that the spans of a batch show.
const MAX_FAILURES: usize = 8;

/// Records that an entry counts for at least: an entry without records takes memory as well.
const ENTRY_RECORDS: usize = 4;

// === impl BatchFingerprint ===

impl BatchFingerprint {
    pub(in crate::kafka) fn of(batch: &RecordBatch<'_>) -> Self {
        let is_idempotent = batch.producer_id() >= 0;
        Self {
            producer_id: batch.producer_id(),
            producer_epoch: batch.producer_epoch(),
            base_sequence: batch.base_sequence(),
            record_count: batch.record_count(),
            max_timestamp: batch.max_timestamp(),
            // A client may compress again, or with another codec.
            content: (!is_idempotent).then(|| (batch.crc(), batch.bytes().len())),
        }
    }

    pub(in crate::kafka) const fn producer_id(&self) -> i64 {
        self.producer_id
    }

    /// Returns whether no other batch is equal: it has a sequence, or a time.
    pub(in crate::kafka) const fn is_unique(&self) -> bool {
        self.producer_id >= 0 || self.max_timestamp.0 > 0
    }

    /// Returns whether the batch is the first one of its producer.
    pub(in crate::kafka) const fn begins_sequence(&self) -> bool {
        self.producer_id >= 0 && self.base_sequence == 0
    }
}

// === impl BatchAttempts ===

impl BatchAttempts {
    /// Returns the first attempt, without records.
    pub(in crate::kafka) const fn first(started_at: Timestamp) -> Self {
        Self {
            started_at,
            count: 1,
            failures: Vec::new(),
            records: Vec::new(),
            is_answered: false,
        }
    }

    pub(in crate::kafka) fn without_records(&self) -> Self {
        Self {
            started_at: self.started_at,
            count: self.count,
            failures: self.failures.clone(),
            records: Vec::new(),
            is_answered: self.is_answered,
        }
    }

    /// Adds an attempt that begins now.
    fn add(&mut self, error_code: i16, now: Timestamp) {
        self.count = self.count.saturating_add(1);
        if self.failures.len() < MAX_FAILURES {
            self.failures.push(FailedAttempt {
                error_code,
                retried_at: now,
            });
        }
    }
}

// === impl AttemptEntry ===

impl AttemptEntry {
    fn weight(&self) -> usize {
        self.attempts.records.len().max(ENTRY_RECORDS)
    }

    fn into_spans(self) -> Vec<Span> {
        match self.state {
            AttemptState::Failed(_, spans) => spans,
            AttemptState::Unanswered | AttemptState::Claimed | AttemptState::Answered => Vec::new(),
        }
    }
}

// === impl AttemptTable ===

impl AttemptTable {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Records the outcome of an attempt. Its spans are dropped if a later attempt has them.
    pub(super) fn insert(
        &mut self,
        key: AttemptKey,
        attempts: BatchAttempts,
        state: AttemptState,
        now: Timestamp,
        max_records: usize,
    ) {
        if self.is_superseded(&key, attempts.count) {
            return;
        }
        let entry = AttemptEntry {
            attempts,
            state,
            recorded_at: now,
        };
        self.records += entry.weight();
        self.order.push_back((now, key.clone()));
        if let Some(replaced) = self.entries.insert(key, entry) {
            self.records -= replaced.weight();
            self.abandoned.extend(replaced.into_spans());
        }
        while self.records > max_records || self.order.len() > max_records {
            let Some((recorded_at, oldest)) = self.order.pop_front() else {
                break;
            };
            self.remove(&oldest, recorded_at);
        }
    }

    /// Removes the entry that was recorded at this time.
    fn remove(&mut self, key: &AttemptKey, recorded_at: Timestamp) {
        let is_same = |it: &AttemptEntry| it.recorded_at == recorded_at;
        if self.entries.get(key).is_some_and(is_same)
            && let Some(entry) = self.entries.remove(key)
        {
            self.records -= entry.weight();
            self.abandoned.extend(entry.into_spans());
        }
    }

    /// Returns whether a later attempt than this one has the spans.
    pub(super) fn is_superseded(&self, key: &AttemptKey, count: u32) -> bool {
        let entry = self.entries.get(key);
        entry.is_some_and(|it| it.attempts.count > count)
    }

    /// Returns the attempts of a batch that is sent again now; [`None`] when it is not known.
    pub(super) fn claim(
        &mut self,
        key: &AttemptKey,
        network_exception: i16,
        now: Timestamp,
        timeout: u64,
    ) -> Option<BatchAttempts> {
        let entry = self.entries.get_mut(key)?;
        if entry.recorded_at.saturating_add(timeout) < now {
            return None;
        }
        let error_code = match entry.state {
            AttemptState::Failed(error_code, _) => error_code,
            // Two batches may be equal, sent in one millisecond: only one is the retry.
            AttemptState::Claimed if key.client.is_some() => return None,
            AttemptState::Unanswered | AttemptState::Claimed | AttemptState::Answered => {
                network_exception
            }
        };
        entry.attempts.add(error_code, now);
        if !entry.attempts.is_answered {
            // The spans of the last attempt are those of this one now.
            entry.state = AttemptState::Claimed;
        }
        Some(entry.attempts.clone())
    }

    /// Returns a span that no attempt can claim any more.
    pub(super) fn poll_abandoned(&mut self, now: Timestamp, timeout: u64) -> Option<Span> {
        while let Some((recorded_at, _)) = self.order.front()
            && recorded_at.saturating_add(timeout) <= now
            && let Some((recorded_at, key)) = self.order.pop_front()
        {
            self.remove(&key, recorded_at);
        }
        self.abandoned.pop_front()
    }
}
