//! Inference by the steps of requests: the events of the process go to the engine of
//! `throughline-weave`, which decides about a call when it is made.

use throughline_weave::{
    Decision, EvidenceTier, InboundId, InboundOutcome, InboundStart, LiveChecks, LiveDecider,
    Nanos, OperationKey, OutboundId, OutboundStart, QueuePosition, WeaveEvent, WeaverLosses,
    WeaverSettings,
};

use super::activity::ActivityId;
use super::call::{CallNumber, OutboundCall};
use super::evidence::Evidence;
use super::process_model::ProcessModel;
use super::token::CorrelationToken;
use crate::Timestamp;

/// Requests and partitions that are weighed for one call.
const MAX_COMPETING: usize = 128;
/// Record timestamps are in milliseconds: the record was made within one.
const RECORD_TICK_NS: u64 = 1_000_000;
/// Requests and records in flight at the first call that the engine gets.
const MAX_FORMER: usize = 1024;
/// Tokens of a message that the engine gets.
const MAX_TOKENS: usize = throughline_weave::MAX_TOKENS;

/// A parent that the engine is sure enough of.
#[derive(Debug, Clone, Copy)]
pub(super) struct InferredParent {
    pub(super) activity: ActivityId,
    pub(super) evidence: Evidence,
    pub(super) confidence: f64,
}

/// The decision of the engine about a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct LiveInferenceResult {
    pub(super) call: CallNumber,
    pub(super) parent: Option<InferredParent>,
}

/// The engine of one process.
#[derive(Debug)]
pub(super) struct LiveInference {
    decider: LiveDecider,
    last_call: u64,
    /// Posterior from which a decision counts.
    threshold: f64,
}

// === impl LiveInference ===

impl LiveInference {
    pub(super) fn new(threshold: f64) -> Self {
        Self {
            decider: LiveDecider::new(WeaverSettings {
                max_competing: MAX_COMPETING,
                ..WeaverSettings::default()
            }),
            last_call: 0,
            threshold,
        }
    }

    /// Records the requests and records that are in flight already.
    pub(super) fn with_in_flight(mut self, model: &ProcessModel) -> Self {
        for id in model.activities.latest_in_flight(MAX_FORMER) {
            self.begin_activity(model, id);
        }
        self
    }

    /// Records a request that begins, or a record that is delivered.
    pub(super) fn begin_activity(&mut self, model: &ProcessModel, id: ActivityId) {
        let Some(activity) = model.activities.get(id) else {
            return;
        };
        let place = model.queues.place(id);
        // A record that found no room in its queue is not followed.
        if activity.topic.is_some() && place.is_none() {
            return;
        }
        self.decider.push(WeaveEvent::InboundStarted(InboundStart {
            id: InboundId(id.0),
            at: nanos(activity.started_at),
            operation: OperationKey(activity.signature().value()),
            position: place.map(|(queue, offset)| QueuePosition {
                queue: queue.value(),
                offset,
            }),
            tokens: hashes(&activity.tokens),
        }));
    }

    pub(super) fn end(&mut self, now: Timestamp, activity: ActivityId, is_aborted: bool) {
        self.decider.push(WeaveEvent::InboundEnded {
            id: InboundId(activity.0),
            at: nanos(now),
            outcome: if is_aborted {
                InboundOutcome::Abandoned
            } else {
                InboundOutcome::Completed
            },
        });
    }

    /// Decides about a call; `known` is its parent by exact evidence.
    pub(super) fn decide(
        &mut self,
        now: Timestamp,
        call: &OutboundCall,
        known: Option<ActivityId>,
    ) -> LiveInferenceResult {
        self.last_call += 1;
        // The end of the millisecond: what the record follows has happened by then.
        let made_at = call
            .created_at
            .map_or(now, |at| at.saturating_add(RECORD_TICK_NS).min(now));
        let decision = self.decider.decide(&OutboundStart {
            id: OutboundId(self.last_call),
            at: nanos(made_at),
            operation: OperationKey(call.signature.value()),
            tokens: hashes(call.tokens.iter()),
            is_record: !call.expects_response,
            exact: known.map(|activity| InboundId(activity.0)),
        });
        LiveInferenceResult {
            call: CallNumber(self.last_call),
            parent: decision.and_then(|decision| self.parent(&decision)),
        }
    }

    fn parent(&self, decision: &Decision) -> Option<InferredParent> {
        let evidence = match decision.tier {
            // Exact evidence is the correlator's own.
            EvidenceTier::Exact => return None,
            EvidenceTier::Tokens => Evidence::Tokens,
            EvidenceTier::Proven | EvidenceTier::Structure => Evidence::Structure,
            EvidenceTier::Timing => Evidence::Timing,
        };
        let parent = decision.parent?;
        (decision.confidence >= self.threshold).then_some(InferredParent {
            activity: ActivityId(parent.0),
            evidence,
            confidence: decision.confidence,
        })
    }

    /// Records the response to a call, or its failure.
    pub(super) fn complete(&mut self, now: Timestamp, call: CallNumber, is_success: bool) {
        let (id, at) = (OutboundId(call.0), nanos(now));
        if is_success {
            self.decider.push(WeaveEvent::OutboundEnded { id, at });
        } else {
            self.decider.fail(id, at);
        }
    }

    /// Returns how often what the engine was sure of was checked by a later proof.
    pub(super) const fn checks(&self) -> LiveChecks {
        self.decider.checks()
    }

    /// Returns the events that the engine could not consider.
    pub(super) const fn losses(&self) -> WeaverLosses {
        self.decider.losses()
    }
}

/// Returns the tokens of a message as the engine gets them.
fn hashes<'a>(tokens: impl IntoIterator<Item = &'a CorrelationToken>) -> Vec<u64> {
    let hashes = tokens.into_iter().map(CorrelationToken::value_hash);
    hashes.take(MAX_TOKENS).collect()
}

fn nanos(time: Timestamp) -> Nanos {
    Nanos::try_from(time).unwrap_or(Nanos::MAX)
}
