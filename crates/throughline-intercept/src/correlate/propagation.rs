//! How the process itself propagates contexts: in which formats, and whether it continues the
//! traces that it is called in.

use throughline_model::TraceId;
use throughline_model::context::{FormatSet, SpanContext};

use super::call_signature::CallSignature;
use super::process_model::ProcessModel;
use crate::Timestamp;

/// Expected share of wrong verdicts up to which a call counts as made for the only activity.
const MAX_DOUBT: f64 = 0.01;

/// Knowledge about the propagation of the process.
#[derive(Debug, Default)]
pub(super) struct PropagationState {
    /// Formats of the contexts that it has sent.
    pub(super) sent: FormatSet,
    /// Calls in the trace of an activity.
    continued: u64,
    /// Calls in a trace of their own, made for an activity in another one.
    pub(super) discontinued: u64,
}

/// A context that a call carries.
#[derive(Debug)]
pub struct CarriedContext<'a> {
    pub context: &'a SpanContext,
    /// Formats in which the call has a context.
    pub formats: FormatSet,
    pub signature: CallSignature,
}

/// Conclusions from a call with a context about the propagation of its process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PropagationObservation {
    /// Formats that the process had not been seen to send before.
    pub learned: FormatSet,
    /// All formats that it has been seen to send.
    pub sent: FormatSet,
    /// Whether the call was made for a sampled activity in another trace.
    pub is_discontinued: bool,
    /// Trace of an activity whose low 64 bits are all that the process kept of the id.
    pub full_trace_id: Option<TraceId>,
}

// === impl PropagationObservation ===

impl PropagationObservation {
    /// Returns whether there is something to report.
    #[must_use]
    pub const fn is_notable(&self) -> bool {
        !self.learned.is_empty() || self.is_discontinued
    }
}

// === impl PropagationState ===

impl PropagationState {
    /// Records a call with a context.
    pub(super) fn observe(
        &mut self,
        model: &mut ProcessModel,
        now: Timestamp,
        carried: &CarriedContext<'_>,
    ) -> PropagationObservation {
        let learned = carried.formats.difference(self.sent);
        self.sent = self.sent.union(carried.formats);
        let trace_id = carried.context.trace_id;
        if let Some(known) = model.activities.find_trace(trace_id) {
            self.continued += 1;
            return PropagationObservation {
                learned,
                sent: self.sent,
                is_discontinued: false,
                full_trace_id: (known != trace_id).then_some(known),
            };
        }
        let is_discontinued = self.is_discontinued(model, now, carried.signature);
        self.discontinued += u64::from(is_discontinued);
        PropagationObservation {
            learned,
            sent: self.sent,
            is_discontinued,
            full_trace_id: None,
        }
    }

    /// Returns whether a call in a trace of its own was made for an activity. A timer of the
    /// process that is traced makes such calls too, and rightly.
    fn is_discontinued(
        &self,
        model: &mut ProcessModel,
        now: Timestamp,
        signature: CallSignature,
    ) -> bool {
        let since = now.saturating_sub(model.limits.skew_ns);
        let activities = &model.activities;
        let Some(in_flight) = activities.in_flight_since(since) else {
            return false;
        };
        let is_sampled = |id| {
            let activity = activities.get(id);
            activity.is_some_and(|activity| activity.context.sampling.is_sampled())
        };
        match in_flight.as_slice() {
            [] => {
                if !activities.has_aborted_before(now, None) {
                    let is_after_end = activities.has_ended_before(now, None);
                    model
                        .estimator
                        .record_unattributed(signature, now, is_after_end);
                }
                false
            }
            [only] => {
                let is_after_end = activities.has_ended_before(since, Some(*only));
                let may_be_other = activities.has_aborted_before(since, Some(*only));
                is_sampled(*only)
                    && !may_be_other
                    && model.estimator.estimate_doubt(signature, now, is_after_end) <= MAX_DOUBT
            }
            // A process that has continued a trace before reads its contexts: this may be a timer.
            several => self.continued == 0 && several.iter().all(|id| is_sampled(*id)),
        }
    }
}
