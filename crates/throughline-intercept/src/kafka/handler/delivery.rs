//! Delivery of the records of one partition to a client: a consumer span for each of them.
//!
//! Records are inspected and decided about one by one; shared state is consulted and spans are made
//! for many at once.

use std::sync::Arc;

use throughline_kafka::batch::{
    CompressionCodec, Record, RecordBatch, RecordBatches, RecordSetEntry, TruncatedBatch,
};
use throughline_kafka::types::{Offset, TimestampMs};
use throughline_model::context::SpanContext;

use super::context::HandlerContext;
use super::correlation::{self, DeliveryReporter, PartitionSource};
use super::decision::decide_delivery;
use super::message::ApiFrame;
use super::record_context::{self, ExtractedContext};
use super::selection::{DeliveryCount, RecordSelection, last_offset, offset_count};
use super::span::{
    BatchAttributes, PartitionAttributes, RecordAttributes, RecordOperation, RecordSpans,
};
use crate::Timestamp;
use crate::kafka::cluster::{BatchReader, ClusterHandle, DeliveryOwner, PendingDelivery};
use crate::kafka::{DeliveryMode, InjectionMode, SessionEvent, SkipReason, SpanRelation};
use crate::trace::{ParentEvidence, SpanIdentity, seconds};

/// Records of one partition on their way to the client.
#[derive(Debug)]
pub(super) struct PartitionDelivery {
    partition: PartitionAttributes,
    selection: RecordSelection,
    times: DeliveryTimes,
    relation: SpanRelation,
    /// Whether commits of these records have spans.
    settle: bool,
    /// Batches in which the records' contexts are overwritten with those of the consumer spans.
    patch: InjectionMode,
    /// Number of records whose context can not be overwritten.
    links_only: u32,
    /// Offset behind the last record of the partition.
    high_watermark: Option<Offset>,
    /// Number of offsets behind the batch being read, up to the end of the response, that are not
    /// for the client: markers and aborted transactions.
    skipped_ahead: i64,
    /// Records before this offset were delivered on this connection before.
    redelivered_before: Offset,
    reporter: Option<DeliveryReporter>,
    /// Spans of records that were read, and the size of their batches.
    spans: Option<(i32, RecordSpans)>,
    deliveries: Vec<PendingDelivery>,
    delivered: DeliveredRecords,
}

/// Times of a response.
#[derive(Debug, Clone, Copy)]
pub(super) struct DeliveryTimes {
    /// Arrival of the first byte.
    pub(super) first_byte: Timestamp,
    /// Arrival of the last byte.
    pub(super) last_byte: Timestamp,
}

/// Outcome of a delivery.
#[derive(Debug, Default)]
pub(super) struct DeliveredRecords {
    /// Consumer spans that replace the sender in the record at their offset, in order.
    pub(super) patches: Vec<(Offset, SpanIdentity)>,
    /// Offset of the last record for the client.
    pub(super) last_offset: Option<Offset>,
    /// Offset behind everything in the response, markers and records that are left out included:
    /// the client continues there.
    pub(super) end: Option<Offset>,
    /// Batch that is cut at the end of the response, if it has complete records.
    pub(super) cut: Option<TruncatedBatch>,
}

/// Record that was decided about and gets a consumer span.
struct DecidedRecord<'a> {
    offset: Offset,
    identity: SpanIdentity,
    sender: Option<SpanContext>,
    /// End of the sender's span, if it was recorded here.
    sent_at: Option<Timestamp>,
    key: Option<&'a [u8]>,
    is_tombstone: bool,
    queue_time: Option<f64>,
    delivery_count: DeliveryCount,
}

/// Number of records for which shared state is consulted once.
const DELIVERY_CHUNK: usize = 256;

/// Maximum number of spans of several batches that are kept together.
const SMALL_GROUP: usize = 64;

// === impl DeliveryTimes ===

impl DeliveryTimes {
    pub(super) const fn of(response: &ApiFrame<'_>) -> Self {
        Self {
            first_byte: response.first_byte,
            last_byte: response.last_byte,
        }
    }
}

