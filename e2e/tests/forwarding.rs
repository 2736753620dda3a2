//! Woven traces that are sent on: another back end, which weaves nothing, has them whole.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use throughline_testkit::build::ProjectBinaries;
use throughline_testkit::clients;
use throughline_testkit::collector::{CollectorInstance, CollectorPorts};
use throughline_testkit::jaeger::{JaegerInstance, JaegerStore};
use throughline_testkit::wait;

const TIMEOUT: Duration = Duration::from_secs(30);
const SHOP: &str = "0af7651916cd43dd8448eb211c80319c";
const MAIL: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const ALONE: &str = "11111111111111111111111111111111";

/// A span as a back end shows it.
#[derive(Debug, PartialEq, Eq)]
struct ShownSpan {
    name: String,
    parent: Option<String>,
    evidence: Option<String>,
}

fn attribute(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

/// Sends one span; `record` is the offset of its record.
fn send(
    collector: &CollectorInstance,
    name: &str,
    (trace, span, parent): (&str, &str, &str),
    kind: u8,
    record: Option<u64>,
) {
    let start = 1_700_000_000_000_000_000_u64;
    let mut attributes = vec![attribute("test", "forwarding")];
    if let Some(offset) = record {
        attributes.extend([
            attribute("messaging.kafka.cluster.id", "c1"),
            attribute("messaging.destination.name", "orders"),
            attribute("messaging.destination.partition.id", "3"),
            json!({ "key": "messaging.kafka.offset", "value": { "intValue": offset.to_string() } }),
        ]);
    }
    let request = json!({ "resourceSpans": [{
        "resource": { "attributes": [attribute("service.name", "shop")] },
        "scopeSpans": [{ "spans": [{
            "traceId": trace, "spanId": span, "parentSpanId": parent, "name": name, "kind": kind,
            "startTimeUnixNano": start.to_string(), "endTimeUnixNano": (start + 1000).to_string(),
            "attributes": attributes,
        }] }],
    }] });
    let url = format!("http://{}/v1/traces", collector.addresses().otlp_http);
    assert_eq!(ureq::post(&url).send_json(&request).unwrap().status(), 200);
}

fn collector(args: &[&str]) -> CollectorInstance {
    let binary = &ProjectBinaries::build().unwrap().throughline;
    CollectorInstance::start_on(binary, CollectorPorts::default(), args).unwrap()
}

/// Starts a collector that forwards to this back end.
fn weaver(url: &str, ports: CollectorPorts) -> CollectorInstance {
    let binary = &ProjectBinaries::build().unwrap().throughline;
    let args = ["--forward", url, "--weave-wait", "300ms"];
    CollectorInstance::start_on(binary, ports, &args).unwrap()
}

/// Returns the spans of a trace in Jaeger's JSON, by their ids.
fn shown(traces: &Value) -> BTreeMap<String, ShownSpan> {
    let spans = traces[0]["spans"].as_array().cloned().unwrap_or_default();
    let spans = spans.iter().map(|span| {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let references = span["references"].as_array().unwrap();
        let parent = references
            .iter()
            .find(|it| it["refType"] == "CHILD_OF" || it["refType"] == "FOLLOWS_FROM");
        let evidence = span["tags"].as_array().unwrap().iter();
        let evidence = evidence
            .clone()
            .find(|it| it["key"] == "throughline.parent.evidence");
        let shown = ShownSpan {
            name: text(&span["operationName"]).unwrap(),
            parent: parent.and_then(|it| text(&it["spanID"])),
            evidence: evidence.and_then(|it| text(&it["value"])),
        };
        (text(&span["spanID"]).unwrap(), shown)
    });
    spans.collect()
}

/// Sends two reported traces that a record joins, another trace, and a span that comes late;
/// checks what the back end has then. `get` returns `data` of its query API of Jaeger.
fn check(weaver: &CollectorInstance, get: &dyn Fn(&str) -> Value) {
    let spans_of = |id: &str| shown(&get(&format!("/api/traces/{id}?raw=true")));
    // The consumer's trace comes first.
    let receive = (MAIL, "00000000000000b1", "");
    send(weaver, "receive", receive, 5, Some(17));
    let mail = (MAIL, "00000000000000b2", "00000000000000b1");
    send(weaver, "mail", mail, 1, None);
    send(weaver, "alone", (ALONE, "00000000000000c1", ""), 2, None);
    send(
        weaver,
        "send",
        (SHOP, "00000000000000a2", "00000000000000a1"),
        4,
        Some(17),
    );
    send(weaver, "checkout", (SHOP, "00000000000000a1", ""), 2, None);
    let whole = wait::until(TIMEOUT, || {
        let spans = spans_of(SHOP);
        (spans.len() == 4).then_some(spans)
    });
    let whole = whole.unwrap_or_else(|| panic!("{:?}", spans_of(SHOP)));
    let span = |name: &str, parent: Option<&str>, evidence: Option<&str>| ShownSpan {
        name: name.to_owned(),
        parent: parent.map(str::to_owned),
        evidence: evidence.map(str::to_owned),
    };
    let expected = [
        ("00000000000000a1", span("checkout", None, None)),
        (
            "00000000000000a2",
            span("send", Some("00000000000000a1"), None),
        ),
        (
            "00000000000000b1",
            span("receive", Some("00000000000000a2"), Some("offset")),
        ),
        (
            "00000000000000b2",
            span("mail", Some("00000000000000b1"), None),
        ),
    ];
    let mut expected: BTreeMap<String, ShownSpan> =
        expected.map(|(id, span)| (id.to_owned(), span)).into();
    assert_eq!(whole, expected);
    // Late, and for the trace that was joined: under the id of the others. The sender repeats it.
    for _ in 0..2 {
        let late = (MAIL, "00000000000000b3", "00000000000000b2");
        send(weaver, "smtp", late, 3, None);
    }
    expected.insert(
        "00000000000000b3".to_owned(),
        span("smtp", Some("00000000000000b2"), None),
    );
    let arrived = wait::until(TIMEOUT, || {
        (spans_of(SHOP).len() == 5 && spans_of(ALONE).len() == 1).then_some(())
    });
    arrived.unwrap_or_else(|| panic!("{:?}, {:?}", spans_of(SHOP), spans_of(ALONE)));
    assert_eq!(spans_of(SHOP), expected);
    // Nothing is left behind under the other id, and nothing was sent twice.
    assert!(spans_of(MAIL).is_empty());
    let sent = || metric(weaver, "sent_spans_total");
    wait::until(TIMEOUT, || (sent() == 6).then_some(())).unwrap_or_else(|| panic!("{}", sent()));
    assert_eq!(metric(weaver, "pending_spans"), 0);
    for reason in ["queue_full", "refused", "unreachable", "evicted"] {
        let name = format!("dropped_spans_total{{reason=\"{reason}\"}}");
        assert_eq!(metric(weaver, &name), 0, "{reason}");
    }
}

/// Returns a metric of forwarding.
fn metric(collector: &CollectorInstance, name: &str) -> u64 {
    let text = collector.get("/metrics").unwrap().body;
    let prefix = format!("throughline_forward_{name} ");
    let mut values = text.lines().filter_map(|line| line.strip_prefix(&prefix));
    values.next().unwrap().parse().unwrap()
}

fn query(collector: &CollectorInstance, path: &str) -> Value {
    let reply = collector.get(path).unwrap();
    let mut body: Value = serde_json::from_str(&reply.body).unwrap_or_default();
    body["data"].take()
}

#[test]
fn another_back_end_has_woven_traces_whole() {
    let back_end = collector(&["--weave", "off"]);
    let url = format!("http://{}", back_end.addresses().otlp_http);
    let weaver = weaver(&url, CollectorPorts::default());
    check(&weaver, &|path| query(&back_end, path));
}

#[test]
fn spans_wait_for_a_back_end_and_are_sent_before_the_end() {
    let back_end = collector(&["--weave", "off"]);
    let (http, query_port) = (
        back_end.addresses().otlp_http.port(),
        back_end.addresses().query.port(),
    );
    let weaver = weaver(
        &format!("http://127.0.0.1:{http}"),
        CollectorPorts::default(),
    );
    back_end.process().kill();
    back_end.process().wait(TIMEOUT).unwrap();
    send(&weaver, "alone", (ALONE, "00000000000000c1", ""), 2, None);
    wait::until(TIMEOUT, || {
        (metric(&weaver, "retries_total") > 0).then_some(())
    })
    .unwrap();
    let ports = CollectorPorts {
        otlp_http: http,
        query: query_port,
        ..CollectorPorts::default()
    };
    let binary = &ProjectBinaries::build().unwrap().throughline;
    let back_end = CollectorInstance::start_on(binary, ports, &["--weave", "off"]).unwrap();
    let spans_of = |id: &str| shown(&query(&back_end, &format!("/api/traces/{id}")));
    wait::until(TIMEOUT, || (spans_of(ALONE).len() == 1).then_some(())).unwrap();
    // Not settled yet, and sent all the same.
    send(&weaver, "shop", (SHOP, "00000000000000a1", ""), 2, None);
    assert!(weaver.process().stop(TIMEOUT).unwrap().success());
    assert_eq!(spans_of(SHOP).len(), 1);
}

#[test]
fn stock_jaeger_shows_woven_traces() {
    if std::env::var_os("THROUGHLINE_FULL").is_none_or(|full| full != "1") {
        eprintln!("skipped: it runs with THROUGHLINE_FULL=1");
        return;
    }
    let binary = clients::jaeger(&mut |step| eprintln!("{step}")).unwrap();
    let store = JaegerStore::Memory { max_traces: 1_000 };
    let jaeger = JaegerInstance::start(&binary, &store, true).unwrap();
    let url = format!("http://{}", jaeger.otlp_http);
    let weaver = weaver(&url, CollectorPorts::default());
    // Jaeger answers 404 for an unknown trace.
    check(&weaver, &|path| jaeger.get(path).unwrap_or_default());
}
