//! Fetch: the records that a client reads, each with a consumer span.

mod poll;
mod session;

use std::sync::Arc;

use bytes::Bytes;
use throughline_kafka::message::fetch::{FetchRequest, FetchResponse, FetchResponsePartition};
use throughline_kafka::message::{ApiMessage, ParseOutcome};
use throughline_kafka::types::Offset;
use throughline_kafka::wire::Error;

use self::poll::{PollTracker, PolledRecords};
use self::session::{FetchOptions, FetchPosition, FetchSession};
use super::context::HandlerContext;
use super::correlation::{self, PartitionSource};
use super::delivery::{DeliveryTimes, PartitionDelivery};
use super::message::{ApiFrame, Handler, RequestDecision};
use super::patch::{self, RecordSetPatch};
use super::selection::{AbortedTransactions, RecordSelection};
use super::workload::{RecordWork, Workload};
use crate::Timestamp;
use crate::kafka::cluster::{
    BatchReader, ClientPartition, ClusterHandle, CutBatch, FetchSessionKey, FetchedPartition,
    Scratch,
};
use crate::kafka::topic::PartitionKey;
use crate::kafka::{SessionEvent, SkipReason, error_code};

pub(in crate::kafka) use self::session::FetchState;

/// Handler of Fetch.
#[derive(Debug, Default)]
pub(super) struct FetchHandler {
    session: FetchSession,
    polls: PollTracker,
}

/// Outcome of the delivery of one partition.
#[derive(Debug, Default)]
struct PartitionOutcome<'a> {
    /// Offset of the last record for the client.
    last_offset: Option<Offset>,
    has_records: bool,
    /// Batch that was cut at the end of the records.
    cut: Option<CutBatch>,
    group: Option<Arc<str>>,
    /// Patch of the record set, if it is to be patched.
    patch: Option<RecordSetPatch<'a>>,
}

/// `isolation_level` of a reader of committed records.
const READ_COMMITTED: i8 = 1;

/// Reads a request: the positions that it adds to its fetch session, and those that it removes.
fn parse_request<C>(
    context: &mut HandlerContext<C>,
    request: &ApiFrame<'_>,
) -> Result<ParseOutcome<FetchState>, Error> {
    let outcome = FetchRequest::parse(request.body(), request.version)?;
    let Some(fetch) = outcome.parsed() else {
        return Ok(ParseOutcome::UnsupportedVersion);
    };
    let max_partitions = context.settings.limits.max_partitions;
    let (mut positions, mut forgotten) = (Vec::new(), Vec::new());
    for topic in &fetch.topics {
        let Some(key) = context.topics.key(&topic.topic) else {
            continue;
        };
        let room = max_partitions.saturating_sub(positions.len());
        positions.extend(topic.partitions.iter().take(room).map(|partition| {
            let (topic, index) = (key.clone(), partition.partition);
            (PartitionKey { topic, index }, partition.fetch_offset)
        }));
    }
    for topic in &fetch.forgotten_topics {
        let Some(key) = context.topics.key(&topic.topic) else {
            continue;
        };
        let room = max_partitions.saturating_sub(forgotten.len());
        forgotten.extend(topic.partitions.iter().take(room).map(|index| {
            let topic = key.clone();
            PartitionKey { topic, index }
        }));
    }
    Ok(ParseOutcome::Parsed(FetchState {
        // KIP-227: epochs 0 and -1 are full requests, which name every partition.
        is_full: fetch.session_epoch <= 0,
        session_id: fetch.session_id,
        sent_at: request.first_byte,
        is_read_committed: fetch.isolation_level == READ_COMMITTED,
        positions,
        forgotten,
    }))
}

/// Reports how far the consumer, which continues at `position`, is behind the end of a partition.
fn report_lag<C: ClusterHandle>(
    context: &mut HandlerContext<C>,
    topic: &Arc<str>,
    partition: &FetchResponsePartition<'_>,
    position: Option<Offset>,
    group: Option<Arc<str>>,
) {
    let end = partition.high_watermark.0;
    // With an error the broker gives -1, or a watermark that is out of date.
    if end < 0 || partition.error_code != 0 {
        return;
    }
    if let Some(position) = position {
        context.report(SessionEvent::Lag {
            group,
            topic: Arc::clone(topic),
            partition: partition.partition_index,
            lag: end.saturating_sub(position.0).max(0),
        });
    }
}

