//! Large frames, many connections, and peers that do not read: memory stays bounded.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::Offset;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::topic_partition_list::TopicPartitionList;
use serde_json::json;
use throughline_testkit::kafka::{ApacheBroker, TopicSpec, create_topic};
use throughline_testkit::wait;

use crate::fixture::{
    FaultFixture, MIB, PRODUCE, TIMEOUT, UNKNOWN_API, assert_echo, body, exchange, no_keys,
};
use crate::wire::{self, RawConnection};

const LARGE: usize = 20_000_000;
/// Time without progress after which a writer counts as stopped.
const STOPPED: Duration = Duration::from_secs(2);

#[test]
fn frames_of_20_mb_pass_both_ways() {
    let fixture = FaultFixture::start(&no_keys());
    let large = body(LARGE);
    for api in [UNKNOWN_API, PRODUCE] {
        let mut connection = RawConnection::connect(&fixture.kafka);
        exchange(&mut connection, api, 1, &large);
        exchange(&mut connection, api, 2, b"small");
        exchange(&mut connection, api, 3, &large);
    }
    fixture.stop();
}

/// Keeps the broker's error, if there is one.
struct DeliveryOutcome(std::sync::Mutex<Option<Result<(), String>>>);

impl ClientContext for DeliveryOutcome {}

impl ProducerContext for DeliveryOutcome {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let result = result.as_ref().map(drop);
        *self.0.lock().unwrap() = Some(result.map_err(|(error, _)| error.to_string()));
    }
}

#[test]
fn record_of_20_mb_gets_its_context_on_a_real_broker() {
    let kafka = ApacheBroker::builder().jvm("-Xmx1g");
    let kafka = kafka.start(&mut |step| eprintln!("{step}")).unwrap();
    let topic = TopicSpec::new("large", 1).config("max.message.bytes", "30000000");
    create_topic(kafka.bootstrap(), &topic).unwrap();
    let keys = json!({ "topics": [{ "topic": "large", "max_message_bytes": 30_000_000 }] });
    let mut through = None;
    let fixture = FaultFixture::start_with(&|spec| spec, &keys, |bootstrap| {
        through = Some(bootstrap.kafka(kafka.bootstrap()).unwrap());
    });
    let through = through.unwrap().to_string();
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &through)
        .set("message.max.bytes", "30000000");
    let outcome = DeliveryOutcome(std::sync::Mutex::default());
    let producer: BaseProducer<DeliveryOutcome> = config.create_with_context(outcome).unwrap();
    let value = body(LARGE);
    let record = BaseRecord::<(), Vec<u8>>::to("large").payload(&value);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(TIMEOUT).unwrap();
    assert_eq!(*producer.context().0.lock().unwrap(), Some(Ok(())));
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &through)
        .set("group.id", "large")
        .set("fetch.message.max.bytes", "30000000")
        .set("fetch.max.bytes", "40000000")
        .set("receive.message.max.bytes", "50000000");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut partitions = TopicPartitionList::new();
    partitions
        .add_partition_offset("large", 0, Offset::Beginning)
        .unwrap();
    consumer.assign(&partitions).unwrap();
    let received = consumer.poll(TIMEOUT).unwrap().unwrap();
    assert!(received.payload() == Some(&value), "the value changed");
    let headers = received.headers().unwrap();
    assert!(headers.iter().any(|header| header.key == "traceparent"));
    assert_eq!(fixture.stat("kafka_records_injected"), 1);
    drop(received);
    drop((consumer, producer));
    fixture.stop();
}

#[test]
fn memory_is_bounded_with_2000_connections_and_halves_of_frames() {
    // Half of the frames would need eight times of this.
    let fixture = FaultFixture::start(&json!({ "memory": "8MiB" }));
    fixture.assert_passes(PRODUCE, &[1; 100]);
    let idle = fixture.resident();
    let frame = wire::request(PRODUCE, 7, 1, &body(64 << 10));
    let (first, second) = frame.split_at(32 << 10);
    let mut open: Vec<RawConnection> = (0..2000)
        .map(|_| {
            let mut connection = RawConnection::connect(&fixture.kafka);
            // A round trip limits the pace: the accept backlog is short.
            exchange(&mut connection, UNKNOWN_API, 0, b"");
            connection.send(first);
            connection
        })
        .collect();
    assert_eq!(fixture.stat("kafka_connections"), 2001);
    let many = fixture.resident();
    for connection in &mut open {
        connection.send(second);
        assert_echo(connection, 1, &body(64 << 10));
    }
    let answered = fixture.resident();
    drop(open);
    let mib = [idle, many, answered].map(|bytes| bytes / MIB);
    eprintln!("resident with 2,000 connections (idle, half frames, answered): {mib:?} MiB");
    // Two connections and a session each. The bytes past `memory` are in the broker.
    assert!(many < idle + 300 * MIB, "{mib:?}");
    assert!(answered < idle + 400 * MIB, "{mib:?}");
    fixture.assert_passes(PRODUCE, &[1; 100]);
    fixture.stop();
}

