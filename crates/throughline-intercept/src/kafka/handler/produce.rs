//! Produce: contexts are injected into records, and each record gets a producer span that its
//! response closes.

mod injection;
mod pending;

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use throughline_kafka::batch::{BatchOutcome, RecordBatch, RecordBatches, RecordSetEntry};
use throughline_kafka::message::produce::{ProduceRequest, ProduceResponse};
use throughline_kafka::message::{ApiMessage, ParseOutcome};
use throughline_kafka::wire::{Error, WireField};

pub(in crate::kafka) use self::pending::PendingProduce;

use self::injection::{InjectionPolicy, RecordInspector, inject, observe};
use self::pending::{PendingPartition, ProduceResult};
use super::context::HandlerContext;
use super::message::{ApiFrame, Handler, RequestDecision};
use crate::kafka::cluster::{ClusterHandle, Scratch};
use crate::kafka::settings::DEFAULT_MAX_MESSAGE_BYTES;
use crate::kafka::topic::PartitionKey;
use crate::kafka::{SessionEvent, SkipReason, error_code};

/// Handler of Produce.
#[derive(Debug, Default)]
pub(super) struct ProduceHandler;

/// Reads a request. Its changes are recorded in the splice of `scratch`.
fn read_request<C: ClusterHandle>(
    context: &mut HandlerContext<C>,
    scratch: &mut Scratch,
    request: &ApiFrame<'_>,
) -> Result<ParseOutcome<(PendingProduce, i16)>, Error> {
    // Scratch comes from a pool: it may hold the changes of another connection's frame.
    scratch.splice.clear();
    let outcome = ProduceRequest::parse(request.body(), request.version)?;
    let Some(produce) = outcome.parsed() else {
        return Ok(ParseOutcome::UnsupportedVersion);
    };
    let mut pending = PendingProduce::new(request.first_byte);
    for topic in &produce.topics {
        let Some(key) = context.topics.key(&topic.topic) else {
            continue;
        };
        // Per topic, not per record: it takes the lock for what brokers have rejected.
        let policy = InjectionPolicy::of_topic(context, &key, request.is_buffered);
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
            let record_count = u32::try_from(batch.record_count()).unwrap_or(0);
            context.budget.expect_records(record_count);
            let mut inspector = RecordInspector::new(context, &mut partition, request.first_byte);
            inspector.find_causes(&mut scratch.reader, &batch);
            process_batch(inspector, scratch, &records, &batch, &policy)?;
            // At once: the next partition of the request counts against the same limit.
            context.budget.open(partition.span_count());
            pending.partitions.push_back(partition);
        }
    }
    Ok(ParseOutcome::Parsed((pending, produce.acks)))
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
        InjectionPolicy::Inject(limits) => {
            match inject(&mut inspector, scratch, records, batch, limits)? {
                BatchOutcome::Changed(records) => {
                    inspector.partition.injected = records;
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

/// Returns the request with its changes, in pieces; [`None`] when it does not change or would
/// become too large.
fn reseal<C>(
    context: &HandlerContext<C>,
    scratch: &mut Scratch,
    request: &ApiFrame<'_>,
    pending: &mut PendingProduce,
) -> Option<Vec<Bytes>> {
    if scratch.splice.is_empty() {
        return None;
    }
    let frame = request.bytes;
    // A request that exceeds the limit already is the client's own affair.
    let max_bytes = context.settings.limits.max_request_bytes.max(frame.len());
    let size = scratch.splice.resealed_size(frame);
    let mut pieces = Vec::new();
    let is_resealed = size.is_some_and(|size| size <= max_bytes)
        && scratch
            .splice
            .reseal_pieces(frame, request.body_start, |piece| pieces.push(piece))
            .is_ok();
    if !is_resealed {
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
    let Some((mut pending, acks)) = outcome.parsed() else {
        return Ok(ParseOutcome::UnsupportedVersion);
    };
    let replacement = reseal(context, scratch, request, &mut pending);
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

/// Learns from a partition that the broker rejected: a topic gets smaller contexts or none.
///
/// If the broker then rejects unmodified records with the same error, the cause was another one (a
/// record without a key for a compacted topic), and injection resumes.
fn learn_rejection<C: ClusterHandle>(
    context: &mut HandlerContext<C>,
    partition: &PendingPartition,
    error_code: i16,
) {
    if error_code == error_code::NONE {
        return;
    }
    let topic = context.topic_name(&partition.key.topic);
    let was_refused_before = partition.not_injected == Some(SkipReason::RefusedBefore);
    let max_bytes = match error_code {
        error_code::INVALID_RECORD if was_refused_before => {
            let max_bytes = DEFAULT_MAX_MESSAGE_BYTES;
            return context
                .cluster
                .with_state(|state| state.learn_max_message_bytes(&topic, max_bytes));
        }
        _ if partition.injected == 0 => return,
        // The batch may pass as large as it was before injection; certainly not larger.
        error_code::MESSAGE_TOO_LARGE | error_code::RECORD_LIST_TOO_LARGE => partition.batch_bytes,
        error_code::CORRUPT_MESSAGE
        | error_code::UNSUPPORTED_FOR_MESSAGE_FORMAT
        | error_code::INVALID_RECORD => 0,
        _ => return,
    };
    // Another connection may have learned a lower limit meanwhile.
    context.cluster.with_state(|state| {
        let max_bytes = max_bytes.min(state.max_message_bytes(&topic));
        state.learn_max_message_bytes(&topic, max_bytes);
    });
    context.report(SessionEvent::InjectionRejected { topic, error_code });
}

// === impl ProduceHandler ===

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
                    learn_rejection(context, &partition, result.error_code);
                    let result = ProduceResult::of(&result, response.last_byte);
                    partition.close(context, started_at, result);
                }
            }
        }
        // A response that leaves out a partition says nothing about its records.
        pending.partitions.extend(others.into_values().flatten());
        pending.discard(context, SkipReason::Malformed);
        None
    }
}
