//! The correlator of one process.

use throughline_model::context::{FormatSet, SpanContext};

use super::activity::{ActivityId, ActivityKind};
use super::call::{Attribution, CallHandle, CallOutcome, OutboundCall};
use super::call_signature::CallSignature;
use super::evidence::{Evidence, ParentDecision};
use super::inference::ParentInference;
use super::live_inference::{InferredParent, LiveInference};
use super::process_model::{ProcessModel, RecordDelivery, RecordSettlement};
use super::propagation::{CarriedContext, PropagationObservation, PropagationState};
use super::settings::{Settings, SingleInFlightPolicy};
use super::token::{TokenExtractor, TokenSet};
use crate::Timestamp;

/// Finds the parents of the messages that one process sends, among the messages it has received.
///
/// There is one for each process, because activities of one process say nothing about another. A
/// driver shares it behind a lock ([`CorrelatorAccess`]): callers prepare plain values without the
/// lock, and hold it only for one of the methods below.
///
/// Callers read the clock before they wait for the lock, so their events can arrive out of order.
/// Time in the correlator never steps back: an earlier `now` counts as the greatest time seen.
#[derive(Debug)]
pub struct Correlator {
    policy: SingleInFlightPolicy,
    extractor: TokenExtractor,
    model: ProcessModel,
    propagation: PropagationState,
    /// Posterior from which an inference counts; [`None`] without inference.
    inference_threshold: Option<f64>,
    /// [`None`] until a call is to be attributed: a process that makes none needs no model of its
    /// requests, which would cost each of them more than all else here.
    inference: Option<LiveInference>,
    /// Attributions by evidence, in the order of [`Evidence::ALL`].
    evidence_counts: [u64; Evidence::ALL.len()],
    /// The greatest time seen.
    latest: Timestamp,
}

/// Access to the correlator that the connections of a process share.
pub trait CorrelatorAccess {
    /// Returns the extractor of the correlator, which needs no lock.
    fn token_extractor(&self) -> &TokenExtractor;

    /// Runs `action` with the correlator locked. It should do nothing but call the correlator.
    fn with_correlator<T>(&self, action: impl FnOnce(&mut Correlator) -> T) -> T;
}

/// End of an inbound request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestOutcome {
    /// The response was sent completely.
    Completed,
    /// The client went away or timed out. The handler may still be running.
    Aborted,
}

// === impl Correlator ===

impl Correlator {
    /// Creates the correlator of a process that has nothing in flight.
    #[must_use]
    pub fn new(settings: Settings, now: Timestamp) -> Self {
        let Settings {
            keys,
            single_in_flight,
            inference_threshold,
            limits,
        } = settings;
        let infers = single_in_flight != SingleInFlightPolicy::Never;
        Self {
            policy: single_in_flight,
            extractor: TokenExtractor::new(keys, limits.max_body_bytes),
            model: ProcessModel::new(limits, now),
            propagation: PropagationState::default(),
            inference_threshold: inference_threshold.filter(|_| infers),
            inference: None,
            evidence_counts: [0; Evidence::ALL.len()],
            latest: now,
        }
    }

    /// Returns the extractor for the configured keys. Callers clone it and use it without the lock.
    #[must_use]
    pub const fn token_extractor(&self) -> &TokenExtractor {
        &self.extractor
    }

    /// Records an inbound request. `context` is that of its SERVER span, `operation` the signature
    /// of requests of its kind.
    pub fn begin_request(
        &mut self,
        now: Timestamp,
        context: SpanContext,
        operation: CallSignature,
        tokens: TokenSet,
    ) -> ActivityId {
        let now = self.advance(now);
        let kind = ActivityKind::Request(operation);
        let id = self.model.begin_activity(now, context, kind, tokens);
        if let Some(inference) = &mut self.inference {
            inference.begin_activity(&self.model, id);
        }
        id
    }

