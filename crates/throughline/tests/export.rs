//! The export of spans to collectors that work, are unreachable, or stall.
#![cfg(feature = "export-grpc")]
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
use throughline::{ExportStats, Guard, builder};

/// Initializes telemetry from these variables, without global state.
fn guard(variables: &[(&str, &str)], timeout: Duration) -> Guard {
    let all: HashMap<String, String> = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    builder()
        .service_name("tested")
        .environment(move |name| all.get(name).cloned())
        .shutdown_timeout(timeout)
        .try_build()
        .unwrap()
}

/// Ends this many spans, as method spans of `tracing`, which need no features of the crate.
fn make_spans(guard: &Guard, count: usize) {
    use tracing_subscriber::layer::SubscriberExt as _;
    let subscriber = tracing_subscriber::registry().with(guard.layer());
    tracing::subscriber::with_default(subscriber, || {
        for _ in 0..count {
            tracing::info_span!("work").in_scope(|| {});
        }
    });
}

/// Responds to each HTTP request with this status, and returns the requests.
fn collector(status: &'static str) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, requests) = sync_channel(16);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let sender = sender.clone();
            std::thread::spawn(move || {
                serve(stream.unwrap(), status, |request| {
                    sender.send(request).is_ok()
                });
            });
        }
    });
    (address, requests)
}

fn serve(mut stream: TcpStream, status: &str, keep: impl Fn(String) -> bool) {
    let mut held = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = stream.read(&mut chunk).unwrap_or(0);
        if read == 0 {
            return;
        }
        held.extend(chunk.iter().take(read));
        let text = String::from_utf8_lossy(&held).to_lowercase();
        let Some(head) = text.split_once("\r\n\r\n").map(|(head, _)| head.to_owned()) else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.parse().unwrap());
        if held.len() < head.len() + 4 + length {
            continue;
        }
        held.drain(..head.len() + 4 + length);
        if !keep(head) {
            return;
        }
        stream
            .write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes())
            .unwrap();
    }
}

#[test]
fn spans_reach_the_collector_with_the_configured_headers() {
    let (address, requests) = collector("200 OK");
    let guard = guard(
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &address),
            ("OTEL_METRICS_EXPORTER", "none"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=k1"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ],
        Duration::from_secs(10),
    );
    make_spans(&guard, 3);
    let stats = guard.shutdown();
    assert_eq!((stats.ended, stats.exported, stats.failed), (3, 3, 0));
    let head = requests.recv_timeout(Duration::from_secs(5)).unwrap();
    assert!(head.starts_with("post /v1/traces "), "{head}");
    for line in [
        "content-type: application/x-protobuf",
        "content-encoding: gzip",
        "api-key: k1",
    ] {
        assert!(head.lines().any(|one| one == line), "{line} in {head}");
    }
}

#[test]
fn json_protocol_is_used_when_configured() {
    let (address, requests) = collector("200 OK");
    let json = [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", address.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
    ];
    let guard = guard(&json, Duration::from_secs(10));
    make_spans(&guard, 1);
    assert_eq!(guard.shutdown().exported, 1);
    let head = requests.recv_timeout(Duration::from_secs(5)).unwrap();
    assert!(
        head.lines()
            .any(|line| line == "content-type: application/json"),
        "{head}"
    );
}

#[test]
fn metrics_are_sent_to_their_own_path() {
    let (address, requests) = collector("200 OK");
    let guard = guard(
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &address),
            ("OTEL_TRACES_EXPORTER", "none"),
        ],
        Duration::from_secs(10),
    );
    drop(guard);
    let head = requests.recv_timeout(Duration::from_secs(5)).unwrap();
    assert!(head.starts_with("post /v1/metrics "), "{head}");
}

#[test]
fn unreachable_collector_costs_spans_only() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for protocol in ["http/protobuf", "grpc"] {
        let address = format!("http://{closed}");
        let dead = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", address.as_str()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ];
        let guard = guard(&dead, Duration::from_secs(3));
        let started = Instant::now();
        make_spans(&guard, 10);
        assert!(
            started.elapsed() < Duration::from_millis(500),
            "ending a span does not wait"
        );
        let stats = guard.shutdown();
        assert!(
            started.elapsed() < Duration::from_secs(6),
            "{protocol}: the end is bounded"
        );
        assert_eq!((stats.ended, stats.missing()), (10, 10), "{protocol}");
    }
}

#[test]
fn stalled_collector_does_not_delay_the_shutdown() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    for protocol in ["http/protobuf", "grpc"] {
        let stalled = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", address.as_str()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ];
        let guard = guard(&stalled, Duration::from_millis(300));
        make_spans(&guard, 5);
        let started = Instant::now();
        let stats = guard.shutdown();
        assert!(
            started.elapsed() < Duration::from_secs(2),
            "{protocol}: {:?}",
            started.elapsed()
        );
        assert_eq!(stats.missing(), 5, "{protocol}");
    }
}