// === impl PartitionDelivery ===

impl PartitionDelivery {
    pub(super) fn new<C: ClusterHandle>(
        context: &HandlerContext<C>,
        source: PartitionSource<'_>,
        selection: RecordSelection,
        times: DeliveryTimes,
    ) -> Self {
        let settings = context.settings.topic(source.topic);
        let reporter = DeliveryReporter::new(context, &source);
        let cluster_id = context.cluster.with_state(|state| state.cluster_id());
        Self {
            partition: PartitionAttributes::new(
                RecordOperation::Process,
                Arc::clone(source.topic),
                source.index,
                source.group,
                cluster_id,
            ),
            selection,
            times,
            relation: settings.relation,
            settle: settings.settle,
            patch: match settings.deliver {
                DeliveryMode::Patch => context.settings.injection_mode(settings),
                DeliveryMode::Observe => InjectionMode::Never,
            },
            links_only: 0,
            high_watermark: None,
            redelivered_before: Offset(i64::MIN),
            skipped_ahead: 0,
            reporter,
            spans: None,
            deliveries: Vec::new(),
            delivered: DeliveredRecords::default(),
        }
    }

    /// Sets the end of the partition, from which lag is derived.
    pub(super) const fn with_high_watermark(mut self, high_watermark: Offset) -> Self {
        self.high_watermark = Some(high_watermark);
        self
    }

    /// Marks records before this offset as delivered before.
    pub(super) const fn with_redelivered_before(mut self, offset: Offset) -> Self {
        self.redelivered_before = offset;
        self
    }

    /// Reads the record set of a response.
    pub(super) fn read<C: ClusterHandle>(
        &mut self,
        context: &mut HandlerContext<C>,
        reader: &mut BatchReader,
        record_set: &[u8],
    ) {
        self.skipped_ahead = self.selection.skipped_offsets(record_set);
        for entry in RecordBatches::new(record_set) {
            match entry {
                RecordSetEntry::Batch(batch) => {
                    let end = Offset(last_offset(&batch).0.saturating_add(1));
                    self.delivered.end = self.delivered.end.max(Some(end));
                    // Markers are for the client itself.
                    if self.selection.selects_batch(&batch) && !batch.is_control() {
                        self.read_batch(context, reader, &batch);
                    } else {
                        let skipped = offset_count(&batch);
                        self.skipped_ahead = self.skipped_ahead.saturating_sub(skipped);
                    }
                }
                // A fetch is cut at its maximum size. Most clients fetch the whole batch again,
                // some take the complete records.
                RecordSetEntry::Partial(bytes) => {
                    self.delivered.cut = TruncatedBatch::parse(bytes);
                }
                RecordSetEntry::LegacyMessageSet { .. } => {
                    context.out.skip(SkipReason::OldFormat, 0);
                }
                RecordSetEntry::Malformed(_) => context.out.skip(SkipReason::Malformed, 0),
            }
        }
    }

    fn read_batch<C: ClusterHandle>(
        &mut self,
        context: &mut HandlerContext<C>,
        reader: &mut BatchReader,
        batch: &RecordBatch<'_>,
    ) {
        // Compaction may leave batches without records.
        if batch.record_count() <= 0 {
            return;
        }
        let unread = u32::try_from(batch.record_count()).unwrap_or(0);
        context.budget.expect_records(unread);
        let max_bytes = context.settings.limits.max_inflated_bytes;
        let records = match reader.records(batch, max_bytes) {
            Ok(records) => records,
            Err(error) => {
                correlation::report_unreadable(&context.cluster, self.times.last_byte);
                return context.skip_records(error.into(), unread);
            }
        };
        let expected = usize::try_from(unread).unwrap_or(DELIVERY_CHUNK);
        let mut decided = Vec::with_capacity(expected.min(DELIVERY_CHUNK));
        for (read, record) in (0..).zip(records) {
            // Lengths are relative to each other: behind a malformed record nothing can be read.
            let Ok(record) = record else {
                context.skip_records(SkipReason::Malformed, unread.saturating_sub(read));
                break;
            };
            self.decide(context, batch, &record, &mut decided);
            // A chunk bounds what is kept of a batch, whatever the number of its records.
            if decided.len() >= DELIVERY_CHUNK {
                self.emit(context, batch, &mut decided);
            }
        }
        self.emit(context, batch, &mut decided);
        self.flush_reporter(&context.cluster);
    }

