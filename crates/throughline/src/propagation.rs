//! Extraction and injection: the codec of [`throughline_model::context`] for OpenTelemetry's
//! [`Context`].
//!
//! OpenTelemetry's span context cannot hold a deferred or forced decision, a refusal without ids,
//! or the random flag of a trace that is not recorded. These are kept in the [`Context`] as a
//! separate value, so that nothing is lost between an incoming and an outgoing header.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::baggage::{BaggageExt as _, BaggageMetadata, KeyValueMetadata};
use opentelemetry::propagation::text_map_propagator::FieldIter;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Context, Key, StringValue};
use throughline_model::context::{
    self, Baggage, Carrier, CarrierMut, Format, PropagatedContext, Sampling,
};
use throughline_model::flag;

/// The context formats that are read and written, in order. The first format that holds a context
/// wins.
///
/// It is also a [`TextMapPropagator`], and can serve as OpenTelemetry's global one: other
/// instrumentation then uses the same formats.
#[derive(Debug, Clone)]
pub struct Propagation {
    extract: Arc<[Format]>,
    inject: Arc<[Format]>,
    fields: Arc<[String]>,
    rejected: Arc<AtomicU64>,
}

/// The part of an incoming context that OpenTelemetry's span context cannot hold. Valid for one
/// trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InboundDecision {
    /// The trace it belongs to; `None` for a decision that came without ids.
    pub(crate) trace: Option<TraceId>,
    pub(crate) sampling: Sampling,
    pub(crate) random: bool,
}

// === impl Propagation ===

impl Default for Propagation {
    /// Returns W3C Trace Context and Baggage, the default of OpenTelemetry.
    fn default() -> Self {
        Self::new(&[Format::W3c, Format::Baggage])
    }
}

impl Propagation {
    /// Returns a propagation that reads and writes these formats. Both forms of B3 are read when
    /// either is written (OpenTelemetry, "Propagators API", B3 requirements).
    #[must_use]
    pub fn new(formats: &[Format]) -> Self {
        let (mut extract, mut inject) = (
            Vec::with_capacity(formats.len() + 1),
            Vec::with_capacity(formats.len()),
        );
        for format in formats {
            // The configured order is kept, because the first format with a context wins.
            for member in format.family() {
                push_new(&mut extract, member);
            }
            push_new(&mut inject, *format);
        }
        let fields = inject
            .iter()
            .flat_map(|format| format.headers())
            .map(|name| (*name).to_owned())
            .collect();
        Self {
            extract: extract.into(),
            inject: inject.into(),
            fields,
            rejected: Arc::default(),
        }
    }

    /// Returns `base` with the sender's context as remote parent, and its baggage, if the carrier
    /// holds them.
    #[must_use]
    pub fn extract(&self, base: &Context, carrier: &dyn Carrier) -> Context {
        with_received(base, &self.read(carrier))
    }

    /// Reads the carrier, and counts malformed headers.
    pub(crate) fn read(&self, carrier: &dyn Carrier) -> PropagatedContext {
        let found = context::extract(&self.extract, carrier);
        if found.rejected > 0 {
            self.rejected
                .fetch_add(u64::from(found.rejected), Ordering::Relaxed);
        }
        found
    }

    /// Writes the context's span and baggage, in place of existing headers of these names. Writes
    /// nothing without a valid span.
    pub fn inject(&self, cx: &Context, carrier: &mut dyn CarrierMut) {
        // An invalid context would be rejected by every receiver, so nothing is written.
        if let Some(context) = to_model(cx) {
            context::inject(&self.inject, &context, &baggage_of(cx), carrier);
        }
    }

    /// Returns the number of malformed headers that were ignored.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// Returns the maximum number of headers that are written, for allocation.
    #[cfg_attr(
        not(feature = "kafka"),
        expect(dead_code, reason = "only Kafka headers are sized beforehand")
    )]
    pub(crate) fn field_count(&self) -> usize {
        self.fields.len()
    }
}

impl TextMapPropagator for Propagation {
    fn inject_context(&self, cx: &Context, injector: &mut dyn Injector) {
        self.inject(cx, &mut InjectorCarrier(injector));
    }

    fn extract_with_context(&self, cx: &Context, extractor: &dyn Extractor) -> Context {
        self.extract(cx, &ExtractorCarrier(extractor))
    }

    fn fields(&self) -> FieldIter<'_> {
        FieldIter::new(&self.fields)
    }
}

// === impl InboundDecision ===

impl InboundDecision {
    /// Returns the decision about this trace.
    pub(crate) fn of(cx: &Context, trace: TraceId) -> Option<Self> {
        cx.get::<Self>()
            .copied()
            // A context value outlives its trace where a handler starts a new one.
            .filter(|inbound| inbound.trace == Some(trace))
    }

    /// Returns whether the sender refused recording, for a trace that starts here.
    pub(crate) fn is_refused(cx: &Context) -> bool {
        cx.get::<Self>()
            .is_some_and(|inbound| inbound.trace.is_none() && inbound.sampling == Sampling::Drop)
    }
}

