//! The proxy on loopback sockets, between clients and brokers that are played here.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::produce_request::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use kafka_protocol::messages::{ApiKey, RequestHeader, TopicName};
use kafka_protocol::protocol::{Encodable as _, StrBytes};
use kafka_protocol::records::{
    Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use support::{
    Log, Running, ask, before, config, echo, echo_broker, framed, listen, nobody, read_end,
    read_frame, request, within,
};
use throughline_intercept::kafka::Settings;
use throughline_model::{SinkFull, Span, SpanSink};
use throughline_proxy::ConnectionLimits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[tokio::test]
async fn the_next_broker_serves_when_the_first_is_not_there() {
    let proxy = Running::start(config(vec![before(&[nobody().await, echo_broker().await])])).await;
    for correlation in 0..3 {
        ask(&mut proxy.connect().await, correlation, b"hello").await;
    }
    proxy
        .until_metric("throughline_kafka_connections_total 3")
        .await;
    proxy
        .until_metric("throughline_kafka_connections_open 0")
        .await;
}

#[tokio::test]
async fn a_client_whose_broker_is_not_there_is_refused_and_the_log_says_why_once() {
    let (log, _guard) = Log::new();
    let (one, other) = (nobody().await, nobody().await);
    let proxy = Running::start(config(vec![before(&[one, other])])).await;
    for _ in 0..3 {
        // Not an orderly end, which a client may take for the word of a broker.
        let refused = within(proxy.connect().await.read_u8()).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionReset);
    }
    proxy
        .until_metric("throughline_kafka_connections_failed_total{reason=\"connect\"} 3")
        .await;
    let text = log.text();
    assert_eq!(
        text.matches("cannot connect to a broker").count(),
        1,
        "{text}"
    );
    assert!(
        text.contains(&one.to_string())
            && text.contains(&other.to_string())
            && text.contains("refused"),
        "{text}"
    );
}

#[tokio::test]
async fn a_client_that_speaks_tls_to_a_plain_port_is_told_of_once_with_the_mend() {
    let (log, _guard) = Log::new();
    let (listener, broker) = listen().await;
    let proxy = Running::start(config(vec![before(&[broker])])).await;
    let hello = [0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0];
    for _ in 0..3 {
        let mut client = proxy.connect().await;
        client.write_all(&hello).await.unwrap();
        let (mut stream, _) = within(listener.accept()).await.unwrap();
        let mut got = [0; 10];
        // It is the broker's to refuse: bytes pass.
        within(tokio::io::AsyncReadExt::read_exact(&mut stream, &mut got))
            .await
            .unwrap();
        assert_eq!(got, hello);
    }
    let text = log.text();
    assert_eq!(text.matches("the client speaks TLS").count(), 1, "{text}");
    assert!(
        text.contains("client_tls_cert") && text.contains("SASL_PLAINTEXT"),
        "{text}"
    );
}

#[tokio::test]
async fn a_broker_that_speaks_tls_to_us_who_do_not_is_told_of_with_the_mend() {
    let (log, _guard) = Log::new();
    let (listener, broker) = listen().await;
    let proxy = Running::start(config(vec![before(&[broker])])).await;
    let mut client = proxy.connect().await;
    client.write_all(&request(1, b"x")).await.unwrap();
    let (mut stream, _) = within(listener.accept()).await.unwrap();
    within(read_frame(&mut stream)).await.unwrap();
    stream.write_all(&[0x15, 3, 3, 0, 2, 2, 40]).await.unwrap();
    drop(stream);
    within(tokio::io::AsyncReadExt::read_to_end(
        &mut client,
        &mut Vec::new(),
    ))
    .await
    .unwrap();
    assert!(
        log.text().contains("the broker speaks TLS") && log.text().contains("--broker-tls"),
        "{}",
        log.text()
    );
}

