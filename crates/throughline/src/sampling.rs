//! A sampler that honours what OpenTelemetry's samplers do not know: decisions that the sender deferred, forced, or made
//! without giving ids (B3 and Jaeger have all three).

use opentelemetry::trace::{Link, SpanKind, TraceContextExt as _, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, ShouldSample};
use throughline_model::context::Sampling;

use crate::propagation::Inbound;

/// Asks `root` where the sender deferred, obeys where it forced or refused, and leaves the rest to `usual`.
#[derive(Debug, Clone)]
pub(crate) struct InboundSampler {
    root: Box<dyn ShouldSample>,
    usual: Box<dyn ShouldSample>,
}

impl InboundSampler {
    /// `root` decides where nobody has decided yet, `usual` everywhere else.
    pub(crate) fn new(
        root: impl Into<Box<dyn ShouldSample>>,
        usual: impl Into<Box<dyn ShouldSample>>,
    ) -> Self {
        Self {
            root: root.into(),
            usual: usual.into(),
        }
    }
}

impl ShouldSample for InboundSampler {
    fn should_sample(
        &self,
        parent_context: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        span_kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let ask = |sampler: &dyn ShouldSample| {
            sampler.should_sample(parent_context, trace_id, name, span_kind, attributes, links)
        };
        let Some(cx) = parent_context else {
            return ask(self.usual.as_ref());
        };
        let parent = cx.span();
        let parent = parent.span_context();
        if !parent.is_valid() {
            return if Inbound::refuses(cx) {
                decided(SamplingDecision::Drop, TraceState::NONE)
            } else {
                // Not `usual`: OpenTelemetry's parent-based sampler takes a span that is there but invalid for one that
                // was not sampled.
                ask(self.root.as_ref())
            };
        }
        match Inbound::of(cx, parent.trace_id()).map(|inbound| inbound.sampling) {
            Some(Sampling::Debug) => decided(
                SamplingDecision::RecordAndSample,
                parent.trace_state().clone(),
            ),
            Some(Sampling::Deferred) if parent.is_remote() => ask(self.root.as_ref()),
            _ => ask(self.usual.as_ref()),
        }
    }
}

const fn decided(decision: SamplingDecision, trace_state: TraceState) -> SamplingResult {
    SamplingResult {
        decision,
        attributes: Vec::new(),
        trace_state,
    }
}
