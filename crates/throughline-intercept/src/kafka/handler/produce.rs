//! Produce: contexts are injected into records, and each record gets a producer span that its
//! response closes.

mod injection;
pub(super) mod original;
mod pending;
mod retry;

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use throughline_kafka::batch::{BatchOutcome, RecordBatch, RecordBatches, RecordSetEntry};
use throughline_kafka::message::produce::{ProduceRequest, ProduceResponse};
use throughline_kafka::message::{ApiMessage, ParseOutcome};
use throughline_kafka::wire::{Error, WireField};

pub(in crate::kafka) use self::pending::PendingProduce;

use self::injection::{InjectionPolicy, RecordInspector, inject, observe};
use self::original::OriginalProduce;
use self::pending::{PendingPartition, ProduceResult};
use self::retry::AnsweredBatches;
use super::context::HandlerContext;
use super::message::{ApiFrame, Handler, RequestDecision};
use super::workload::{RecordWork, Workload};
use crate::Timestamp;
use crate::kafka::cluster::TopicBatchLimits;
use crate::kafka::cluster::{ClusterHandle, Scratch};
use crate::kafka::topic::PartitionKey;
use crate::kafka::{SkipReason, error_code};

/// Handler of Produce.
#[derive(Debug, Default)]
pub(super) struct ProduceHandler {
    answered: AnsweredBatches,
}

/// Produce request that was read.
struct ReadProduce {
    pending: PendingProduce,
    acks: i16,
}

/// Reads a request. Its changes are recorded in the splice of `scratch`.
fn read_request<C: ClusterHandle>(
    context: &mut HandlerContext<C>,
    scratch: &mut Scratch,
    request: &ApiFrame<'_>,
) -> Result<ParseOutcome<ReadProduce>, Error> {
    // Scratch comes from a pool: it may hold the changes of another connection's frame.
    scratch.splice.clear();
    let outcome = ProduceRequest::parse(request.body(), request.version)?;
    let Some(produce) = outcome.parsed() else {
        return Ok(ParseOutcome::UnsupportedVersion);
    };
    let mut pending = PendingProduce::new(request.first_byte);
    let mut workload = Workload::new(if request.is_buffered {
        RecordWork::Change
    } else {
        RecordWork::Read
    });
    let topics = produce.topics.iter();
    let partitions = topics.flat_map(|topic| topic.partitions.iter());
    for records in partitions.filter_map(|partition| partition.records) {
        workload.add(records.bytes());
    }
    if produce.acks == 0 && request.is_buffered {
        // Without a response nobody would learn that the change was refused.
        let acks = 1i16.to_be_bytes();
        scratch.splice.replace(produce.acks_range.clone(), &acks)?;
    }
    workload.run::<C, _>(|| read_batches(context, scratch, request, &produce, &mut pending))?;
    Ok(ParseOutcome::Parsed(ReadProduce {
        pending,
        acks: produce.acks,
    }))
}

/// Reads the batches of a request.
fn read_batches<C: ClusterHandle>(
    context: &mut HandlerContext<C>,
    scratch: &mut Scratch,
    request: &ApiFrame<'_>,
    produce: &ProduceRequest<'_>,
    pending: &mut PendingProduce,
) -> Result<(), Error> {
    let may_be_retry = context.cluster.with_state(|state| state.has_attempts());
    for topic in &produce.topics {
        let Some(key) = context.topics.key(&topic.topic) else {
            continue;
        };
        // Per topic, not per record: it takes the lock for what brokers have rejected.
        let policy = InjectionPolicy::of_topic(context, &key, request);
        for partition in &topic.partitions {
            let Some(records) = partition.records else {
                continue;
            };
            let Some(batch) = single_batch(context, &records) else {
                continue;
            };
            let key = PartitionKey {
                topic: key.clone(),
                index: partition.index,
            };
            let mut partition = PendingPartition::new(key, &batch);
            if may_be_retry {
                retry::claim(context, &mut partition, request.first_byte);
            }
            let record_count = u32::try_from(batch.record_count()).unwrap_or(0);
            context.budget.expect_records(record_count);
            let mut inspector =
                RecordInspector::new(context, &mut partition, &batch, request.first_byte);
            inspector.find_causes(&mut scratch.reader, &batch);
            process_batch(inspector, scratch, &records, &batch, &policy)?;
            // At once: the next partition of the request counts against the same limit.
            context.budget.open(partition.span_count());
            pending.partitions.push_back(partition);
        }
    }
    Ok(())
}

