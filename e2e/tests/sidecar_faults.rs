//! Faults of collector, brokers and clients cost no record, and memory stays bounded.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]
#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "prints measured memory")]

#[expect(dead_code, reason = "shared with other tests, which use more of it")]
mod wire;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _, OwnedMessage};
use rdkafka::producer::{
    BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer,
};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use throughline_testkit::build::ProjectBinaries;
use throughline_testkit::collector::CollectorInstance;
use throughline_testkit::kafka::{ApacheBroker, TopicSpec, create_topic};
use throughline_testkit::sidecar::SidecarInstance;
use throughline_testkit::wait;
use wire::{CuttableRelay, RawConnection};

const TIMEOUT: Duration = Duration::from_secs(60);
const MIB: usize = 1024 * 1024;
const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
const API_VERSIONS: i16 = 18;

// --- the collector ---

#[test]
fn failing_collector_costs_no_record() {
    let kafka = kafka();
    // A closed port; a port whose kernel backlog accepts connections that are never read; and a
    // collector that returns 503.
    let dead = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let stalled = TcpListener::bind("127.0.0.1:0").unwrap();
    let collectors = [
        ("dead", dead),
        ("stalled", stalled.local_addr().unwrap()),
        ("refusing", unavailable_collector()),
    ];
    for (name, collector) in collectors {
        let sidecar = sidecar(&kafka, collector, &[]);
        let values: Vec<Vec<u8>> = (0..5_000)
            .map(|number| format!("{name}-{number}").into_bytes())
            .collect();
        let begin = Instant::now();
        send(sidecar.bootstrap(), name, &values, &[]);
        let received = receive(sidecar.bootstrap(), name, values.len(), &[]);
        assert_eq!(payloads(&received), values);
        assert!(
            received.iter().all(|record| contexts(record) == 1),
            "{name}: a context is missing"
        );
        assert!(
            begin.elapsed() < Duration::from_secs(20),
            "{name}: {:?}",
            begin.elapsed()
        );

        let metrics = metrics(&sidecar);
        let (made, sent) = (
            metrics["throughline_kafka_spans_total"],
            metrics["throughline_kafka_spans_sent_total"],
        );
        assert!(
            made + sum(&metrics, "throughline_kafka_spans_dropped_total") >= 10_000.0,
            "{metrics:?}"
        );
        assert!(sent < 1.0, "{name}: a span was accepted");
        let warned = |sidecar: &SidecarInstance| {
            let log = sidecar.process().log();
            log.iter()
                .filter(|line| line.contains("WARN") && line.contains("collector"))
                .count()
        };
        assert!(
            warned(&sidecar) <= 3,
            "{name}: too many warnings:\n{}",
            sidecar.process().log().join("\n")
        );
        sidecar.stop().unwrap();
    }
}

// --- lost connections ---

#[test]
fn connection_cut_in_the_middle_of_a_frame_costs_no_record() {
    let (listener, port) = (TcpListener::bind("127.0.0.1:0").unwrap(), free_port());
    let relay = CuttableRelay::start(listener, port);
    let address = relay.address().to_string();
    let _kafka = ApacheBroker::builder()
        .behind(&address, port)
        .start(&mut print_progress)
        .unwrap();
    create_topic(&address, &TopicSpec::new("cut", 1)).unwrap();
    let collector = collector();
    let sidecar = SidecarInstance::start(
        throughline(),
        &address,
        collector.addresses().otlp_http,
        "cut",
        &[],
    )
    .unwrap();

    let values: Vec<Vec<u8>> = (0..20_000)
        .map(|number| format!("{number:0200}").into_bytes())
        .collect();
    let (bootstrap, sent) = (sidecar.bootstrap().to_owned(), values.clone());
    // Small requests, so that there are many responses to cut.
    let settings = [("enable.idempotence", "true"), ("batch.num.messages", "50")];
    let producing = thread::spawn(move || send(&bootstrap, "cut", &sent, &settings));
    for bytes in [0, 100, 1_000, 4_097, 333] {
        let before = relay.cuts();
        relay.cut_after(bytes);
        wait::until(TIMEOUT, || (relay.cuts() > before).then_some(()))
            .expect("the connection is cut");
    }
    producing.join().unwrap();

    let consumer = consumer(
        sidecar.bootstrap(),
        "cut",
        &[("reconnect.backoff.max.ms", "500")],
    );
    let mut received = Vec::new();
    for bytes in [10, 3_000, 70_000, 500_001] {
        relay.cut_after(bytes);
        received.extend(poll(&consumer, 2_000));
    }
    received.extend(poll(&consumer, values.len() - received.len()));
    assert_eq!(
        payloads(&received),
        values,
        "records are lost, repeated or reordered"
    );
    assert!(received.iter().all(|record| contexts(record) == 1));
    assert!(relay.cuts() >= 6, "cut {} times", relay.cuts());
    assert_no_panic(&sidecar);
}

