//! The requests of Grafana's Jaeger data source, with responses decoded as Grafana decodes them.
//!
//! The types are those of its backend: a field of another type would fail the whole response.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::query::with_checkout;
use crate::running::{RunningCollector, TRACE};

#[derive(Deserialize)]
struct Envelope<T> {
    data: T,
    errors: Value,
    total: i64,
    limit: i64,
    offset: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Trace {
    #[serde(rename = "traceID")]
    trace_id: String,
    spans: Vec<Span>,
    processes: HashMap<String, Process>,
    warnings: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Span {
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
    #[serde(rename = "processID")]
    process_id: String,
    operation_name: String,
    start_time: i64,
    duration: i64,
    logs: Option<Vec<Log>>,
    references: Option<Vec<Reference>>,
    tags: Option<Vec<Tag>>,
    warnings: Option<Vec<String>>,
    flags: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Process {
    service_name: String,
    tags: Option<Vec<Tag>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    ref_type: String,
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
}

#[derive(Deserialize)]
struct Log {
    timestamp: i64,
    fields: Option<Vec<Tag>>,
}

#[derive(Deserialize)]
struct Tag {
    key: String,
    #[serde(rename = "type")]
    kind: String,
    value: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dependency {
    parent: String,
    child: String,
    call_count: i64,
}

/// Sends a request as Grafana does, and decodes the response as it does.
fn read<T: DeserializeOwned>(collector: &RunningCollector, path: &str) -> T {
    let response: Envelope<T> = serde_json::from_value(collector.query(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(
        (response.errors, response.limit, response.offset),
        (Value::Null, 0, 0),
        "{path}"
    );
    assert!(response.total >= 0, "{path}");
    response.data
}

#[test]
fn the_data_source_form_is_filled() {
    let collector = with_checkout();
    // "Save & test" and the list of services are one request; the operations of a service follow
    // when it is chosen.
    let services: Vec<String> = read(&collector, "/api/services");
    assert_eq!(
        services,
        ["billing", "eshop", "kafka-consumer", "notification"]
    );
    let operations: Vec<String> = read(&collector, "/api/services/kafka-consumer/operations");
    assert_eq!(operations, ["From_eshop-topic"]);
}

#[test]
fn the_search_form_finds_traces() {
    let collector = with_checkout();
    let range = "start=1699999990000000&end=1700000010000000&lookback=custom";
    let form = "limit=20&service=billing&operation=BankTransaction.transfer\
                &minDuration=1ms&maxDuration=10s";
    let tags = "tags=%7B%22error%22%3A%22true%22%7D";
    let traces: Vec<Trace> = read(&collector, &format!("/api/traces?{range}&{form}&{tags}"));
    assert_eq!(
        traces
            .iter()
            .map(|trace| trace.trace_id.as_str())
            .collect::<Vec<_>>(),
        [TRACE]
    );
    let none: Vec<Trace> = read(
        &collector,
        &format!("/api/traces?{range}&service=billing&minDuration=1h"),
    );
    assert!(none.is_empty());
    // Versions since 12 send no times, and mean the newest.
    assert!(
        read::<Vec<Trace>>(&collector, "/api/traces?limit=20&service=eshop").is_empty(),
        "it is years old"
    );
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_nanos();
    let span = json!({
        "traceId": "5b8aa5a2d2c872e8321cf37308d69df2", "spanId": "051581bf3cb55c13", "name": "now",
        "startTimeUnixNano": now.to_string(), "endTimeUnixNano": (now + 1_000_000).to_string(),
    });
    let service =
        json!({ "attributes": [{ "key": "service.name", "value": { "stringValue": "eshop" } }] });
    collector.send(
        &json!({ "resourceSpans": [{ "resource": service, "scopeSpans": [{ "spans": [span] }] }] }),
    );
    let newest: Vec<Trace> = read(&collector, "/api/traces?limit=20&service=eshop");
    assert_eq!(newest.len(), 1);
}

#[test]
fn a_trace_is_returned_whole_whatever_time_range_the_dashboard_sends() {
    let collector = with_checkout();
    for query in [
        "",
        "?start=1700000000000&end=1700000010000",
        "?start=1&end=2",
    ] {
        let traces: Vec<Trace> = read(&collector, &format!("/api/traces/{TRACE}{query}"));
        let [trace] = traces.as_slice() else {
            panic!("{} traces", traces.len())
        };
        assert!(trace.warnings.is_none());
        assert_readable(trace);
    }
}

/// Asserts that every span has a service and that every reference into the trace has a target:
/// Grafana draws its tree from them.
fn assert_readable(trace: &Trace) {
    let known = |id: &str| trace.spans.iter().any(|span| span.span_id == id);
    let mut references = Vec::new();
    for span in &trace.spans {
        let process = &trace.processes[&span.process_id];
        assert!(!process.service_name.is_empty() && !span.operation_name.is_empty());
        assert!(
            span.start_time > 1_600_000_000_000_000 && span.duration > 0 && span.flags >= 0,
            "microseconds"
        );
        assert_eq!((span.trace_id.as_str(), &span.warnings), (TRACE, &None));
        for reference in span.references.iter().flatten() {
            assert_eq!(
                reference.trace_id == TRACE,
                known(&reference.span_id),
                "{}",
                reference.span_id
            );
            references.push(reference.ref_type.as_str());
        }
        let logs = span.logs.iter().flatten();
        let fields = logs
            .inspect(|log| assert!(log.timestamp >= span.start_time))
            .flat_map(|log| log.fields.iter());
        for tag in fields.chain(&span.tags).chain(&process.tags).flatten() {
            assert!(
                !tag.key.is_empty()
                    && ["string", "bool", "int64", "float64", "binary"].contains(&&*tag.kind)
            );
            assert!(
                !tag.value.is_null() && !tag.value.is_object() && !tag.value.is_array(),
                "{}",
                tag.key
            );
        }
    }
    assert!(
        references.contains(&"CHILD_OF") && references.contains(&"FOLLOWS_FROM"),
        "{references:?}"
    );
}

#[test]
fn the_dependency_graph_is_decoded() {
    let collector = with_checkout();
    let edges: Vec<Dependency> = read(
        &collector,
        "/api/dependencies?endTs=1700000060000&lookback=120000",
    );
    assert!(
        edges
            .iter()
            .all(|edge| !edge.parent.is_empty() && edge.call_count > 0)
    );
    assert!(
        edges
            .iter()
            .any(|edge| (edge.parent.as_str(), edge.child.as_str()) == ("eshop", "billing"))
    );
}