/// Returns the batch of a partition: since v3 there is exactly one. The broker rejects anything
/// else, so that it passes.
fn single_batch<'a, C: ClusterHandle>(
    context: &mut HandlerContext<C>,
    records: &WireField<'a>,
) -> Option<RecordBatch<'a>> {
    let batch = RecordBatch::new(records.bytes());
    if batch.is_none() {
        let entry = RecordBatches::new(records.bytes()).next();
        let reason = match entry {
            Some(RecordSetEntry::LegacyMessageSet { .. }) => SkipReason::OldFormat,
            Some(
                RecordSetEntry::Batch(_)
                | RecordSetEntry::Partial(_)
                | RecordSetEntry::Malformed(_),
            )
            | None => SkipReason::Malformed,
        };
        context.out.skip(reason, 0);
        context.out.drop_spans(reason, 1);
    }
    batch
}

/// Injects into the records of a batch, or observes them where nothing is injected.
fn process_batch<C: ClusterHandle>(
    mut inspector: RecordInspector<'_, C>,
    scratch: &mut Scratch,
    records: &WireField<'_>,
    batch: &RecordBatch<'_>,
    policy: &InjectionPolicy,
) -> Result<(), Error> {
    match policy {
        InjectionPolicy::Inject(topic) if topic.spares(batch) => {
            inspector.partition.not_injected = Some(SkipReason::Compressed);
        }
        InjectionPolicy::Inject(topic) => {
            match inject(&mut inspector, scratch, records, batch, topic)? {
                BatchOutcome::Changed(records) => {
                    let partition = &mut inspector.partition;
                    partition.injected = records;
                    partition.is_at_risk =
                        partition.batch.begins_sequence() || !topic.is_accepted(partition.size);
                    return Ok(());
                }
                BatchOutcome::Unchanged => return Ok(()),
                BatchOutcome::Skipped(error) => {
                    inspector.partition.not_injected = Some(error.into());
                }
            }
        }
        InjectionPolicy::Observe(reason) => inspector.partition.not_injected = *reason,
    }
    if let Err(reason) = observe(&mut inspector, &mut scratch.reader, batch) {
        let unread = inspector.partition.unread_records();
        inspector.context.out.skip(reason, 0);
        inspector.context.out.drop_spans(reason, unread);
    }
    Ok(())
}

/// Cancels the injection if the request would become too large.
fn limit_request_size<C: ClusterHandle>(
    context: &HandlerContext<C>,
    scratch: &Scratch,
    request: &ApiFrame<'_>,
    pending: &mut PendingProduce,
) {
    let frame = request.bytes;
    // A request that exceeds the limit already is the client's own affair.
    let size = scratch.splice.resealed_size(frame);
    let refused = context
        .cluster
        .with_state(|state| state.refused_request_bytes(request.first_byte));
    let max_bytes = context.settings.limits.max_request_bytes;
    let max_bytes = refused.map_or(max_bytes, |it| max_bytes.min(it.saturating_sub(1)));
    let max_bytes = max_bytes.max(frame.len());
    if size.is_none_or(|size| size > max_bytes) {
        pending.cancel_injection(SkipReason::BatchTooLarge);
    }
}

/// Returns the request with its changes, in pieces; [`None`] when it does not change.
fn reseal(
    scratch: &mut Scratch,
    request: &ApiFrame<'_>,
    pending: &mut PendingProduce,
) -> Option<Vec<Bytes>> {
    if !pending.is_changed() {
        return None;
    }
    let mut pieces = Vec::new();
    let resealed = scratch
        .splice
        .reseal_pieces(request.bytes, request.body_start, |piece| {
            pieces.push(piece);
        });
    if resealed.is_err() {
        pending.cancel_injection(SkipReason::BatchTooLarge);
        return None;
    }
    Some(pieces)
}

fn handle_request<C: ClusterHandle>(
    context: &mut HandlerContext<C>,
    scratch: &mut Scratch,
    request: &ApiFrame<'_>,
) -> Result<ParseOutcome<RequestDecision<Box<PendingProduce>>>, Error> {
    let outcome = read_request(context, scratch, request)?;
    let Some(ReadProduce { mut pending, acks }) = outcome.parsed() else {
        return Ok(ParseOutcome::UnsupportedVersion);
    };
    limit_request_size(context, scratch, request, &mut pending);
    // First the original: what cannot be taken back is not changed.
    let mut original = OriginalProduce::keep(context, request, &mut pending, acks);
    let replacement = reseal(scratch, request, &mut pending);
    if let (Some(original), Some(pieces)) = (&mut original, &replacement) {
        original.changed_bytes = pieces.iter().map(Bytes::len).sum();
    }
    pending.report_injection(context);
    // With acks=0 the broker sends no response: the spans end when the request is forwarded.
    let pending = if acks == 0 {
        pending.close(context, ProduceResult::sent(request.last_byte));
        None
    } else {
        Some(Box::new(pending))
    };
    Ok(ParseOutcome::Parsed(RequestDecision {
        pending,
        replacement,
        original,
    }))
}

