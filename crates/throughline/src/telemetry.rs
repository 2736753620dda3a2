//! A handle to tracer, instruments and propagation.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use opentelemetry::global::{self, BoxedTracer};
use opentelemetry::metrics::{Counter, Histogram, Meter, MeterProvider};
use opentelemetry::trace::{
    Span as _, SpanBuilder, TraceContextExt as _, Tracer as _, TracerProvider,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

use crate::Propagation;

/// A handle to the destination of spans and metrics and to the context formats. Cheap to clone.
///
/// Producers, consumers, layers and middleware use [`Telemetry::global`] by default.
#[derive(Clone)]
pub struct Telemetry(Arc<TelemetryInner>);

struct TelemetryInner {
    tracer: TracerSource,
    /// `None` without export of metrics.
    instruments: Option<MetricInstruments>,
    propagation: Propagation,
}

/// The creator of spans.
enum TracerSource {
    /// A pipeline of [`crate::init`]. Its sampler ignores attributes, so spans that are not
    /// recorded need none.
    Pipeline {
        tracer: SdkTracer,
        /// Whether a trace that begins here is more likely recorded than not.
        is_root_recorded: bool,
    },
    /// A provider of the application.
    Provider(BoxedTracer),
    /// None: contexts are propagated unchanged.
    Disabled,
}

/// The metrics of the semantic conventions that this crate records.
#[cfg_attr(
    not(all(feature = "kafka", feature = "tower", feature = "reqwest")),
    expect(dead_code, reason = "each feature records metrics of its own")
)]
pub(crate) struct MetricInstruments {
    pub(crate) sent_messages: Counter<u64>,
    pub(crate) consumed_messages: Counter<u64>,
    pub(crate) process_duration: Histogram<f64>,
    pub(crate) server_duration: Histogram<f64>,
    pub(crate) client_duration: Histogram<f64>,
}

static GLOBAL: RwLock<Option<Telemetry>> = RwLock::new(None);

/// The instrumentation scope of all spans and metrics.
const SCOPE: &str = "throughline";
/// The bucket boundaries in seconds (HTTP metrics, `http.server.request.duration`).
const DURATION_BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

// === impl Telemetry ===

impl Telemetry {
    /// Returns the telemetry of [`crate::init`]. Before it, or without it: the current global
    /// providers of OpenTelemetry, with the default [`Propagation`].
    #[must_use]
    pub fn global() -> Self {
        // A panic while the lock is held cannot leave the value half written, so poison is ignored.
        let global = GLOBAL
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        // Not cached: the application may set its providers after the first use of this crate.
        global.unwrap_or_else(|| {
            Self::new(
                &global::tracer_provider(),
                global::meter_provider().as_ref(),
                None,
            )
        })
    }

    /// Returns telemetry that uses these providers. Without `propagation` the formats are W3C Trace
    /// Context and Baggage.
    #[must_use]
    pub fn new<T>(
        tracers: &T,
        meters: &(impl MeterProvider + ?Sized),
        propagation: Option<Propagation>,
    ) -> Self
    where
        T: TracerProvider,
        T::Tracer: Send + Sync + 'static,
        <T::Tracer as opentelemetry::trace::Tracer>::Span: Send + Sync + 'static,
    {
        let tracer = TracerSource::Provider(BoxedTracer::new(Box::new(
            tracers.tracer_with_scope(scope()),
        )));
        Self::assemble(
            tracer,
            Some(&meters.meter_with_scope(scope())),
            propagation.unwrap_or_default(),
        )
    }

    /// Returns telemetry that uses a pipeline of [`crate::init`]. `is_root_recorded` estimates
    /// whether a trace that begins here is recorded.
    pub(crate) fn from_pipeline(
        tracers: Option<&SdkTracerProvider>,
        is_root_recorded: bool,
        meters: Option<&SdkMeterProvider>,
        propagation: Propagation,
    ) -> Self {
        let tracer = tracers.map_or(TracerSource::Disabled, |tracers| {
            let tracer = tracers.tracer_with_scope(scope());
            TracerSource::Pipeline {
                tracer,
                is_root_recorded,
            }
        });
        let meter = meters.map(|meters| meters.meter_with_scope(scope()));
        Self::assemble(tracer, meter.as_ref(), propagation)
    }

    fn assemble(tracer: TracerSource, meter: Option<&Meter>, propagation: Propagation) -> Self {
        let instruments = meter.map(|meter| MetricInstruments::new(meter, &propagation));
        Self(Arc::new(TelemetryInner {
            tracer,
            instruments,
            propagation,
        }))
    }

