//! Inference of a parent for a call that carries neither a context nor a known token. The evidence
//! `sole` (single in flight) and `order` is decided here.

use super::activity::{Activity, ActivityId};
use super::call::{Attribution, OutboundCall};
use super::evidence::{Evidence, ParentDecision};
use super::process_model::ProcessModel;
use super::settings::SingleInFlightPolicy;
use crate::Timestamp;

/// Records with timestamps further in the future come from a host whose clock disagrees: 1 ms.
const MAX_CLOCK_SKEW_NS: u64 = 1_000_000;

/// Resolution of the timestamps of records: 1 ms.
const TIMESTAMP_UNIT_NS: u64 = 1_000_000;

/// A call counts as caused by an activity this soon after the activity began, or after the response
/// to its last call, although no other activity has shown that.
const PROMPT_NS: u64 = 100_000_000;
/// Calls of one signature by one activity that count as observations.
const MAX_COUNTED_CALLS: u32 = 3;

/// Search for the parent of one call.
#[derive(Debug)]
pub(super) struct ParentInference<'a> {
    pub(super) model: &'a mut ProcessModel,
    pub(super) policy: SingleInFlightPolicy,
    pub(super) call: &'a OutboundCall,
    pub(super) now: Timestamp,
}

// === impl ParentInference ===