    /// Records the end of an inbound request. A second end changes nothing.
    pub fn end_request(&mut self, now: Timestamp, id: ActivityId, outcome: RequestOutcome) {
        let now = self.advance(now);
        let is_aborted = outcome == RequestOutcome::Aborted;
        self.model.end_activity(id, now, is_aborted);
        if let Some(inference) = &mut self.inference {
            inference.end(now, id, is_aborted);
        }
    }

    /// Records the delivery of a record to a consumer.
    pub fn deliver_record(&mut self, now: Timestamp, delivery: RecordDelivery) {
        let now = self.advance(now);
        let id = self.model.deliver_record(now, delivery);
        if let Some(inference) = &mut self.inference {
            inference.begin_activity(&self.model, id);
        }
    }

    /// Records that a consumer has handled records. A commit of `n` covers everything before `n`.
    pub fn settle_records(&mut self, now: Timestamp, settlement: &RecordSettlement) {
        let now = self.advance(now);
        let settled = self.model.settle_records(now, settlement);
        if let Some(inference) = &mut self.inference {
            let asked_at = settlement.asked_at.min(now);
            for id in settled {
                inference.end(asked_at, id, false);
            }
        }
    }

    /// Stops inferring parents for [`handling_timeout_ns`], after the delivery of records that
    /// could not be read.
    ///
    /// [`handling_timeout_ns`]: super::CorrelationLimits::handling_timeout_ns
    pub fn suspend_inference(&mut self, now: Timestamp) {
        let now = self.advance(now);
        let duration_ns = self.model.limits.handling_timeout_ns;
        self.model.suspend_inference(now, duration_ns);
    }

    /// Finds the parent of an outbound call.
    pub fn attribute_call(&mut self, now: Timestamp, call: &OutboundCall) -> Attribution {
        let now = self.advance(now);
        self.model.activities.record_call();
        let mut attribution = self.find_parent(now, call);
        let evidence = attribution.parent.evidence;
        for (count, candidate) in self.evidence_counts.iter_mut().zip(Evidence::ALL) {
            *count += u64::from(candidate == evidence);
        }
        // Only an exact parent gives the call its id: downstream, the id is exact evidence.
        if attribution.parent.is_exact()
            && let Some(activity) = attribution.call.activity
            && let Some(key_index) = self.extractor.request_id_index()
        {
            let activity = self.model.activities.get(activity);
            let value = activity.and_then(|activity| activity.token_value(key_index));
            attribution.request_id = value.cloned();
        }
        attribution
    }

    /// Records how the process propagates contexts: by a call that carries one.
    pub fn observe_propagation(
        &mut self,
        now: Timestamp,
        carried: &CarriedContext<'_>,
    ) -> PropagationObservation {
        let now = self.advance(now);
        self.propagation.observe(&mut self.model, now, carried)
    }

    /// Returns the formats of the contexts that the process has been seen to send.
    #[must_use]
    pub const fn sent_formats(&self) -> FormatSet {
        self.propagation.sent
    }

    /// Returns the number of calls that were made for an activity but carry another trace.
    #[must_use]
    pub const fn discontinued_count(&self) -> u64 {
        self.propagation.discontinued
    }

    /// Records the response to a call, or its failure.
    pub fn complete_call(&mut self, now: Timestamp, call: CallHandle, outcome: CallOutcome) {
        let now = self.advance(now);
        if let (Some(inference), Some(number)) = (&mut self.inference, call.number) {
            inference.complete(now, number, outcome == CallOutcome::Succeeded);
        }
        let Some(id) = call.activity else { return };
        let Some(activity) = self.model.activities.get_mut(id) else {
            return;
        };
        activity.record_outcome(call.signature, now, outcome == CallOutcome::Succeeded);
        self.model.activities.continue_aborted(id, now);
        let Some(activity) = self.model.activities.get(id) else {
            return;
        };
        // Consumers commit late: a record that has made all its calls is in the way of the next
        // one.
        let profile = self.model.profiles.of(activity);
        let is_finished = profile.is_some_and(|profile| profile.is_finished(activity));
        if is_finished && activity.is_in_flight() {
            self.model.finish_record(id, now);
        }
    }