    /// Inspects a record and decides whether it gets a span.
    fn decide<'a, C: ClusterHandle>(
        &mut self,
        context: &mut HandlerContext<C>,
        batch: &RecordBatch<'_>,
        record: &Record<'a>,
        decided: &mut Vec<DecidedRecord<'a>>,
    ) {
        // Offsets of records are relative: compaction leaves gaps.
        let delta = i64::from(record.offset_delta);
        let offset = Offset(batch.base_offset().0.saturating_add(delta));
        let Some(delivery_count) = self.selection.delivery_count(offset) else {
            return;
        };
        self.delivered.last_offset = Some(offset);
        let now = self.times.last_byte;
        let extracted = record_context::extract(record, &context.settings);
        let identity = decide_delivery(context, &extracted, self.relation, now);
        if let Some(reporter) = &mut self.reporter {
            reporter.push(context, record, offset, &extracted, identity.as_ref());
            if reporter.is_full() {
                reporter.flush(&context.cluster, now);
            }
        }
        let Some(identity) = identity else { return };
        let sender = match extracted {
            ExtractedContext::Context(sender) => Some(sender),
            ExtractedContext::Decision(_) | ExtractedContext::Absent => None,
        };
        decided.push(DecidedRecord {
            offset,
            identity,
            sender,
            sent_at: None,
            key: record.key,
            is_tombstone: record.value.is_none(),
            queue_time: queue_time(batch, record, now),
            delivery_count,
        });
    }

    /// Makes the spans of records that were decided about.
    fn emit<C: ClusterHandle>(
        &mut self,
        context: &mut HandlerContext<C>,
        batch: &RecordBatch<'_>,
        decided: &mut Vec<DecidedRecord<'_>>,
    ) {
        // Without a sender there is nothing to look up, and no lock is taken.
        if decided.iter().any(|record| record.sender.is_some()) {
            context.cluster.with_state(|state| {
                for record in &mut *decided {
                    let sender = record.sender.as_ref();
                    record.sent_at = sender.and_then(|sender| state.sent_at(sender.span_id));
                }
            });
        }
        if decided.is_empty() {
            return;
        }
        let may_patch = match self.patch {
            InjectionMode::Always => true,
            InjectionMode::Uncompressed => batch.codec() == CompressionCodec::None,
            InjectionMode::Never => false,
        };
        if !may_patch && self.patch == InjectionMode::Uncompressed {
            let traced = decided.iter().filter(|it| it.sender.is_some()).count();
            let records = u32::try_from(traced).unwrap_or(u32::MAX);
            context.out.skip(SkipReason::Compressed, records);
        }
        let mut spans = self.spans_of(context, batch.record_count(), decided.len());
        self.deliveries.reserve(decided.len());
        for record in decided.drain(..) {
            self.push_span(context, &mut spans, record, may_patch);
        }
        self.spans = Some((batch.record_count(), spans));
    }

    /// Returns the spans that `expected` ones of a batch of this size are added to.
    fn spans_of<C: ClusterHandle>(
        &mut self,
        context: &mut HandlerContext<C>,
        batch_size: i32,
        expected: usize,
    ) -> RecordSpans {
        match self.spans.take() {
            // Batches of one size share all that their spans name. Those of large batches are many
            // enough: adding to them would move them in memory.
            Some((size, spans)) if size == batch_size && spans.len() + expected <= SMALL_GROUP => {
                spans
            }
            others => {
                push_spans(context, others);
                let batch = BatchAttributes {
                    start: self.times.first_byte,
                    end: self.times.last_byte,
                    batch_size: Some(batch_size),
                    ..BatchAttributes::default()
                };
                let (settings, client) = (&context.settings, &context.client);
                RecordSpans::new(&self.partition, &batch, settings, client, expected)
            }
        }
    }

    fn push_span<C: ClusterHandle>(
        &mut self,
        context: &HandlerContext<C>,
        spans: &mut RecordSpans,
        record: DecidedRecord<'_>,
        may_patch: bool,
    ) {
        let (offset, now) = (record.offset, self.times.last_byte);
        let key = record.key.filter(|_| context.settings.message_key);
        // 0 for the last record: the high watermark is the offset behind it, and behind markers.
        let behind = offset
            .0
            .saturating_add(1)
            .saturating_add(self.skipped_ahead);
        let lag_of = |end: Offset| end.0.saturating_sub(behind).max(0);
        let attributes = RecordAttributes {
            offset: Some(offset),
            key: key.and_then(|key| str::from_utf8(key).ok()),
            tombstone: record.is_tombstone,
            evidence: record.sender.as_ref().map(|_| ParentEvidence::HEADER),
            queue_time: record.queue_time,
            queue_time_sent: record.sent_at.map(|at| seconds(now.saturating_sub(at))),
            lag: self.high_watermark.map(lag_of),
            delivery_count: record.delivery_count,
            redelivered: offset < self.redelivered_before,
            ..RecordAttributes::default()
        };
        let identity = record.identity;
        // Kept whether or not the group is known now: the commit names it.
        if self.settle {
            self.deliveries.push(PendingDelivery {
                offset,
                trace_id: identity.trace_id,
                span_id: identity.span_id,
                trace_state: identity.trace_state.clone(),
                flags: identity.flags,
                at: now,
            });
        }
        // Only a child of the sender may take its place in the record: with a link alone the
        // application would continue another trace than the sender's.
        if may_patch && identity.parent.is_some() {
            self.delivered.patches.push((offset, identity.clone()));
        } else if may_patch && record.sender.is_some() {
            self.links_only = self.links_only.saturating_add(1);
        }
        spans.push(identity, &attributes, record.sender);
    }

    fn flush_reporter(&mut self, cluster: &impl ClusterHandle) {
        if let Some(reporter) = &mut self.reporter {
            reporter.flush(cluster, self.times.last_byte);
        }
    }

    /// Ends the delivery: its records wait for their commit.
    pub(super) fn finish<C: ClusterHandle>(
        mut self,
        context: &mut HandlerContext<C>,
    ) -> DeliveredRecords {
        push_spans(context, self.spans.take());
        if self.links_only > 0 {
            context.out.skip(SkipReason::LinksOnly, self.links_only);
        }
        if self.deliveries.is_empty() {
            return self.delivered;
        }
        let client = context.client.key.clone();
        let owner = match self.partition.group {
            Some(group) => DeliveryOwner::Group(group, client),
            None => DeliveryOwner::Connection(client, context.connection),
        };
        let (topic, index) = (self.partition.topic, self.partition.index);
        let records = context
            .cluster
            .with_state(|state| state.record_deliveries(topic, index, owner, self.deliveries));
        if records > 0 {
            context.report(SessionEvent::Unsettled { records });
        }
        self.delivered
    }
}

fn push_spans<C>(context: &mut HandlerContext<C>, spans: Option<(i32, RecordSpans)>) {
    if let Some((_, spans)) = spans {
        context.out.push_spans(spans.into_group());
    }
}

/// Returns the seconds from a record's timestamp to now; 0 when the producer's clock is ahead.
fn queue_time(batch: &RecordBatch<'_>, record: &Record<'_>, now: Timestamp) -> Option<f64> {
    // With LogAppendTime the broker overwrites the time of the batch, not of its records.
    let timestamp = if batch.is_log_append_time() {
        batch.max_timestamp()
    } else {
        let base = batch.base_timestamp().0;
        TimestampMs(base.saturating_add(record.timestamp_delta))
    };
    let since = correlation::to_nanoseconds(timestamp)?;
    Some(seconds(now.saturating_sub(since)))
}
