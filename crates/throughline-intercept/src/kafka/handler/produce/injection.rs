//! Injection: contexts that records get on their way to the broker.

use throughline_kafka::batch::{
    BatchOutcome, CompressionCodec, HeaderWriter, InjectionLimits, Record, RecordBatch,
};
use throughline_kafka::types::TimestampMs;
use throughline_kafka::wire::{Error, WireField};
use throughline_model::context::{Format, SpanContext};

use super::pending::{PendingPartition, PendingRecord};
use crate::Timestamp;
use crate::kafka::cluster::{BatchReader, BatchSize, ClusterHandle, Scratch, TopicBatchLimits};
use crate::kafka::handler::context::HandlerContext;
use crate::kafka::handler::correlation::{self, InspectedRecord};
use crate::kafka::handler::decision::{decide_resend, decide_send};
use crate::kafka::handler::message::ApiFrame;
use crate::kafka::handler::record_context::{self, ExtractedContext};
use crate::kafka::topic::TopicKey;
use crate::kafka::{InjectionMode, SkipReason};
use crate::trace::{ParentEvidence, SpanIdentity};

/// Whether the batches of a topic are injected into.
#[derive(Debug)]
pub(super) enum InjectionPolicy {
    /// Records get contexts, as long as a batch stays within the limits.
    Inject(TopicInjection),
    /// Records are only read; with a reason where the settings do not ask for that.
    Observe(Option<SkipReason>),
}

/// Limits of injection into the batches of a topic.
#[derive(Debug)]
pub(super) struct TopicInjection {
    mode: InjectionMode,
    limits: InjectionLimits,
    learned: TopicBatchLimits,
    /// Maximum size of a batch, if it is configured.
    known: Option<usize>,
}

/// Inspection of the records of one batch, in their order.
pub(super) struct RecordInspector<'a, C> {
    pub(super) context: &'a mut HandlerContext<C>,
    pub(super) partition: &'a mut PendingPartition,
    now: Timestamp,
    /// The timestamp that those of the records refer to.
    base_timestamp: TimestampMs,
    /// Formats in which contexts are injected.
    formats: Vec<Format>,
    /// Records whose causes were looked up beforehand.
    inspected: std::vec::IntoIter<InspectedRecord>,
    /// Whether the reader holds the records of this batch.
    is_read: bool,
    /// Number of records of the earlier attempt that were found in this one.
    resent: usize,
}

// === impl InjectionPolicy ===

impl InjectionPolicy {
    /// Returns the policy for a topic of a request. A request that is not buffered has been
    /// forwarded already.
    pub(super) fn of_topic<C: ClusterHandle>(
        context: &mut HandlerContext<C>,
        topic: &TopicKey,
        request: &ApiFrame<'_>,
    ) -> Self {
        let now = request.first_byte;
        if !request.is_buffered {
            return Self::Observe(None);
        }
        let is_known = context.knows_topic_name(topic);
        let name = context.topic_name(topic);
        let settings = &context.settings;
        let mode = settings.injection_mode(settings.topic(&name));
        if mode == InjectionMode::Never || settings.write.is_empty() {
            return Self::Observe(None);
        }
        if !is_known && settings.excludes_any() {
            // The name may be that of an excluded topic.
            return Self::Observe(Some(SkipReason::UnknownTopic));
        }
        let max_inflated_bytes = settings.limits.max_inflated_bytes;
        let known = settings.topic(&name).max_message_bytes;
        let (learned, default) = context
            .cluster
            .with_state(|state| (state.batch_limits(&name), state.default_limit()));
        let Some(limit) = learned.injection_limit(known, default, now) else {
            return Self::Observe(Some(SkipReason::RefusedBefore));
        };
        Self::Inject(TopicInjection {
            mode,
            limits: InjectionLimits {
                max_batch_bytes: limit.sent,
                max_uncompressed_bytes: limit.uncompressed,
                max_inflated_bytes,
            },
            learned,
            known,
        })
    }
}

// === impl TopicInjection ===

impl TopicInjection {
    /// Returns whether a batch of the topic must pass unmodified because it is compressed.
    pub(super) fn spares(&self, batch: &RecordBatch<'_>) -> bool {
        self.mode == InjectionMode::Uncompressed && batch.codec() != CompressionCodec::None
    }

    /// Returns whether there is evidence that the topic accepts a batch of this size.
    pub(super) fn is_accepted(&self, size: BatchSize) -> bool {
        self.learned.is_accepted(size, self.known)
    }
}

/// Injects contexts into the records of a batch. Records behind the one that ends the injection are
/// not inspected.
pub(super) fn inject<C: ClusterHandle>(
    inspector: &mut RecordInspector<'_, C>,
    scratch: &mut Scratch,
    records: &WireField<'_>,
    batch: &RecordBatch<'_>,
    topic: &TopicInjection,
) -> Result<BatchOutcome, Error> {
    let Scratch {
        injector,
        splice,
        reader,
        ..
    } = scratch;
    // Decompressed once: the lookup of causes has read the batch already.
    let read = reader.decompressed().filter(|_| inspector.is_read);
    let mut outcome = BatchOutcome::Unchanged;
    // The batch is written behind room for its length, whose size is not known yet.
    splice.replace_field(records, |out| {
        let begin = out.len();
        let select = |record: &Record<'_>, headers: &mut HeaderWriter| {
            if let Some(context) = inspector.inspect(record) {
                record_context::inject(&inspector.formats, &context, record, headers);
            }
        };
        outcome = injector.inject_inspected(*batch, read, &topic.limits, out, select);
        let is_changed = matches!(outcome, BatchOutcome::Changed(_));
        if is_changed {
            inspector.partition.size = BatchSize {
                sent: out.len() - begin,
                uncompressed: injector.uncompressed_bytes(),
            };
        }
        is_changed.then_some(())
    })?;
    Ok(outcome)
}