    /// Returns the number of requests and records in flight.
    #[must_use]
    pub fn in_flight_count(&self) -> usize {
        self.model.activities.in_flight_count()
    }

    /// Returns the number of attributions so far by evidence.
    pub fn evidence_counts(&self) -> impl Iterator<Item = (Evidence, u64)> {
        Evidence::ALL.into_iter().zip(self.evidence_counts)
    }

    /// Returns the requests, records and calls that the inference could not consider.
    #[must_use]
    pub fn unconsidered_count(&self) -> u64 {
        let losses = self.inference.as_ref().map(LiveInference::losses);
        losses.map_or(0, |losses| {
            losses.inbound + losses.outbound + losses.crowded
        })
    }

    /// Returns the inferences of 0.99 or more that a later event has proven right, and wrong.
    #[must_use]
    pub fn inference_checks(&self) -> (u64, u64) {
        let checks = self.inference.as_ref().map(LiveInference::checks);
        checks.map_or((0, 0), |checks| (checks.right, checks.wrong))
    }

    /// Returns the recent seconds with nothing in flight. With none, `sole` is never inferred.
    pub fn idle_seconds(&mut self, now: Timestamp) -> f64 {
        let now = self.advance(now);
        self.model.estimator.occupancy.idle_seconds(now)
    }

    /// Returns the sizes of all collections that grow with traffic.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> Vec<usize> {
        let mut sizes = self.model.activities.sizes().to_vec();
        sizes.push(self.model.queues.len());
        sizes
    }

    #[cfg(test)]
    pub(super) const fn has_engine(&self) -> bool {
        self.inference.is_some()
    }

    /// Advances the model to `now`, or to the greatest time seen if that is later. Returns the time
    /// that counts.
    fn advance(&mut self, now: Timestamp) -> Timestamp {
        // The queues of the model are in the order of time: searches stop at the first older entry.
        self.latest = self.latest.max(now);
        self.model.advance(self.latest);
        self.latest
    }

    fn find_parent(&mut self, now: Timestamp, call: &OutboundCall) -> Attribution {
        // The application propagates: its own context is right whatever else is known.
        if let Some(context) = &call.carried {
            return Attribution::carried(call.signature, context.clone());
        }
        if self.inference.is_none() {
            let inference = self.inference_threshold.map(LiveInference::new);
            self.inference = inference.map(|it| it.with_in_flight(&self.model));
        }
        let model = &mut self.model;
        if let Some(id) = model.activities.find_by_token(&call.tokens, now) {
            model.estimator.record_with_token(call.signature, now);
            model.settle_preceding(now, id);
            let context = model.activities.get(id).map(|found| found.context.clone());
            if let Some(context) = context {
                let mut attribution = Attribution {
                    parent: ParentDecision::exact(Evidence::RequestId, context),
                    call: model.record_call(now, call, id),
                    request_id: None,
                };
                if let Some(inference) = &mut self.inference {
                    attribution.call.number = Some(inference.decide(now, call, Some(id)).call);
                }
                return attribution;
            }
        }
        let inference = ParentInference {
            model,
            policy: self.policy,
            call,
            now,
        };
        let mut attribution = inference.infer();
        if let Some(inference) = &mut self.inference {
            let inferred = inference.decide(now, call, None);
            attribution.call.number = Some(inferred.call);
            if attribution.parent.evidence == Evidence::Open
                && let Some(parent) = inferred.parent
                && model.allows_inference(now, call)
                && let Some(activity) = model.activities.get(parent.activity)
            {
                let context = activity.context.clone();
                let InferredParent {
                    evidence,
                    confidence,
                    ..
                } = parent;
                attribution.parent = ParentDecision::inferred(evidence, context, confidence);
            }
        }
        attribution
    }
}
