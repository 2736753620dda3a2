//! Decisions about records: whether they get a span, which identity it has, and which context the
//! record carries on.

use throughline_model::context::{Sampling, SpanContext};

use super::context::HandlerContext;
use super::record_context::ExtractedContext;
use crate::Timestamp;
use crate::kafka::{ClusterHandle, SpanRelation};
use crate::trace::SpanIdentity;

/// Decision about a record that is sent.
#[derive(Debug, Default)]
pub(super) struct SendDecision {
    /// Identity of its span; [`None`] when it gets none.
    pub(super) span: Option<SpanIdentity>,
    /// Context to inject; [`None`] when the record keeps its own or gets none.
    pub(super) inject: Option<SpanContext>,
}

/// Decides about a record that is sent. `cause` is the span that caused it, where the record itself
/// carries no context.
pub(super) fn decide_send<C: ClusterHandle>(
    context: &mut HandlerContext<C>,
    extracted: ExtractedContext,
    cause: Option<SpanContext>,
    now: Timestamp,
) -> SendDecision {
    let sampler = context.sampler();
    let decision = match extracted {
        ExtractedContext::Context(sender) => {
            // The application propagates contexts itself: its context is continued, not replaced.
            // B3 without a sampling field leaves the decision to the receiver.
            let is_sampled = sampler.is_sampled(sender.sampling, sender.trace_id);
            let is_admitted = context.budget.admit(&context.cluster, is_sampled, now);
            let span = is_admitted.then(|| SpanIdentity::child_of(sender, context.ids.span_id()));
            return SendDecision { span, inject: None };
        }
        ExtractedContext::Decision(Sampling::Drop | Sampling::Deferred) => {
            // `b3: 0` has no ids to continue; a new context would contradict the decision.
            context.budget.count_unsampled();
            return SendDecision::default();
        }
        ExtractedContext::Decision(decision) => Some(decision),
        ExtractedContext::Absent => None,
    };
    let (identity, sampling, injected) = match cause {
        Some(cause) => {
            let sampling = cause.sampling;
            let identity = SpanIdentity::child_of(cause, context.ids.span_id());
            (identity, sampling, Sampling::Sample)
        }
        None => {
            let (trace_id, span_id) = (context.ids.trace_id(), context.ids.span_id());
            let sampling = decision.unwrap_or(Sampling::Deferred);
            // A debug decision of the application goes on with the record.
            let injected = decision.unwrap_or(Sampling::Sample);
            (SpanIdentity::root(trace_id, span_id), sampling, injected)
        }
    };
    let is_sampled = sampler.is_sampled(sampling, identity.trace_id);
    if !context.budget.admit(&context.cluster, is_sampled, now) {
        // The context says so, so that no consumer begins a trace in the middle.
        let inject_unsampled = context.settings.inject_unsampled;
        let inject = inject_unsampled.then(|| identity.context(Sampling::Drop));
        return SendDecision { span: None, inject };
    }
    SendDecision {
        inject: Some(identity.context(injected)),
        span: Some(identity),
    }
}

/// Decides about a record that was sent before, and whose span has this identity if it has one.
/// Returns the context to inject.
pub(super) fn decide_resend<C: ClusterHandle>(
    context: &mut HandlerContext<C>,
    extracted: &ExtractedContext,
    identity: Option<&SpanIdentity>,
) -> Option<SpanContext> {
    let injected = match extracted {
        ExtractedContext::Context(_)
        | ExtractedContext::Decision(Sampling::Drop | Sampling::Deferred) => return None,
        ExtractedContext::Decision(decision) => *decision,
        ExtractedContext::Absent => Sampling::Sample,
    };
    let Some(identity) = identity else {
        // It was not sampled, and is not now.
        let (trace_id, span_id) = (context.ids.trace_id(), context.ids.span_id());
        let inject_unsampled = context.settings.inject_unsampled;
        return inject_unsampled.then(|| SpanContext::new(trace_id, span_id, Sampling::Drop));
    };
    Some(identity.context(injected))
}

/// Decides about a record that is delivered. Returns the identity of its span, if it gets one.
pub(super) fn decide_delivery<C: ClusterHandle>(
    context: &mut HandlerContext<C>,
    extracted: &ExtractedContext,
    relation: SpanRelation,
    now: Timestamp,
) -> Option<SpanIdentity> {
    let sampler = context.sampler();
    if let ExtractedContext::Context(sender) = extracted {
        let is_sampled = sampler.is_sampled(sender.sampling, sender.trace_id);
        if !context.budget.admit(&context.cluster, is_sampled, now) {
            return None;
        }
        if relation == SpanRelation::ParentAndLink {
            let span_id = context.ids.span_id();
            return Some(SpanIdentity::child_of(sender.clone(), span_id));
        }
        // Links only: the sender decided about sampling, the span begins a trace.
        let (trace_id, span_id) = (context.ids.trace_id(), context.ids.span_id());
        return Some(SpanIdentity::root(trace_id, span_id));
    }
    let decision = match extracted {
        ExtractedContext::Decision(decision) => *decision,
        ExtractedContext::Context(_) | ExtractedContext::Absent => Sampling::Deferred,
    };
    let (trace_id, span_id) = (context.ids.trace_id(), context.ids.span_id());
    let is_sampled = sampler.is_sampled(decision, trace_id);
    // Sampling first: records that are left out must not use up the rate.
    let is_admitted = context.budget.admit(&context.cluster, is_sampled, now);
    is_admitted.then(|| SpanIdentity::root(trace_id, span_id))
}