#[test]
fn client_that_leaves_in_the_middle_of_a_frame_frees_its_memory() {
    let (kafka, collector) = (kafka(), collector());
    let sidecar = sidecar(&kafka, collector.addresses().otlp_http, &[]);
    let announced = wire::request(PRODUCE, 7, 1, &vec![0; MIB]);
    let parts = [3, 8, 13, 1_000, MIB / 2, announced.len() - 1];
    for part in parts {
        let mut raw = RawConnection::connect(sidecar.bootstrap());
        raw.send(&announced[..part]);
        if part % 2 == 0 {
            drop(raw);
        } else {
            raw.abort();
        }
    }
    // The metrics are read one after another while connections end, so each is waited for. None is
    // open before the sidecar accepts the first, so all have to be counted, too.
    let all_freed = || {
        let metrics = metrics(&sidecar);
        let accepted = metrics["throughline_kafka_connections_total"] >= parts.len() as f64;
        let left =
            metrics["throughline_kafka_connections_open"] + metrics["throughline_kafka_held_bytes"];
        (accepted && left == 0.0).then_some(())
    };
    wait::until(TIMEOUT, all_freed).expect("connections and their memory end with their clients");
    assert_works(&kafka, &sidecar, "after-clients-went");
    assert_no_panic(&sidecar);
}

// --- frames ---

#[test]
fn frame_of_100_mb_passes() {
    let kafka = ApacheBroker::builder()
        .property("socket.request.max.bytes", "125829120")
        .property("message.max.bytes", "120000000")
        .jvm("-Xmx1g")
        .start(&mut print_progress)
        .unwrap();
    let collector = collector();
    let sidecar = sidecar(&kafka, collector.addresses().otlp_http, &[]);
    let huge: Vec<u8> = (0..100_000_000_u32)
        .map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()[3])
        .collect();
    let values = [b"before".to_vec(), huge, b"behind".to_vec()];
    create_topic(kafka.bootstrap(), &TopicSpec::new("huge", 1)).unwrap();
    let before = resident(&sidecar);
    send(
        sidecar.bootstrap(),
        "huge",
        &values,
        &[("message.max.bytes", "120000000")],
    );
    let large = [
        ("fetch.max.bytes", "120000000"),
        ("max.partition.fetch.bytes", "120000000"),
        ("fetch.message.max.bytes", "120000000"),
        ("receive.message.max.bytes", "130000000"),
        ("message.max.bytes", "120000000"),
    ];
    let received = receive(sidecar.bootstrap(), "huge", values.len(), &large);
    assert!(
        payloads(&received) == values,
        "100 MB arrive as they were sent"
    );
    let (after, passed) = (resident(&sidecar), metrics(&sidecar));
    eprintln!(
        "a frame of 100 MB: {} MiB resident before, {} MiB after",
        before / MIB,
        after / MIB
    );
    assert!(
        passed["throughline_kafka_passed_total{reason=\"frame_too_large\"}"] >= 1.0,
        "{passed:?}"
    );
    assert_no_panic(&sidecar);
}

