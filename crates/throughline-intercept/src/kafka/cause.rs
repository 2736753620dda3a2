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
use crate::correlate::{Evidence, Fetching, Kind, Message, Outbound, Parent, Partition};

/// How the parent of a record's span was found.
pub(super) type Told = (Evidence, Option<f64>);

/// The headers of a record.
struct Headers<'r, 'a>(&'r Record<'a>);

/// Clients tell who they are in ApiVersions, which is not looked at for that: all are taken to fetch ahead.
const FETCHING: Fetching = Fetching::Ahead;

// === impl Tracer ===

impl<C: Cluster> Tracer<C> {
    /// What caused a record that carries no context, as far as that can be known.
    pub(super) fn cause(
        &mut self,
        topic: &TopicKey,
        batch: &RecordBatch<'_>,
        record: &Record<'_>,
        now: Timestamp,
    ) -> Option<Parent> {
        if !self.cluster.is_correlated() {
            return None;
        }
        let kind = Kind::record(&self.topic_name(topic));
        let made = batch
            .base_timestamp()
            .0
            .saturating_add(record.timestamp_delta);
        let made = u64::try_from(made)
            .ok()
            .filter(|_| made != NO_TIMESTAMP)
            .map(|made| made.saturating_mul(1_000_000));
        self.cluster.correlate(|correlator| {
            let tokens = correlator.tokens(message(&Headers(record), record));
            correlator
                .parent(
                    now,
                    &Outbound {
                        kind,
                        made,
                        carried: None,
                        tokens,
                        is_answered: false,
                    },
                )
                .0
        })
    }

    /// A record is delivered, whether or not it is sampled.
    pub(super) fn handed_over(
        &mut self,
        (topic, partition): (&Arc<str>, i32),
        (offset, record): (i64, &Record<'_>),
        (found, identity): (&Found, Option<&Identity>),
        now: Timestamp,
    ) {
        if !self.cluster.is_correlated() {
            return;
        }
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
        let place = Partition {
            client: &self.client,
            topic,
            partition,
            fetching: FETCHING,
        };
        self.cluster.correlate(|correlator| {
            let tokens = correlator.tokens(message(&Headers(record), record));
            correlator.deliver(now, &place, offset, &context, tokens);
        });
    }

    /// Records are delivered that cannot be read.
    pub(super) fn lose_sight(&self, now: Timestamp) {
        self.cluster
            .correlate(|correlator| correlator.lose_sight(now));
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
        let place = Partition {
            client,
            topic,
            partition: *partition,
            fetching: FETCHING,
        };
        self.cluster
            .correlate(|correlator| correlator.commit(now, &place, offsets));
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

fn message<'m>(headers: &'m Headers<'_, '_>, record: &Record<'m>) -> Message<'m> {
    Message {
        headers,
        key: record.key,
        body: record.value,
    }
}
