//! Pending produce requests: records whose spans wait for the response.

use std::collections::VecDeque;

use throughline_kafka::batch::{CompressionCodec, RecordBatch};
use throughline_kafka::message::produce::PartitionProduceResponse;
use throughline_kafka::types::Offset;

use crate::Timestamp;
use crate::correlate::Evidence;
use crate::kafka::cluster::{BatchSize, ClusterHandle};
use crate::kafka::handler::context::HandlerContext;
use crate::kafka::handler::span::{
    PartitionAttributes, RecordAttributes, RecordOperation, RecordSpan,
};
use crate::kafka::topic::PartitionKey;
use crate::kafka::{SessionEvent, SkipReason, error_code};
use crate::trace::{ParentEvidence, SpanIdentity};

/// Produce request that waits for its response.
#[derive(Debug)]
pub(in crate::kafka) struct PendingProduce {
    /// Arrival of the first byte of the request.
    pub(super) started_at: Timestamp,
    pub(super) partitions: VecDeque<PendingPartition>,
}

/// Batch of one partition.
#[derive(Debug)]
pub(super) struct PendingPartition {
    pub(super) key: PartitionKey,
    record_count: i32,
    /// Id of the producer, -1 when it is not idempotent.
    pub(super) producer_id: i64,
    base_sequence: i32,
    /// Sizes before injection.
    original_size: BatchSize,
    /// Sizes as sent to the broker.
    pub(super) size: BatchSize,
    /// Whether no evidence shows that the broker accepts the batch as it was changed.
    pub(super) is_at_risk: bool,
    /// Number of records that got a context.
    pub(super) injected: u32,
    /// Reason for which records did not get the context that they should have got.
    pub(super) not_injected: Option<SkipReason>,
    /// Number of records that were inspected.
    pub(super) inspected: usize,
    pub(super) records: Vec<PendingRecord>,
}

/// Record whose span is not finished.
#[derive(Debug)]
pub(super) struct PendingRecord {
    pub(super) identity: SpanIdentity,
    pub(super) offset_delta: i32,
    pub(super) is_tombstone: bool,
    pub(super) evidence: Option<ParentEvidence>,
    pub(super) key: Option<Box<str>>,
}

/// Result of a produce request for one partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProduceResult {
    at: Timestamp,
    pub(super) error_code: i16,
    /// Offset of the first record, if it is known.
    base_offset: Option<Offset>,
}

// === impl ProduceResult ===

impl ProduceResult {
    /// Returns the result of a request without a response.
    pub(super) const fn sent(at: Timestamp) -> Self {
        Self::failed(at, error_code::NONE)
    }

    pub(super) const fn failed(at: Timestamp, error_code: i16) -> Self {
        Self {
            at,
            error_code,
            base_offset: None,
        }
    }

    pub(super) fn of(response: &PartitionProduceResponse, at: Timestamp) -> Self {
        // The broker gives -1 with an error.
        let is_known = response.base_offset >= Offset(0);
        Self {
            at,
            error_code: response.error_code,
            base_offset: is_known.then_some(response.base_offset),
        }
    }
}

// === impl PendingProduce ===

impl PendingProduce {
    pub(super) const fn new(started_at: Timestamp) -> Self {
        Self {
            started_at,
            partitions: VecDeque::new(),
        }
    }

    /// Records that the request passes unmodified after all.
    pub(super) fn cancel_injection(&mut self, reason: SkipReason) {
        for partition in &mut self.partitions {
            partition.cancel_injection(reason);
        }
    }

    /// Records that the batch of one partition was sent again as it came.
    pub(in crate::kafka::handler) fn cancel_partition(
        &mut self,
        key: &PartitionKey,
        reason: SkipReason,
    ) {
        let partitions = self.partitions.iter_mut();
        for partition in partitions.filter(|it| it.key == *key) {
            partition.cancel_injection(reason);
        }
    }

    /// Returns whether any record got a context.
    pub(super) fn is_changed(&self) -> bool {
        self.partitions.iter().any(|it| it.injected > 0)
    }

    /// Reports how many records were injected into and how many were not.
    pub(super) fn report_injection<C: ClusterHandle>(&self, context: &mut HandlerContext<C>) {
        let records = self.partitions.iter().fold(0u32, |sum, partition| {
            sum.saturating_add(partition.injected)
        });
        if records > 0 {
            context.report(SessionEvent::Injected { records });
        }
        for partition in &self.partitions {
            if let Some(reason) = partition.not_injected {
                let records = u32::try_from(partition.record_count).unwrap_or(0);
                context.out.skip(reason, records);
            }
        }
    }

