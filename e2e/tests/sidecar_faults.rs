//! What goes wrong beside, before and behind the sidecar costs no record, and no more memory than it may have.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test may fail by panicking"
)]
#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "figures are told")]

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

const PATIENCE: Duration = Duration::from_secs(60);
const MIB: usize = 1024 * 1024;
const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
const API_VERSIONS: i16 = 18;

// --- the collector ---

#[test]
fn a_collector_that_is_dead_stalls_or_refuses_costs_no_record() {
    let kafka = kafka();
    // A port that was free a moment ago; one that takes connections, by the kernel's backlog, and never reads; one that refuses.
    let dead = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let stalled = TcpListener::bind("127.0.0.1:0").unwrap();
    let collectors = [
        ("dead", dead),
        ("stalled", stalled.local_addr().unwrap()),
        ("refusing", refusing()),
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
            "{name}: contexts are injected all the same"
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
        assert!(sent < 1.0, "{name}: nobody took a span");
        let warned = |sidecar: &SidecarInstance| {
            let log = sidecar.process().log();
            log.iter()
                .filter(|line| line.contains("WARN") && line.contains("collector"))
                .count()
        };
        assert!(
            warned(&sidecar) <= 3,
            "{name}: said too often:\n{}",
            sidecar.process().log().join("\n")
        );
        sidecar.stop().unwrap();
    }
}

// --- brokers and clients that go ---

#[test]
fn a_broker_that_goes_in_the_middle_of_a_frame_costs_no_record() {
    let (listener, port) = (TcpListener::bind("127.0.0.1:0").unwrap(), free_port());
    let relay = CuttableRelay::start(listener, port);
    let address = relay.address().to_string();
    let _kafka = ApacheBroker::builder()
        .behind(&address, port)
        .start(&mut told)
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
    // Small requests, so that there are many answers to be cut.
    let settings = [("enable.idempotence", "true"), ("batch.num.messages", "50")];
    let producing = thread::spawn(move || send(&bootstrap, "cut", &sent, &settings));
    for bytes in [0, 100, 1_000, 4_097, 333] {
        let before = relay.cuts();
        relay.cut_after(bytes);
        wait::until(PATIENCE, || (relay.cuts() > before).then_some(())).expect("the way is cut");
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
    assert_eq!(payloads(&received), values, "once, in order, nothing lost");
    assert!(received.iter().all(|record| contexts(record) == 1));
    assert!(relay.cuts() >= 6, "cut {} times", relay.cuts());
    assert_calm(&sidecar);
}

#[test]
fn a_client_that_goes_in_the_middle_of_a_frame_leaves_nothing_behind() {
    let (kafka, collector) = (kafka(), collector());
    let sidecar = sidecar(&kafka, collector.addresses().otlp_http, &[]);
    let announced = wire::request(PRODUCE, 7, 1, &vec![0; MIB]);
    for part in [3, 8, 13, 1_000, MIB / 2, announced.len() - 1] {
        let mut raw = RawConnection::connect(sidecar.bootstrap());
        raw.send(&announced[..part]);
        if part % 2 == 0 {
            drop(raw)
        } else {
            raw.abort()
        }
    }
    let all_gone =
        || (metrics(&sidecar)["throughline_kafka_connections_open"] == 0.0).then_some(());
    wait::until(PATIENCE, all_gone).expect("connections end with their clients");
    assert_eq!(metrics(&sidecar)["throughline_kafka_held_bytes"], 0.0);
    assert_works(&kafka, &sidecar, "after-clients-went");
    assert_calm(&sidecar);
}

// --- frames ---

#[test]
fn a_frame_of_100_mb_passes() {
    let kafka = ApacheBroker::builder()
        .property("socket.request.max.bytes", "125829120")
        .property("message.max.bytes", "120000000")
        .jvm("-Xmx1g")
        .start(&mut told)
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
    assert_calm(&sidecar);
}

#[test]
fn what_is_no_frame_harms_nobody_else() {
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
            "a proper request first"
        );
        raw.try_send(bytes);
        raw.wait_for_close();
    }
    // Frames that will never be whole, for which broker and sidecar wait.
    for bytes in [&i32::MAX.to_be_bytes()[..], &[0; 3], &noise] {
        let mut raw = RawConnection::connect(sidecar.bootstrap());
        raw.try_send(bytes);
    }
    // TLS, to a port that expects none.
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
    wait::until(PATIENCE, said).expect("the log says what is wrong");
    drop(raw);
    assert_works(&kafka, &sidecar, "after-noise");
    assert_eq!(sidecar.get("/live").unwrap().status, 200);
    assert_calm(&sidecar);
}

// --- room ---

/// The broker's default limit for a batch; 61 bytes of it and, for one record without a key, 11 more are not its value.
const MAX_MESSAGE_BYTES: usize = 1_048_588;
const AROUND_VALUE: usize = 72;

#[test]
fn a_batch_that_has_no_room_for_a_context_goes_out_as_it_came() {
    let (kafka, collector) = (kafka(), collector());
    let sidecar = sidecar(&kafka, collector.addresses().otlp_http, &[]);
    let full = MAX_MESSAGE_BYTES - AROUND_VALUE;
    let large = [("message.max.bytes", "2000000")];
    create_topic(kafka.bootstrap(), &TopicSpec::new("full", 1)).unwrap();
    // The sum is right: one byte more and the broker itself refuses it.
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
    assert!(payloads(&received) == values, "all of them arrive");
    let injected: Vec<usize> = received.iter().map(contexts).collect();
    assert_eq!(
        injected,
        [0, 0, 0, 1, 1],
        "a context where there is room for it"
    );

    // A batch of many small records, as full as librdkafka makes it: a context for each would double it.
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
        "all of them arrive, in order"
    );
    assert!(
        received.iter().any(|record| contexts(record) == 0),
        "at least one batch was too full"
    );
    let metrics = metrics(&sidecar);
    assert!(
        metrics["throughline_kafka_passed_total{reason=\"batch_too_large\"}"] >= 3.0,
        "{metrics:?}"
    );
    assert_eq!(
        metrics["throughline_kafka_batches_refused_total"], 0.0,
        "the broker refused none"
    );
    assert_calm(&sidecar);
}