#[test]
fn invalid_frames_affect_no_other_connection() {
    let (kafka, collector) = (kafka(), collector());
    let sidecar = sidecar(&kafka, collector.addresses().otlp_http, &[]);
    let versions = wire::request(API_VERSIONS, 0, 1, &[]);
    let noise: Vec<u8> = (0..100_000_u32)
        .map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()[2])
        .collect();
    let complete = [
        i32::MIN.to_be_bytes().to_vec(),
        wire::request(PRODUCE, 9, 1, &noise),
        wire::request(PRODUCE, 7, 1, &[0xff; 40]),
        wire::request(FETCH, 12, 1, &noise[..64]),
        wire::request(i16::MAX, 3, 1, &noise[..64]),
        wire::request(PRODUCE, i16::MAX, 1, &noise[..64]),
        b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n".to_vec(),
    ];
    for bytes in &complete {
        let mut raw = RawConnection::connect(sidecar.bootstrap());
        raw.send(&versions);
        assert_eq!(
            raw.receive()[..4],
            1_i32.to_be_bytes(),
            "the valid request failed"
        );
        raw.try_send(bytes);
        raw.wait_for_close();
    }
    // Incomplete frames: broker and sidecar wait for the rest.
    for bytes in [&i32::MAX.to_be_bytes()[..], &[0; 3], &noise] {
        let mut raw = RawConnection::connect(sidecar.bootstrap());
        raw.try_send(bytes);
    }
    // A TLS ClientHello at a plaintext port.
    let mut raw = RawConnection::connect(sidecar.bootstrap());
    raw.send(&[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3]);
    let said = || {
        sidecar
            .process()
            .log()
            .iter()
            .any(|line| line.contains("the client speaks TLS"))
            .then_some(())
    };
    wait::until(TIMEOUT, said).expect("the log names the cause");
    drop(raw);
    assert_works(&kafka, &sidecar, "after-noise");
    assert_eq!(sidecar.get("/live").unwrap().status, 200);
    assert_no_panic(&sidecar);
}

// --- size limits ---

/// The broker's default limit of a batch. 61 bytes are the batch header, and 11 more the fields of
/// one record without a key.
const MAX_MESSAGE_BYTES: usize = 1_048_588;
const AROUND_VALUE: usize = 72;

