//! Share groups: ShareFetch brings records and carries acknowledgements, ShareAcknowledge only the
//! latter (KIP-932).

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;
use throughline_kafka::api::ApiKey;
use throughline_kafka::message::share::{
    AcknowledgementBatch, ShareAcknowledgeRequest, ShareAcknowledgeResponse, ShareFetchRequest,
    ShareFetchResponse,
};
use throughline_kafka::message::{ApiMessage, ParseOutcome};
use throughline_kafka::types::Offset;
use throughline_kafka::wire::Error;

use super::context::HandlerContext;
use super::correlation::PartitionSource;
use super::delivery::{DeliveryTimes, PartitionDelivery};
use super::message::{ApiFrame, Handler, RequestDecision};
use super::patch::{self, RecordSetPatch};
use super::selection::RecordSelection;
use super::settlement::Settlement;
use super::workload::{RecordWork, Workload};
use crate::Timestamp;
use crate::kafka::cluster::{BatchReader, ClusterHandle, MemberSign, MemberStage, SettledOffsets};
use crate::kafka::topic::{PartitionKey, TopicKey};
use crate::kafka::{SkipReason, error_code};

/// Handler of ShareFetch and ShareAcknowledge.
#[derive(Debug, Default)]
pub(super) struct ShareHandler;

/// Acknowledgements that wait for the response.
#[derive(Debug)]
pub(in crate::kafka) struct PendingShareAck {
    group: Option<Arc<str>>,
    sent_at: Timestamp,
    ranges: Vec<AcknowledgedRange>,
}

/// Consecutive records that were acknowledged alike.
#[derive(Debug)]
struct AcknowledgedRange {
    partition: PartitionKey,
    offsets: RangeInclusive<Offset>,
    acknowledgement: &'static str,
}

/// Returns the name of an `acknowledge_type` that ends a delivery. A gap (0) is not a record, and a
/// renewal (4, KIP-1222) leaves the record with its consumer.
const fn acknowledgement_name(acknowledge_type: i8) -> Option<&'static str> {
    match acknowledge_type {
        1 => Some("accept"),
        2 => Some("release"),
        3 => Some("reject"),
        _ => None,
    }
}

/// Reads the acknowledgements of a request.
fn parse_request<C: ClusterHandle>(
    context: &mut HandlerContext<C>,
    request: &ApiFrame<'_>,
) -> Result<ParseOutcome<PendingShareAck>, Error> {
    let (body, version) = (request.body(), request.version);
    let outcome = if request.api == ApiKey::SHARE_FETCH {
        ShareFetchRequest::parse(body, version)?.map(|it| (it.group_id, it.topics))
    } else {
        ShareAcknowledgeRequest::parse(body, version)?.map(|it| (it.group_id, it.topics))
    };
    Ok(outcome.map(|(group, topics)| {
        let group = group.and_then(|group| group.text());
        let group = group.filter(|group| !group.is_empty());
        if let Some(group) = group {
            let sign = MemberSign {
                member: "",
                stage: MemberStage::Joining,
            };
            context.learn_group(group, sign, request.last_byte);
        }
        let mut pending = PendingShareAck {
            group: group.map(Arc::from),
            sent_at: request.first_byte,
            ranges: Vec::new(),
        };
        let max_ranges = context.settings.limits.max_partitions;
        for topic in &topics {
            for partition in &topic.partitions {
                let key = PartitionKey {
                    topic: TopicKey::Id(topic.topic_id),
                    index: partition.partition_index,
                };
                for batch in &partition.acknowledgement_batches {
                    pending.add_batch(&key, &batch, max_ranges);
                }
            }
        }
        pending
    }))
}

/// Reads the result of a ShareAcknowledge and settles what the broker accepted.
fn read_acknowledge_response<C: ClusterHandle>(
    context: &mut HandlerContext<C>,
    pending: PendingShareAck,
    response: &ApiFrame<'_>,
) {
    let outcome = ShareAcknowledgeResponse::parse(response.body(), response.version);
    let Ok(ParseOutcome::Parsed(acknowledge)) = outcome else {
        return context.out.skip(SkipReason::Malformed, 0);
    };
    if acknowledge.error_code == error_code::NONE {
        let mut rejected = HashSet::new();
        for topic in &acknowledge.topics {
            for partition in &topic.partitions {
                if partition.error_code != error_code::NONE {
                    rejected.insert(PartitionKey {
                        topic: TopicKey::Id(topic.topic_id),
                        index: partition.partition_index,
                    });
                }
            }
        }
        pending.settle(context, &rejected, response.last_byte);
    }
}

