//! Offset commits: a span for each record that a commit covers, from the consumer's delivery on.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use throughline_kafka::api::ApiKey;
use throughline_kafka::message::commit::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetCommitResponsePartition,
    TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};
use throughline_kafka::message::{ApiMessage, ParseOutcome, TopicRef};
use throughline_kafka::types::{Offset, PartitionIndex};
use throughline_kafka::wire::{Error, WireField};

use super::context::HandlerContext;
use super::message::{ApiFrame, Handler, RequestDecision};
use super::settlement::Settlement;
use crate::Timestamp;
use crate::kafka::cluster::{ClusterHandle, MemberSign, MemberStage, SettledOffsets};
use crate::kafka::topic::PartitionKey;
use crate::kafka::{SkipReason, error_code};

/// Handler of OffsetCommit and TxnOffsetCommit.
#[derive(Debug, Default)]
pub(super) struct CommitHandler;

/// Commit that waits for its response.
#[derive(Debug)]
pub(in crate::kafka) struct PendingCommit {
    group: Arc<str>,
    /// Whether the offsets belong to a transaction, and come from its producer.
    is_transaction: bool,
    sent_at: Timestamp,
    offsets: Vec<(PartitionKey, Offset)>,
}

/// Reads the group and the offsets of a request into a pending commit.
fn parse_request<C: ClusterHandle>(
    context: &mut HandlerContext<C>,
    request: &ApiFrame<'_>,
) -> Result<ParseOutcome<PendingCommit>, Error> {
    let (body, version) = (request.body(), request.version);
    if request.api == ApiKey::TXN_OFFSET_COMMIT {
        let outcome = TxnOffsetCommitRequest::parse(body, version)?;
        return Ok(outcome.map(|commit| {
            let mut pending = PendingCommit::new(&commit.group_id, request.first_byte);
            pending.is_transaction = true;
            for topic in &commit.topics {
                let partitions = topic.partitions.iter();
                let offsets = partitions.map(|it| (it.partition_index, it.committed_offset));
                pending.add_topic(context, &topic.topic, offsets);
            }
            pending
        }));
    }
    let outcome = OffsetCommitRequest::parse(body, version)?;
    Ok(outcome.map(|commit| {
        let mut pending = PendingCommit::new(&commit.group_id, request.first_byte);
        // A consumer that assigns partitions to itself never joins its group: it names it only
        // here.
        let sign = MemberSign {
            member: commit.member_id.text().unwrap_or_default(),
            stage: MemberStage::Joined,
        };
        context.learn_group(&pending.group, sign, request.last_byte);
        for topic in &commit.topics {
            let partitions = topic.partitions.iter();
            let offsets = partitions.map(|it| (it.partition_index, it.committed_offset));
            pending.add_topic(context, &topic.topic, offsets);
        }
        pending
    }))
}

/// Returns the partitions whose commit the broker rejected; [`None`] when the response cannot be
/// read.
fn rejected_partitions<C: ClusterHandle>(
    context: &mut HandlerContext<C>,
    response: &ApiFrame<'_>,
) -> Option<HashSet<PartitionKey>> {
    let (body, version) = (response.body(), response.version);
    let mut rejected = HashSet::new();
    let mut inspect = |topic: &TopicRef<'_>, partition: OffsetCommitResponsePartition| {
        if partition.error_code != error_code::NONE
            // A name that is not UTF-8 was left out of the request as well.
            && let Some(topic) = context.topics.key(topic)
        {
            let index = partition.partition_index;
            rejected.insert(PartitionKey { topic, index });
        }
    };
    if response.api == ApiKey::TXN_OFFSET_COMMIT {
        let commit = TxnOffsetCommitResponse::parse(body, version)
            .ok()?
            .parsed()?;
        for topic in &commit.topics {
            topic
                .partitions
                .iter()
                .for_each(|it| inspect(&topic.topic, it));
        }
    } else {
        let commit = OffsetCommitResponse::parse(body, version).ok()?.parsed()?;
        for topic in &commit.topics {
            topic
                .partitions
                .iter()
                .for_each(|it| inspect(&topic.topic, it));
        }
    }
    Some(rejected)
}

// === impl PendingCommit ===

impl PendingCommit {
    fn new(group: &WireField<'_>, sent_at: Timestamp) -> Self {
        Self {
            group: group.text().unwrap_or_default().into(),
            is_transaction: false,
            sent_at,
            offsets: Vec::new(),
        }
    }

    fn add_topic<C>(
        &mut self,
        context: &mut HandlerContext<C>,
        topic: &TopicRef<'_>,
        offsets: impl Iterator<Item = (PartitionIndex, Offset)>,
    ) {
        let Some(topic) = context.topics.key(topic) else {
            return;
        };
        let max_partitions = context.settings.limits.max_partitions;
        // A request may name any number of partitions: the rest is not traced.
        let room = max_partitions.saturating_sub(self.offsets.len());
        self.offsets
            .extend(offsets.take(room).map(|(index, offset)| {
                let topic = topic.clone();
                (PartitionKey { topic, index }, offset)
            }));
    }
}

// === impl CommitHandler ===

impl<C: ClusterHandle> Handler<C> for CommitHandler {
    type Pending = Box<PendingCommit>;

    fn on_request(
        &mut self,
        context: &mut HandlerContext<C>,
        request: &ApiFrame<'_>,
    ) -> Result<ParseOutcome<RequestDecision<Self::Pending>>, Error> {
        let outcome = parse_request(context, request)?;
        Ok(outcome.map(|pending| RequestDecision::forward(Box::new(pending))))
    }

    fn on_response(
        &mut self,
        context: &mut HandlerContext<C>,
        pending: Self::Pending,
        response: &ApiFrame<'_>,
    ) -> Option<Bytes> {
        let Some(rejected) = rejected_partitions(context, response) else {
            context.out.skip(SkipReason::Malformed, 0);
            return None;
        };
        for (partition, offset) in &pending.offsets {
            // A partition without a result counts as accepted: brokers answer all of them.
            if rejected.contains(partition) {
                continue;
            }
            let settlement = Settlement {
                partition,
                group: Some(&pending.group),
                is_transaction: pending.is_transaction,
                sent_at: pending.sent_at,
                now: response.last_byte,
                acknowledgement: None,
            };
            settlement.apply(context, &SettledOffsets::Before(*offset));
        }
        None
    }
}
