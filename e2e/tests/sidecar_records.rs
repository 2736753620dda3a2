//! Records in set-ups of their own, directly and through the sidecar: a broker that advertises the
//! sidecar's address, and contexts that are patched into compressed batches.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod named_spans;
mod received_records;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::time::Duration;

use named_spans::named_spans;
use rdkafka::ClientConfig;
use rdkafka::message::{Headers as _, Message as _, OwnedMessage};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use received_records::receive;
use throughline_testkit::build::ProjectBinaries;
use throughline_testkit::collector::CollectorInstance;
use throughline_testkit::kafka::{ApacheBroker, TopicSpec, create_topic};
use throughline_testkit::sidecar::SidecarInstance;

const TIMEOUT: Duration = Duration::from_secs(60);
const RECORDS: usize = 20;

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn value(number: usize) -> Vec<u8> {
    format!("order {number} ").repeat(20).into_bytes()
}

fn send(bootstrap: &str, topic: &str, codec: &str) {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("compression.codec", codec)
        // Long enough for a batch of several records.
        .set("linger.ms", "50");
    let producer: BaseProducer = config.create().unwrap();
    for number in 0..RECORDS {
        let value = value(number);
        let record = BaseRecord::<(), Vec<u8>>::to(topic).payload(&value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(TIMEOUT).unwrap();
}

fn values(records: &[OwnedMessage]) -> Vec<Vec<u8>> {
    let values = records.iter().map(|it| it.payload().unwrap().to_vec());
    values.collect()
}

/// Returns trace id and span id in the only context of each record.
fn contexts(records: &[OwnedMessage]) -> BTreeSet<(String, String)> {
    let context = |record: &OwnedMessage| {
        let headers = record.headers().unwrap();
        let mut contexts = headers.iter().filter(|it| it.key == "traceparent");
        let value = contexts.next().and_then(|it| it.value).unwrap();
        assert_eq!(contexts.count(), 0);
        let mut parts = std::str::from_utf8(value).unwrap().split('-').skip(1);
        let mut part = || parts.next().unwrap().to_owned();
        (part(), part())
    };
    records.iter().map(context).collect()
}

/// The client gets the sidecar's own address from the metadata: the sidecar must neither connect to
/// itself nor be left out.
#[test]
fn record_for_a_broker_that_advertises_the_sidecar_has_one_producer_span() {
    let (topic, service) = ("own-address", "own-address");
    let binary = &ProjectBinaries::build().unwrap().throughline;
    let (port, broker_port) = (free_port(), free_port());
    let address = format!("127.0.0.1:{port}");
    let broker = format!("127.0.0.1:{broker_port}");
    let collector = CollectorInstance::start(binary).unwrap();
    let args = ["--kafka", &broker, "--listen", &address];
    let args = args.into_iter().chain(["--broker-ports", "any"]);
    let sidecar = SidecarInstance::start_with(
        &|spec| spec,
        binary,
        collector.addresses().otlp_http,
        service,
        args.map(str::to_owned),
    )
    .unwrap();
    let _kafka = ApacheBroker::builder()
        .behind(&address, broker_port)
        .start(&mut |step| eprintln!("{step}"))
        .unwrap();
    create_topic(&broker, &TopicSpec::new(topic, 1)).unwrap();
    // A client whose first connection is direct goes on through the sidecar too: the broker sends
    // it there.
    for bootstrap in [sidecar.bootstrap(), &broker] {
        send(bootstrap, topic, "none");
    }
    let received = receive(sidecar.bootstrap(), topic, RECORDS);
    assert_eq!(
        values(&received),
        (0..RECORDS).map(value).collect::<Vec<_>>()
    );
    let sent = named_spans(&collector, service, &format!("send {topic}"), 2 * RECORDS);
    assert_eq!(sent.len(), 2 * RECORDS, "one producer span for each record");
    let ids = sent.iter().map(|it| (it.trace.clone(), it.id.clone()));
    let ids: BTreeSet<(String, String)> = ids.collect();
    assert!(contexts(&received).is_subset(&ids));
    let log = sidecar.process().log().join("\n");
    assert!(log.contains("advertises an address of this proxy"), "{log}");
    // Nothing that waits for the exporter makes further spans.
    sidecar.stop().unwrap();
    let sent = named_spans(&collector, service, &format!("send {topic}"), 2 * RECORDS);
    assert_eq!(sent.len(), 2 * RECORDS);
}

#[test]
fn record_of_a_compressed_topic_is_delivered_with_the_context_of_its_consumer_span() {
    let service = "patched";
    let binary = &ProjectBinaries::build().unwrap().throughline;
    let kafka = ApacheBroker::builder()
        .start(&mut |step| eprintln!("{step}"))
        .unwrap();
    let collector = CollectorInstance::start(binary).unwrap();
    let otlp = collector.addresses().otlp_http;
    let args = ["--deliver", "patch"];
    let sidecar = SidecarInstance::start(binary, kafka.bootstrap(), otlp, service, &args).unwrap();
    // Compressed by the producer, by the broker, and by both in different ways.
    for (producer, stored) in [
        ("gzip", "producer"),
        ("snappy", "producer"),
        ("lz4", "producer"),
        ("zstd", "producer"),
        ("none", "zstd"),
        ("zstd", "lz4"),
    ] {
        let topic = format!("{producer}-{stored}");
        let spec = TopicSpec::new(&topic, 1).config("compression.type", stored);
        create_topic(kafka.bootstrap(), &spec).unwrap();
        send(sidecar.bootstrap(), &topic, producer);
        let (direct, patched) = (
            receive(kafka.bootstrap(), &topic, RECORDS),
            receive(sidecar.bootstrap(), &topic, RECORDS),
        );
        assert_eq!(values(&direct), values(&patched), "{topic}");
        let spans = |operation: &str| {
            let name = format!("{operation} {topic}");
            let spans = named_spans(&collector, service, &name, RECORDS);
            let ids = spans.into_iter().map(|it| (it.trace, it.id));
            ids.collect::<BTreeSet<_>>()
        };
        assert_eq!(contexts(&direct), spans("send"), "{topic}");
        assert_eq!(contexts(&patched), spans("process"), "{topic}");
    }
}
