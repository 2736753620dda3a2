//! Pending produce requests: records whose spans wait for the response.

use std::collections::VecDeque;

use throughline_kafka::batch::{CompressionCodec, RecordBatch};
use throughline_kafka::message::produce::PartitionProduceResponse;
use throughline_kafka::types::Offset;

use crate::Timestamp;
use crate::correlate::Evidence;
use crate::kafka::cluster::{
    AttemptKey, AttemptState, AttemptedRecord, BatchAttempts, BatchFingerprint, BatchSize,
    ClusterHandle,
};
use crate::kafka::handler::context::HandlerContext;
use crate::kafka::handler::span::{
    BatchAttributes, PartitionAttributes, RecordAttributes, RecordOperation, RecordSpans,
};
use crate::kafka::topic::PartitionKey;
use crate::kafka::{SessionEvent, SkipReason, error_code};
use crate::trace::{ParentEvidence, SpanIdentity, seconds};

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
    pub(super) batch: BatchFingerprint,
    /// Earlier attempts to send the batch, and this one.
    pub(super) attempts: Option<BatchAttempts>,
    /// Whether the attempt is in the table of attempts, because its client is gone.
    pub(super) is_recorded: bool,
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
    /// The record's timestamp.
    pub(super) created_at: Option<Timestamp>,
    pub(super) key: Option<Box<str>>,
}

/// Maximum number of records for which memory is reserved: their number is that of the client.
const MAX_RESERVED_RECORDS: usize = 1024;

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

    /// Records that the client is gone: it may send the batches again before there is a response.
    pub(in crate::kafka::handler) fn record_unanswered<C: ClusterHandle>(
        &mut self,
        context: &HandlerContext<C>,
        now: Timestamp,
    ) {
        for partition in &mut self.partitions {
            partition.record_unanswered(context, self.started_at, now);
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
            batch: BatchFingerprint::of(batch),
            attempts: None,
            is_recorded: false,
            original_size,
            size: original_size,
            is_at_risk: false,
            injected: 0,
            not_injected: None,
            inspected: 0,
            records: Vec::new(),
        }
    }

    fn cancel_injection(&mut self, reason: SkipReason) {
        if self.injected > 0 {
            // The broker has not the contexts: a rejection is not due to them.
            (self.injected, self.not_injected) = (0, Some(reason));
            self.size = self.original_size;
            self.is_at_risk = false;
        }
    }

    /// Reserves memory for all records of the batch with the first one that gets a span.
    pub(super) fn reserve_records(&mut self) {
        if self.records.is_empty() {
            let count = usize::try_from(self.record_count).unwrap_or_default();
            self.records.reserve(count.min(MAX_RESERVED_RECORDS));
        }
    }

    pub(super) const fn record_count(&self) -> i32 {
        self.record_count
    }

    /// Returns whether an earlier attempt was answered, so that its spans have ended.
    pub(super) fn is_answered(&self) -> bool {
        self.attempts.as_ref().is_some_and(|it| it.is_answered)
    }

    /// Returns the key by which a retry of the batch is found; [`None`] when other batches may be
    /// equal to it.
    pub(super) fn attempt_key<C>(&self, context: &HandlerContext<C>) -> Option<AttemptKey> {
        let is_idempotent = self.batch.producer_id() >= 0;
        self.batch.is_unique().then(|| AttemptKey {
            partition: self.key.clone(),
            batch: self.batch,
            client: (!is_idempotent).then(|| context.client.key.clone()),
        })
    }

    /// Returns the attempts to send this batch, this one included. Beyond `max_records` it has no
    /// records.
    pub(super) fn to_attempts(&self, started_at: Timestamp, max_records: usize) -> BatchAttempts {
        let is_short = self.records.len() <= max_records;
        let records = self.records.iter().filter(|_| is_short);
        let records = records.map(|record| AttemptedRecord {
            offset_delta: record.offset_delta,
            identity: record.identity.clone(),
            evidence: record.evidence,
        });
        let mut attempts = match &self.attempts {
            Some(earlier) => earlier.without_records(),
            None => BatchAttempts::first(started_at),
        };
        attempts.records = records.collect();
        attempts
    }

    /// Records that the client is gone: it may send the batch again before there is a response.
    fn record_unanswered<C: ClusterHandle>(
        &mut self,
        context: &HandlerContext<C>,
        started_at: Timestamp,
        now: Timestamp,
    ) {
        if self.is_answered() || self.is_recorded {
            return;
        }
        self.is_recorded = true;
        let Some(key) = self.attempt_key(context) else {
            return;
        };
        let attempts = self.to_attempts(started_at, usize::MAX);
        context.cluster.with_state(|state| {
            state.record_attempt(key, attempts, AttemptState::Unanswered, now);
        });
    }

    /// Returns whether another attempt has the spans: an answered one, or a later one.
    fn is_superseded<C: ClusterHandle>(&self, context: &HandlerContext<C>) -> bool {
        if !self.is_recorded && self.attempts.is_none() {
            return false;
        }
        let Some(key) = self.attempt_key(context) else {
            return false;
        };
        let count = self.attempts.as_ref().map_or(1, |it| it.count);
        self.is_answered()
            || context
                .cluster
                .with_state(|state| state.is_superseded(&key, count))
    }

    /// Returns the key and the attempts of a batch that its producer may send again.
    fn retriable_attempts<C>(
        &self,
        context: &HandlerContext<C>,
        started_at: Timestamp,
        error_code: i16,
    ) -> Option<(AttemptKey, BatchAttempts)> {
        if !error_code::is_produce_retriable(error_code) {
            return None;
        }
        let key = self.attempt_key(context)?;
        Some((key, self.to_attempts(started_at, usize::MAX)))
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
        // Before the spans are built: their number is known, and building may panic.
        context.budget.close(self.records.len());
        if self.is_superseded(context) {
            return;
        }
        let failed = self.retriable_attempts(context, started_at, result.error_code);
        if self.records.is_empty() && failed.is_none() {
            return;
        }
        let started_at = self
            .attempts
            .as_ref()
            .map_or(started_at, |it| it.started_at);
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
        let batch = BatchAttributes {
            start: started_at,
            end: result.at,
            batch_size: Some(self.record_count),
            error_code: result.error_code,
            attempts: self.attempts.as_ref(),
            ..BatchAttributes::default()
        };
        let (settings, client) = (&context.settings, &context.client);
        let expected = self.records.len();
        let mut spans = RecordSpans::new(&partition, &batch, settings, client, expected);
        for record in self.records {
            let not_injected = self.not_injected.filter(|_| !record.is_by_header());
            let attributes = RecordAttributes {
                offset: result.offset(record.offset_delta),
                key: record.key.as_deref(),
                tombstone: record.is_tombstone,
                evidence: record.evidence,
                buffered: record
                    .created_at
                    .and_then(|at| started_at.checked_sub(at).map(seconds)),
                not_injected,
                ..RecordAttributes::default()
            };
            spans.push(record.identity, &attributes, None);
        }
        let spans = spans.into_group();
        let Some((key, attempts)) = failed else {
            return context.out.push_spans(spans);
        };
        // The next attempt may succeed: these spans end with it, or when it does not come.
        let state = AttemptState::Failed(result.error_code, spans.spans().collect());
        context
            .cluster
            .with_state(|known| known.record_attempt(key, attempts, state, result.at));
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
