//! OTLP from the OpenTelemetry SDK for Python, over both protocols with all compressions.
//!
//! Its packages are downloaded once from PyPI into `.tools/` at the root of the repository;
//! requires `python3` with `venv`.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test reports its failure by panicking"
)]

#[path = "it/python.rs"]
mod python;
#[path = "it/running.rs"]
#[expect(
    dead_code,
    reason = "shared with the other tests, which use more of it"
)]
mod running;

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::running::RunningCollector;

/// Pinned, so that the test means the same next year.
const PACKAGES: [&str; 3] = [
    "opentelemetry-sdk==1.45.2",
    "opentelemetry-exporter-otlp-proto-http==1.45.2",
    "opentelemetry-exporter-otlp-proto-grpc==1.45.2",
];

#[test]
fn spans_of_the_python_sdk_arrive_complete_with_every_compression() {
    let python = python::interpreter("python-otlp", &PACKAGES);
    let collector = RunningCollector::start();
    for (protocol, endpoint) in [
        ("http", collector.addresses.otlp_http),
        ("grpc", collector.addresses.otlp_grpc),
    ] {
        for compression in ["NoCompression", "Gzip", "Deflate"] {
            let trace = send(
                &python,
                protocol,
                compression,
                &format!("http://{endpoint}"),
            );
            let response = collector.query(&format!("/api/traces/{trace}"));
            check(&response["data"][0], protocol);
        }
    }
}

fn check(trace: &Value, protocol: &str) {
    let spans = trace["spans"].as_array().unwrap();
    let span = |name: &str| {
        spans
            .iter()
            .find(|span| span["operationName"] == name)
            .unwrap()
    };
    let (server, producer) = (span("GET /checkout"), span("To_eshop-topic"));
    assert_eq!(spans.len(), 2);

    let process = &trace["processes"][server["processID"].as_str().unwrap()];
    assert_eq!(process["serviceName"], format!("python-{protocol}"));
    assert!(
        process["tags"]
            .as_array()
            .unwrap()
            .contains(&text("telemetry.sdk.language", "python"))
    );

    let tags = server["tags"].as_array().unwrap();
    for tag in [
        text("otel.scope.name", "send_spans"),
        text("otel.scope.version", "1.2.3"),
        text("span.kind", "server"),
        text("text", "caf\u{e9}"),
        text("items", r#"["book","pen"]"#),
        json!({ "key": "count", "type": "int64", "value": 7 }),
        json!({ "key": "ratio", "type": "float64", "value": 0.5 }),
        json!({ "key": "cached", "type": "bool", "value": true }),
    ] {
        assert!(tags.contains(&tag), "{tag} is missing in {tags:?}");
    }
    let fields =
        json!([text("event", "accepted"), { "key": "total", "type": "int64", "value": 3 }]);
    assert_eq!(server["logs"][0]["fields"], fields);
    assert_eq!(server["references"], json!([]));

    let tags = producer["tags"].as_array().unwrap();
    for tag in [
        text("span.kind", "producer"),
        text("otel.status_code", "ERROR"),
        text("otel.status_description", "broker away"),
        json!({ "key": "error", "type": "bool", "value": true }),
    ] {
        assert!(tags.contains(&tag), "{tag} is missing in {tags:?}");
    }
    assert_eq!(
        producer["references"],
        json!([
            { "refType": "CHILD_OF", "traceID": server["traceID"], "spanID": server["spanID"] },
            { "refType": "FOLLOWS_FROM",
              "traceID": "4bf92f3577b34da6a3ce929d0e0e4736", "spanID": "00f067aa0ba902b7",
              "tags": [text("opentracing.ref_type", "follows_from")] }
        ])
    );
    let end =
        |span: &Value| span["startTime"].as_u64().unwrap() + span["duration"].as_u64().unwrap();
    assert!(
        server["startTime"].as_u64() <= producer["startTime"].as_u64()
            && end(server) >= end(producer)
    );
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "type": "string", "value": value })
}

fn send(python: &Path, protocol: &str, compression: &str, endpoint: &str) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/send_spans.py");
    let mut command = Command::new(python);
    // The settings of the machine must not change the result.
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OTEL_"))
    {
        command.env_remove(name);
    }
    python::run(command.args([script, protocol, compression, endpoint]))
        .trim()
        .to_owned()
}
