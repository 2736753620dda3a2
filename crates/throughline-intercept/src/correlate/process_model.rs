//! The model of one process: its activities, and what was learned about its calls.

use std::ops::RangeInclusive;
use std::sync::Arc;

use throughline_model::context::SpanContext;

use super::activity::{ActivityId, ActivityKind};
use super::activity_table::ActivityTable;
use super::call::{CallHandle, OutboundCall};
use super::doubt::DoubtEstimator;
use super::record_queue::{RecordQueueId, RecordQueues};
use super::settings::CorrelationLimits;
use super::token::TokenSet;
use super::topic_profile::TopicProfiles;
use crate::Timestamp;

/// Shortest interval between two searches for records that expired in their queues.
const PRUNE_INTERVAL_NS: u64 = 1_000_000_000;

/// A record that is delivered to a consumer. Made before the lock of the correlator is taken.
#[derive(Debug, Clone)]
pub struct RecordDelivery {
    pub queue: RecordQueueId,
    pub topic: Arc<str>,
    pub offset: i64,
    /// Context of the consumer span.
    pub context: SpanContext,
    pub tokens: TokenSet,
}

/// Records that a consumer says it has handled.
#[derive(Debug, Clone)]
pub struct RecordSettlement {
    pub queue: RecordQueueId,
    pub offsets: RangeInclusive<i64>,
    /// When the consumer said so: by the time of the broker's answer it has gone on.
    pub asked_at: Timestamp,
}

/// Activities of one process, and what was learned from them.
#[derive(Debug)]
pub(super) struct ProcessModel {
    pub(super) limits: CorrelationLimits,
    pub(super) activities: ActivityTable,
    pub(super) queues: RecordQueues,
    pub(super) profiles: TopicProfiles,
    pub(super) estimator: DoubtEstimator,
    /// Time until which something may be in flight that is not in the table.
    pub(super) suspended_until: Timestamp,
    /// The record that was delivered while nothing else was in flight, until something else begins.
    single_record: Option<ActivityId>,
    next_prune: Timestamp,
}

// === impl ProcessModel ===

impl ProcessModel {
    pub(super) fn new(limits: CorrelationLimits, now: Timestamp) -> Self {
        Self {
            limits,
            activities: ActivityTable::new(limits),
            queues: RecordQueues::default(),
            profiles: TopicProfiles::default(),
            estimator: DoubtEstimator::new(&limits, now),
            suspended_until: 0,
            single_record: None,
            next_prune: 0,
        }
    }

    pub(super) fn advance(&mut self, now: Timestamp) {
        self.activities.advance(now);
        self.update_occupancy(now);
    }

    pub(super) fn begin_activity(
        &mut self,
        now: Timestamp,
        context: SpanContext,
        kind: ActivityKind,
        tokens: TokenSet,
    ) -> ActivityId {
        // From now on a call may belong to either, so the single record is judged by what it did
        // before.
        if let Some(record) = self.single_record.take() {
            self.learn_profile(record, now, false);
        }
        let max_age_ns = self.limits.max_age_ns(kind.is_record());
        let id = self.activities.insert(now, context, kind);
        if self.activities.get(id).is_some() {
            self.activities.index_tokens(id, tokens);
        } else {
            // The table is full: this activity runs unseen, and could be the cause of any call.
            self.suspend_inference(now, max_age_ns);
        }
        self.update_occupancy(now);
        id
    }

    pub(super) fn end_activity(&mut self, id: ActivityId, now: Timestamp, is_aborted: bool) {
        self.activities.end(id, now, is_aborted);
        self.update_occupancy(now);
        self.estimator
            .occupancy
            .record_end(now.saturating_add(self.limits.linger_ns));
    }

    pub(super) fn deliver_record(
        &mut self,
        now: Timestamp,
        delivery: RecordDelivery,
    ) -> ActivityId {
        // Read before the insertion, which counts the record itself.
        let was_idle = self.activities.in_flight_count() == 0;
        let RecordDelivery {
            queue,
            topic,
            offset,
            context,
            tokens,
        } = delivery;
        let id = self.begin_activity(now, context, ActivityKind::Record(topic), tokens);
        self.prune_queues(now);
        let max_records = self.limits.max_activities;
        // Delivered again: the consumer went back, or another one had the partition meanwhile.
        if let Some(replaced) = self.queues.push(queue, offset, id, max_records) {
            self.end_activity(replaced, now, false);
        }
        if was_idle {
            self.single_record = Some(id);
        }
        id
    }