/// Reads the records of one partition.
fn deliver<'a, C: ClusterHandle>(
    context: &mut HandlerContext<C>,
    reader: &mut BatchReader,
    topic: &Arc<str>,
    partition: &FetchResponsePartition<'a>,
    delivery: FetchDelivery,
) -> PartitionOutcome<'a> {
    let FetchDelivery {
        position,
        times,
        requested_at,
    } = delivery;
    let fetched = FetchedPartition {
        topic,
        index: partition.partition_index,
        since: position.since,
        requested_at,
    };
    let group = context.reader_group(fetched, times.last_byte);
    // A consumer at the end of a partition gets empty record sets: its lag is still known.
    let records = partition.records.filter(|it| !it.bytes().is_empty());
    let Some(records) = records else {
        report_lag(context, topic, partition, position.offset, group);
        return PartitionOutcome::default();
    };
    let (Some(offset), Some(first)) = (position.offset, position.first) else {
        // More partitions than are remembered: it is unknown which records are for the client.
        correlation::report_unreadable(&context.cluster, times.last_byte);
        context.out.skip(SkipReason::Capacity, 0);
        return PartitionOutcome::default();
    };
    let aborted = &partition.aborted_transactions;
    let selection = RecordSelection::From {
        position: first,
        aborted: position
            .is_read_committed
            .then(|| AbortedTransactions::new(aborted)),
    };
    let source = PartitionSource {
        topic,
        index: partition.partition_index,
        group: group.clone(),
    };
    let mut delivery = PartitionDelivery::new(context, source, selection, times)
        .with_high_watermark(partition.high_watermark)
        .with_redelivered_before(position.redelivered_before);
    delivery.read(context, reader, records.bytes());
    let delivered = delivery.finish(context);
    let end = delivered.end.max(Some(offset));
    report_lag(context, topic, partition, end, group.clone());
    let patch = (!delivered.patches.is_empty()).then_some(RecordSetPatch {
        records,
        spans: delivered.patches,
    });
    let cut = delivered.cut.map(|cut| CutBatch {
        first: cut.base_offset.max(first),
        end: cut.end,
    });
    PartitionOutcome {
        last_offset: delivered.last_offset,
        has_records: true,
        cut,
        group,
        patch,
    }
}

/// Records that the connection does not fetch a partition any more.
fn release<C: ClusterHandle>(context: &mut HandlerContext<C>, key: &PartitionKey) {
    let topic = context.topic_name(&key.topic);
    let connection = context.client_connection();
    context
        .cluster
        .with_state(|state| state.release_partition(connection, &topic, key.index));
}

fn session_key<C: ClusterHandle>(context: &HandlerContext<C>, session_id: i32) -> FetchSessionKey {
    FetchSessionKey {
        broker: context.client.endpoints.broker.clone(),
        session_id,
    }
}

/// Position of a client in a partition, and times of the response.
#[derive(Debug, Clone, Copy)]
struct FetchDelivery {
    position: FetchPosition,
    times: DeliveryTimes,
    /// Time of the request.
    requested_at: Timestamp,
}

// === impl FetchHandler ===

impl FetchHandler {
    /// Keeps the fetch session for another connection.
    pub(super) fn close<C: ClusterHandle>(&mut self, context: &HandlerContext<C>) {
        if let Some((session_id, positions)) = self.session.keep() {
            let key = session_key(context, session_id);
            context
                .cluster
                .with_state(|state| state.keep_fetch_session(key, positions));
        }
    }