/// Returns `base` with the sender's span as remote parent, its decision, and its baggage.
pub(crate) fn with_received(base: &Context, found: &PropagatedContext) -> Context {
    let mut cx = match (&found.context, span_context(found)) {
        (Some(context), Some(span)) => {
            let trace = Some(span.trace_id());
            let cx = base.with_remote_span_context(span);
            // Most contexts need no more than OpenTelemetry's span context.
            let is_plain =
                matches!(context.sampling, Sampling::Sample | Sampling::Drop) && !context.random;
            let decision = || InboundDecision {
                trace,
                sampling: context.sampling,
                random: context.random,
            };
            if is_plain {
                cx
            } else {
                cx.with_value(decision())
            }
        }
        _ => base.clone(),
    };
    if let Some(sampling) = found.sampling {
        cx = cx.with_value(InboundDecision {
            trace: None,
            sampling,
            random: false,
        });
    }
    if !found.baggage.is_empty() {
        cx = cx.with_baggage(found.baggage.iter().map(|entry| {
            let (key, value) = (
                Key::new(entry.key().to_owned()),
                StringValue::from(entry.value().to_owned()),
            );
            KeyValueMetadata::new(key, value, BaggageMetadata::from(entry.metadata()))
        }));
    }
    cx
}

/// Converts the sender's span to OpenTelemetry's form.
pub(crate) fn span_context(found: &PropagatedContext) -> Option<SpanContext> {
    let context = found.context.as_ref()?;
    Some(SpanContext::new(
        TraceId::from_bytes(context.trace_id.to_bytes()),
        SpanId::from_bytes(context.span_id.to_bytes()),
        // The codec has checked ids and flags; only `tracestate` can still be rejected here.
        TraceFlags::new(context.trace_flags()),
        true,
        context
            .trace_state
            .as_str()
            .parse()
            .unwrap_or(TraceState::NONE),
    ))
}

fn to_model(cx: &Context) -> Option<context::SpanContext> {
    let span = cx.span();
    let span = span.span_context();
    let trace_id = throughline_model::TraceId::from_bytes(span.trace_id().to_bytes())?;
    let span_id = throughline_model::SpanId::from_bytes(span.span_id().to_bytes())?;
    let inbound = InboundDecision::of(cx, span.trace_id());
    let sampling = match (span.is_sampled(), inbound.map(|inbound| inbound.sampling)) {
        // A debug decision stays one on its way downstream, which formats other than W3C can
        // express.
        (true, Some(Sampling::Debug)) => Sampling::Debug,
        (true, _) => Sampling::Sample,
        // No sampler decided here: the sender's context is passed on unchanged.
        (false, Some(Sampling::Deferred)) if span.is_remote() => Sampling::Deferred,
        (false, _) => Sampling::Drop,
    };
    let mut context = context::SpanContext::new(trace_id, span_id, sampling);
    // The SDK clears flags it does not know on spans that it does not record.
    context.random = span.trace_flags().to_u8() & flag::RANDOM != 0
        || inbound.is_some_and(|inbound| inbound.random);
    if *span.trace_state() != TraceState::NONE {
        context.trace_state =
            context::TraceState::parse(&span.trace_state().header()).unwrap_or_default();
    }
    Some(context)
}

fn baggage_of(cx: &Context) -> Baggage {
    let mut baggage = Baggage::default();
    for (key, (value, metadata)) in cx.baggage() {
        // Entries beyond the limits are left out (W3C Baggage, section 3.3.2).
        baggage.insert(key.as_str(), value.as_str(), metadata.as_str());
    }
    baggage
}

/// Adds a format once.
fn push_new(formats: &mut Vec<Format>, format: Format) {
    if !formats.contains(&format) {
        formats.push(format);
    }
}

/// A carrier that reads OpenTelemetry's text map.
struct ExtractorCarrier<'a>(&'a dyn Extractor);

impl Carrier for ExtractorCarrier<'_> {
    fn last<'a>(&'a self, name: &str) -> Option<&'a [u8]> {
        // The last header wins, as in the codec; `get` of an extractor returns the first.
        let all = self
            .0
            .get_all(name)
            .and_then(|values| values.last().copied());
        all.or_else(|| self.0.get(name)).map(str::as_bytes)
    }

    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a [u8], Option<&'a [u8]>)) {
        for key in self.0.keys() {
            match self.0.get_all(key) {
                Some(values) => values
                    .iter()
                    .for_each(|value| visit(key.as_bytes(), Some(value.as_bytes()))),
                None => visit(key.as_bytes(), self.0.get(key).map(str::as_bytes)),
            }
        }
    }
}

/// A carrier that writes OpenTelemetry's text map, which can set (and so replace), but neither read
/// nor remove.
struct InjectorCarrier<'a>(&'a mut dyn Injector);

impl Carrier for InjectorCarrier<'_> {
    fn each<'a>(&'a self, _visit: &mut dyn FnMut(&'a [u8], Option<&'a [u8]>)) {}
}

impl CarrierMut for InjectorCarrier<'_> {
    fn replace(&mut self, name: &str, value: &[u8]) {
        // All values that the codec writes are ASCII.
        self.0
            .set(name, String::from_utf8_lossy(value).into_owned());
    }

    fn remove(&mut self, _name: &str) {}
}

#[cfg(test)]
mod tests;
