//! The bridge from spans of OpenTelemetry to `tracing`: inside a request or a record,
//! `tracing::Span::current()` is a span that stands for the span of OpenTelemetry.
//!
//! Events (`tracing::info!`) become events of that span, log lines carry its ids, and work that is
//! spawned with `in_current_span` stays in the trace. The span of `tracing` creates no span of
//! OpenTelemetry: [`BridgeTracer`] hands the one that exists to the layer of tracing-opentelemetry.
//!
//! The span exists only where the subscriber has [`BridgeLayer`]. Any other layer of
//! tracing-opentelemetry would make a span of its own from it.

use std::borrow::Cow;
use std::time::SystemTime;

use opentelemetry::trace::{Span, SpanBuilder, SpanContext, Status, TraceContextExt as _, Tracer};
use opentelemetry::{Context, KeyValue};
use tracing::Subscriber;
use tracing::span::Id;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context as LayerContext;
use tracing_subscriber::registry::LookupSpan;

/// The name of the `tracing` span that stands for a request or a record.
const SCOPE_NAME: &str = "throughline";

/// The layer that marks a subscriber as bridged. It also marks a method span as failed when a panic
/// leaves it; for that it must precede the layer that creates the spans, which removes the span's
/// context on exit.
pub(crate) struct BridgeLayer;

/// A tracer that returns the active span where the layer asks for one to stand for it.
#[derive(Debug, Clone)]
pub(crate) struct BridgeTracer<T>(pub(crate) T);

/// A span of a method, or the active span of a request or record.
#[derive(Debug)]
pub(crate) enum BridgeSpan<S> {
    Method(S),
    /// The context that holds the span, and a copy of the span's ids.
    Active(Context, SpanContext),
}

/// Returns the `tracing` span that stands for the span in `context`; a disabled one where no
/// subscriber wants it. It ends nothing when it closes.
#[cfg_attr(
    not(any(feature = "kafka", feature = "tower")),
    expect(dead_code, reason = "only servers and consumers have handlers")
)]
pub(crate) fn scope_of(context: &Context) -> tracing::Span {
    let span = context.span();
    let ids = span.span_context();
    let is_bridged =
        || tracing::dispatcher::get_default(|subscriber| subscriber.is::<BridgeLayer>());
    if !ids.is_valid() || !is_bridged() {
        return tracing::Span::none();
    }
    // The layer takes the span from the active context.
    let _attached = context.clone().attach();
    // An ERROR span passes every filter for logs, so that the ids are on each line.
    tracing::error_span!(
        target: "throughline",
        "throughline",
        trace_id = %ids.trace_id(),
        span_id = %ids.span_id(),
    )
}

// === impl BridgeLayer ===

impl<S> Layer<S> for BridgeLayer
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    fn on_exit(&self, id: &Id, cx: LayerContext<'_, S>) {
        // `on_exit` runs during unwinding, when the span is still the current one.
        if !std::thread::panicking() {
            return;
        }
        // The handler's guard records the panic of a request or record.
        if cx
            .metadata(id)
            .is_some_and(|metadata| metadata.name() != SCOPE_NAME)
        {
            Context::current()
                .span()
                .set_status(Status::error("the method panicked"));
        }
    }
}

// === impl BridgeTracer ===

impl<T: Tracer> Tracer for BridgeTracer<T> {
    type Span = BridgeSpan<T::Span>;

    fn build_with_context(&self, builder: SpanBuilder, parent_cx: &Context) -> Self::Span {
        if builder.name == SCOPE_NAME {
            let ids = parent_cx.span().span_context().clone();
            BridgeSpan::Active(parent_cx.clone(), ids)
        } else {
            BridgeSpan::Method(self.0.build_with_context(builder, parent_cx))
        }
    }
}

// === impl BridgeSpan ===

impl<S: Span> Span for BridgeSpan<S> {
    fn add_event_with_timestamp<T>(
        &mut self,
        name: T,
        timestamp: SystemTime,
        attributes: Vec<KeyValue>,
    ) where
        T: Into<Cow<'static, str>>,
    {
        match self {
            Self::Method(span) => span.add_event_with_timestamp(name, timestamp, attributes),
            Self::Active(cx, _) => cx
                .span()
                .add_event_with_timestamp(name, timestamp, attributes),
        }
    }

    fn span_context(&self) -> &SpanContext {
        match self {
            Self::Method(span) => span.span_context(),
            Self::Active(_, ids) => ids,
        }
    }

    fn is_recording(&self) -> bool {
        match self {
            Self::Method(span) => span.is_recording(),
            Self::Active(cx, _) => cx.span().is_recording(),
        }
    }

    fn set_attribute(&mut self, attribute: KeyValue) {
        match self {
            Self::Method(span) => span.set_attribute(attribute),
            Self::Active(cx, _) => cx.span().set_attribute(attribute),
        }
    }

    fn set_status(&mut self, status: Status) {
        match self {
            Self::Method(span) => span.set_status(status),
            // The layer sets an error without description for every event of level ERROR. A
            // request whose handler logged an error has not failed by that.
            Self::Active(..) if status == Status::error("") => {}
            Self::Active(cx, _) => cx.span().set_status(status),
        }
    }

    fn update_name<T>(&mut self, new_name: T)
    where
        T: Into<Cow<'static, str>>,
    {
        match self {
            Self::Method(span) => span.update_name(new_name),
            Self::Active(cx, _) => cx.span().update_name(new_name),
        }
    }

    fn add_link(&mut self, span_context: SpanContext, attributes: Vec<KeyValue>) {
        match self {
            Self::Method(span) => span.add_link(span_context, attributes),
            Self::Active(cx, _) => cx.span().add_link(span_context, attributes),
        }
    }

    fn end_with_timestamp(&mut self, timestamp: SystemTime) {
        match self {
            Self::Method(span) => span.end_with_timestamp(timestamp),
            // Its request or record ends it.
            Self::Active(..) => {}
        }
    }
}
