//! A stock Jaeger on the topic of spans: it reads what an edge collector has written, and a member
//! reads what it has written.
//!
//! Its components for Kafka are those of OpenTelemetry's collector.

use throughline_testkit::clients;
use throughline_testkit::jaeger::{JaegerInstance, JaegerStore};
use throughline_testkit::kafka::TopicSpec;
use throughline_testkit::wait;

use crate::fixture::{self, GroupMember, TIMEOUT};
use crate::span_load::{self, SERVICE, SPANS};

/// Traces that each side sends.
const TRACES: u64 = 10;
/// Traces of both sides together.
const ALL: usize = 20;

#[test]
fn a_stock_jaeger_and_our_collectors_share_the_topic() {
    if std::env::var_os("THROUGHLINE_FULL").is_none_or(|full| full != "1") {
        eprintln!("skipped: it runs with THROUGHLINE_FULL=1");
        return;
    }
    let program = clients::jaeger(&mut |step| eprintln!("{step}")).unwrap();
    let kafka = fixture::start_kafka(&[TopicSpec::new("otlp_spans", 3)]);
    let bootstrap = kafka.bootstrap();
    let store = JaegerStore::Topic {
        bootstrap: bootstrap.to_owned(),
        topic: "otlp_spans".to_owned(),
    };
    let jaeger = JaegerInstance::start(&program, &store, true).unwrap();
    let member = GroupMember::start(bootstrap, &[]);
    let edge = fixture::edge(bootstrap, &[]);

    let receivers = [edge.addresses().otlp_http, jaeger.otlp_http];
    for (address, first) in receivers.into_iter().zip([0, TRACES]) {
        let url = format!("http://{address}/v1/traces");
        for number in first..first + TRACES {
            assert_eq!(span_load::send(&url, number), 200);
        }
    }

    let is_whole = |spans: usize| spans == SPANS;
    let read = wait::until(TIMEOUT, || {
        let traces = member.traces();
        let whole = traces.values().filter(|spans| is_whole(spans.len()));
        (whole.count() == ALL).then_some(())
    });
    read.expect("the member has the traces of both");
    let path = format!("/api/traces?service={SERVICE}&limit=1000&start=0&end=9000000000000000");
    let read = wait::until(TIMEOUT, || {
        let found = jaeger.get(&path).ok()?;
        let spans = |trace: &serde_json::Value| trace["spans"].as_array().map_or(0, Vec::len);
        let whole = found.as_array()?.iter().filter(|it| is_whole(spans(it)));
        (whole.count() == ALL).then_some(())
    });
    read.expect("Jaeger has the traces of both");
    let poisoned = member.metric("records_total{outcome=\"poisoned\"}");
    assert_eq!(poisoned, 0);
}