#[test]
fn batch_without_room_for_a_context_passes_unmodified() {
    let (kafka, collector) = (kafka(), collector());
    let sidecar = sidecar(&kafka, collector.addresses().otlp_http, &[]);
    let full = MAX_MESSAGE_BYTES - AROUND_VALUE;
    let large = [("message.max.bytes", "2000000")];
    create_topic(kafka.bootstrap(), &TopicSpec::new("full", 1)).unwrap();
    // Validates the arithmetic: the broker itself rejects one byte more.
    assert_eq!(
        refused(kafka.bootstrap(), "full", &[vec![b'x'; full + 1]], &large).len(),
        1
    );

    let spare = [0, 12, 67, 69, 1000];
    let values: Vec<Vec<u8>> = spare.iter().map(|spare| vec![b'v'; full - spare]).collect();
    for value in &values {
        send(
            sidecar.bootstrap(),
            "full",
            std::slice::from_ref(value),
            &large,
        );
    }
    let received = receive(sidecar.bootstrap(), "full", values.len(), &[]);
    assert!(payloads(&received) == values, "records are lost");
    let injected: Vec<usize> = received.iter().map(contexts).collect();
    assert_eq!(
        injected,
        [0, 0, 0, 1, 1],
        "a context is missing although there is room"
    );

    // A batch of many small records, as full as librdkafka makes it: a context for each would
    // double its size.
    create_topic(kafka.bootstrap(), &TopicSpec::new("many", 1)).unwrap();
    let values: Vec<Vec<u8>> = (0..30_000)
        .map(|number| format!("{number:090}").into_bytes())
        .collect();
    let full = [
        ("linger.ms", "200"),
        ("batch.size", "1000000"),
        ("message.max.bytes", "1000000"),
    ];
    send(sidecar.bootstrap(), "many", &values, &full);
    let received = receive(sidecar.bootstrap(), "many", values.len(), &[]);
    assert!(
        payloads(&received) == values,
        "records are lost or reordered"
    );
    assert!(
        received.iter().any(|record| contexts(record) == 0),
        "no batch was too full for contexts"
    );
    let metrics = metrics(&sidecar);
    assert!(
        metrics["throughline_kafka_passed_total{reason=\"batch_too_large\"}"] >= 3.0,
        "{metrics:?}"
    );
    // The limit of a topic is learned by trying: a rejected batch is sent again as it came.
    let [refused, replayed] = ["refused", "replayed"]
        .map(|kind| metrics[&format!("throughline_kafka_batches_{kind}_total")]);
    assert!(
        refused <= replayed,
        "a rejected batch was not sent again: {metrics:?}"
    );
    assert!(
        refused <= 4.0,
        "rejected batches teach the limit: {metrics:?}"
    );
    assert_no_panic(&sidecar);
}

#[test]
fn memory_is_bounded_with_2000_connections_and_stuck_readers() {
    // The broker allocates memory for a request as soon as its length arrives.
    let (kafka, collector) = (
        ApacheBroker::builder()
            .jvm("-Xmx2g")
            .start(&mut print_progress)
            .unwrap(),
        collector(),
    );
    let sidecar = sidecar(&kafka, collector.addresses().otlp_http, &[]);
    create_topic(kafka.bootstrap(), &TopicSpec::new("bulk", 1)).unwrap();
    let values: Vec<Vec<u8>> = (0..200_u8).map(|number| vec![number; 500_000]).collect();
    send(
        kafka.bootstrap(),
        "bulk",
        &values,
        &[("queue.buffering.max.kbytes", "1000000")],
    );
    let idle = resident(&sidecar);

    // 2,000 connections, each with 64 KiB of a request of 512 KiB: together more than the sidecar
    // may hold.
    let versions = wire::request(API_VERSIONS, 0, 1, &[]);
    let half = wire::request(PRODUCE, 7, 1, &vec![0; MIB / 2]);
    let held: Vec<RawConnection> = (0..2_000)
        .map(|_| {
            let mut raw = RawConnection::connect(sidecar.bootstrap());
            // A first round trip limits the pace: the broker's accept backlog is short.
            raw.send(&versions);
            raw.receive();
            raw.send(&half[..64 * 1024]);
            raw
        })
        .collect();
    let arrived = || {
        let received = metrics(&sidecar)["throughline_kafka_bytes_total{side=\"client\",direction=\"received\"}"];
        (received >= 2_000.0 * 64.0 * 1024.0).then_some(())
    };
    wait::until(TIMEOUT, arrived).unwrap_or_else(|| {
        panic!(
            "the sidecar did not read everything: {:#?}",
            metrics(&sidecar)
        )
    });
    let many = resident(&sidecar);
    assert_works(&kafka, &sidecar, "beside-many");
    drop(held);
    let gone = || (metrics(&sidecar)["throughline_kafka_connections_open"] == 0.0).then_some(());
    wait::until(TIMEOUT, gone).expect("connections end with their clients");

    // 20 clients that request 100 MB each and read none of it.
    let stuck: Vec<RawConnection> = (0..20)
        .map(|_| {
            let mut raw = RawConnection::connect(sidecar.bootstrap());
            raw.send(&wire::fetch("bulk", 100_000_000));
            raw
        })
        .collect();
    stuck.iter().for_each(RawConnection::wait_for_bytes);
    wait_until_reading_stops(&sidecar);
    let reading = resident(&sidecar);
    assert_works(&kafka, &sidecar, "beside-stuck");
    drop(stuck);
    // Written directly: the test harness captures `eprintln!` of a passing test.
    writeln!(
        std::io::stderr(),
        "resident: {} MiB idle, {} MiB with 2,000 partial frames of 64 KiB, \
         {} MiB with 20 stuck readers of 100 MB",
        idle / MIB,
        many / MIB,
        reading / MIB
    )
    .unwrap();
    assert!(many < idle + 500 * MIB, "{} MiB", many / MIB);
    assert!(reading < idle + 500 * MIB, "{} MiB", reading / MIB);
    assert_no_panic(&sidecar);
}