/// Inspects the records that were not inspected yet.
pub(super) fn observe<C: ClusterHandle>(
    inspector: &mut RecordInspector<'_, C>,
    reader: &mut BatchReader,
    batch: &RecordBatch<'_>,
) -> Result<(), SkipReason> {
    let max_bytes = inspector.context.settings.limits.max_inflated_bytes;
    let inspected = inspector.partition.inspected;
    let records = reader.records(batch, max_bytes)?;
    // Injection may have failed half-way: the records before that are decided about.
    for record in records.skip(inspected) {
        let record = record.map_err(|_| SkipReason::Malformed)?;
        // The context is not needed: nothing is injected.
        drop(inspector.inspect(&record));
    }
    Ok(())
}

// === impl RecordInspector ===

impl<'a, C: ClusterHandle> RecordInspector<'a, C> {
    pub(super) fn new(
        context: &'a mut HandlerContext<C>,
        partition: &'a mut PendingPartition,
        batch: &RecordBatch<'_>,
        now: Timestamp,
    ) -> Self {
        Self {
            formats: context.settings.write.clone(),
            context,
            partition,
            now,
            base_timestamp: batch.base_timestamp(),
            inspected: Vec::new().into_iter(),
            is_read: false,
            resent: 0,
        }
    }

    /// Looks up the causes of all records at once, if the process has a correlator.
    pub(super) fn find_causes(&mut self, reader: &mut BatchReader, batch: &RecordBatch<'_>) {
        // The first attempt had its causes already.
        let is_retry = self.partition.attempts.is_some();
        if !is_retry && self.context.cluster.token_extractor().is_some() {
            let topic = self.context.topic_name(&self.partition.key.topic);
            let inspected =
                correlation::inspect_sent(self.context, reader, &topic, batch, self.now);
            self.inspected = inspected.into_iter();
            self.is_read = true;
            self.match_formats();
        }
    }

    /// Adds the formats that the process has been seen to send: its records have readers that
    /// know them, more likely than not. Others would cost each record some 70 bytes.
    fn match_formats(&mut self) {
        if self.context.settings.match_propagation
            && !self.formats.is_empty()
            && let Some(sent) = self.context.cluster.correlate(|it| it.sent_formats())
        {
            let missing = sent.iter().filter(|format| !self.formats.contains(format));
            let missing: Vec<Format> = missing.collect();
            self.formats.extend(missing);
        }
    }

    /// Inspects a record and decides about it. Returns the context to inject.
    fn inspect(&mut self, record: &Record<'_>) -> Option<SpanContext> {
        // Counted before anything else: records without a span are inspected as well.
        self.partition.inspected += 1;
        if self.partition.attempts.is_some() {
            return self.inspect_resent(record);
        }
        let InspectedRecord { extracted, parent } =
            self.inspected.next().unwrap_or_else(|| InspectedRecord {
                extracted: record_context::extract(record, &self.context.settings),
                parent: None,
            });
        let evidence = match (&extracted, &parent) {
            (ExtractedContext::Context(_), _) => Some(ParentEvidence::HEADER),
            (_, Some(parent)) => Some(ParentEvidence {
                evidence: parent.evidence,
                confidence: parent.confidence,
            }),
            (_, None) => None,
        };
        let cause = parent.and_then(|parent| parent.context);
        let decision = decide_send(self.context, extracted, cause, self.now);
        if let Some(identity) = decision.span {
            self.push_record(record, identity, evidence);
        }
        decision.inject
    }

    /// Inspects a record that was sent before: it has the span and the context of the first time.
    fn inspect_resent(&mut self, record: &Record<'_>) -> Option<SpanContext> {
        let extracted = record_context::extract(record, &self.context.settings);
        let attempts = self.partition.attempts.as_ref()?;
        let earlier = attempts.records.get(self.resent);
        let earlier = earlier.filter(|it| it.offset_delta == record.offset_delta);
        let (earlier, is_answered) = (earlier.cloned(), attempts.is_answered);
        self.resent += usize::from(earlier.is_some());
        let identity = earlier.as_ref().map(|it| it.identity.clone());
        let inject = decide_resend(self.context, &extracted, identity.as_ref());
        if let Some(earlier) = earlier
            && !is_answered
        {
            self.push_record(record, earlier.identity, earlier.evidence);
        }
        inject
    }

    fn push_record(
        &mut self,
        record: &Record<'_>,
        identity: SpanIdentity,
        evidence: Option<ParentEvidence>,
    ) {
        let key = record.key.filter(|_| self.context.settings.message_key);
        let key = key.and_then(|key| str::from_utf8(key).ok());
        self.partition.reserve_records();
        self.partition.records.push(PendingRecord {
            identity,
            offset_delta: record.offset_delta,
            is_tombstone: record.value.is_none(),
            evidence,
            created_at: correlation::create_time(self.base_timestamp, record),
            // Copied: the frame is gone by the time of the response.
            key: key.map(Box::from),
        });
    }
}