#[test]
fn memory_is_bounded_with_2000_connections_and_with_readers_that_do_not_read() {
    // The broker makes room for a request as soon as it is announced.
    let (kafka, collector) = (
        ApacheBroker::builder()
            .jvm("-Xmx2g")
            .start(&mut told)
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

    // 2,000 connections, each in the middle of a request of 512 KiB, 64 KiB of which have come: together more than may be held.
    let versions = wire::request(API_VERSIONS, 0, 1, &[]);
    let half = wire::request(PRODUCE, 7, 1, &vec![0; MIB / 2]);
    let held: Vec<RawConnection> = (0..2_000)
        .map(|_| {
            let mut raw = RawConnection::connect(sidecar.bootstrap());
            // An exchange first: the broker accepts no more at once than its backlog.
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
    wait::until(PATIENCE, arrived)
        .unwrap_or_else(|| panic!("not all of it has been read: {:#?}", metrics(&sidecar)));
    let many = resident(&sidecar);
    assert_works(&kafka, &sidecar, "beside-many");
    drop(held);
    let gone = || (metrics(&sidecar)["throughline_kafka_connections_open"] == 0.0).then_some(());
    wait::until(PATIENCE, gone).expect("connections end with their clients");

    // 20 clients that ask for 100 MB each and read nothing of it.
    let stuck: Vec<RawConnection> = (0..20)
        .map(|_| {
            let mut raw = RawConnection::connect(sidecar.bootstrap());
            raw.send(&wire::fetch("bulk", 100_000_000));
            raw
        })
        .collect();
    stuck.iter().for_each(RawConnection::wait_for_bytes);
    settled(&sidecar);
    let reading = resident(&sidecar);
    assert_works(&kafka, &sidecar, "beside-stuck");
    drop(stuck);
    // Past the harness, which keeps what a test that passes prints to itself.
    writeln!(
        std::io::stderr(),
        "resident: {} MiB idle, {} MiB with 2,000 connections that sent 64 KiB each of a frame, {} MiB with 20 stuck readers of 100 MB each",
        idle / MIB,
        many / MIB,
        reading / MIB
    )
    .unwrap();
    assert!(many < idle + 500 * MIB, "{} MiB", many / MIB);
    assert!(reading < idle + 500 * MIB, "{} MiB", reading / MIB);
    assert_calm(&sidecar);
}

// --- parts ---

fn told(step: &str) {
    eprintln!("{step}");
}

fn throughline() -> &'static std::path::Path {
    &ProjectBinaries::build().unwrap().throughline
}

fn kafka() -> ApacheBroker {
    ApacheBroker::builder().start(&mut told).unwrap()
}

fn collector() -> CollectorInstance {
    CollectorInstance::start(throughline()).unwrap()
}

fn sidecar(kafka: &ApacheBroker, collector: SocketAddr, args: &[&str]) -> SidecarInstance {
    SidecarInstance::start(throughline(), kafka.bootstrap(), collector, "faults", args).unwrap()
}

/// A collector that answers every request with 503.
fn refusing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Ends with the program.
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

/// A stock client sends and another receives, through the sidecar.
fn assert_works(kafka: &ApacheBroker, sidecar: &SidecarInstance, topic: &str) {
    create_topic(kafka.bootstrap(), &TopicSpec::new(topic, 1)).unwrap();
    let values = [b"one".to_vec(), b"two".to_vec()];
    send(sidecar.bootstrap(), topic, &values, &[]);
    let received = receive(sidecar.bootstrap(), topic, values.len(), &[]);
    assert_eq!(payloads(&received), values);
    assert!(received.iter().all(|record| contexts(record) == 1));
}

/// Nothing panicked, and it still runs.
fn assert_calm(sidecar: &SidecarInstance) {
    let log = sidecar.process().log().join("\n");
    assert!(!log.contains("panicked"), "{log}");
    assert_eq!(sidecar.process().status(), None, "it still runs:\n{log}");
    assert_eq!(
        metrics(sidecar)["throughline_kafka_connections_failed_total{reason=\"panic\"}"],
        0.0
    );
}

// --- memory and metrics ---

/// Bytes of memory that the sidecar has in use.
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

/// Waits until the sidecar reads no more from its brokers.
fn settled(sidecar: &SidecarInstance) {
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
    wait::until(PATIENCE, rests).expect("a stuck reader stops the reading");
}

/// All counters and gauges, by name and labels.
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

/// Collects what became of each record.
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

/// Sends these values to partition 0, in order; gives what the broker refused of them.
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
    producer.flush(PATIENCE).unwrap();
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
            begin.elapsed() < PATIENCE,
            "{} of {count} records after {:?}",
            received.len(),
            begin.elapsed()
        );
        // An error is a way that is cut; the client finds another by itself.
        if let Some(Ok(record)) = consumer.poll(Duration::from_millis(100)) {
            received.push(record.detach());
        }
    }
    received
}

/// So many records from the beginning of partition 0.
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

/// How many contexts a record carries.
fn contexts(record: &OwnedMessage) -> usize {
    record.headers().map_or(0, |headers| {
        headers
            .iter()
            .filter(|header| header.key == "traceparent")
            .count()
    })
}
