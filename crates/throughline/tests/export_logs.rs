//! The log lines about a failing export. The export runs on threads of its own, so the subscriber
//! must be the process's, and the test has a process to itself.
#![cfg(feature = "export")]
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tracing_subscriber::layer::SubscriberExt as _;

/// Counts events of level WARN and above, by target.
#[derive(Clone, Default)]
struct WarningCounts(Arc<Mutex<HashMap<String, usize>>>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for WarningCounts {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        if *event.metadata().level() <= tracing::Level::WARN {
            let target = event.metadata().target().split("::").next();
            let mut counts = self.0.lock().unwrap();
            *counts.entry(target.unwrap().to_owned()).or_default() += 1;
        }
    }
}

#[test]
fn failing_export_is_logged_once_however_often_it_fails() {
    // Nobody listens on port 1.
    let endpoint = |name: &str| {
        let is_endpoint = name == "OTEL_EXPORTER_OTLP_ENDPOINT";
        is_endpoint.then(|| "http://127.0.0.1:1".to_owned())
    };
    let guard = throughline::builder().environment(endpoint).build();
    let counts = WarningCounts::default();
    let subscriber = tracing_subscriber::registry().with(counts.clone());
    tracing::subscriber::set_global_default(subscriber).unwrap();
    for _ in 0..5 {
        let spans = tracing_subscriber::registry().with(guard.layer());
        tracing::subscriber::with_default(spans, || tracing::info_span!("work").in_scope(|| {}));
        assert!(!guard.force_flush(), "nothing was accepted");
    }
    assert_eq!(guard.export_stats().failed, 5);
    let counts = counts.0.lock().unwrap().clone();
    // One line for spans; metrics have a line of their own when there are any.
    assert!(counts["throughline"] <= 2, "{counts:?}");
    let of_the_sdk = counts
        .keys()
        .filter(|target| target.starts_with("opentelemetry"));
    assert_eq!(of_the_sdk.count(), 0, "{counts:?}");
}
