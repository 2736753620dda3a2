//! The builder: in code as by environment, which takes precedence.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry::trace::SpanKind;
use opentelemetry::{Context, Key};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, Span, SpanData, SpanProcessor};
use throughline::{CarrierMut as _, Format, HeaderList, Propagation, builder};
use tracing_subscriber::layer::SubscriberExt as _;

/// A processor that keeps the resource and the finished spans.
#[derive(Debug, Clone, Default)]
struct Kept(Arc<Mutex<SeenSpans>>);

#[derive(Debug, Default)]
struct SeenSpans {
    resource: Vec<(Key, String)>,
    spans: Vec<SpanKind>,
}

impl SpanProcessor for Kept {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.lock().unwrap().spans.push(span.span_kind);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn set_resource(&mut self, resource: &Resource) {
        let all = resource.iter();
        self.0.lock().unwrap().resource = all
            .map(|(key, value)| (key.clone(), value.to_string()))
            .collect();
    }
}

impl Kept {
    fn attribute(&self, key: &str) -> Option<String> {
        let kept = self.0.lock().unwrap();
        let found = kept.resource.iter().find(|(name, _)| name.as_str() == key);
        found.map(|(_, value)| value.clone())
    }
}

#[test]
fn resource_is_detected_set_in_code_and_overridden_by_the_environment() {
    let environment = |name: &str| {
        let attributes = "zone=north,host.name=chosen";
        (name == "OTEL_RESOURCE_ATTRIBUTES").then(|| attributes.to_owned())
    };
    let kept = Kept::default();
    let _guard = builder()
        .environment(environment)
        .variable("OTEL_SERVICE_NAME", "shop")
        .resource_attribute("zone", "south")
        .resource_attribute("tier", 1_i64)
        .span_processor(kept.clone())
        .build();
    for (key, expected) in [
        ("zone", "north"),
        ("host.name", "chosen"),
        ("tier", "1"),
        ("service.name", "shop"),
        ("telemetry.sdk.language", "rust"),
    ] {
        assert_eq!(kept.attribute(key).as_deref(), Some(expected), "{key}");
    }
    let pid = std::process::id().to_string();
    assert_eq!(kept.attribute("process.pid"), Some(pid));
    assert!(kept.attribute("service.instance.id").is_some());

    let plain = Kept::default();
    let _guard = builder()
        .environment(|_| None)
        .without_detectors()
        .span_processor(plain.clone())
        .build();
    assert_eq!(plain.attribute("service.instance.id"), None);
    assert_eq!(plain.attribute("host.name"), None);
}

#[test]
fn sampler_and_propagation_in_code_replace_those_of_the_environment() {
    let environment = |name: &str| match name {
        "OTEL_TRACES_SAMPLER" => Some("always_on".to_owned()),
        "OTEL_PROPAGATORS" => Some("tracecontext".to_owned()),
        _ => None,
    };
    let kept = Kept::default();
    let guard = builder()
        .environment(environment)
        .sampler(Sampler::AlwaysOff)
        .propagation(Propagation::new(&[Format::B3Single]))
        .span_processor(kept.clone())
        .build();
    let subscriber = tracing_subscriber::registry().with(guard.layer());
    tracing::subscriber::with_default(subscriber, || {
        tracing::info_span!("work").in_scope(|| {});
    });
    assert_eq!(kept.0.lock().unwrap().spans.len(), 0, "sampled out");
    let mut received = HeaderList::default();
    received.replace("b3", b"0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1");
    let propagation = guard.telemetry().propagation();
    let mut sent = HeaderList::default();
    propagation.inject(&propagation.extract(&Context::new(), &received), &mut sent);
    assert_eq!(sent, received);
}

#[test]
fn disabled_sdk_records_nothing_whatever_was_added() {
    let disabled = |name: &str| (name == "OTEL_SDK_DISABLED").then(|| "true".to_owned());
    let guard = builder()
        .environment(disabled)
        .span_processor(Kept::default())
        .build();
    assert!(guard.layer::<tracing_subscriber::Registry>().is_none());
}
