//! Originals of Produce requests: kept until the broker has answered, to be sent again where it
//! refuses what was changed.

use bytes::Bytes;
use throughline_kafka::message::produce::{ProduceResponse, merge_results, retain_partitions};
use throughline_kafka::message::{ApiMessage, BodySplice, ParseOutcome};

use super::pending::PendingProduce;
use crate::Timestamp;
use crate::kafka::cluster::{BatchSize, ClusterHandle, MIN_REFUSED_REQUEST};
use crate::kafka::handler::api_frame::ApiFrame;
use crate::kafka::handler::context::HandlerContext;
use crate::kafka::topic::PartitionKey;
use crate::kafka::{SessionEvent, SkipReason, error_code};

/// Original of a Produce request.
#[derive(Debug)]
pub(in crate::kafka) struct OriginalProduce {
    frame: Bytes,
    body_start: usize,
    version: i16,
    acks: i16,
    /// Bytes of the process's budget that the frame takes.
    pub(in crate::kafka) reserved_bytes: usize,
    /// Size of the request as it was changed; 0 if it was not.
    pub(super) changed_bytes: usize,
    /// Whether what follows must wait until the broker has answered.
    pub(in crate::kafka) is_at_risk: bool,
    partitions: Vec<OriginalPartition>,
}

/// Batch of a request, as far as it is needed to send it again.
#[derive(Debug)]
struct OriginalPartition {
    batch: BatchKey,
    /// Sizes as sent to the broker.
    size: BatchSize,
    is_injected: bool,
}

/// Partition and producer of a batch: the broker checks the sequence of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::kafka) struct BatchKey {
    pub(in crate::kafka) partition: PartitionKey,
    producer_id: i64,
}

/// Frames up to this size are copied, so that they do not keep a driver's buffer alive.
const MAX_COPIED_BYTES: usize = 8 * 1024;

// === impl OriginalProduce ===

impl OriginalProduce {
    /// Keeps a request that was changed, or that follows one on the connection whose refusal would
    /// break its sequence. Without room in the budget, nothing is changed.
    pub(super) fn keep<C: ClusterHandle>(
        context: &HandlerContext<C>,
        request: &ApiFrame<'_>,
        pending: &mut PendingProduce,
        acks: i16,
    ) -> Option<Box<Self>> {
        let is_sequenced = pending
            .partitions
            .iter()
            .any(|it| it.batch.producer_id() >= 0);
        let is_needed = pending.is_changed() || (context.follows_change && is_sequenced);
        if !request.is_buffered || !is_needed {
            return None;
        }
        let reserved_bytes = request.bytes.len();
        let is_reserved = context
            .cluster
            .with_state(|state| state.reserve_bytes(reserved_bytes));
        if !is_reserved {
            // A request that could not be taken back must not be changed.
            pending.cancel_injection(SkipReason::Budget);
            return None;
        }
        let frame = if reserved_bytes <= MAX_COPIED_BYTES {
            Bytes::copy_from_slice(request.bytes)
        } else {
            request.bytes.clone()
        };
        let partitions = pending.partitions.iter().map(|it| OriginalPartition {
            batch: BatchKey {
                partition: it.key.clone(),
                producer_id: it.batch.producer_id(),
            },
            size: it.size,
            is_injected: it.injected > 0,
        });
        Some(Box::new(Self {
            frame,
            body_start: request.body_start,
            version: request.version,
            acks,
            reserved_bytes,
            changed_bytes: 0,
            is_at_risk: pending.partitions.iter().any(|it| it.is_at_risk),
            partitions: partitions.collect(),
        }))
    }

    /// Returns whether the client expects no response.
    pub(in crate::kafka) const fn is_silent(&self) -> bool {
        self.acks == 0
    }

    /// Learns that a broker has read the request.
    pub(in crate::kafka) fn record_answer<C: ClusterHandle>(&self, context: &HandlerContext<C>) {
        let bytes = self.changed_bytes;
        // The lock is not taken for what can not have been refused.
        if bytes >= MIN_REFUSED_REQUEST {
            context
                .cluster
                .with_state(|state| state.accept_request(bytes));
        }
    }

    /// Learns that the broker closed the connection at this request: all before it were answered.
    pub(in crate::kafka) fn record_close<C: ClusterHandle>(
        &self,
        context: &mut HandlerContext<C>,
        now: Timestamp,
    ) {
        let (original_bytes, bytes) = (self.frame.len(), self.changed_bytes);
        let is_refused = context
            .cluster
            .with_state(|state| state.refuse_request(original_bytes, bytes, now));
        if is_refused {
            context.report(SessionEvent::RequestRefused { bytes });
        }
    }