// --- fixtures ---

fn print_progress(step: &str) {
    eprintln!("{step}");
}

fn throughline() -> &'static std::path::Path {
    &ProjectBinaries::build().unwrap().throughline
}

fn kafka() -> ApacheBroker {
    ApacheBroker::builder().start(&mut print_progress).unwrap()
}

fn collector() -> CollectorInstance {
    CollectorInstance::start(throughline()).unwrap()
}

fn sidecar(kafka: &ApacheBroker, collector: SocketAddr, args: &[&str]) -> SidecarInstance {
    SidecarInstance::start(throughline(), kafka.bootstrap(), collector, "faults", args).unwrap()
}

/// Starts a collector that responds to every request with 503.
fn unavailable_collector() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // The thread ends with the test program.
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || refuse(stream));
        }
    });
    address
}

fn refuse(mut stream: TcpStream) {
    let refusal =
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let mut buffer = vec![0; 64 * 1024];
    while matches!(stream.read(&mut buffer), Ok(1..)) && stream.write_all(refusal).is_ok() {}
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Checks that a producer and a consumer work through the sidecar.
fn assert_works(kafka: &ApacheBroker, sidecar: &SidecarInstance, topic: &str) {
    create_topic(kafka.bootstrap(), &TopicSpec::new(topic, 1)).unwrap();
    let values = [b"one".to_vec(), b"two".to_vec()];
    send(sidecar.bootstrap(), topic, &values, &[]);
    let received = receive(sidecar.bootstrap(), topic, values.len(), &[]);
    assert_eq!(payloads(&received), values);
    assert!(received.iter().all(|record| contexts(record) == 1));
}

/// Checks that the sidecar runs and has not panicked.
fn assert_no_panic(sidecar: &SidecarInstance) {
    let log = sidecar.process().log().join("\n");
    assert!(!log.contains("panicked"), "{log}");
    assert_eq!(
        sidecar.process().status(),
        None,
        "the sidecar has ended:\n{log}"
    );
    assert_eq!(
        metrics(sidecar)["throughline_kafka_connections_failed_total{reason=\"panic\"}"],
        0.0
    );
}

// --- memory and metrics ---

/// Returns the resident memory of the sidecar in bytes.
fn resident(sidecar: &SidecarInstance) -> usize {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", sidecar.process().id())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.split_whitespace()
        .next()
        .unwrap()
        .parse::<usize>()
        .unwrap()
        * 1024
}

/// Waits until the sidecar stops reading from its brokers.
fn wait_until_reading_stops(sidecar: &SidecarInstance) {
    let received = || metrics(sidecar)["throughline_kafka_bytes_total{side=\"broker\",direction=\"received\"}"];
    let mut last = -1.0;
    let mut still = Instant::now();
    let rests = || {
        let now = received();
        if now > last {
            (last, still) = (now, Instant::now());
        }
        (still.elapsed() > Duration::from_secs(1)).then_some(())
    };
    wait::until(TIMEOUT, rests).expect("reading stops for stuck readers");
}

/// Returns all counters and gauges, by name and labels.
fn metrics(sidecar: &SidecarInstance) -> BTreeMap<String, f64> {
    let text = sidecar.get("/metrics").unwrap().body;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

fn sum(metrics: &BTreeMap<String, f64>, name: &str) -> f64 {
    metrics
        .iter()
        .filter(|(key, _)| key.starts_with(name))
        .map(|(_, value)| value)
        .sum()
}

// --- stock clients ---

/// Collects the delivery result of each record.
struct DeliveryOutcomes(Mutex<Vec<Result<(), String>>>);

impl ClientContext for DeliveryOutcomes {}

impl ProducerContext for DeliveryOutcomes {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let outcome = result
            .as_ref()
            .map(drop)
            .map_err(|(error, _)| error.to_string());
        self.0.lock().unwrap().push(outcome);
    }
}

/// Sends these values to partition 0, in order; returns the broker's errors.
fn refused(
    bootstrap: &str,
    topic: &str,
    values: &[Vec<u8>],
    settings: &[(&str, &str)],
) -> Vec<String> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("linger.ms", "5")
        .set("reconnect.backoff.max.ms", "500");
    for (name, value) in settings {
        config.set(*name, *value);
    }
    let producer: ThreadedProducer<DeliveryOutcomes> = config
        .create_with_context(DeliveryOutcomes(Mutex::default()))
        .unwrap();
    for value in values {
        let mut record = BaseRecord::<(), Vec<u8>>::to(topic)
            .partition(0)
            .payload(value);
        while let Err((_, again)) = producer.send(record) {
            record = again;
            thread::yield_now();
        }
    }
    producer.flush(TIMEOUT).unwrap();
    let outcomes = producer.context().0.lock().unwrap();
    assert_eq!(outcomes.len(), values.len());
    outcomes
        .iter()
        .filter_map(|outcome| outcome.clone().err())
        .collect()
}