/// Reads a ShareFetch response: the result of acknowledgements, and records. Returns the patches of
/// its record sets.
fn read_fetch_response<'a, C: ClusterHandle>(
    context: &mut HandlerContext<C>,
    reader: &mut BatchReader,
    pending: PendingShareAck,
    response: &ApiFrame<'a>,
) -> Vec<RecordSetPatch<'a>> {
    let outcome = ShareFetchResponse::parse(response.body(), response.version);
    let Ok(ParseOutcome::Parsed(fetch)) = outcome else {
        context.out.skip(SkipReason::Malformed, 0);
        return Vec::new();
    };
    if fetch.error_code == error_code::NONE {
        let mut rejected = HashSet::new();
        for topic in &fetch.topics {
            for partition in &topic.partitions {
                if partition.acknowledge_error_code != error_code::NONE {
                    rejected.insert(PartitionKey {
                        topic: TopicKey::Id(topic.topic_id),
                        index: partition.partition_index,
                    });
                }
            }
        }
        pending.settle(context, &rejected, response.last_byte);
    }
    let mut workload = Workload::new(RecordWork::Read);
    let topics = fetch.topics.iter();
    let partitions = topics.flat_map(|topic| topic.partitions.iter());
    for records in partitions.filter_map(|partition| partition.records) {
        workload.add(records.bytes());
    }
    let times = DeliveryTimes::of(response);
    workload.run::<C, _>(|| read_acquired(context, reader, &fetch, times))
}

/// Reads the records that the client acquired.
fn read_acquired<'a, C: ClusterHandle>(
    context: &mut HandlerContext<C>,
    reader: &mut BatchReader,
    fetch: &ShareFetchResponse<'a>,
    times: DeliveryTimes,
) -> Vec<RecordSetPatch<'a>> {
    let mut patches = Vec::new();
    let group = context.client.group.clone();
    for topic in &fetch.topics {
        let name = context.topic_name(&TopicKey::Id(topic.topic_id));
        for partition in &topic.partitions {
            // The broker may send whole batches of which the client acquired nothing.
            let acquired = &partition.acquired_records;
            let records = partition.records.filter(|_| !acquired.is_empty());
            let Some(records) = records else { continue };
            let selection = RecordSelection::acquired(acquired);
            let source = PartitionSource {
                topic: &name,
                index: partition.partition_index,
                group: group.clone(),
            };
            let mut delivery = PartitionDelivery::new(context, source, selection, times);
            delivery.read(context, reader, records.bytes());
            let spans = delivery.finish(context).patches;
            if !spans.is_empty() {
                patches.push(RecordSetPatch { records, spans });
            }
        }
    }
    patches
}

// === impl PendingShareAck ===

impl PendingShareAck {
    /// Adds the ranges of a batch of acknowledgements, up to `max_ranges` in all.
    fn add_batch(
        &mut self,
        partition: &PartitionKey,
        batch: &AcknowledgementBatch<'_>,
        max_ranges: usize,
    ) {
        let room = max_ranges.saturating_sub(self.ranges.len());
        let types = &batch.acknowledge_types;
        let (first, last) = (batch.first_offset.0, batch.last_offset.0);
        // Ranges count like partitions: both grow with what a client sends.
        if room == 0 {
            return;
        }
        if types.len() <= 1 {
            // One type covers the whole batch; an empty list has no meaning in the protocol.
            let name = types.iter().next().and_then(acknowledgement_name);
            return self.extend(partition, first..=last, name);
        }
        let mut run: Option<(RangeInclusive<i64>, Option<&'static str>)> = None;
        // Zipped: a batch that claims more offsets than it has types ends with the types.
        for (offset, acknowledge_type) in (first..=last).zip(types).take(room) {
            let name = acknowledgement_name(acknowledge_type);
            match &mut run {
                Some((range, same)) if *same == name => *range = *range.start()..=offset,
                _ => {
                    if let Some((range, name)) = run.replace((offset..=offset, name)) {
                        self.extend(partition, range, name);
                    }
                }
            }
        }
        if let Some((range, name)) = run {
            self.extend(partition, range, name);
        }
    }

    /// Adds a range, if its acknowledgement ends the delivery.
    fn extend(
        &mut self,
        partition: &PartitionKey,
        range: RangeInclusive<i64>,
        acknowledgement: Option<&'static str>,
    ) {
        self.ranges.extend(acknowledgement.map(|acknowledgement| {
            let offsets = Offset(*range.start())..=Offset(*range.end());
            AcknowledgedRange {
                partition: partition.clone(),
                offsets,
                acknowledgement,
            }
        }));
    }

    /// Settles all ranges but those of partitions that the broker rejected.
    fn settle<C: ClusterHandle>(
        self,
        context: &mut HandlerContext<C>,
        rejected: &HashSet<PartitionKey>,
        now: Timestamp,
    ) {
        for range in self.ranges {
            if rejected.contains(&range.partition) {
                continue;
            }
            let settlement = Settlement {
                partition: &range.partition,
                group: self.group.as_ref(),
                is_transaction: false,
                sent_at: self.sent_at,
                now,
                acknowledgement: Some(range.acknowledgement),
            };
            settlement.apply(context, &SettledOffsets::Range(range.offsets));
        }
    }
}

// === impl ShareHandler ===

impl<C: ClusterHandle> Handler<C> for ShareHandler {
    type Pending = Box<PendingShareAck>;

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
        if response.api == ApiKey::SHARE_FETCH {
            let mut scratch = context.take_scratch();
            let patches = read_fetch_response(context, &mut scratch.reader, *pending, response);
            let patched = patch::apply(context, &mut scratch, response, &patches);
            context.return_scratch(scratch);
            patched
        } else {
            read_acknowledge_response(context, *pending, response);
            None
        }
    }
}
