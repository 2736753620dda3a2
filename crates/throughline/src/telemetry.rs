//! A handle to tracer, instruments and propagation.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use opentelemetry::global::{self, BoxedTracer};
use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter, MeterProvider};
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId,
    TraceState, Tracer as _, TracerProvider,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

use crate::Propagation;

/// A handle to the destination of spans and metrics and to the context formats. Cheap to clone.
///
/// Producers, consumers, layers and middleware use [`Telemetry::global`] by default.
#[derive(Clone)]
pub struct Telemetry(TelemetryHandle);

#[derive(Clone)]
enum TelemetryHandle {
    Fixed(Arc<ResolvedTelemetry>),
    /// The telemetry of [`crate::init`], which may run later; filled by the first use after it.
    Global(Arc<OnceLock<Arc<ResolvedTelemetry>>>),
}

/// The destination of spans and metrics at the time of a use. An operation resolves it once.
pub(crate) struct ResolvedTelemetry {
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

/// Whether a trace that begins in this process is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RootSampling {
    Likely,
    Unlikely,
    /// The sampler is the application's, and may look at the attributes of a span.
    Unknown,
}

/// The metrics of the semantic conventions that this crate records.
#[cfg_attr(
    not(all(feature = "kafka", feature = "tower")),
    expect(dead_code, reason = "each feature records metrics of its own")
)]
pub(crate) struct MetricInstruments {
    pub(crate) sent_messages: Counter<u64>,
    pub(crate) consumed_messages: Counter<u64>,
    pub(crate) operation_duration: Histogram<f64>,
    pub(crate) process_duration: Histogram<f64>,
    pub(crate) consumer_lag: Gauge<i64>,
    pub(crate) queued_messages: Gauge<u64>,
    pub(crate) server_duration: Histogram<f64>,
    pub(crate) client_duration: Histogram<f64>,
}

static GLOBAL: RwLock<Option<Arc<ResolvedTelemetry>>> = RwLock::new(None);

/// The instrumentation scope of all spans and metrics.
const SCOPE: &str = "throughline";
/// The bucket boundaries in seconds (HTTP metrics, `http.server.request.duration`).
const DURATION_BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

// === impl Telemetry ===

impl Telemetry {
    /// Returns the telemetry of [`crate::init`], even where that runs later: a client that was
    /// created before is traced from then on. Without it: the global providers and the global
    /// propagator of OpenTelemetry, as they are at the first span that they record; without a
    /// propagator, the default [`Propagation`].
    #[must_use]
    pub fn global() -> Self {
        Self(match initialized() {
            Some(resolved) => TelemetryHandle::Fixed(resolved),
            None => TelemetryHandle::Global(Arc::default()),
        })
    }

    /// Returns telemetry that uses these providers. Without `propagation` it uses the global
    /// propagator of OpenTelemetry, or W3C Trace Context and Baggage where none is set.
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
        let resolved = ResolvedTelemetry::from_providers(tracers, Some(meters), propagation);
        Self(TelemetryHandle::Fixed(Arc::new(resolved)))
    }

    /// Returns telemetry that uses a pipeline of [`crate::init`].
    pub(crate) fn from_pipeline(
        tracers: Option<&SdkTracerProvider>,
        sampling: RootSampling,
        meters: Option<&SdkMeterProvider>,
        propagation: Propagation,
    ) -> Self {
        let tracer = tracers.map_or(TracerSource::Disabled, |tracers| {
            let tracer = tracers.tracer_with_scope(scope());
            let is_root_recorded = match sampling {
                RootSampling::Likely => true,
                RootSampling::Unlikely => false,
                RootSampling::Unknown => {
                    return TracerSource::Provider(BoxedTracer::new(Box::new(tracer)));
                }
            };
            TracerSource::Pipeline {
                tracer,
                is_root_recorded,
            }
        });
        let meter = meters.map(|meters| meters.meter_with_scope(scope()));
        let resolved = ResolvedTelemetry::assemble(tracer, meter.as_ref(), propagation);
        Self(TelemetryHandle::Fixed(Arc::new(resolved)))
    }

    /// Returns the context formats, for clients that this crate does not know: extract from and
    /// inject into any [`Carrier`](crate::Carrier).
    #[must_use]
    pub fn propagation(&self) -> Propagation {
        self.resolve().propagation.clone()
    }

    pub(crate) fn make_global(&self) {
        *GLOBAL.write().unwrap_or_else(PoisonError::into_inner) = Some(self.resolve().into_owned());
    }

    /// Returns the telemetry at this time.
    pub(crate) fn resolve(&self) -> Cow<'_, Arc<ResolvedTelemetry>> {
        let cell = match &self.0 {
            TelemetryHandle::Fixed(resolved) => return Cow::Borrowed(resolved),
            TelemetryHandle::Global(cell) => cell,
        };
        if let Some(resolved) = cell.get() {
            return Cow::Borrowed(resolved);
        }
        if let Some(resolved) = initialized() {
            return Cow::Borrowed(cell.get_or_init(|| resolved));
        }
        // The provider that OpenTelemetry starts with does nothing, and must not be kept: the
        // application may still set its own.
        let mut resolved = ResolvedTelemetry::from_providers(
            &global::tracer_provider(),
            None::<&SdkMeterProvider>,
            Some(Propagation::global()),
        );
        if !resolved.is_recording() {
            return Cow::Owned(Arc::new(resolved));
        }
        let meter = global::meter_provider().meter_with_scope(scope());
        resolved.instruments = Some(MetricInstruments::new(&meter, &resolved.propagation));
        Cow::Borrowed(cell.get_or_init(|| Arc::new(resolved)))
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry")
            .field("propagation", &self.resolve().propagation)
            .finish_non_exhaustive()
    }
}

