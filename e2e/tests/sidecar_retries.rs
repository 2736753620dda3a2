//! Producers that send a batch again because the connection ended before its response: each record
//! has one producer span, in one trace with its consumer span.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod named_spans;
mod received_records;
#[expect(dead_code, reason = "shared with other tests, which use more of it")]
mod wire;

use std::net::TcpListener;
use std::time::Duration;

use e2e::TraceSpan;
use named_spans::named_spans;
use rdkafka::ClientConfig;
use rdkafka::message::{Headers as _, Message as _, OwnedMessage};
use rdkafka::producer::{FutureProducer, FutureRecord};
use received_records::receive;
use throughline_testkit::build::ProjectBinaries;
use throughline_testkit::collector::CollectorInstance;
use throughline_testkit::kafka::{ApacheBroker, TopicSpec, create_topic};
use throughline_testkit::sidecar::SidecarInstance;
use wire::CuttableRelay;

const SERVICE: &str = "retries";
const TIMEOUT: Duration = Duration::from_secs(60);

/// Records of a case, one request each.
const RECORDS: usize = 6;

/// Returns a relay to the port, and the port.
fn relay(port: u16) -> CuttableRelay {
    CuttableRelay::start(TcpListener::bind("127.0.0.1:0").unwrap(), port)
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Sends records one by one. The connection is cut within the response to every second one.
async fn send(bootstrap: &str, topic: &str, relay: &CuttableRelay, settings: &[(&str, &str)]) {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("linger.ms", "0")
        .set("reconnect.backoff.max.ms", "200");
    for (name, value) in settings {
        config.set(*name, *value);
    }
    let producer: FutureProducer = config.create().unwrap();
    for number in 0..RECORDS {
        let value = format!("{topic} {number}");
        let record = FutureRecord::<(), _>::to(topic)
            .partition(0)
            .payload(&value);
        if number % 2 == 1 {
            // The length of the response passes, the rest does not.
            relay.cut_after(4);
        }
        producer.send(record, TIMEOUT).await.unwrap();
    }
}

/// Returns the spans of an operation on a topic, once there are `count`.
fn spans(
    collector: &CollectorInstance,
    operation: &str,
    topic: &str,
    count: usize,
) -> Vec<TraceSpan> {
    named_spans(collector, SERVICE, &format!("{operation} {topic}"), count)
}

/// Returns the span id in the only context of a record.
fn context(record: &OwnedMessage) -> String {
    let headers = record.headers().unwrap();
    let mut contexts = headers.iter().filter(|it| it.key == "traceparent");
    let value = contexts.next().and_then(|it| it.value).unwrap();
    assert_eq!(contexts.count(), 0);
    let text = std::str::from_utf8(value).unwrap();
    text.split('-').nth(2).unwrap().to_owned()
}

#[test]
fn record_that_is_sent_again_has_one_producer_span_and_one_trace() {
    let binary = &ProjectBinaries::build().unwrap().throughline;
    let port = free_port();
    let to_broker = relay(port);
    let address = to_broker.address().to_string();
    let _kafka = ApacheBroker::builder()
        .behind(&address, port)
        .start(&mut |step| eprintln!("{step}"))
        .unwrap();
    let collector = CollectorInstance::start(binary).unwrap();
    let otlp = collector.addresses().otlp_http;
    // The cuts are between sidecar and broker, and between client and sidecar.
    let sidecar = SidecarInstance::start(binary, &address, otlp, SERVICE, &[]).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cases: [(&str, &[(&str, &str)]); 2] = [
        ("idempotent", &[("enable.idempotence", "true")]),
        ("plain", &[("max.in.flight", "1")]),
    ];
    for (topic, settings) in cases {
        create_topic(&address, &TopicSpec::new(topic, 1)).unwrap();
        let direct = format!("{topic}-direct");
        create_topic(&address, &TopicSpec::new(&direct, 1)).unwrap();
        runtime.block_on(send(&address, &direct, &to_broker, settings));
        let cuts = to_broker.cuts();
        runtime.block_on(send(sidecar.bootstrap(), topic, &to_broker, settings));
        assert!(to_broker.cuts() > cuts, "no connection was cut");
        // A producer without a sequence has its records twice where the response was lost.
        let is_idempotent = topic == "idempotent";
        let copies = if is_idempotent {
            RECORDS
        } else {
            RECORDS + RECORDS / 2
        };
        for (path, bootstrap) in [(&*direct, &*address), (topic, sidecar.bootstrap())] {
            let received = receive(bootstrap, path, copies);
            let mut values: Vec<_> = received.iter().map(|it| it.payload().unwrap()).collect();
            values.dedup();
            assert_eq!(values.len(), RECORDS, "{path}");
        }
        let processed = spans(&collector, "process", topic, copies);
        assert_eq!(processed.len(), copies);
        let sent = spans(&collector, "send", topic, RECORDS);
        assert_eq!(sent.len(), RECORDS, "one producer span for each record");
        for record in receive(&address, topic, copies) {
            let parent = context(&record);
            let parent = sent.iter().find(|it| it.id == parent).unwrap();
            assert!(processed.iter().any(|it| it.trace == parent.trace));
        }
        for span in &processed {
            let (_, trace, parent) = span.references.first().unwrap();
            let parent = sent.iter().find(|it| it.id == *parent).unwrap();
            assert_eq!(*trace, parent.trace);
        }
        let again = sent
            .iter()
            .filter(|it| it.tags.contains_key("throughline.kafka.attempts"));
        assert_eq!(again.count(), RECORDS / 2);
    }
    let retried = sidecar.metric("throughline_kafka_records_retried_total");
    assert_eq!(retried, Some(6.0));
    sidecar.stop().unwrap();
    for topic in ["idempotent", "plain"] {
        assert_eq!(spans(&collector, "send", topic, RECORDS).len(), RECORDS);
    }
}