fn send(bootstrap: &str, topic: &str, values: &[Vec<u8>], settings: &[(&str, &str)]) {
    let refused = refused(bootstrap, topic, values, settings);
    assert!(refused.is_empty(), "{topic}: {refused:?}");
}

fn consumer(bootstrap: &str, topic: &str, settings: &[(&str, &str)]) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("group.id", topic)
        .set("enable.auto.commit", "false");
    for (name, value) in settings {
        config.set(*name, *value);
    }
    let consumer: BaseConsumer = config.create().unwrap();
    let mut partitions = TopicPartitionList::new();
    partitions
        .add_partition_offset(topic, 0, Offset::Beginning)
        .unwrap();
    consumer.assign(&partitions).unwrap();
    consumer
}

fn poll(consumer: &BaseConsumer, count: usize) -> Vec<OwnedMessage> {
    let begin = Instant::now();
    let mut received = Vec::new();
    while received.len() < count {
        assert!(
            begin.elapsed() < TIMEOUT,
            "{} of {count} records after {:?}",
            received.len(),
            begin.elapsed()
        );
        // An error is a cut connection; the client reconnects by itself.
        if let Some(Ok(record)) = consumer.poll(Duration::from_millis(100)) {
            received.push(record.detach());
        }
    }
    received
}

/// Returns `count` records from the beginning of partition 0.
fn receive(
    bootstrap: &str,
    topic: &str,
    count: usize,
    settings: &[(&str, &str)],
) -> Vec<OwnedMessage> {
    poll(&consumer(bootstrap, topic, settings), count)
}

fn payloads(records: &[OwnedMessage]) -> Vec<Vec<u8>> {
    records
        .iter()
        .map(|record| record.payload().unwrap_or_default().to_vec())
        .collect()
}

/// Returns the number of contexts of a record.
fn contexts(record: &OwnedMessage) -> usize {
    record.headers().map_or(0, |headers| {
        headers
            .iter()
            .filter(|header| header.key == "traceparent")
            .count()
    })
}