#[test]
fn client_stops_when_the_broker_does_not_read() {
    let fixture = FaultFixture::start(&no_keys());
    fixture.broker.stall(true);
    let idle = fixture.resident();
    for api in [UNKNOWN_API, PRODUCE] {
        let frame = wire::request(api, 7, 1, &body(500_000));
        let written = write_until_stopped(&fixture.kafka, &frame);
        eprintln!(
            "api {api}: {} MiB written to a broker that does not read",
            written / MIB
        );
        assert!(written < 64 * MIB, "{written} bytes");
    }
    let grown = fixture.resident().saturating_sub(idle) / MIB;
    assert!(grown < 64, "Envoy grew by {grown} MiB");
    fixture.broker.stall(false);
    fixture.assert_passes(PRODUCE, &body(1000));
    fixture.stop();
}

/// The first changed batch of a topic may be refused, so that what follows it waits in the module,
/// where Envoy does not see it.
#[test]
fn client_stops_when_its_requests_are_held() {
    let fixture = FaultFixture::start(&no_keys());
    fixture.broker.silence();
    let idle = fixture.resident();
    let mut frames = wire::produce("held", &body(100));
    let rest = wire::request(UNKNOWN_API, 7, 2, &body(500_000));
    frames.extend(&rest);
    let written = write_until_stopped(&fixture.kafka, &frames);
    eprintln!(
        "{} MiB written behind a request without an answer",
        written / MIB
    );
    assert!(written < 64 * MIB, "{written} bytes");
    assert!(fixture.stat("kafka_reads_paused") > 0);
    assert!(
        fixture.broker.received() < 1000,
        "{}",
        fixture.broker.received()
    );
    let grown = fixture.resident().saturating_sub(idle) / MIB;
    assert!(grown < 64, "Envoy grew by {grown} MiB");
    fixture.stop();
}

#[test]
fn broker_stops_when_the_client_does_not_read() {
    let fixture = FaultFixture::start(&no_keys());
    let idle = fixture.resident();
    let large = body(LARGE);
    // The broker reads no further request while its answer cannot be written.
    let mut client = TcpStream::connect(&*fixture.kafka).unwrap();
    let request = wire::request(UNKNOWN_API, 7, 1, &large);
    let rounds = 5;
    let writer = client.try_clone().unwrap();
    let sent = thread::spawn(move || {
        let mut writer = writer;
        (0..rounds).for_each(|_| writer.write_all(&request).unwrap());
    });
    let mut last = (fixture.broker.received(), std::time::Instant::now());
    let rests = || {
        let now = fixture.broker.received();
        if now > last.0 {
            last = (now, std::time::Instant::now());
        }
        (last.1.elapsed() > STOPPED).then_some(())
    };
    wait::until(TIMEOUT, rests).expect("the broker stops");
    assert!(fixture.broker.received() < 3 * LARGE);
    let grown = fixture.resident().saturating_sub(idle) / MIB;
    assert!(grown < 64, "Envoy grew by {grown} MiB");
    for _ in 0..rounds {
        let mut answer = vec![0; LARGE + 8];
        client.read_exact(&mut answer).unwrap();
        assert!(answer[8..] == *large, "the answer changed");
    }
    sent.join().unwrap();
    fixture.stop();
}

/// Writes frames again and again until nothing more is taken for a while. Returns the number of
/// bytes.
fn write_until_stopped(address: &str, frames: &[u8]) -> usize {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_write_timeout(Some(STOPPED)).unwrap();
    let mut written = 0;
    loop {
        let rest = &frames[written % frames.len()..];
        match stream.write(rest) {
            Ok(count) => written += count,
            Err(_) => return written,
        }
        assert!(written < 256 * MIB, "the client was not stopped");
    }
}