    /// Returns the batches that a response rejects and that are to be sent again: those that were
    /// changed, and those behind one of `missing` in the sequence of a producer.
    pub(in crate::kafka) fn rejected<C: ClusterHandle>(
        &self,
        context: &mut HandlerContext<C>,
        response: &ApiFrame<'_>,
        missing: &[BatchKey],
        now: Timestamp,
    ) -> Vec<BatchKey> {
        let outcome = ProduceResponse::parse(response.body(), response.version);
        let Ok(ParseOutcome::Parsed(produce)) = outcome else {
            return Vec::new();
        };
        let mut rejected = Vec::new();
        for topic in &produce.topics {
            let Some(topic_key) = context.topics.key(&topic.topic) else {
                continue;
            };
            for result in &topic.partitions {
                let mut partitions = self.partitions.iter();
                let partition = partitions.find(|it| {
                    let key = &it.batch.partition;
                    key.index == result.index && key.topic == topic_key
                });
                let Some(partition) = partition else {
                    continue;
                };
                partition.learn(context, result.error_code, self.is_silent(), now);
                let is_rejected = if self.is_silent() {
                    // The broker closes the connection after some errors of a request with acks=0:
                    // sent again as it came, the request has that effect.
                    result.error_code != error_code::NONE
                } else {
                    partition.is_rejected(result.error_code, missing)
                };
                if is_rejected {
                    rejected.push(partition.batch.clone());
                }
            }
        }
        rejected
    }

    /// Returns the original request with the rejected batches alone.
    pub(in crate::kafka) fn replay<C: ClusterHandle>(
        &self,
        context: &mut HandlerContext<C>,
        rejected: &[BatchKey],
    ) -> Option<Bytes> {
        let body = self.frame.get(self.body_start..)?;
        let mut splice = BodySplice::default();
        let mut removed = 0;
        let edited = retain_partitions(body, self.version, &mut splice, |topic, index| {
            let key = context.topics.key(topic);
            let is_kept = rejected
                .iter()
                .map(|it| &it.partition)
                .any(|it| it.index == index && Some(&it.topic) == key.as_ref());
            removed += usize::from(!is_kept);
            is_kept
        });
        edited.ok()?;
        if removed == 0 {
            return Some(self.frame.clone());
        }
        let mut out = Vec::with_capacity(self.frame.len());
        splice.reseal(&self.frame, self.body_start, &mut out).ok()?;
        Some(out.into())
    }

    /// Returns the response to the client: that of the first attempt, with the results of the
    /// second one.
    pub(in crate::kafka) fn merge(
        &self,
        first: &Bytes,
        second: &Bytes,
        body_start: usize,
    ) -> Option<Bytes> {
        // The endpoints of new leaders in the second response are left out: they are hints, and
        // clients fall back to Metadata (KIP-951).
        let mut splice = BodySplice::default();
        let bodies = (first.get(body_start..)?, second.get(body_start..)?);
        merge_results(bodies.0, bodies.1, self.version, &mut splice).ok()?;
        let mut out = Vec::with_capacity(first.len());
        splice.reseal(first, body_start, &mut out).ok()?;
        Some(out.into())
    }
}

// === impl OriginalPartition ===

impl OriginalPartition {
    fn is_rejected(&self, error_code: i16, missing: &[BatchKey]) -> bool {
        let is_change_rejected = self.is_injected && error_code::is_change_rejected(error_code);
        let is_behind_missing =
            error_code::is_sequence_rejected(error_code) && missing.contains(&self.batch);
        is_change_rejected || is_behind_missing
    }

    /// Learns the limits of the topic from the result of a changed batch.
    fn learn<C: ClusterHandle>(
        &self,
        context: &mut HandlerContext<C>,
        error_code: i16,
        is_silent: bool,
        now: Timestamp,
    ) {
        let size = self.size;
        let topic = context.topic_name(&self.batch.partition.topic);
        if error_code == error_code::NONE && is_silent {
            // With acks=0 nothing else of the request waits for the response.
            return context.cluster.with_state(|state| {
                state.learn_batch_limits(&topic, |limits| limits.accept(size));
            });
        }
        if !self.is_injected || !error_code::is_change_rejected(error_code) {
            return;
        }
        context.cluster.with_state(|state| {
            state.learn_batch_limits(&topic, |limits| {
                if error_code::is_size_rejected(error_code) {
                    limits.refuse_size(size, now);
                } else {
                    limits.refuse_changes(now);
                }
            });
        });
        context.report(SessionEvent::InjectionRejected { topic, error_code });
    }
}
