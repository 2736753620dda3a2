//! A stock Jaeger over the collector's store: it writes to the OTLP port, reads by its Remote
//! Storage API, each with a token, and its query API answers as the collector's own does.
//!
//! Runs with `THROUGHLINE_FULL=1`: building Jaeger takes some five minutes.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use serde_json::Value;
use throughline_testkit::build::{ProjectBinaries, repository_root};
use throughline_testkit::clients;
use throughline_testkit::collector::{CollectorInstance, CollectorPorts};
use throughline_testkit::jaeger::{JaegerInstance, JaegerStore};
use throughline_testkit::wait;

const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(30);
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SEND: &str = "sender-0123456789abcdef";
const READ: &str = "reader-0123456789abcdef";
/// Spans of the trace in the file.
const SPANS: usize = 7;

#[test]
fn stock_jaeger_writes_and_reads_the_collectors_store() {
    if std::env::var_os("THROUGHLINE_FULL").is_none_or(|full| full != "1") {
        eprintln!("skipped: it runs with THROUGHLINE_FULL=1");
        return;
    }
    let binary = clients::jaeger(&mut |step| eprintln!("{step}")).unwrap();
    let throughline = &ProjectBinaries::build().unwrap().throughline;
    let home = tempfile::tempdir().unwrap();
    let access = home.path().join("access.yaml");
    let rules = format!("ingest: [{{ token: {SEND} }}]\nquery: [{{ token: {READ} }}]\n");
    fs::write(&access, rules).unwrap();
    let access = format!("--access={}", access.display());
    let args = ["--query-grpc-port=0", &access];
    let collector =
        CollectorInstance::start_on(throughline, CollectorPorts::default(), &args).unwrap();
    let store = JaegerStore::Remote {
        reader: collector.addresses().query_grpc.unwrap(),
        writer: collector.addresses().otlp_grpc,
        tokens: [READ, SEND].map(str::to_owned),
    };
    let jaeger = JaegerInstance::start(&binary, &store, true).unwrap();
    let fixtures = repository_root().join("crates/throughline-collector/tests/fixtures");
    let spans = fs::read(fixtures.join("linked_checkout.otlp.json")).unwrap();
    let url = format!("http://{}/v1/traces", jaeger.otlp_http);
    let response = ureq::post(&url)
        .header("content-type", "application/json")
        .send(&spans)
        .unwrap();
    assert_eq!(response.status(), 200);
    let ours = |path: &str| query(&collector, path);
    let by_id = format!("/api/traces/{TRACE}");
    let written = wait::until(ARRIVAL_TIMEOUT, || ours(&by_id).get(0).cloned());
    assert_eq!(spans_of(&written.unwrap()).len(), SPANS);
    let same_list = |path: &str| {
        let texts = |list: Value| {
            let items = list.as_array().unwrap().iter();
            items.map(ToString::to_string).collect::<BTreeSet<_>>()
        };
        let found = texts(jaeger.get(path).unwrap());
        assert_eq!(found, texts(ours(path)), "{path}");
        assert!(!found.is_empty(), "{path}");
    };
    same_list("/api/services");
    same_list("/api/services/eshop/operations");
    same_list("/api/operations?service=eshop");
    same_list("/api/operations?service=eshop&spanKind=client");
    // The spans are of 2023.
    same_list("/api/dependencies?endTs=1700000010000&lookback=3600000");

    let path = format!("/api/traces/{TRACE}");
    let by_id = jaeger.get(&path).unwrap();
    assert_eq!(comparable(&by_id), comparable(&ours(&path)));
    let times = "start=1699999990000000&end=1700000010000000&limit=20&lookback=custom";
    for conditions in [
        "service=eshop",
        "service=eshop&operation=GET%20%2Fcheckout&minDuration=100ms&maxDuration=10s",
        "service=eshop&tags=%7B%22http.response.status_code%22%3A%22200%22%7D",
    ] {
        let path = format!("/api/traces?{times}&{conditions}");
        let found = jaeger.get(&path).unwrap();
        assert_eq!(comparable(&found), comparable(&by_id), "{path}");
    }
    let path = format!("/api/traces?{times}&service=eshop&minDuration=10s");
    let found = jaeger.get(&path).unwrap();
    assert!(comparable(&found).is_empty(), "{found:#}");

    let unknown = jaeger.get("/api/traces/0af7651916cd43dd8448eb211c8031ff");
    assert!(unknown.unwrap_err().to_string().contains("404"));
    let summary = v3_spans(&jaeger);
    assert_eq!(summary, SPANS, "Jaeger's API v3");
}

/// Returns the data of a response of the collector's own API.
fn query(collector: &CollectorInstance, path: &str) -> Value {
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    let response = ureq::Agent::new_with_config(config.build())
        .get(format!("{}{path}", collector.url()))
        .header("authorization", format!("Bearer {READ}"))
        .call();
    let reply: Value = response.unwrap().body_mut().read_json().unwrap();
    reply["data"].clone()
}

/// Returns the number of spans that Jaeger's API v3 finds.
fn v3_spans(jaeger: &JaegerInstance) -> usize {
    let url = format!("http://{}/api/v3/traces/{TRACE}", jaeger.query);
    let mut response = ureq::get(&url).call().unwrap();
    let found: Value = response.body_mut().read_json().unwrap();
    let resources = found["result"]["resourceSpans"].as_array().unwrap();
    let scopes = resources
        .iter()
        .flat_map(|resource| resource["scopeSpans"].as_array().unwrap());
    scopes
        .map(|scope| scope["spans"].as_array().unwrap().len())
        .sum()
}

fn spans_of(trace: &Value) -> &Vec<Value> {
    trace["spans"].as_array().unwrap()
}

/// Returns the spans of all traces, sorted, with the process in place of its number.
fn comparable(traces: &Value) -> Vec<Value> {
    let mut spans: Vec<Value> = Vec::new();
    for trace in traces.as_array().unwrap() {
        for span in spans_of(trace) {
            let mut span = span.clone();
            let process = &trace["processes"][span["processID"].as_str().unwrap()];
            span["processID"] = sorted_tags(process.clone());
            let fields = span.as_object_mut().unwrap();
            // Jaeger warns of spans whose times it adjusts, and the collector of nothing.
            fields.remove("warnings");
            // The collector's JSON has these as well.
            fields.remove("flags");
            for reference in fields["references"].as_array_mut().unwrap() {
                reference.as_object_mut().unwrap().remove("tags");
            }
            spans.push(sorted_tags(span));
        }
    }
    spans.sort_by_key(|span| span["spanID"].to_string());
    spans
}

/// Sorts the tags, whose order means nothing.
fn sorted_tags(mut object: Value) -> Value {
    if let Some(tags) = object["tags"].as_array_mut() {
        tags.sort_by_key(ToString::to_string);
    }
    object
}
