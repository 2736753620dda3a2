//! Where spans and metrics go, as one handle: tracer, instruments and propagation.

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

/// Where the spans and metrics of this crate go, and how contexts are carried. Cheap to clone.
///
/// Producers, consumers, layers and middleware use [`Telemetry::global`] unless told otherwise.
#[derive(Clone)]
pub struct Telemetry(Arc<Inner>);

struct Inner {
    tracer: Tracer,
    /// `None`: nobody wants metrics.
    instruments: Option<Instruments>,
    propagation: Propagation,
}

/// Who makes the spans.
enum Tracer {
    /// A pipeline of [`crate::init`]. Its sampler looks at no attributes, so a span that is not recorded needs none.
    Ours {
        tracer: SdkTracer,
        /// Whether a trace that begins here is more likely recorded than not.
        roots_recorded: bool,
    },
    /// Whatever else there is.
    Any(BoxedTracer),
    /// Nobody: contexts are passed on as they came.
    Nobody,
}

/// The metrics of the semantic conventions that this crate keeps.
#[cfg_attr(
    not(all(feature = "kafka", feature = "tower", feature = "reqwest")),
    expect(dead_code, reason = "each feature records its own")
)]
pub(crate) struct Instruments {
    pub(crate) sent: Counter<u64>,
    pub(crate) consumed: Counter<u64>,
    pub(crate) process: Histogram<f64>,
    pub(crate) server: Histogram<f64>,
    pub(crate) client: Histogram<f64>,
}

static GLOBAL: RwLock<Option<Telemetry>> = RwLock::new(None);

const SCOPE: &str = "throughline";
/// The buckets that the conventions ask for, seconds.
const SECONDS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

// === impl Telemetry ===

impl Telemetry {
    /// What [`crate::init`] set up. Before it, or without it: the process-wide providers of OpenTelemetry as they are
    /// now, with the default [`Propagation`].
    #[must_use]
    pub fn global() -> Self {
        let global = GLOBAL
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        global.unwrap_or_else(|| {
            Self::new(
                &global::tracer_provider(),
                global::meter_provider().as_ref(),
                None,
            )
        })
    }

    /// Spans go to this tracer provider, metrics to this meter provider; contexts travel as `propagation` says
    /// (`None`: W3C Trace Context and Baggage).
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
        let tracer = Tracer::Any(BoxedTracer::new(Box::new(
            tracers.tracer_with_scope(scope()),
        )));
        Self::assemble(
            tracer,
            Some(&meters.meter_with_scope(scope())),
            propagation.unwrap_or_default(),
        )
    }

    /// Likewise, for a pipeline of [`crate::init`]. `roots_recorded`: whether a trace that begins here is more likely
    /// recorded than not.
    pub(crate) fn ours(
        tracers: Option<&SdkTracerProvider>,
        roots_recorded: bool,
        meters: Option<&SdkMeterProvider>,
        propagation: Propagation,
    ) -> Self {
        let tracer = tracers.map_or(Tracer::Nobody, |tracers| {
            let tracer = tracers.tracer_with_scope(scope());
            Tracer::Ours {
                tracer,
                roots_recorded,
            }
        });
        let meter = meters.map(|meters| meters.meter_with_scope(scope()));
        Self::assemble(tracer, meter.as_ref(), propagation)
    }

    fn assemble(tracer: Tracer, meter: Option<&Meter>, propagation: Propagation) -> Self {
        let instruments = meter.map(|meter| Instruments::new(meter, &propagation));
        Self(Arc::new(Inner {
            tracer,
            instruments,
            propagation,
        }))
    }

    /// How contexts are carried.
    #[must_use]
    pub fn propagation(&self) -> &Propagation {
        &self.0.propagation
    }

    pub(crate) fn make_global(&self) {
        *GLOBAL.write().unwrap_or_else(PoisonError::into_inner) = Some(self.clone());
    }

    #[cfg_attr(
        not(any(feature = "kafka", feature = "tower", feature = "reqwest")),
        expect(dead_code, reason = "unused alone")
    )]
    pub(crate) fn instruments(&self) -> Option<&Instruments> {
        self.0.instruments.as_ref()
    }

    #[cfg_attr(
        not(any(feature = "kafka", feature = "tower", feature = "reqwest")),
        expect(dead_code, reason = "unused alone")
    )]
    /// Starts a span below `parent`; the result is `parent` with the span in it. The attributes are not made when nobody
    /// would see them.
    pub(crate) fn start(
        &self,
        mut builder: SpanBuilder,
        parent: &Context,
        attributes: impl FnOnce() -> Vec<KeyValue>,
    ) -> Context {
        let above = parent.span();
        let above = above.span_context();
        let (tracer, roots_recorded) = match &self.0.tracer {
            Tracer::Ours {
                tracer,
                roots_recorded,
            } => (tracer, *roots_recorded),
            Tracer::Any(tracer) => {
                builder = builder.with_attributes(attributes());
                return parent.with_span(tracer.build_with_context(builder, parent));
            }
            Tracer::Nobody if above.is_valid() => {
                return parent.with_remote_span_context(above.clone());
            }
            Tracer::Nobody => return parent.clone(),
        };
        // A guess, which costs time when it is wrong, and nothing else.
        let likely = if above.is_valid() {
            above.is_sampled()
        } else {
            roots_recorded
        };
        let mut attributes = Some(attributes);
        if likely && let Some(attributes) = attributes.take() {
            builder = builder.with_attributes(attributes());
        }
        let mut span = tracer.build_with_context(builder, parent);
        if !span.is_recording() {
            // Its context is all there is to it. None, when the pipeline is shut down: then the one above is passed on.
            let own = Some(span.span_context())
                .filter(|own| own.is_valid())
                .unwrap_or(above);
            return parent.with_remote_span_context(own.clone());
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

// === impl Instruments ===

impl Instruments {
    fn new(meter: &Meter, propagation: &Propagation) -> Self {
        let counter = |name, unit, about| {
            meter
                .u64_counter(name)
                .with_unit(unit)
                .with_description(about)
                .build()
        };
        let seconds = |name, about| {
            let histogram = meter
                .f64_histogram(name)
                .with_unit("s")
                .with_description(about);
            histogram.with_boundaries(SECONDS.to_vec()).build()
        };
        let rejected = propagation.clone();
        let _ = meter
            .u64_observable_counter("throughline.context.rejected")
            .with_unit("{header}")
            .with_description("Malformed trace context headers that were ignored")
            .with_callback(move |observer| observer.observe(rejected.rejected(), &[]))
            .build();
        Self {
            sent: counter(
                "messaging.client.sent.messages",
                "{message}",
                "Messages that a producer tried to send",
            ),
            consumed: counter(
                "messaging.client.consumed.messages",
                "{message}",
                "Messages delivered to a consumer",
            ),
            process: seconds(
                "messaging.process.duration",
                "How long the handling of messages took",
            ),
            server: seconds(
                "http.server.request.duration",
                "How long HTTP requests took to answer",
            ),
            client: seconds(
                "http.client.request.duration",
                "How long answers to HTTP requests took",
            ),
        }
    }
}
