//! Extraction and injection: the codec of [`throughline_model::context`] for OpenTelemetry's
//! [`Context`].
//!
//! OpenTelemetry's span context cannot hold a deferred or forced decision, a refusal without ids,
//! or the random flag of a trace that is not recorded. These are kept in the [`Context`] as a
//! separate value, so that nothing is lost between an incoming and an outgoing header.

mod text_map;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use opentelemetry::baggage::{BaggageExt as _, BaggageMetadata, KeyValueMetadata};
use opentelemetry::propagation::text_map_propagator::FieldIter;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Context, Key, StringValue, global};
use throughline_model::context::{
    self, Baggage, Carrier, CarrierMut, Format, PropagatedContext, Sampling,
};
use throughline_model::flag;

use self::text_map::{CarrierText, CarrierTextMut, ExtractorCarrier, InjectorCarrier};

/// The context formats that are read and written.
///
/// [`Propagation::new`] takes a list of built-in formats; the first one that holds a context wins.
/// [`Propagation::from_propagator`] takes any propagator of OpenTelemetry, such as one for X-Ray.
///
/// It is also a [`TextMapPropagator`], and can serve as OpenTelemetry's global one: other
/// instrumentation then uses the same formats.
#[derive(Debug, Clone)]
pub struct Propagation {
    source: PropagationSource,
    rejected: Arc<AtomicU64>,
}

#[derive(Debug, Clone)]
enum PropagationSource {
    Formats(Arc<FormatOrder>),
    Custom(Arc<dyn TextMapPropagator + Send + Sync>),
    /// OpenTelemetry's global propagator at the time of each use; the default formats while the
    /// application has set none.
    Global,
}

/// The built-in formats that are read and written, in order.
#[derive(Debug)]
struct FormatOrder {
    extract: Vec<Format>,
    inject: Vec<Format>,
    fields: Vec<String>,
}

/// The context of a sender, before it is joined with that of the receiver.
pub(crate) enum ReceivedTraceContext {
    Own(PropagatedContext),
    /// The context that a propagator of the application read.
    Custom(Context),
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
        Self::from_source(PropagationSource::Formats(default_formats()))
    }
}

impl Propagation {
    /// Returns a propagation that reads and writes these formats. Both forms of B3 are read when
    /// either is written (OpenTelemetry, "Propagators API", B3 requirements).
    #[must_use]
    pub fn new(formats: &[Format]) -> Self {
        let order = FormatOrder::new(formats);
        Self::from_source(PropagationSource::Formats(Arc::new(order)))
    }

    /// Returns a propagation by a propagator of OpenTelemetry, for formats that are not built in.
    #[must_use]
    pub fn from_propagator(propagator: impl TextMapPropagator + Send + Sync + 'static) -> Self {
        Self::from_source(PropagationSource::Custom(Arc::new(propagator)))
    }

    /// Returns a propagation by OpenTelemetry's global propagator, whenever it is set. Must not
    /// become the global one itself.
    pub(crate) fn global() -> Self {
        Self::from_source(PropagationSource::Global)
    }

    fn from_source(source: PropagationSource) -> Self {
        Self {
            source,
            rejected: Arc::default(),
        }
    }

    /// Returns `base` with the sender's context as remote parent, and its baggage, if the carrier
    /// holds them.
    #[must_use]
    pub fn extract(&self, base: &Context, carrier: &dyn Carrier) -> Context {
        self.read(carrier).join(base)
    }

    /// Reads the carrier, and counts malformed headers.
    pub(crate) fn read(&self, carrier: &dyn Carrier) -> ReceivedTraceContext {
        let custom = |propagator: &dyn TextMapPropagator| {
            let found = propagator.extract_with_context(&Context::new(), &CarrierText(carrier));
            ReceivedTraceContext::Custom(found)
        };
        match &self.source {
            PropagationSource::Formats(order) => self.read_formats(order, carrier),
            PropagationSource::Custom(propagator) => custom(propagator.as_ref()),
            PropagationSource::Global => global_propagator(custom)
                .unwrap_or_else(|| self.read_formats(&default_formats(), carrier)),
        }
    }

    fn read_formats(&self, order: &FormatOrder, carrier: &dyn Carrier) -> ReceivedTraceContext {
        let found = context::extract(&order.extract, carrier);
        if found.rejected > 0 {
            self.rejected
                .fetch_add(u64::from(found.rejected), Ordering::Relaxed);
        }
        ReceivedTraceContext::Own(found)
    }

    /// Writes the context's span and baggage, in place of existing headers of these names. Writes
    /// nothing without a valid span.
    pub fn inject(&self, cx: &Context, carrier: &mut dyn CarrierMut) {
        // An invalid context would be rejected by every receiver, so nothing is written.
        let has_span = cx.span().span_context().is_valid();
        match &self.source {
            PropagationSource::Formats(order) => order.inject(cx, carrier),
            PropagationSource::Custom(propagator) if has_span => {
                propagator.inject_context(cx, &mut CarrierTextMut(carrier));
            }
            PropagationSource::Global if has_span => {
                let mut text = CarrierTextMut(&mut *carrier);
                let written =
                    global_propagator(|propagator| propagator.inject_context(cx, &mut text));
                if written.is_none() {
                    default_formats().inject(cx, carrier);
                }
            }
            PropagationSource::Custom(_) | PropagationSource::Global => {}
        }
    }