impl ParentInference<'_> {
    /// Finds the parent among the activities that were in flight when the call was created.
    pub(super) fn infer(mut self) -> Attribution {
        let open = Attribution::open(self.call.signature);
        let Some(since) = self.window_start() else {
            return open;
        };
        // Beyond the limit of candidates the search would cost more than it could find.
        let Some(in_flight) = self.model.activities.in_flight_since(since) else {
            return open;
        };
        let candidates: Vec<ActivityId> = in_flight
            .iter()
            .copied()
            .filter(|id| !self.is_exhausted(*id))
            .collect();
        match candidates.as_slice() {
            [] => {
                self.record_unattributed(&in_flight);
                open
            }
            [only] if self.was_in_flight_at_creation(*only) => self.attribute_single(since, *only),
            [_] => open,
            several => {
                if let Some(attribution) = self.attribute_in_order(since, several) {
                    return attribution;
                }
                for id in several {
                    if let Some(activity) = self.model.activities.get_mut(*id) {
                        activity.may_lack_call = true;
                    }
                }
                open
            }
        }
    }

    /// Returns the time since which the parent must have been in flight, or [`None`] if that is
    /// unknown or too long ago.
    fn window_start(&self) -> Option<Timestamp> {
        let limits = &self.model.limits;
        let created_at = self.call.created_at.unwrap_or(self.now);
        let is_foreign_clock = created_at > self.now.saturating_add(MAX_CLOCK_SKEW_NS);
        let is_too_old = self.now.saturating_sub(created_at) > limits.max_hold_ns;
        let is_suspended = self.now < self.model.suspended_until;
        // Two connections can be read in another order than they were written to, so an activity
        // that ended just before the call is still a candidate.
        let since = created_at.min(self.now).saturating_sub(limits.skew_ns);
        (!is_foreign_clock && !is_too_old && !is_suspended).then_some(since)
    }

    /// Returns whether an activity had begun when the call was created. For a record that was held
    /// back briefly, any activity since may be its cause: applications copy timestamps from the
    /// records that they handle. Over a longer time that would find an activity where none was.
    fn was_in_flight_at_creation(&self, id: ActivityId) -> bool {
        let limits = &self.model.limits;
        let created_at = self.call.created_at.unwrap_or(self.now);
        let is_recent = self.now.saturating_sub(created_at) <= limits.linger_ns;
        // Timestamps of records are in whole milliseconds.
        let latest_start = created_at.saturating_add(TIMESTAMP_UNIT_NS + limits.skew_ns);
        let activity = self.model.activities.get(id);
        is_recent || activity.is_some_and(|activity| activity.started_at <= latest_start)
    }

    /// Returns whether a record has made all calls of this signature that records of its topic
    /// make.
    fn is_exhausted(&self, id: ActivityId) -> bool {
        let Some(activity) = self.model.activities.get(id) else {
            return true;
        };
        self.model
            .profiles
            .of(activity)
            .is_some_and(|profile| profile.is_exhausted(self.call.signature, activity))
    }

    /// Counts a call that no activity in flight can have caused: made by a timer, for a request
    /// that was not seen, or by a handler after its response.
    fn record_unattributed(&mut self, exhausted: &[ActivityId]) {
        let signature = self.call.signature;
        let activities = &self.model.activities;
        // The handler of an aborted request explains the call.
        if !activities.has_aborted_before(self.now, None) {
            let is_after_end = activities.has_ended_before(self.now, None);
            self.model
                .estimator
                .record_unattributed(signature, self.now, is_after_end);
        }
        // One of the exhausted records may have made it after all: their profile is wrong.
        for id in exhausted {
            if let Some(activity) = self.model.activities.get(*id)
                && let Some(profile) = self.model.profiles.of_mut(activity)
            {
                profile.forget_pattern(signature);
            }
        }
    }

    /// Decides about the only activity in flight.
    fn attribute_single(&mut self, since: Timestamp, id: ActivityId) -> Attribution {
        let parent = self
            .estimate_doubt(since, id, 0.0)
            .and_then(|doubt| self.inferred(Evidence::Sole, id, doubt))
            .unwrap_or_else(ParentDecision::open);
        // The call is counted even if the activity is too doubtful to be the parent: it shows what
        // records of the topic do.
        self.attribute(id, parent)
    }

    /// Decides about several records that wait in one queue and are handled in turn.
    fn attribute_in_order(
        &mut self,
        since: Timestamp,
        several: &[ActivityId],
    ) -> Option<Attribution> {
        let activities = &self.model.activities;
        let signature = self.call.signature;
        let first_id = *several.iter().min()?;
        let first = activities.get(first_id)?;
        let profile = self.model.profiles.of_mut(first)?;
        let support = profile.reliable_records(signature)?;
        let records = || several.iter().filter_map(|id| activities.get(*id));
        if !self.model.queues.share_queue(several)
            || records().any(|record| record.may_lack_call || record.may_retry())
        {
            return None;
        }
        let mut waiting = several
            .iter()
            .filter(|id| **id != first_id)
            .filter_map(|id| activities.get(*id));
        // A pending call of a later record, or one call too many of the first, shows that the
        // records are not handled one after the other.
        if profile.has_started_all(signature, first) || waiting.any(Activity::has_pending_call) {
            profile.is_concurrent = true;
            return None;
        }
        // A record that makes fewer calls than its profile shifts the turns of all behind it. The
        // probability of one such record follows from those seen without (rule of succession).
        let several_count = u32::try_from(several.len()).unwrap_or(u32::MAX);
        let shift_doubt = f64::from(several_count) / f64::from(support.saturating_add(2));
        let doubt = self.estimate_doubt(since, first_id, shift_doubt)?;
        let parent = self.inferred(Evidence::Order, first_id, doubt)?;
        Some(self.attribute(first_id, parent))
    }

    /// Estimates the doubt that an activity made the call, on top of `base_doubt`. Returns [`None`]
    /// if the doubt is too great for the policy.
    fn estimate_doubt(&mut self, since: Timestamp, id: ActivityId, base_doubt: f64) -> Option<f64> {
        let (now, signature) = (self.now, self.call.signature);
        let activities = &self.model.activities;
        // The handler of an aborted request may have made the call as well.
        if activities.has_aborted_before(since, Some(id)) {
            return None;
        }
        let is_after_end = activities.has_ended_before(since, Some(id));
        let mut is_prompt = false;
        let mut calls_before = u32::MAX;
        if let Some(activity) = self.model.activities.get_mut(id) {
            // A record may be sent long after it was created.
            let created_at = self.call.created_at.unwrap_or(now);
            is_prompt = created_at.saturating_sub(activity.last_active_at) <= PROMPT_NS;
            calls_before = activity.record_single(signature);
        }
        let estimator = &mut self.model.estimator;
        let doubt = estimator.estimate_doubt(signature, now, is_after_end);
        let doubt = (base_doubt + doubt).min(1.0);
        // A few activities with a call each say more than one with many.
        let is_first = calls_before == 0;
        let has_counted = u32::from((1..u32::MAX).contains(&calls_before));
        let mut is_shown = estimator.is_shown(signature, now, has_counted);
        if calls_before < MAX_COUNTED_CALLS {
            estimator.record_single(signature, now, is_after_end, is_first);
        }
        if !is_shown && let Some(activity) = self.model.activities.get_mut(id) {
            activity.has_doubtful_call |= !is_prompt;
            is_shown = !activity.has_doubtful_call;
        }
        let estimator = &mut self.model.estimator;
        // Calls of this signature carry tokens, and this one has none, or an unknown one.
        let lacks_token = estimator.expects_token(signature, now);
        let is_accepted = match self.policy {
            SingleInFlightPolicy::Measured { max_doubt } => doubt <= max_doubt && is_shown,
            SingleInFlightPolicy::Assumed => base_doubt == 0.0,
            SingleInFlightPolicy::Never => false,
        };
        (is_accepted && !lacks_token).then_some(doubt)
    }

    fn inferred(&self, evidence: Evidence, id: ActivityId, doubt: f64) -> Option<ParentDecision> {
        let context = self.model.activities.get(id)?.context.clone();
        Some(ParentDecision::inferred(evidence, context, 1.0 - doubt))
    }

    fn attribute(&mut self, id: ActivityId, parent: ParentDecision) -> Attribution {
        Attribution {
            parent,
            call: self.model.record_call(self.now, self.call, id),
            request_id: None,
        }
    }
}