/// Takes a partition out of a pending request. Responses come in the order of the request, so that
/// it is nearly always the first one; from the first exception on the rest is found by key.
fn take_partition(
    pending: &mut PendingProduce,
    others: &mut HashMap<PartitionKey, VecDeque<PendingPartition>>,
    key: &PartitionKey,
) -> Option<PendingPartition> {
    let is_next = |partition: &mut PendingPartition| partition.key == *key;
    if let Some(first) = pending.partitions.pop_front_if(is_next) {
        return Some(first);
    }
    // A map for all the rest: searching the queue each time would be quadratic.
    for partition in pending.partitions.drain(..) {
        let queue = others.entry(partition.key.clone()).or_default();
        queue.push_back(partition);
    }
    others.get_mut(key)?.pop_front()
}

/// Learns from the sizes that the broker accepted, and from the records that it rejected although
/// they were not changed.
fn learn_results<C: ClusterHandle>(
    context: &mut HandlerContext<C>,
    results: &[(PendingPartition, ProduceResult)],
) {
    // Names first: they take the lock themselves.
    let topics: Vec<_> = results
        .iter()
        .map(|(partition, _)| context.topic_name(&partition.key.topic))
        .collect();
    context.cluster.with_state(|state| {
        for (topic, (partition, result)) in topics.iter().zip(results) {
            let error_code = result.error_code;
            let is_accepted = error_code == error_code::NONE;
            let is_rejected = partition.injected == 0
                && error_code::is_change_rejected(error_code)
                && !error_code::is_size_rejected(error_code);
            if is_accepted && !state.batch_limits(topic).is_accepted(partition.size, None) {
                state.learn_batch_limits(topic, |limits| limits.accept(partition.size));
            } else if is_rejected {
                // A record without a key for a compacted topic, for example.
                state.learn_batch_limits(topic, TopicBatchLimits::allow_changes);
            }
        }
    });
}

// === impl ProduceHandler ===

impl ProduceHandler {
    /// Records the end of the connection: the client may send again what was answered last.
    pub(super) fn close<C: ClusterHandle>(&mut self, context: &HandlerContext<C>, now: Timestamp) {
        self.answered.close(context, now);
    }
}

impl<C: ClusterHandle> Handler<C> for ProduceHandler {
    type Pending = Box<PendingProduce>;

    fn on_request(
        &mut self,
        context: &mut HandlerContext<C>,
        request: &ApiFrame<'_>,
    ) -> Result<ParseOutcome<RequestDecision<Self::Pending>>, Error> {
        let mut scratch = context.take_scratch();
        let decision = handle_request(context, &mut scratch, request);
        context.return_scratch(scratch);
        decision
    }

    fn on_response(
        &mut self,
        context: &mut HandlerContext<C>,
        mut pending: Self::Pending,
        response: &ApiFrame<'_>,
    ) -> Option<Bytes> {
        let outcome = ProduceResponse::parse(response.body(), response.version);
        let Ok(ParseOutcome::Parsed(produce)) = outcome else {
            pending.discard(context, SkipReason::Malformed);
            return None;
        };
        let started_at = pending.started_at;
        let mut others = HashMap::new();
        let mut results = Vec::new();
        for topic in &produce.topics {
            let Some(key) = context.topics.key(&topic.topic) else {
                continue;
            };
            for result in &topic.partitions {
                let key = PartitionKey {
                    topic: key.clone(),
                    index: result.index,
                };
                if let Some(partition) = take_partition(&mut pending, &mut others, &key) {
                    let result = ProduceResult::of(&result, response.last_byte);
                    results.push((partition, result));
                }
            }
        }
        learn_results(context, &results);
        for (partition, result) in results {
            if result.error_code == error_code::NONE {
                self.answered
                    .push(context, &partition, started_at, response.last_byte);
            }
            partition.close(context, started_at, result);
        }
        // A response that leaves out a partition says nothing about its records.
        pending.partitions.extend(others.into_values().flatten());
        pending.discard(context, SkipReason::Malformed);
        None
    }
}