    /// Returns the number of malformed headers that were ignored.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// Returns the number of headers that are written at most, for allocation.
    #[cfg_attr(
        not(feature = "kafka"),
        expect(dead_code, reason = "only Kafka headers are sized beforehand")
    )]
    pub(crate) fn field_count(&self) -> usize {
        match &self.source {
            PropagationSource::Formats(order) => order.fields.len(),
            // A guess, which costs a second allocation where it is too low.
            PropagationSource::Custom(_) | PropagationSource::Global => 3,
        }
    }

    /// Calls `visit` with the name of each header that is written.
    #[cfg_attr(
        not(feature = "kafka"),
        expect(dead_code, reason = "only Kafka headers are removed again")
    )]
    pub(crate) fn each_field(&self, visit: &mut dyn FnMut(&str)) {
        match &self.source {
            PropagationSource::Formats(order) => order.fields.iter().for_each(|name| visit(name)),
            PropagationSource::Custom(propagator) => propagator.fields().for_each(visit),
            PropagationSource::Global => {
                let visited =
                    global_propagator(|propagator| propagator.fields().for_each(&mut *visit));
                if visited.is_none() {
                    default_formats().fields.iter().for_each(|name| visit(name));
                }
            }
        }
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
        match &self.source {
            PropagationSource::Formats(order) => FieldIter::new(&order.fields),
            PropagationSource::Custom(propagator) => propagator.fields(),
            PropagationSource::Global => FieldIter::new(&[]),
        }
    }
}

// === impl FormatOrder ===

impl FormatOrder {
    fn new(formats: &[Format]) -> Self {
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
            extract,
            inject,
            fields,
        }
    }

    fn inject(&self, cx: &Context, carrier: &mut dyn CarrierMut) {
        // An invalid context would be rejected by every receiver, so nothing is written.
        if let Some(context) = to_model(cx) {
            context::inject(&self.inject, &context, &baggage_of(cx), carrier);
        }
    }
}

// === impl ReceivedTraceContext ===

impl ReceivedTraceContext {
    /// Returns the sender's span.
    pub(crate) fn span(&self) -> Option<SpanContext> {
        match self {
            Self::Own(found) => span_context(found),
            Self::Custom(cx) => {
                Some(cx.span().span_context().clone()).filter(SpanContext::is_valid)
            }
        }
    }

    /// Returns `base` with the sender's span as remote parent, its decision, and its baggage.
    pub(crate) fn join(&self, base: &Context) -> Context {
        match self {
            Self::Own(found) => with_received(base, found),
            Self::Custom(found) => match self.span() {
                Some(span) => with_baggage(&base.with_remote_span_context(span), found),
                None => with_baggage(base, found),
            },
        }
    }

    /// Returns `base` with the sender's decision and baggage, but not its span.
    #[cfg_attr(
        not(feature = "kafka"),
        expect(dead_code, reason = "only Kafka has senders that are linked only")
    )]
    pub(crate) fn join_without_span(&self, base: &Context) -> Context {
        match self {
            Self::Own(found) => {
                let found = PropagatedContext {
                    context: None,
                    ..found.clone()
                };
                with_received(base, &found)
            }
            Self::Custom(found) => with_baggage(base, found),
        }
    }
}

/// Returns the default formats, W3C Trace Context and Baggage.
fn default_formats() -> Arc<FormatOrder> {
    static DEFAULT: OnceLock<Arc<FormatOrder>> = OnceLock::new();
    let order = || Arc::new(FormatOrder::new(&[Format::W3c, Format::Baggage]));
    Arc::clone(DEFAULT.get_or_init(order))
}

/// Calls `work` with OpenTelemetry's global propagator, if the application has set one.
fn global_propagator<T>(work: impl FnOnce(&dyn TextMapPropagator) -> T) -> Option<T> {
    // OpenTelemetry calls the function once, although its type allows more.
    let mut work = Some(work);
    global::get_text_map_propagator(|propagator| {
        // The propagator of OpenTelemetry that does nothing has no fields.
        propagator.fields().next()?;
        work.take().map(|work| work(propagator))
    })
}

/// Returns `base` with the baggage of `found`, if that has any.
fn with_baggage(base: &Context, found: &Context) -> Context {
    if found.baggage().is_empty() {
        return base.clone();
    }
    base.with_baggage(found.baggage().iter().map(|(key, (value, metadata))| {
        KeyValueMetadata::new(key.clone(), value.clone(), metadata.clone())
    }))
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

fn with_received(base: &Context, found: &PropagatedContext) -> Context {
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
fn span_context(found: &PropagatedContext) -> Option<SpanContext> {
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

#[cfg(test)]
mod tests;