#[tokio::test]
async fn who_comes_when_all_places_are_taken_waits_and_the_log_says_for_what() {
    let (log, _guard) = Log::new();
    let mut config = config(vec![before(&[echo_broker().await])]);
    config.limits = ConnectionLimits {
        max_connections: 1,
        ..config.limits
    };
    let proxy = Running::start(config).await;
    let mut first = proxy.connect().await;
    ask(&mut first, 1, b"x").await;
    assert!(!log.text().contains("--connections"), "{}", log.text());
    let mut second = proxy.connect().await;
    within(async {
        while !log.text().contains("--connections") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    drop(first);
    ask(&mut second, 2, b"y").await;
}

#[tokio::test]
async fn metrics_and_health_are_answered() {
    let proxy = Running::start(config(vec![before(&[echo_broker().await])])).await;
    ask(&mut proxy.connect().await, 7, b"x").await;
    assert_eq!(
        (
            proxy.get("/live").await.0,
            proxy.get("/ready").await.0,
            proxy.get("/other").await.0
        ),
        (200, 200, 404)
    );
    let (status, text) = proxy.get("/metrics").await;
    assert!(
        status == 200 && text.contains("content-type: application/openmetrics-text"),
        "{text}"
    );
    let bytes = request(7, b"x").len();
    let line =
        format!("throughline_kafka_bytes_total{{side=\"client\",direction=\"received\"}} {bytes}");
    assert!(
        text.contains(&line) && text.ends_with("# EOF\n"),
        "{line} is missing in:\n{text}"
    );
}

#[tokio::test]
async fn a_drain_turns_newcomers_away_and_waits_for_the_exchange_under_way() {
    let (listener, broker) = listen().await;
    let mut proxy = Running::start(config(vec![before(&[broker])])).await;
    let mut client = proxy.connect().await;
    client.write_all(&request(1, b"q")).await.unwrap();
    let (mut stream, _) = within(listener.accept()).await.unwrap();
    let asked = within(read_frame(&mut stream)).await.unwrap();
    let kafka = proxy.addresses.listeners[0];
    proxy.begin_stop();
    within(async {
        while TcpStream::connect(kafka).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(proxy.get("/ready").await.0, 503);
    assert_eq!(proxy.get("/live").await.0, 200);
    let answer = framed(&[&asked[4..8], b"a"].concat());
    stream.write_all(&answer).await.unwrap();
    assert_eq!(
        framed(&within(read_frame(&mut client)).await.unwrap()),
        answer
    );
    read_end(&mut client).await;
    proxy.ended().await;
}

#[tokio::test]
async fn a_drain_ends_when_its_time_is_up() {
    let (listener, broker) = listen().await;
    let mut config = config(vec![before(&[broker])]);
    config.limits = ConnectionLimits {
        drain_timeout: Duration::from_millis(100),
        ..config.limits
    };
    let mut proxy = Running::start(config).await;
    let mut client = proxy.connect().await;
    client.write_all(&request(1, b"q")).await.unwrap();
    let (mut stream, _) = within(listener.accept()).await.unwrap();
    within(read_frame(&mut stream)).await.unwrap();
    proxy.begin_stop();
    read_end(&mut client).await;
    proxy.ended().await;
}

#[tokio::test]
async fn who_does_not_read_holds_up_nobody_else() {
    let (listener, broker) = listen().await;
    let proxy = Running::start(config(vec![before(&[broker])])).await;
    let mut stuck = proxy.connect().await;
    stuck.write_all(&request(1, b"q")).await.unwrap();
    let (mut stream, _) = within(listener.accept()).await.unwrap();
    let asked = within(read_frame(&mut stream)).await.unwrap();
    // An answer of 1 GiB, of which the system's buffers and ours take a little.
    let begin = [&(1_i32 << 30).to_be_bytes()[..], &asked[4..8]].concat();
    stream.write_all(&begin).await.unwrap();
    let piece = vec![7; 1 << 20];
    let mut taken = 0;
    while tokio::time::timeout(Duration::from_secs(1), stream.write_all(&piece))
        .await
        .is_ok()
    {
        taken += piece.len();
        assert!(
            taken < 64 << 20,
            "a client that does not read is read for without bound"
        );
    }
    let mut other = proxy.connect().await;
    let (stream, _) = within(listener.accept()).await.unwrap();
    tokio::spawn(echo(stream));
    ask(&mut other, 2, b"hello").await;
}

/// A request with one record, of a version that every broker and we know.
fn produce(correlation: i32) -> Vec<u8> {
    let record = Record {
        transactional: false,
        control: false,
        partition_leader_epoch: 0,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        timestamp: 1_700_000_000_000,
        sequence: -1,
        offset: 0,
        key: None,
        value: Some(Bytes::from_static(b"value")),
        headers: [].into_iter().collect(),
        delete_horizon: false,
    };
    let mut records = BytesMut::new();
    let options = RecordEncodeOptions {
        version: 2,
        compression: Compression::None,
    };
    RecordBatchEncoder::encode(&mut records, [&record], &options).unwrap();
    let partition = PartitionProduceData::default()
        .with_index(0)
        .with_records(Some(records.freeze()));
    let topic = TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_static_str("orders")))
        .with_partition_data(vec![partition]);
    let body = ProduceRequest::default()
        .with_acks(1)
        .with_timeout_ms(1000)
        .with_topic_data(vec![topic]);
    let header = RequestHeader::default()
        .with_request_api_key(ApiKey::Produce as i16)
        .with_request_api_version(7)
        .with_correlation_id(correlation)
        .with_client_id(Some(StrBytes::from_static_str("shop")));
    let mut frame = BytesMut::new();
    header.encode(&mut frame, 1).unwrap();
    body.encode(&mut frame, 7).unwrap();
    framed(&frame)
}

fn carries_context(frame: &[u8]) -> bool {
    frame.windows(11).any(|window| window == b"traceparent")
}

#[tokio::test]
async fn the_switch_of_injection_holds_on_connections_that_stand() {
    let (listener, broker) = listen().await;
    let proxy = Running::start(config(vec![before(&[broker])])).await;
    let mut client = proxy.connect().await;
    let mut correlation = 0;
    let mut stream = None;
    for inject in [true, false, true] {
        proxy.control.apply(Arc::new(Settings {
            inject,
            ..Settings::default()
        }));
        correlation += 1;
        client.write_all(&produce(correlation)).await.unwrap();
        if stream.is_none() {
            stream = Some(within(listener.accept()).await.unwrap().0);
        }
        let got = within(read_frame(stream.as_mut().unwrap())).await.unwrap();
        assert_eq!(carries_context(&got), inject);
        assert!(
            inject || framed(&got) == produce(correlation),
            "what is not injected goes as it came"
        );
    }
}

/// Breaks when a span comes.
struct Broken;

impl SpanSink for Broken {
    fn try_send(&self, _: Span) -> Result<(), SinkFull> {
        panic!("a span came")
    }
}

#[tokio::test]
async fn an_error_of_ours_ends_one_connection_and_is_counted() {
    let (listener, broker) = listen().await;
    let proxy = Running::start_with(config(vec![before(&[broker])]), Arc::new(Broken)).await;
    let mut other = proxy.connect().await;
    let (stream, _) = within(listener.accept()).await.unwrap();
    tokio::spawn(echo(stream));
    ask(&mut other, 1, b"before").await;
    let mut client = proxy.connect().await;
    client.write_all(&produce(1)).await.unwrap();
    let (mut stream, _) = within(listener.accept()).await.unwrap();
    within(read_frame(&mut stream)).await.unwrap();
    // A request that nobody answers makes a span that says so.
    drop(stream);
    read_end(&mut client).await;
    proxy
        .until_metric("throughline_kafka_connections_failed_total{reason=\"panic\"} 1")
        .await;
    proxy
        .until_metric("throughline_kafka_connections_open 1")
        .await;
    ask(&mut other, 2, b"after").await;
}