    /// Returns the context formats.
    #[must_use]
    pub fn propagation(&self) -> &Propagation {
        &self.0.propagation
    }

    pub(crate) fn make_global(&self) {
        *GLOBAL.write().unwrap_or_else(PoisonError::into_inner) = Some(self.clone());
    }

    #[cfg_attr(
        not(any(feature = "kafka", feature = "tower", feature = "reqwest")),
        expect(dead_code, reason = "unused without features")
    )]
    pub(crate) fn instruments(&self) -> Option<&MetricInstruments> {
        self.0.instruments.as_ref()
    }

    /// Starts a child of `parent`, and returns `parent` with the span in it. Attributes are created
    /// only for a span that is recorded.
    #[cfg_attr(
        not(any(feature = "kafka", feature = "tower", feature = "reqwest")),
        expect(dead_code, reason = "unused without features")
    )]
    pub(crate) fn start(
        &self,
        mut builder: SpanBuilder,
        parent: &Context,
        attributes: impl FnOnce() -> Vec<KeyValue>,
    ) -> Context {
        let parent_span = parent.span();
        let parent_span = parent_span.span_context();
        let (tracer, is_root_recorded) = match &self.0.tracer {
            TracerSource::Pipeline {
                tracer,
                is_root_recorded,
            } => (tracer, *is_root_recorded),
            // A foreign sampler may look at attributes, so all of them are set before the start.
            TracerSource::Provider(tracer) => {
                builder = builder.with_attributes(attributes());
                return parent.with_span(tracer.build_with_context(builder, parent));
            }
            // The sender's context is propagated even without tracing, or the trace would break
            // here.
            TracerSource::Disabled if parent_span.is_valid() => {
                return parent.with_remote_span_context(parent_span.clone());
            }
            TracerSource::Disabled => return parent.clone(),
        };
        // Attributes are cheaper to set before the start than after it. A wrong guess costs time
        // only.
        let is_likely_recorded = if parent_span.is_valid() {
            parent_span.is_sampled()
        } else {
            is_root_recorded
        };
        let mut attributes = Some(attributes);
        if is_likely_recorded && let Some(attributes) = attributes.take() {
            builder = builder.with_attributes(attributes());
        }
        let mut span = tracer.build_with_context(builder, parent);
        if !span.is_recording() {
            // Only its context matters. After a shutdown it is invalid: the parent is passed on
            // then.
            let context = Some(span.span_context())
                .filter(|context| context.is_valid())
                .unwrap_or(parent_span);
            return parent.with_remote_span_context(context.clone());
        }
        if let Some(attributes) = attributes {
            span.set_attributes(attributes());
        }
        parent.with_span(span)
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry")
            .field("propagation", &self.0.propagation)
            .finish_non_exhaustive()
    }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope::builder(SCOPE)
        .with_version(env!("CARGO_PKG_VERSION"))
        .build()
}

// === impl MetricInstruments ===

impl MetricInstruments {
    fn new(meter: &Meter, propagation: &Propagation) -> Self {
        let counter = |name, unit, description| {
            meter
                .u64_counter(name)
                .with_unit(unit)
                .with_description(description)
                .build()
        };
        let duration = |name, description| {
            let histogram = meter
                .f64_histogram(name)
                .with_unit("s")
                .with_description(description);
            histogram.with_boundaries(DURATION_BUCKETS.to_vec()).build()
        };
        // The clone shares the counter with all users of this propagation.
        let rejected = propagation.clone();
        // The SDK keeps the callback for as long as its meter provider lives.
        let _ = meter
            .u64_observable_counter("throughline.context.rejected")
            .with_unit("{header}")
            .with_description("Malformed trace context headers that were ignored")
            .with_callback(move |observer| observer.observe(rejected.rejected(), &[]))
            .build();
        Self {
            sent_messages: counter(
                "messaging.client.sent.messages",
                "{message}",
                "Messages that a producer tried to send",
            ),
            consumed_messages: counter(
                "messaging.client.consumed.messages",
                "{message}",
                "Messages delivered to a consumer",
            ),
            process_duration: duration(
                "messaging.process.duration",
                "Duration of message processing",
            ),
            server_duration: duration(
                "http.server.request.duration",
                "Duration of HTTP server requests",
            ),
            client_duration: duration(
                "http.client.request.duration",
                "Duration of HTTP client requests",
            ),
        }
    }
}