    /// Reads the records of a response. Returns the patches of its record sets.
    fn read_response<'a, C: ClusterHandle>(
        &mut self,
        context: &mut HandlerContext<C>,
        reader: &mut BatchReader,
        response: &ApiFrame<'a>,
        request: FetchOptions,
    ) -> Vec<RecordSetPatch<'a>> {
        let outcome = FetchResponse::parse(response.body(), response.version);
        let Ok(ParseOutcome::Parsed(fetch)) = outcome else {
            context.out.skip(SkipReason::Malformed, 0);
            return Vec::new();
        };
        let mut workload = Workload::new(RecordWork::Read);
        let topics = fetch.topics.iter();
        let partitions = topics.flat_map(|topic| topic.partitions.iter());
        for records in partitions.filter_map(|partition| partition.records) {
            workload.add(records.bytes());
        }
        workload.run::<C, _>(|| self.read_records(context, reader, response, request, &fetch))
    }

    /// Reads the records of all partitions.
    fn read_records<'a, C: ClusterHandle>(
        &mut self,
        context: &mut HandlerContext<C>,
        reader: &mut BatchReader,
        response: &ApiFrame<'a>,
        request: FetchOptions,
        fetch: &FetchResponse<'a>,
    ) -> Vec<RecordSetPatch<'a>> {
        let mut patches = Vec::new();
        let max_partitions = context.settings.limits.max_partitions;
        let times = DeliveryTimes::of(response);
        self.session.set_id(fetch.session_id);
        for topic in &fetch.topics {
            let Some(key) = context.topics.key(&topic.topic) else {
                continue;
            };
            let name = context.topic_name(&key);
            for partition in &topic.partitions {
                let key = PartitionKey {
                    topic: key.clone(),
                    index: partition.partition_index,
                };
                if partition.error_code != error_code::NONE {
                    // The client may go on at another broker.
                    release(context, &key);
                }
                let high_watermark = partition.high_watermark;
                let delivery = FetchDelivery {
                    position: self.session.position(&key, high_watermark, request),
                    times,
                    requested_at: request.sent_at,
                };
                let outcome = deliver(context, reader, &name, &partition, delivery);
                self.track_poll(context, &key, &name, &outcome);
                patches.extend(outcome.patch);
                if outcome.has_records {
                    self.session.record_cut(&key, outcome.cut);
                }
                // After the records were read: they are compared with what was delivered before.
                let last = outcome.last_offset;
                self.session.record_delivered(key, last, max_partitions);
            }
        }
        patches
    }

    /// Remembers records whose handling the next fetches show.
    fn track_poll<C: ClusterHandle>(
        &mut self,
        context: &HandlerContext<C>,
        key: &PartitionKey,
        topic: &Arc<str>,
        outcome: &PartitionOutcome<'_>,
    ) {
        // The correlator knows the records by the group that reads the partition.
        let (Some(last), Some(group)) = (outcome.last_offset, &outcome.group) else {
            return;
        };
        let is_tracked =
            context.client.fetches_on_poll() && context.cluster.token_extractor().is_some();
        let in_background = || {
            let cluster = &context.cluster;
            cluster.with_state(|state| state.fetches_in_background(group))
        };
        if !is_tracked || in_background() {
            return;
        }
        let records = PolledRecords {
            key: key.clone(),
            partition: ClientPartition {
                client: context.client.key.clone(),
                topic: Arc::clone(topic),
                partition: key.index,
            },
            group: Arc::clone(group),
            end: Offset(last.0.saturating_add(1)),
        };
        let max_partitions = context.settings.limits.max_partitions;
        self.polls.deliver(records, max_partitions);
    }

    fn read_and_patch<C: ClusterHandle>(
        &mut self,
        context: &mut HandlerContext<C>,
        scratch: &mut Scratch,
        response: &ApiFrame<'_>,
        request: FetchOptions,
    ) -> Option<Bytes> {
        let reader = &mut scratch.reader;
        let patches = self.read_response(context, reader, response, request);
        patch::apply(context, scratch, response, &patches)
    }
}

impl<C: ClusterHandle> Handler<C> for FetchHandler {
    type Pending = Box<FetchState>;

    fn on_request(
        &mut self,
        context: &mut HandlerContext<C>,
        request: &ApiFrame<'_>,
    ) -> Result<ParseOutcome<RequestDecision<Self::Pending>>, Error> {
        let outcome = parse_request(context, request)?;
        Ok(outcome.map(|state| {
            self.polls
                .fetch(context, &state.positions, request.first_byte);
            RequestDecision::forward(Box::new(state))
        }))
    }

    fn on_response(
        &mut self,
        context: &mut HandlerContext<C>,
        pending: Self::Pending,
        response: &ApiFrame<'_>,
    ) -> Option<Bytes> {
        let request = pending.options();
        let max_partitions = context.settings.limits.max_partitions;
        if let Some(session_id) = self.session.continued_id(&pending) {
            let key = session_key(context, session_id);
            let positions = context
                .cluster
                .with_state(|state| state.take_fetch_session(&key));
            if let Some(positions) = positions {
                self.session = FetchSession::new(session_id, positions);
            }
        }
        // Only now: the next request may be in flight already, and has other positions.
        for key in self.session.apply(*pending, max_partitions) {
            release(context, &key);
        }
        let mut scratch = context.take_scratch();
        let patched = self.read_and_patch(context, &mut scratch, response, request);
        context.return_scratch(scratch);
        patched
    }
}