    /// Ends all spans with the same result.
    pub(super) fn close<C: ClusterHandle>(
        self,
        context: &mut HandlerContext<C>,
        result: ProduceResult,
    ) {
        for partition in self.partitions {
            partition.close(context, self.started_at, result);
        }
    }

    /// Ends all spans with an error: there is no response.
    pub(in crate::kafka) fn fail<C: ClusterHandle>(
        self,
        context: &mut HandlerContext<C>,
        now: Timestamp,
        error_code: i16,
    ) {
        self.close(context, ProduceResult::failed(now, error_code));
    }

    /// Drops all spans: the result is unknown.
    pub(in crate::kafka) fn discard<C: ClusterHandle>(
        self,
        context: &mut HandlerContext<C>,
        reason: SkipReason,
    ) {
        for partition in self.partitions {
            let spans = partition.span_count();
            context.budget.close(spans);
            let spans = u32::try_from(spans).unwrap_or(u32::MAX);
            context.out.drop_spans(reason, spans);
        }
    }
}

// === impl PendingPartition ===

impl PendingPartition {
    pub(super) fn new(key: PartitionKey, batch: &RecordBatch<'_>) -> Self {
        let bytes = batch.bytes().len();
        let is_plain = batch.codec() == CompressionCodec::None;
        let original_size = BatchSize {
            sent: bytes,
            uncompressed: if is_plain { bytes } else { 0 },
        };
        Self {
            key,
            record_count: batch.record_count(),
            producer_id: batch.producer_id(),
            base_sequence: batch.base_sequence(),
            original_size,
            size: original_size,
            is_at_risk: false,
            injected: 0,
            not_injected: None,
            inspected: 0,
            records: Vec::new(),
        }
    }

    /// Returns whether the batch is the first one of its producer: the broker would take a later
    /// one as the first if it came before this.
    pub(super) const fn begins_sequence(&self) -> bool {
        self.producer_id >= 0 && self.base_sequence == 0
    }

    fn cancel_injection(&mut self, reason: SkipReason) {
        if self.injected > 0 {
            // The broker has not the contexts: a rejection is not due to them.
            (self.injected, self.not_injected) = (0, Some(reason));
            self.size = self.original_size;
            self.is_at_risk = false;
        }
    }

    /// Number of spans that wait for the response.
    pub(super) const fn span_count(&self) -> usize {
        self.records.len()
    }

    /// Number of records that were not inspected.
    pub(super) fn unread_records(&self) -> u32 {
        let inspected = u32::try_from(self.inspected).unwrap_or(u32::MAX);
        u32::try_from(self.record_count)
            .unwrap_or(0)
            .saturating_sub(inspected)
    }

    /// Ends the spans of the records.
    pub(super) fn close<C: ClusterHandle>(
        self,
        context: &mut HandlerContext<C>,
        started_at: Timestamp,
        result: ProduceResult,
    ) {
        if self.records.is_empty() {
            return;
        }
        // Before the spans are built: their number is known, and building may panic.
        context.budget.close(self.records.len());
        let topic = context.topic_name(&self.key.topic);
        // The id of a span is only in the record if its context was injected here.
        let is_injected = result.error_code == error_code::NONE && self.injected > 0;
        let cluster_id = context.cluster.with_state(|state| {
            let records = self.records.iter().filter(|_| is_injected);
            for record in records.filter(|record| !record.is_by_header()) {
                state.record_sent(record.identity.span_id, result.at);
            }
            state.cluster_id()
        });
        let (operation, index) = (RecordOperation::Send, self.key.index);
        let partition = PartitionAttributes::new(operation, topic, index, None, cluster_id);
        for record in self.records {
            let not_injected = self.not_injected.filter(|_| !record.is_by_header());
            let span = RecordSpan {
                start: started_at,
                end: result.at,
                partition: &partition,
                record: RecordAttributes {
                    offset: result.offset(record.offset_delta),
                    key: record.key.as_deref(),
                    tombstone: record.is_tombstone,
                    batch_size: Some(self.record_count),
                    evidence: record.evidence,
                    not_injected,
                    error_code: result.error_code,
                    ..RecordAttributes::default()
                },
                identity: record.identity,
                links: Vec::new(),
            };
            let span = span.build(&context.settings, &context.client);
            context.out.push_span(span);
        }
    }
}

// === impl PendingRecord ===

impl PendingRecord {
    /// Returns whether the record came with a context.
    fn is_by_header(&self) -> bool {
        self.evidence
            .is_some_and(|it| it.evidence == Evidence::Header)
    }
}

impl ProduceResult {
    fn offset(&self, delta: i32) -> Option<Offset> {
        self.base_offset
            .map(|base| Offset(base.0.saturating_add(i64::from(delta))))
    }
}
