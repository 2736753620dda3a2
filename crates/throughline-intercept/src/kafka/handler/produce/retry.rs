//! Retries: a batch that its producer sends again belongs to the trace of the first attempt, and
//! has the same contexts. The broker may have kept either.

use std::collections::VecDeque;

use super::pending::PendingPartition;
use crate::Timestamp;
use crate::kafka::SessionEvent;
use crate::kafka::cluster::{AttemptKey, AttemptState, BatchAttempts, ClusterHandle};
use crate::kafka::handler::context::HandlerContext;

/// Batches that were answered last on a connection. When it ends, their responses may be lost.
#[derive(Debug, Default)]
pub(super) struct AnsweredBatches {
    batches: VecDeque<(AttemptKey, BatchAttempts)>,
    /// Number of records whose spans are remembered.
    records: usize,
}

/// Maximum number of batches that are remembered: some per request in flight.
const MAX_ANSWERED_BATCHES: usize = 64;

/// Maximum number of records whose spans are remembered. Records of larger batches get no context
/// when they are sent again.
const MAX_ANSWERED_RECORDS: usize = 1024;

/// Recognises a batch that was sent before.
pub(super) fn claim<C: ClusterHandle>(
    context: &mut HandlerContext<C>,
    partition: &mut PendingPartition,
    now: Timestamp,
) {
    let Some(key) = partition.attempt_key(context) else {
        return;
    };
    let attempts = context
        .cluster
        .with_state(|state| state.claim_attempts(&key, now));
    if attempts.is_some() {
        let records = u32::try_from(partition.record_count()).unwrap_or(0);
        context.report(SessionEvent::Retried { records });
    }
    partition.attempts = attempts;
}

// === impl AnsweredBatches ===

impl AnsweredBatches {
    /// Remembers a batch whose spans are about to end.
    pub(super) fn push<C: ClusterHandle>(
        &mut self,
        context: &HandlerContext<C>,
        partition: &PendingPartition,
        started_at: Timestamp,
        now: Timestamp,
    ) {
        let key = partition.attempt_key(context);
        let Some(key) = key.filter(|_| !partition.is_answered()) else {
            return;
        };
        let mut attempts = partition.to_attempts(started_at, MAX_ANSWERED_RECORDS);
        attempts.is_answered = true;
        if partition.is_recorded || partition.attempts.is_some() {
            // The next attempt may be under way.
            return context.cluster.with_state(|state| {
                state.record_attempt(key, attempts, AttemptState::Answered, now);
            });
        }
        self.records += attempts.records.len();
        self.batches.push_back((key, attempts));
        while self.batches.len() > MAX_ANSWERED_BATCHES || self.records > MAX_ANSWERED_RECORDS {
            let Some((_, oldest)) = self.batches.pop_front() else {
                break;
            };
            self.records -= oldest.records.len();
        }
    }

    /// Records that the connection has ended.
    pub(super) fn close<C: ClusterHandle>(&mut self, context: &HandlerContext<C>, now: Timestamp) {
        self.records = 0;
        let batches = std::mem::take(&mut self.batches);
        if batches.is_empty() {
            return;
        }
        context.cluster.with_state(|state| {
            for (key, attempts) in batches {
                state.record_attempt(key, attempts, AttemptState::Answered, now);
            }
        });
    }
}
