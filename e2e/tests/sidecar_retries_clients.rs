//! Producers without a sequence, in several languages, that send a batch again because the
//! connection ended within the response: directly and through the sidecar the same records are
//! stored, and each record has one producer span. `sidecar_retries.rs` has more cases with
//! librdkafka.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod named_spans;
mod received_records;
#[expect(dead_code, reason = "shared with other tests, which use more of it")]
mod support;
#[expect(dead_code, reason = "shared with other tests, which use more of it")]
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::Path;

use named_spans::named_spans;
use rdkafka::Message as _;
use received_records::receive;
use support::fixture::full;
use support::record::TestRecord;
use support::run;
use throughline_testkit::build::ProjectBinaries;
use throughline_testkit::clients::{ClientLibrary, ClientPrograms};
use throughline_testkit::collector::CollectorInstance;
use throughline_testkit::kafka::{ApacheBroker, TopicSpec, create_topic};
use throughline_testkit::sidecar::SidecarInstance;
use wire::CuttableRelay;

const SERVICE: &str = "client-retries";

/// Clients whose retries are not recognised (docs/life-of-a-record.md): librdkafka may send the
/// records in other batches, the others give them the time of each attempt.
const UNRECOGNISED: [ClientLibrary; 4] = [
    ClientLibrary::Confluent,
    ClientLibrary::Rdkafka,
    ClientLibrary::Kafkajs,
    ClientLibrary::KafkaGo,
];

/// Records before and behind the cut. kafkajs sends ten at once.
const HALF: usize = 10;

fn records() -> Vec<TestRecord> {
    let record = |number| TestRecord {
        partition: 0,
        timestamp: None,
        key: None,
        value: Some(format!("order {number}").into_bytes()),
        headers: Vec::new(),
    };
    (0..2 * HALF).map(record).collect()
}

/// Sends the records, and cuts the connections within the first response behind the middle.
/// Returns the number of acknowledged records.
fn send(
    clients: &ClientPrograms,
    client: ClientLibrary,
    bootstrap: &str,
    topic: &str,
    relay: &CuttableRelay,
) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("open");
    let (gate_path, half) = (gate.display().to_string(), HALF.to_string());
    let options = [
        ("acks", "1"),
        ("in-flight", "1"),
        ("linger", "0"),
        ("gate-at", &*half),
        ("gate", &*gate_path),
    ];
    let spec = clients.spec(client).unwrap();
    let producer = run::produce(spec, bootstrap, topic, &records(), &options);
    producer.wait_for_lines(HALF);
    let cuts = relay.cuts();
    // The length of the response passes, the rest does not.
    relay.cut_after(4);
    std::fs::write(Path::new(&gate), "").unwrap();
    let acknowledged = producer.acknowledged().len();
    assert!(relay.cuts() > cuts, "{topic}: no connection was cut");
    acknowledged
}

/// Returns how often each value of a topic is stored. The last record shows that all are.
fn stored(bootstrap: &str, topic: &str) -> BTreeMap<Vec<u8>, usize> {
    let end = end_offset(bootstrap, topic);
    let mut copies = BTreeMap::new();
    for record in receive(bootstrap, topic, end) {
        *copies
            .entry(record.payload().unwrap().to_vec())
            .or_default() += 1;
    }
    copies
}

fn end_offset(bootstrap: &str, topic: &str) -> usize {
    use rdkafka::consumer::{BaseConsumer, Consumer as _};
    let consumer: BaseConsumer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .create()
        .unwrap();
    let timeout = std::time::Duration::from_secs(30);
    let (_, end) = consumer.fetch_watermarks(topic, 0, timeout).unwrap();
    usize::try_from(end).unwrap()
}

#[test]
fn record_that_a_client_sends_again_has_one_producer_span() {
    let clients: Vec<ClientLibrary> = if full() {
        [&ClientLibrary::ALL[..], &ClientLibrary::FURTHER].concat()
    } else {
        vec![ClientLibrary::FranzGo, ClientLibrary::KafkaPython]
    };
    let binary = &ProjectBinaries::build().unwrap().throughline;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let relay = CuttableRelay::start(listener, port);
    let address = relay.address().to_string();
    let mut progress = |step: &str| eprintln!("{step}");
    let kafka = ApacheBroker::builder().behind(&address, port);
    let _kafka = kafka.start(&mut progress).unwrap();
    let rdkafka = Path::new(env!("CARGO_BIN_EXE_rdkafka-client"));
    let programs = ClientPrograms::install(rdkafka, &mut progress).unwrap();
    let collector = CollectorInstance::start(binary).unwrap();
    let otlp = collector.addresses().otlp_http;
    let sidecar = SidecarInstance::start(binary, &address, otlp, SERVICE, &[]).unwrap();
    for client in clients {
        let mut copies = Vec::new();
        for (path, bootstrap) in [("direct", &*address), ("through", sidecar.bootstrap())] {
            let topic = format!("{}-{path}", client.name());
            create_topic(&address, &TopicSpec::new(&topic, 1)).unwrap();
            let acknowledged = send(&programs, client, bootstrap, &topic, &relay);
            assert_eq!(acknowledged, 2 * HALF, "{topic}");
            let stored = stored(&address, &topic);
            assert_eq!(stored.len(), 2 * HALF, "{topic}: a record is missing");
            copies.push(stored.values().sum::<usize>());
        }
        let topic = format!("{}-through", client.name());
        let sent = named_spans(&collector, SERVICE, &format!("send {topic}"), 2 * HALF);
        let again = sent
            .iter()
            .filter(|it| it.tags.contains_key("throughline.kafka.attempts"));
        let (again, spans) = (again.count(), sent.len());
        let traces: BTreeSet<&str> = sent.iter().map(|it| it.trace.as_str()).collect();
        eprintln!("{topic}: copies {copies:?}, {spans} spans, {again} with a retry");
        assert_eq!(traces.len(), 2 * HALF, "{topic}: one trace for each record");
        assert_eq!(
            spans,
            2 * HALF,
            "{topic}: one producer span for each record"
        );
        let is_seen = again > 0 || UNRECOGNISED.contains(&client);
        assert!(is_seen, "{topic}: no retry was recognised");
    }
}
