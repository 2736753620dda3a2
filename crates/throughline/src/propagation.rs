//! Contexts in and out of headers: the codec of [`throughline_model::context`] joined to OpenTelemetry's [`Context`].
//!
//! What OpenTelemetry's span context cannot hold (a deferred or forced decision, a refusal without ids, the random flag
//! of a trace that is not recorded) rides along in the [`Context`] as a value of its own, so that nothing is lost
//! between the header that came in and the header that goes out.

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

/// Which formats are read and written, in which order. The first format that holds a context wins.
///
/// It is also a [`TextMapPropagator`], so it can serve as OpenTelemetry's global one: other instrumentation then speaks
/// the same formats.
#[derive(Debug, Clone)]
pub struct Propagation {
    extract: Arc<[Format]>,
    inject: Arc<[Format]>,
    fields: Arc<[String]>,
    rejected: Arc<AtomicU64>,
}

/// What came in that OpenTelemetry's span context has no place for. Valid for one trace only: `trace` says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Inbound {
    /// The trace it belongs to; `None` for a decision that came without ids.
    pub(crate) trace: Option<TraceId>,
    pub(crate) sampling: Sampling,
    pub(crate) random: bool,
}

/// W3C Trace Context level 2, section 3.2.2.5.2.
const RANDOM: u8 = 0x02;

// === impl Propagation ===

impl Default for Propagation {
    /// W3C Trace Context and Baggage, as OpenTelemetry has it.
    fn default() -> Self {
        Self::new(&[Format::W3c, Format::Baggage])
    }
}

impl Propagation {
    /// Reads and writes the same formats, except that either form of B3 is read when one of them is named
    /// (OpenTelemetry, "Propagators API", B3 requirements).
    #[must_use]
    pub fn new(formats: &[Format]) -> Self {
        let (mut extract, mut inject) = (
            Vec::with_capacity(formats.len() + 1),
            Vec::with_capacity(formats.len()),
        );
        for format in formats {
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

    /// `base` with the sender's context and baggage as its remote parent, when the carrier holds them; else as it was.
    #[must_use]
    pub fn extract(&self, base: &Context, carrier: &dyn Carrier) -> Context {
        receive(base, &self.read(carrier))
    }

    /// What the carrier holds, its malformed headers counted.
    pub(crate) fn read(&self, carrier: &dyn Carrier) -> PropagatedContext {
        let found = context::extract(&self.extract, carrier);
        if found.rejected > 0 {
            self.rejected
                .fetch_add(u64::from(found.rejected), Ordering::Relaxed);
        }
        found
    }

    /// Writes the context's span and baggage, replacing what the carrier held under these names. Writes nothing when
    /// there is no valid span.
    pub fn inject(&self, cx: &Context, carrier: &mut dyn CarrierMut) {
        if let Some(context) = to_model(cx) {
            context::inject(&self.inject, &context, &baggage_of(cx), carrier);
        }
    }

    /// How many malformed headers were met and ignored.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// How many header fields are written at most, for sizing.
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
        self.inject(cx, &mut TextMapOut(injector));
    }

    fn extract_with_context(&self, cx: &Context, extractor: &dyn Extractor) -> Context {
        self.extract(cx, &TextMapIn(extractor))
    }

    fn fields(&self) -> FieldIter<'_> {
        FieldIter::new(&self.fields)
    }
}

// === impl Inbound ===

impl Inbound {
    /// What is known of this trace beyond its span context.
    pub(crate) fn of(cx: &Context, trace: TraceId) -> Option<Self> {
        cx.get::<Self>()
            .copied()
            .filter(|inbound| inbound.trace == Some(trace))
    }

    /// Whether a trace that starts here was refused beforehand.
    pub(crate) fn refuses(cx: &Context) -> bool {
        cx.get::<Self>()
            .is_some_and(|inbound| inbound.trace.is_none() && inbound.sampling == Sampling::Drop)
    }
}

/// `base` with what was found: the sender's span as the remote parent, what else it said, and its baggage.
pub(crate) fn receive(base: &Context, found: &PropagatedContext) -> Context {
    let mut cx = match (&found.context, span_context(found)) {
        (Some(context), Some(span)) => {
            let trace = Some(span.trace_id());
            let cx = base.with_remote_span_context(span);
            let plain =
                matches!(context.sampling, Sampling::Sample | Sampling::Drop) && !context.random;
            let more = || Inbound {
                trace,
                sampling: context.sampling,
                random: context.random,
            };
            if plain { cx } else { cx.with_value(more()) }
        }
        _ => base.clone(),
    };
    if let Some(sampling) = found.sampling {
        cx = cx.with_value(Inbound {
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

/// The sender's span as OpenTelemetry has it.
pub(crate) fn span_context(found: &PropagatedContext) -> Option<SpanContext> {
    let context = found.context.as_ref()?;
    let flags = u8::from(context.sampling.is_sampled()) | if context.random { RANDOM } else { 0 };
    Some(SpanContext::new(
        TraceId::from_bytes(context.trace_id.to_bytes()),
        SpanId::from_bytes(context.span_id.to_bytes()),
        TraceFlags::new(flags),
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
    let inbound = Inbound::of(cx, span.trace_id());
    let sampling = match (span.is_sampled(), inbound.map(|inbound| inbound.sampling)) {
        (true, Some(Sampling::Debug)) => Sampling::Debug,
        (true, _) => Sampling::Sample,
        // Nobody here has decided: the sender's context is passed on as it came.
        (false, Some(Sampling::Deferred)) if span.is_remote() => Sampling::Deferred,
        (false, _) => Sampling::Drop,
    };
    let mut context = context::SpanContext::new(trace_id, span_id, sampling);
    context.random =
        span.trace_flags().to_u8() & RANDOM != 0 || inbound.is_some_and(|inbound| inbound.random);
    if *span.trace_state() != TraceState::NONE {
        context.trace_state =
            context::TraceState::parse(&span.trace_state().header()).unwrap_or_default();
    }
    Some(context)
}

fn baggage_of(cx: &Context) -> Baggage {
    let mut baggage = Baggage::default();
    for (key, (value, metadata)) in cx.baggage() {
        // An entry past the limits is left out; the ones before it go.
        baggage.insert(key.as_str(), value.as_str(), metadata.as_str());
    }
    baggage
}

fn push_new(formats: &mut Vec<Format>, format: Format) {
    if !formats.contains(&format) {
        formats.push(format);
    }
}

/// OpenTelemetry's text map as a carrier to read.
struct TextMapIn<'a>(&'a dyn Extractor);

impl Carrier for TextMapIn<'_> {
    fn last<'a>(&'a self, name: &str) -> Option<&'a [u8]> {
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

/// OpenTelemetry's text map as a carrier to write: it can set, which replaces, but neither read nor remove.
struct TextMapOut<'a>(&'a mut dyn Injector);

impl Carrier for TextMapOut<'_> {
    fn each<'a>(&'a self, _visit: &mut dyn FnMut(&'a [u8], Option<&'a [u8]>)) {}
}

impl CarrierMut for TextMapOut<'_> {
    fn replace(&mut self, name: &str, value: &[u8]) {
        self.0
            .set(name, String::from_utf8_lossy(value).into_owned());
    }

    fn remove(&mut self, _name: &str) {}
}

#[cfg(test)]
mod tests;
