//! A sampler for decisions that OpenTelemetry's samplers do not know: deferred ones, forced ones,
//! and decisions without ids (B3 and Jaeger have all three).

use opentelemetry::trace::{Link, SpanKind, TraceContextExt as _, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, ShouldSample};
use throughline_model::context::Sampling;

use crate::propagation::InboundDecision;

/// A sampler that follows forced and refused decisions of the sender, uses `root` for deferred
/// ones, and `usual` for all others.
#[derive(Debug, Clone)]
pub(crate) struct InboundSampler {
    root: Box<dyn ShouldSample>,
    usual: Box<dyn ShouldSample>,
}

impl InboundSampler {
    /// Returns a sampler that uses `root` where no decision exists yet, and `usual` elsewhere.
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
        let decide = |sampler: &dyn ShouldSample| {
            sampler.should_sample(parent_context, trace_id, name, span_kind, attributes, links)
        };
        // An inbound decision is part of the context.
        let Some(cx) = parent_context else {
            return decide(self.usual.as_ref());
        };
        let parent = cx.span();
        let parent = parent.span_context();
        if !parent.is_valid() {
            return if InboundDecision::is_refused(cx) {
                fixed(SamplingDecision::Drop, TraceState::NONE)
            } else {
                // Not `usual`: OpenTelemetry's parent-based sampler treats an invalid span as one
                // that was not sampled.
                decide(self.root.as_ref())
            };
        }
        match InboundDecision::of(cx, parent.trace_id()).map(|inbound| inbound.sampling) {
            // Debug overrides every sampler of the receiver (B3, "Debug Flag"; Jaeger's debug
            // flag).
            Some(Sampling::Debug) => fixed(
                SamplingDecision::RecordAndSample,
                parent.trace_state().clone(),
            ),
            // A local parent has decided already, on the basis of the same deferred decision.
            Some(Sampling::Deferred) if parent.is_remote() => decide(self.root.as_ref()),
            _ => decide(self.usual.as_ref()),
        }
    }
}

/// Returns the result of a decision that no sampler makes.
const fn fixed(decision: SamplingDecision, trace_state: TraceState) -> SamplingResult {
    SamplingResult {
        decision,
        attributes: Vec::new(),
        trace_state,
    }
}