#[test]
fn full_queue_drops_and_counts() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let small = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", address.as_str()),
        ("OTEL_METRICS_EXPORTER", "none"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "10"),
    ];
    let guard = guard(&small, Duration::from_millis(100));
    let started = Instant::now();
    make_spans(&guard, 10_000);
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(guard.export_stats().ended, 10_000);
    assert_eq!(guard.shutdown().missing(), 10_000);
}

#[test]
fn final_rejection_is_counted_as_failed() {
    let (address, _requests) = collector("400 Bad Request");
    let refusing = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", address.as_str()),
        ("OTEL_METRICS_EXPORTER", "none"),
    ];
    let guard = guard(&refusing, Duration::from_secs(10));
    make_spans(&guard, 2);
    let stats = guard.shutdown();
    assert_eq!((stats.ended, stats.exported, stats.failed), (2, 0, 2));
}

#[tokio::test]
async fn guard_can_be_dropped_inside_a_single_threaded_runtime() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let address = format!("http://{closed}");
    for protocol in ["http/protobuf", "grpc"] {
        let dead = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", address.as_str()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ];
        let guard = guard(&dead, Duration::from_millis(500));
        make_spans(&guard, 1);
        drop(guard);
    }
}

#[test]
fn nothing_runs_without_a_configured_exporter() {
    let guard = guard(&[], Duration::from_secs(5));
    assert!(guard.layer::<tracing_subscriber::Registry>().is_none());
    make_spans(&guard, 3);
    assert_eq!(guard.shutdown(), ExportStats::default());
}

#[test]
fn global_initialization_serves_the_opentelemetry_api() {
    let spans = opentelemetry_sdk::trace::InMemorySpanExporter::default();
    let second = opentelemetry_sdk::trace::InMemorySpanExporter::default();
    let processor = opentelemetry_sdk::trace::SimpleSpanProcessor::new(spans.clone());
    let variables = HashMap::from([("OTEL_RESOURCE_ATTRIBUTES", "zone=north")]);
    let guard = builder()
        .service_name("global")
        .environment(move |name| variables.get(name).map(|value| (*value).to_owned()))
        .span_processor(processor)
        .span_processor(opentelemetry_sdk::trace::SimpleSpanProcessor::new(
            second.clone(),
        ))
        .init();
    opentelemetry::global::tracer_provider()
        .tracer("other")
        .start("by another library")
        .end();
    tracing::info_span!("a method").in_scope(|| {});
    let names: Vec<_> = spans
        .get_finished_spans()
        .unwrap()
        .into_iter()
        .map(|span| span.name)
        .collect();
    assert_eq!(names, ["by another library", "a method"]);
    assert_eq!(
        second.get_finished_spans().unwrap().len(),
        2,
        "of both processors"
    );
    drop(guard);
    assert!(
        builder()
            .environment(|name| (name == "OTEL_PROPAGATORS").then(|| "x".to_owned()))
            .try_init()
            .is_err()
    );
}

/// Each of these stopped services that were configured for another SDK (OpenTelemetry, "Environment
/// variable specification": unknown values are ignored with a warning).
#[test]
fn invalid_variable_never_stops_a_service() {
    let (address, requests) = collector("200 OK");
    for (name, value) in [
        ("OTEL_TRACES_EXPORTER", "otlp,zipkin"),
        ("OTEL_METRICS_EXPORTER", "prometheus"),
        ("OTEL_PROPAGATORS", "tracecontext,xray"),
        ("OTEL_TRACES_SAMPLER", "parentbased_jaeger_remote"),
        ("OTEL_SDK_DISABLED", "1"),
        ("OTEL_BSP_SCHEDULE_DELAY", "0"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
        ("OTEL_RESOURCE_ATTRIBUTES", "zone=north,broken"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "ftp://c:4318"),
    ] {
        let variables = HashMap::from([
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", address.clone()),
            (name, value.to_owned()),
        ]);
        let lookup = move |name: &str| variables.get(name).cloned();
        let strict = builder().environment(lookup.clone()).try_build();
        assert_eq!(strict.unwrap_err().iter().count(), 1, "{name}={value}");
        let guard = builder().environment(lookup).build();
        let warnings: Vec<_> = guard
            .warnings()
            .iter()
            .map(|it| it.variable.as_str())
            .collect();
        assert_eq!(warnings, [name], "{value}");
        make_spans(&guard, 1);
        assert!(guard.force_flush(), "{name}={value}");
        assert_eq!(guard.shutdown().exported, 1, "{name}={value}");
        requests.recv_timeout(Duration::from_secs(10)).unwrap();
    }
}

#[test]
fn nothing_but_propagators_is_read_when_disabled() {
    let variables = HashMap::from([
        ("OTEL_SDK_DISABLED", "true"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c:4318"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_RESOURCE_ATTRIBUTES", "zone"),
    ]);
    let guard = builder()
        .environment(move |name| variables.get(name).map(|value| (*value).to_owned()))
        .try_build()
        .unwrap();
    assert!(guard.layer::<tracing_subscriber::Registry>().is_none());
}