    /// Returns the records that are settled.
    pub(super) fn settle_records(
        &mut self,
        now: Timestamp,
        settlement: &RecordSettlement,
    ) -> Vec<ActivityId> {
        let RecordSettlement { queue, offsets, .. } = settlement;
        let settled = self.queues.take_offsets(*queue, offsets.clone());
        for id in settled.iter().copied() {
            // A settled record has made all its calls: the moment to compare them with the profile.
            if let Some(record) = self.activities.get(id)
                && let Some(profile) = self.profiles.of_mut(record)
            {
                profile.verify(record);
            }
            self.finish_record(id, now);
        }
        settled
    }

    /// Settles the records before one that is certainly being handled, because a call carries its
    /// token. If it had counted as handled, records of its topic are handled concurrently.
    pub(super) fn settle_preceding(&mut self, now: Timestamp, id: ActivityId) {
        let Some(record) = self.activities.get(id) else {
            return;
        };
        let Some(topic) = &record.topic else { return };
        // A settled record that still calls was not handled in order.
        if !record.is_in_flight()
            && let Some(profile) = self.profiles.get_or_create(topic)
        {
            profile.is_concurrent = true;
        }
        let is_concurrent = self
            .profiles
            .of(record)
            .is_some_and(|profile| profile.is_concurrent);
        if !is_concurrent {
            for preceding in self.queues.take_preceding(id) {
                self.finish_record(preceding, now);
            }
        }
    }

    /// Ends a record that is handled: it was settled, or has made all the calls of its profile.
    pub(super) fn finish_record(&mut self, id: ActivityId, now: Timestamp) {
        if self.single_record == Some(id) {
            self.single_record = None;
            self.learn_profile(id, now, true);
        }
        self.end_activity(id, now, false);
    }

    /// Stops inferring parents until what is in flight unseen has ended.
    pub(super) fn suspend_inference(&mut self, now: Timestamp, duration_ns: u64) {
        self.suspended_until = self.suspended_until.max(now.saturating_add(duration_ns));
    }

    /// Returns whether a parent may be inferred for a call: all that can have made it is seen, and
    /// calls like it do not carry a token instead.
    pub(super) fn allows_inference(&mut self, now: Timestamp, call: &OutboundCall) -> bool {
        let lacks_token = self.estimator.expects_token(call.signature, now)
            && !self.activities.knows_token(&call.tokens);
        let is_resent = self.activities.knows_aborted_token(&call.tokens);
        now >= self.suspended_until && !lacks_token && !is_resent
    }

    /// Counts a call of an activity. Calls of records teach what records of their topic do.
    pub(super) fn record_call(
        &mut self,
        now: Timestamp,
        call: &OutboundCall,
        id: ActivityId,
    ) -> CallHandle {
        if let Some(activity) = self.activities.get_mut(id) {
            activity.outstanding += u32::from(call.expects_response);
        }
        if let Some(activity) = self.activities.get_mut(id)
            && let Some(topic) = activity.topic.as_ref().map(Arc::clone)
        {
            // Requests are not counted: routes of one service differ too much to share a profile.
            let pause_ns = activity.record_call(call.signature, now, call.expects_response);
            if let Some(profile) = self.profiles.get_or_create(&topic) {
                profile.record_pause(pause_ns);
            }
        }
        CallHandle {
            activity: Some(id),
            signature: call.signature,
            number: None,
        }
    }

    fn update_occupancy(&mut self, now: Timestamp) {
        let in_flight = self.activities.in_flight_count();
        self.estimator.occupancy.set_in_flight(now, in_flight);
    }

    fn learn_profile(&mut self, id: ActivityId, now: Timestamp, is_settled: bool) {
        if let Some(record) = self.activities.get(id)
            && let Some(profile) = self.profiles.of_mut(record)
        {
            profile.learn(record, now, is_settled);
        }
    }

    /// Removes records from the queues that expired because their consumer never commits.
    fn prune_queues(&mut self, now: Timestamp) {
        // The search visits every record, so it runs only when there is no room, and not each time.
        if self.queues.len() >= self.limits.max_activities && now >= self.next_prune {
            self.next_prune = now.saturating_add(PRUNE_INTERVAL_NS);
            self.queues.retain(|id| self.activities.is_in_flight(id));
        }
    }
}
