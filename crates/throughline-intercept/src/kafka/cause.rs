//! What records have to do with each other, and with requests, inside a process: told to the correlator, and asked of it.

use std::ops::RangeInclusive;
use std::sync::Arc;

use throughline_kafka::batch::{Record, RecordBatch};
use throughline_model::context::{Carrier, Sampling, SpanContext};

use super::context::Found;
use super::delivery::NO_TIMESTAMP;
use super::topic::TopicKey;
use super::tracer::{Identity, RANDOM, Tracer};
use super::{Cluster, Place, Progress};
use crate::Timestamp;
use crate::correlate::{
    CallSignature, Evidence, OutboundCall, ParentDecision, RecordDelivery, RecordQueueId,
    TokenSource,
};

/// How the parent of a record's span was found.
pub(super) type Told = (Evidence, Option<f64>);

/// The headers of a record.
struct Headers<'r, 'a>(&'r Record<'a>);

// === impl Tracer ===

impl<C: Cluster> Tracer<C> {
    /// What caused a record that carries no context, as far as that can be known.
    pub(super) fn cause(
        &mut self,
        topic: &TopicKey,
        batch: &RecordBatch<'_>,
        record: &Record<'_>,
        now: Timestamp,
    ) -> Option<ParentDecision> {
        let tokens = self
            .cluster
            .token_extractor()?
            .extract(source(&Headers(record), record));
        let signature = CallSignature::new(&("kafka", &*self.topic_name(topic)));
        let made = batch
            .base_timestamp()
            .0
            .saturating_add(record.timestamp_delta);
        let made = u64::try_from(made)
            .ok()
            .filter(|_| made != NO_TIMESTAMP)
            .map(|made| made.saturating_mul(1_000_000));
        let call = OutboundCall {
            signature,
            created_at: made,
            carried: None,
            tokens,
            expects_response: false,
        };
        self.cluster
            .correlate(|correlator| correlator.attribute_call(now, &call).parent)
    }

    /// A record is delivered, whether or not it is sampled.
    pub(super) fn handed_over(
        &mut self,
        (topic, partition): (&Arc<str>, i32),
        (offset, record): (i64, &Record<'_>),
        (found, identity): (&Found, Option<&Identity>),
        now: Timestamp,
    ) {
        let Some(extractor) = self.cluster.token_extractor() else {
            return;
        };
        let tokens = extractor.extract(source(&Headers(record), record));
        let context = match (identity, found) {
            (Some(identity), _) => identity.context(Sampling::Sample),
            // What it causes is not recorded either.
            (None, Found::Context(context)) => SpanContext {
                sampling: Sampling::Drop,
                ..context.clone()
            },
            (None, Found::Decided(_) | Found::Nothing) => {
                SpanContext::new(self.trace_id(), self.span_id(), Sampling::Drop)
            }
        };
        let delivery = RecordDelivery {
            queue: RecordQueueId::new(&(&self.client, topic, partition)),
            topic: Arc::clone(topic),
            offset,
            context,
            tokens,
        };
        self.cluster
            .correlate(|correlator| correlator.deliver_record(now, delivery));
    }

    /// Records are delivered that cannot be read.
    pub(super) fn lose_sight(&self, now: Timestamp) {
        self.cluster
            .correlate(|correlator| correlator.suspend_inference(now));
    }

    /// A client has told how far it is.
    pub(super) fn handled(&self, place: &Place, progress: &Progress, now: Timestamp) {
        let offsets: RangeInclusive<i64> = match progress {
            Progress::Before(end) => i64::MIN..=end.saturating_sub(1),
            Progress::Range(range) => range.clone(),
        };
        let Place {
            client,
            topic,
            partition,
        } = place;
        let queue = RecordQueueId::new(&(client, topic, *partition));
        self.cluster
            .correlate(|correlator| correlator.settle_records(now, queue, offsets));
    }
}

// === impl Identity ===

impl Identity {
    /// The context of the span.
    pub(super) fn context(&self, sampling: Sampling) -> SpanContext {
        SpanContext {
            trace_id: self.trace_id,
            span_id: self.span_id,
            sampling,
            random: self.flags & RANDOM != 0,
            trace_state: self.trace_state.clone(),
        }
    }
}

// === impl Headers ===

impl Carrier for Headers<'_, '_> {
    fn each<'b>(&'b self, visit: &mut dyn FnMut(&'b [u8], Option<&'b [u8]>)) {
        self.0
            .headers()
            .for_each(|header| visit(header.key, header.value));
    }
}

fn source<'m>(headers: &'m Headers<'_, '_>, record: &Record<'m>) -> TokenSource<'m> {
    TokenSource {
        headers,
        key: record.key,
        body: record.value,
    }
}
