//! The exporter against the real collector and against misbehaving servers.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

#[path = "it/collector.rs"]
mod collector;
#[path = "it/faults.rs"]
mod faults;
#[path = "it/server.rs"]
mod server;
#[path = "it/tls.rs"]
mod tls;

use std::sync::Arc;
use std::time::Duration;

use throughline_export::{
    BatchSettings, Config, ExportProtocol, Exporter, OtlpEndpoint, RetrySettings,
};
use throughline_model::{
    DroppedCounts, KeyValue, Resource, Scope, Span, SpanId, SpanKind, SpanSink as _, Status,
    TraceId,
};

/// A timeout far beyond any expected wait.
const LONG: Duration = Duration::from_secs(30);

fn span(trace: u8, id: u8) -> Span {
    Span {
        trace_id: TraceId::from_bytes([trace; 16]).unwrap(),
        span_id: SpanId::from_bytes([id; 8]).unwrap(),
        parent_span_id: None,
        flags: 1,
        trace_state: String::new(),
        name: "send orders".to_owned(),
        kind: SpanKind::Producer,
        start: 1_700_000_000_000_000_000,
        end: 1_700_000_000_001_000_000,
        attributes: vec![KeyValue::new("messaging.system", "kafka")],
        events: Vec::new(),
        links: Vec::new(),
        status: Status::Unset,
        status_message: Box::default(),
        dropped: DroppedCounts::default(),
        resource: Arc::new(Resource::of_service("orders")),
        scope: Arc::new(Scope::default()),
    }
}

/// A configuration with short intervals.
fn config(url: &str, protocol: ExportProtocol) -> Config {
    Config {
        retry: RetrySettings {
            initial_interval: Duration::from_millis(5),
            max_interval: Duration::from_millis(20),
            max_elapsed_time: Duration::from_secs(20),
        },
        batch: BatchSettings {
            delay: Duration::from_millis(10),
            ..BatchSettings::default()
        },
        ..Config::to(OtlpEndpoint::collector(url, protocol).unwrap())
    }
}

fn send(exporter: &Exporter, spans: u8) {
    for id in 1..=spans {
        exporter.try_send(span(9, id)).unwrap();
    }
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, wait)
        .await
        .unwrap_or_else(|_| panic!("never happened: {what}"));
}