/// Returns the telemetry of [`crate::init`], after it has run.
fn initialized() -> Option<Arc<ResolvedTelemetry>> {
    // A panic while the lock is held cannot leave the value half written, so poison is ignored.
    GLOBAL
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

// === impl ResolvedTelemetry ===

impl ResolvedTelemetry {
    fn from_providers<T>(
        tracers: &T,
        meters: Option<&(impl MeterProvider + ?Sized)>,
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
        let meter = meters.map(|meters| meters.meter_with_scope(scope()));
        let propagation = propagation.unwrap_or_else(Propagation::global);
        Self::assemble(tracer, meter.as_ref(), propagation)
    }

    fn assemble(tracer: TracerSource, meter: Option<&Meter>, propagation: Propagation) -> Self {
        let instruments = meter.map(|meter| MetricInstruments::new(meter, &propagation));
        Self {
            tracer,
            instruments,
            propagation,
        }
    }

    #[cfg_attr(
        not(any(feature = "kafka", feature = "tower", feature = "reqwest")),
        expect(dead_code, reason = "unused without features")
    )]
    pub(crate) const fn propagation(&self) -> &Propagation {
        &self.propagation
    }

    #[cfg_attr(
        not(any(feature = "kafka", feature = "tower", feature = "reqwest")),
        expect(dead_code, reason = "unused without features")
    )]
    pub(crate) const fn instruments(&self) -> Option<&MetricInstruments> {
        self.instruments.as_ref()
    }

    /// Returns whether the provider is more than OpenTelemetry's initial one, which does nothing.
    fn is_recording(&self) -> bool {
        let TracerSource::Provider(tracer) = &self.tracer else {
            return true;
        };
        // In a suppressed context the SDK starts no span, while the provider that does nothing
        // returns the parent. So the question leaves no trace.
        let parent = SpanContext::new(
            TraceId::from_bytes([1; 16]),
            SpanId::from_bytes([1; 8]),
            TraceFlags::NOT_SAMPLED,
            true,
            TraceState::NONE,
        );
        let probed = Context::new()
            .with_remote_span_context(parent.clone())
            .with_telemetry_suppressed();
        let span = tracer.build_with_context(SpanBuilder::from_name("probe"), &probed);
        *span.span_context() != parent
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
        let (tracer, is_root_recorded) = match &self.tracer {
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
        let early = is_likely_recorded.then(|| attributes.take()).flatten();
        if let Some(attributes) = early {
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
            operation_duration: duration(
                "messaging.client.operation.duration",
                "Duration of sending and polling records and of committing offsets",
            ),
            process_duration: duration(
                "messaging.process.duration",
                "Duration of message processing",
            ),
            consumer_lag: meter
                .i64_gauge("throughline.kafka.consumer.lag")
                .with_unit("{message}")
                .with_description("Records of a partition that the consumer has yet to read")
                .build(),
            queued_messages: meter
                .u64_gauge("throughline.kafka.producer.queue")
                .with_unit("{message}")
                .with_description("Records that a producer has yet to deliver")
                .build(),
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
