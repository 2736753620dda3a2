//! Correlation within a process: records that are sent get their cause from the correlator, and
//! records that are delivered and settled are reported to it.
//!
//! Tokens are extracted without a lock; the correlator is locked once for many records.

use std::ops::RangeInclusive;
use std::sync::Arc;

use throughline_kafka::batch::{Record, RecordBatch};
use throughline_kafka::types::{Offset, PartitionIndex, TimestampMs};
use throughline_model::context::{Carrier, Sampling, SpanContext};

use super::context::HandlerContext;
use super::record_context::{self, ExtractedContext};
use crate::Timestamp;
use crate::correlate::{
    CallSignature, CarriedContext, OutboundCall, ParentDecision, PropagationObservation,
    RecordDelivery, RecordQueueId, RecordSettlement, TokenExtractor, TokenSet, TokenSource,
};
use crate::kafka::SessionEvent;
use crate::kafka::cluster::{BatchReader, ClientPartition, ClusterHandle, SettledOffsets};
use crate::trace::SpanIdentity;

/// Record of a batch after its inspection.
#[derive(Debug)]
pub(super) struct InspectedRecord {
    pub(super) extracted: ExtractedContext,
    /// Cause of the record, where it carries no context itself.
    pub(super) parent: Option<ParentDecision>,
}

/// Partition that records come from, and the group that they are delivered to.
#[derive(Debug, Clone)]
pub(super) struct PartitionSource<'a> {
    pub(super) topic: &'a Arc<str>,
    pub(super) index: PartitionIndex,
    pub(super) group: Option<Arc<str>>,
}

/// Reporter of the records that one client receives of one partition.
#[derive(Debug)]
pub(super) struct DeliveryReporter {
    extractor: TokenExtractor,
    queue: RecordQueueId,
    topic: Arc<str>,
    pending: Vec<RecordDelivery>,
}

/// Queues of a partition whose records a client has handled.
#[derive(Debug)]
pub(super) struct SettledQueues<'a> {
    pub(super) partition: &'a ClientPartition,
    pub(super) group: Option<&'a Arc<str>>,
    /// Whether records that were delivered to an unknown group belong to this group.
    pub(super) is_only_group: bool,
}

/// Headers of a record, from which tokens are extracted.
struct TokenHeaders<'r, 'a>(&'r Record<'a>);

/// Number of records for which the correlator is locked once.
const CORRELATOR_CHUNK: usize = 256;

/// `CreateTime` of a record without a timestamp.
const NO_TIMESTAMP: TimestampMs = TimestampMs(-1);

const MILLISECOND: u64 = 1_000_000;

/// Inspects the records of a batch that is sent, and asks for the causes of those without a
/// context. Returns nothing when the process has no correlator; records behind a malformed one are
/// left out.
pub(super) fn inspect_sent<C: ClusterHandle>(
    context: &mut HandlerContext<C>,
    reader: &mut BatchReader,
    topic: &str,
    batch: &RecordBatch<'_>,
    now: Timestamp,
) -> Vec<InspectedRecord> {
    let limits = &context.settings.limits;
    let Some(extractor) = context.cluster.token_extractor() else {
        return Vec::new();
    };
    let Ok(records) = reader.records(batch, limits.max_inflated_bytes) else {
        return Vec::new();
    };
    let signature = CallSignature::new(&("kafka", topic));
    let (mut inspected, mut calls) = (Vec::new(), Vec::new());
    let mut carried = None;
    // More records than spans may be open cannot all have one: their causes are not needed.
    for record in records.map_while(Result::ok).take(limits.max_open_spans) {
        let extracted = record_context::extract(&record, &context.settings);
        // A context in the record is exact evidence: there is nothing to ask.
        if let ExtractedContext::Context(sender) = &extracted {
            carried.get_or_insert_with(|| (sender.clone(), record_context::formats(&record)));
        } else {
            calls.push(OutboundCall {
                signature,
                created_at: create_time(batch.base_timestamp(), &record),
                // The response of the broker says nothing about the application: none is awaited.
                carried: None,
                tokens: extract_tokens(extractor, &record),
                expects_response: false,
            });
        }
        inspected.push(InspectedRecord {
            extracted,
            parent: None,
        });
    }
    // One record of a batch says how the process propagates.
    if let Some((sender, formats)) = &carried {
        let carried = CarriedContext {
            context: sender,
            formats: *formats,
            signature,
        };
        observe_propagation(context, now, &carried);
    }
    let mut parents = find_parents(&context.cluster, &calls, now).into_iter();
    for record in &mut inspected {
        if !matches!(record.extracted, ExtractedContext::Context(_)) {
            record.parent = parents.next();
        }
    }
    inspected
}

fn observe_propagation<C: ClusterHandle>(
    context: &mut HandlerContext<C>,
    now: Timestamp,
    carried: &CarriedContext<'_>,
) {
    let observed = context
        .cluster
        .correlate(|correlator| correlator.observe_propagation(now, carried));
    if let Some(observed) = observed.filter(PropagationObservation::is_notable) {
        let event = SessionEvent::PropagationObserved(observed);
        context.out.push_event(event);
    }
}

/// Asks the correlator for the parents of calls, in their order.
fn find_parents(
    cluster: &impl ClusterHandle,
    calls: &[OutboundCall],
    now: Timestamp,
) -> Vec<ParentDecision> {
    let mut parents = Vec::with_capacity(calls.len());
    // All connections of the process share the correlator: none may keep it for long.
    for chunk in calls.chunks(CORRELATOR_CHUNK) {
        cluster.correlate(|correlator| {
            for call in chunk {
                parents.push(correlator.attribute_call(now, call).parent);
            }
        });
    }
    parents
}

