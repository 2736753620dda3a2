//! Thrift from Jaeger's client for Python, over UDP with remote sampling, and over HTTP.
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

use std::process::Command;

use serde_json::{Value, json};
use throughline_collector::{JaegerPorts, ListenerPort};

use crate::running::{RunningCollector, eventually};

/// Pinned, so that the test means the same next year. `six` is needed and not declared.
const PACKAGES: [&str; 4] = [
    "jaeger-client==4.8.0",
    "thrift==0.25.0",
    "tornado==6.6.1",
    "six==1.16.0",
];

#[test]
fn spans_of_the_python_client_arrive_complete_over_udp_and_http() {
    let python = python::interpreter("python-jaeger", &PACKAGES);
    let open = ListenerPort::Required(0);
    let collector = RunningCollector::configured(|config| {
        config.jaeger = JaegerPorts {
            http: open,
            compact: open,
            binary: open,
            sampling: open,
        };
    });
    let addresses = collector.addresses;
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/send_jaeger_spans.py"
    );
    let ids = python::run(
        Command::new(python)
            .arg(script)
            .arg(addresses.jaeger_compact.unwrap().port().to_string())
            .arg(addresses.jaeger_sampling.unwrap().port().to_string())
            .arg(addresses.jaeger_http.unwrap().to_string()),
    );
    let ids: Vec<&str> = ids.lines().collect();
    assert_eq!(ids.len(), 2, "{ids:?}");
    for (id, service) in ids.iter().zip(["python-agent", "python-http"]) {
        // Datagrams are stored after they were sent.
        let trace = eventually("the trace has three spans", || {
            let response = collector.get(&format!("/api/traces/{id}"));
            let trace = (response.status == 200).then(|| response.json()["data"][0].clone())?;
            (trace["spans"].as_array()?.len() == 3).then_some(trace)
        });
        check(&trace, service);
    }
}

fn check(trace: &Value, service: &str) {
    let spans = trace["spans"].as_array().unwrap();
    let span = |name: &str| {
        spans
            .iter()
            .find(|span| span["operationName"] == name)
            .unwrap_or_else(|| panic!("{name} is missing in {trace:#}"))
    };
    let server = span("GET /checkout");
    let (producer, consumer) = (span("To_eshop-topic"), span("From_eshop-topic"));
    let process = &trace["processes"][server["processID"].as_str().unwrap()];
    assert_eq!(process["serviceName"], service);
    let keys: Vec<&str> = process["tags"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|tag| tag["key"].as_str())
        .collect();
    assert!(keys.contains(&"jaeger.version"), "{keys:?}");

    assert_eq!(server["references"], json!([]));
    let tags = server["tags"].as_array().unwrap();
    for tag in [
        json!({ "key": "span.kind", "type": "string", "value": "server" }),
        json!({ "key": "text", "type": "string", "value": "caf\u{e9}" }),
        json!({ "key": "ratio", "type": "float64", "value": 0.5 }),
        json!({ "key": "cached", "type": "bool", "value": true }),
    ] {
        assert!(tags.contains(&tag), "{tag} is missing in {tags:?}");
    }
    let fields = server["logs"][0]["fields"].as_array().unwrap();
    assert_eq!(fields.len(), 2, "{fields:?}");
    assert_eq!(fields[0]["value"], "accepted");

    let reference = |kind: &str, to: &Value| {
        let (trace, span) = (&to["traceID"], &to["spanID"]);
        json!({ "refType": kind, "traceID": trace, "spanID": span })
    };
    assert_eq!(
        producer["references"],
        json!([reference("CHILD_OF", server)])
    );
    let mut followed = consumer["references"][0].clone();
    followed.as_object_mut().unwrap().remove("tags");
    assert_eq!(followed, reference("FOLLOWS_FROM", producer));
    assert!(
        consumer["tags"]
            .as_array()
            .unwrap()
            .contains(&json!({ "key": "error", "type": "bool", "value": true }))
    );
}
