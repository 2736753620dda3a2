use std::time::Duration;

use opentelemetry::metrics::noop::NoopMeterProvider;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, Message as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};

use super::*;
use crate::Telemetry;
use crate::kafka::{Consumer, Producer, Settings};

const SENDER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

type Listed = Vec<(Vec<u8>, Option<Vec<u8>>)>;

fn list(carrier: &impl Carrier) -> Listed {
    let mut all = Vec::new();
    carrier.each(&mut |key, value| all.push((key.to_vec(), value.map(<[u8]>::to_vec))));
    all
}

fn entry(key: &[u8], value: Option<&[u8]>) -> (Vec<u8>, Option<Vec<u8>>) {
    (key.to_vec(), value.map(<[u8]>::to_vec))
}

/// Adds a header with any bytes as its key, as clients in other languages may.
fn push(headers: &mut RecordHeadersMut, key: &[u8], value: &[u8]) {
    let (native, length) = (headers.native(), isize::try_from(key.len()).unwrap());
    let size = isize::try_from(value.len()).unwrap();
    // SAFETY: as in `replace`: the headers are live and not shared, and the lengths are those of
    // the slices.
    unsafe {
        native::rd_kafka_header_add(
            native,
            key.as_ptr().cast(),
            length,
            value.as_ptr().cast(),
            size,
        )
    };
}

/// Headers that make rdkafka's safe reader panic.
fn wild() -> OwnedHeaders {
    let headers = OwnedHeaders::new().insert(Header::<&str> {
        key: "null",
        value: None,
    });
    let headers = headers.insert(Header {
        key: "TraceParent",
        value: Some("old"),
    });
    let mut headers = RecordHeadersMut::new(Some(headers), 0);
    push(&mut headers, b"\xff\xfe", b"\x00\x01");
    push(&mut headers, b"traceparent", b"older");
    push(&mut headers, b"\xff\xfe", b"");
    headers.into_inner()
}

#[test]
fn replacing_leaves_one_header_and_all_others_unmodified() {
    let mut headers = RecordHeadersMut::new(Some(wild()), 0);
    headers.replace("traceparent", b"new");
    let expected = [
        entry(b"null", None),
        entry(b"\xff\xfe", Some(b"\x00\x01")),
        entry(b"\xff\xfe", Some(b"")),
        entry(b"traceparent", Some(b"new")),
    ];
    assert_eq!(list(&headers), expected);
    headers.replace("traceparent", b"newer");
    assert_eq!(list(&headers).len(), 4);
    headers.remove("TRACEPARENT");
    assert_eq!(list(&headers).len(), 3);
}

#[test]
fn last_value_wins_and_null_is_none() {
    let headers = RecordHeadersMut::new(Some(wild()), 0);
    assert_eq!(headers.last("traceparent"), Some(b"older".as_slice()));
    assert_eq!(headers.last("null"), None);
    assert_eq!(headers.last("absent"), None);
}

#[test]
fn second_span_is_visible_without_its_prefix() {
    let headers = OwnedHeaders::new().insert(Header {
        key: "second_span_b3",
        value: Some("0"),
    });
    let headers = RecordHeadersMut::new(
        Some(headers.insert(Header {
            key: "b3",
            value: Some("1"),
        })),
        0,
    );
    assert_eq!(
        list(&SecondSpanHeaders(&headers)),
        [entry(b"b3", Some(b"0"))]
    );
}

#[tokio::test]
async fn non_utf8_keys_pass_through_a_broker_and_do_not_hide_the_context() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", "g")
        .set("fetch.wait.max.ms", "5");
    let spans = InMemorySpanExporter::default();
    let tracers = SdkTracerProvider::builder()
        .with_simple_exporter(spans.clone())
        .build();
    let settings = Settings::from(&config).telemetry(Telemetry::new(
        &tracers,
        &NoopMeterProvider::new(),
        None,
    ));

    let mut headers = RecordHeadersMut::new(Some(wild()), 0);
    headers.replace("traceparent", SENDER.as_bytes());
    let producer = Producer::new(config.create::<FutureProducer>().unwrap(), settings.clone());
    let record = FutureRecord::<str, str>::to("t")
        .payload("v")
        .headers(headers.into_inner());
    producer
        .send(record, Duration::from_secs(10))
        .await
        .unwrap();

    let inner: BaseConsumer = config.create().unwrap();
    let mut all = TopicPartitionList::new();
    all.add_partition_offset("t", 0, Offset::Beginning).unwrap();
    inner.assign(&all).unwrap();
    let consumer = Consumer::new(inner, settings);
    let delivery = consumer.poll(Duration::from_secs(20)).unwrap().unwrap();
    let received = list(&RecordHeaders(delivery.headers().unwrap()));
    drop(delivery);

    let finished = spans.get_finished_spans().unwrap();
    let (sent, handled) = (&finished[0].span_context, &finished[1]);
    assert_eq!(handled.parent_span_id, sent.span_id());
    assert_eq!(
        sent.trace_id().to_string(),
        "0af7651916cd43dd8448eb211c80319c"
    );
    let injected = format!("00-{}-{}-01", sent.trace_id(), sent.span_id());
    let expected = [
        entry(b"null", None),
        entry(b"\xff\xfe", Some(b"\x00\x01")),
        entry(b"\xff\xfe", Some(b"")),
        entry(b"traceparent", Some(injected.as_bytes())),
    ];
    assert_eq!(received, expected);
}