/// Returns when the application made a record. Producers keep records back to fill a batch.
pub(super) fn create_time(base: TimestampMs, record: &Record<'_>) -> Option<Timestamp> {
    let created = TimestampMs(base.0.saturating_add(record.timestamp_delta));
    to_nanoseconds(created)
}

/// Converts a record's timestamp; [`None`] where it has none.
pub(super) fn to_nanoseconds(timestamp: TimestampMs) -> Option<Timestamp> {
    let milliseconds = u64::try_from(timestamp.0).ok();
    milliseconds
        .filter(|_| timestamp != NO_TIMESTAMP)
        .map(|milliseconds| milliseconds.saturating_mul(MILLISECOND))
}

fn extract_tokens(extractor: &TokenExtractor, record: &Record<'_>) -> TokenSet {
    extractor.extract(TokenSource {
        headers: &TokenHeaders(record),
        key: record.key,
        body: record.value,
    })
}

/// Reports that unreadable records were delivered: calls that they cause cannot be attributed.
pub(super) fn report_unreadable(cluster: &impl ClusterHandle, now: Timestamp) {
    cluster.correlate(|correlator| correlator.suspend_inference(now));
}

/// Returns the queue of a partition. A partition has one owner in a group, whatever the client id
/// of a transaction's producer.
fn queue_id(partition: &ClientPartition, group: Option<&Arc<str>>) -> RecordQueueId {
    let ClientPartition {
        client,
        topic,
        partition: PartitionIndex(index),
    } = partition;
    match group {
        Some(group) => RecordQueueId::new(&(group, topic, index)),
        None => RecordQueueId::new(&(client, topic, index)),
    }
}

// === impl SettledQueues ===

impl SettledQueues<'_> {
    /// Reports that the records were handled, as their consumer said at `asked_at`.
    pub(super) fn report(
        &self,
        cluster: &impl ClusterHandle,
        offsets: &SettledOffsets,
        asked_at: Timestamp,
        now: Timestamp,
    ) {
        let range: RangeInclusive<i64> = match offsets {
            // A committed offset is that of the next record to read.
            SettledOffsets::Before(end) => i64::MIN..=end.0.saturating_sub(1),
            SettledOffsets::Range(range) => range.start().0..=range.end().0,
        };
        let of_group = self
            .group
            .map(|group| queue_id(self.partition, Some(group)));
        let of_unknown = self.is_only_group.then(|| queue_id(self.partition, None));
        cluster.correlate(|correlator| {
            for queue in of_group.into_iter().chain(of_unknown) {
                let settlement = RecordSettlement {
                    queue,
                    offsets: range.clone(),
                    asked_at,
                };
                correlator.settle_records(now, &settlement);
            }
        });
    }
}

// === impl DeliveryReporter ===

impl DeliveryReporter {
    /// Returns a reporter; [`None`] when the process has no correlator.
    pub(super) fn new<C: ClusterHandle>(
        context: &HandlerContext<C>,
        source: &PartitionSource<'_>,
    ) -> Option<Self> {
        let extractor = context.cluster.token_extractor()?.clone();
        let partition = ClientPartition {
            client: context.client.key.clone(),
            topic: Arc::clone(source.topic),
            partition: source.index,
        };
        Some(Self {
            extractor,
            queue: queue_id(&partition, source.group.as_ref()),
            topic: partition.topic,
            pending: Vec::new(),
        })
    }

    /// Adds a record that is delivered, whether or not it is sampled. `span` is the consumer span.
    pub(super) fn push<C: ClusterHandle>(
        &mut self,
        context: &mut HandlerContext<C>,
        record: &Record<'_>,
        offset: Offset,
        extracted: &ExtractedContext,
        span: Option<&SpanIdentity>,
    ) {
        let consumer = match (span, extracted) {
            (Some(span), _) => span.context(Sampling::Sample),
            // Without a consumer span, spans that the record causes are not recorded either.
            (None, ExtractedContext::Context(sender)) => SpanContext {
                sampling: Sampling::Drop,
                ..sender.clone()
            },
            (None, ExtractedContext::Decision(_) | ExtractedContext::Absent) => {
                let (trace_id, span_id) = (context.ids.trace_id(), context.ids.span_id());
                SpanContext::new(trace_id, span_id, Sampling::Drop)
            }
        };
        self.pending.push(RecordDelivery {
            queue: self.queue,
            topic: Arc::clone(&self.topic),
            offset: offset.0,
            context: consumer,
            tokens: extract_tokens(&self.extractor, record),
        });
    }

    /// Returns whether the records should be reported before more are added.
    pub(super) const fn is_full(&self) -> bool {
        self.pending.len() >= CORRELATOR_CHUNK
    }

    /// Reports the records that were added.
    pub(super) fn flush(&mut self, cluster: &impl ClusterHandle, now: Timestamp) {
        if self.pending.is_empty() {
            return;
        }
        cluster.correlate(|correlator| {
            for delivery in self.pending.drain(..) {
                correlator.deliver_record(now, delivery);
            }
        });
    }
}

// === impl TokenHeaders ===

impl Carrier for TokenHeaders<'_, '_> {
    fn each<'b>(&'b self, visit: &mut dyn FnMut(&'b [u8], Option<&'b [u8]>)) {
        for header in self.0.headers() {
            visit(header.key, header.value);
        }
    }
}
