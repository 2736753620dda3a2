//! The proxy on loopback sockets, between simulated clients and brokers.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

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
    Log, Running, before, closed_port, config, echo, echo_broker, framed, listen, read_end,
    read_frame, request, round_trip, within,
};
use throughline_intercept::kafka::{InjectionMode, Settings};
use throughline_model::{SinkFull, Span, SpanSink};
use throughline_proxy::ConnectionLimits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[tokio::test]
async fn next_bootstrap_broker_serves_when_the_first_is_down() {
    let proxy = Running::start(config(vec![before(&[closed_port(), echo_broker().await])])).await;
    for correlation in 0..3 {
        round_trip(&mut proxy.connect().await, correlation, b"hello").await;
    }
    proxy
        .until_metric("throughline_kafka_connections_total 3")
        .await;
    proxy
        .until_metric("throughline_kafka_connections_open 0")
        .await;
}

#[tokio::test]
async fn client_of_an_unreachable_broker_is_reset_and_the_cause_is_logged_once() {
    let (log, _guard) = Log::new();
    let (one, other) = (closed_port(), closed_port());
    let proxy = Running::start(config(vec![before(&[one, other])])).await;
    for _ in 0..3 {
        // A client could take an orderly end for a decision of the broker.
        let refused = within(proxy.connect().await.read_u8()).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionReset);
    }
    proxy
        .until_metric("throughline_kafka_connections_failed_total{reason=\"connect\"} 3")
        .await;
    let text = log.text();
    assert_eq!(
        text.matches("connecting to a broker failed").count(),
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
async fn client_with_tls_on_a_plain_port_is_logged_once_with_the_remedy() {
    let (log, _guard) = Log::new();
    let (listener, broker) = listen().await;
    let proxy = Running::start(config(vec![before(&[broker])])).await;
    let hello = [0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0];
    for _ in 0..3 {
        let mut client = proxy.connect().await;
        client.write_all(&hello).await.unwrap();
        let (mut stream, _) = within(listener.accept()).await.unwrap();
        let mut got = [0; 10];
        // The bytes pass: rejecting them is up to the broker.
        within(tokio::io::AsyncReadExt::read_exact(&mut stream, &mut got))
            .await
            .unwrap();
        assert_eq!(got, hello);
    }
    let text = log.text();
    assert_eq!(text.matches("the client speaks TLS").count(), 1, "{text}");
    assert!(
        text.contains("--client-tls-cert") && text.contains("SASL_PLAINTEXT"),
        "{text}"
    );
}

#[tokio::test]
async fn broker_with_tls_on_a_plain_connection_is_logged_with_the_remedy() {
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
async fn client_above_the_connection_limit_waits_and_is_logged() {
    let (log, _guard) = Log::new();
    let mut config = config(vec![before(&[echo_broker().await])]);
    config.limits = ConnectionLimits {
        max_connections: 1,
        ..config.limits
    };
    let proxy = Running::start(config).await;
    let mut first = proxy.connect().await;
    round_trip(&mut first, 1, b"x").await;
    assert!(!log.text().contains("--connections"), "{}", log.text());
    let mut second = proxy.connect().await;
    within(async {
        while !log.text().contains("--connections") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    drop(first);
    round_trip(&mut second, 2, b"y").await;
}

#[tokio::test]
async fn metrics_and_health_are_served() {
    let proxy = Running::start(config(vec![before(&[echo_broker().await])])).await;
    round_trip(&mut proxy.connect().await, 7, b"x").await;
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
async fn drain_accepts_no_connections_and_waits_for_requests_in_flight() {
    let (listener, broker) = listen().await;
    let mut proxy = Running::start(config(vec![before(&[broker])])).await;
    let mut client = proxy.connect().await;
    client.write_all(&request(1, b"q")).await.unwrap();
    let (mut stream, _) = within(listener.accept()).await.unwrap();
    let received = within(read_frame(&mut stream)).await.unwrap();
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
    let response = framed(&[&received[4..8], b"a"].concat());
    stream.write_all(&response).await.unwrap();
    assert_eq!(
        framed(&within(read_frame(&mut client)).await.unwrap()),
        response
    );
    read_end(&mut client).await;
    proxy.ended().await;
}

#[tokio::test]
async fn drain_ends_at_its_timeout() {
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
async fn slow_reader_delays_no_other_connection() {
    let (listener, broker) = listen().await;
    let proxy = Running::start(config(vec![before(&[broker])])).await;
    let mut stuck = proxy.connect().await;
    stuck.write_all(&request(1, b"q")).await.unwrap();
    let (mut stream, _) = within(listener.accept()).await.unwrap();
    let received = within(read_frame(&mut stream)).await.unwrap();
    // A response of 1 GiB, of which the buffers of the system and the proxy take a little.
    let begin = [&(1_i32 << 30).to_be_bytes()[..], &received[4..8]].concat();
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
            "the proxy reads without bound for a client that does not read"
        );
    }
    let mut other = proxy.connect().await;
    let (stream, _) = within(listener.accept()).await.unwrap();
    tokio::spawn(echo(stream));
    round_trip(&mut other, 2, b"hello").await;
}

/// Returns a Produce request with one record.
fn produce_request(correlation: i32) -> Vec<u8> {
    produce_request_of(correlation, Bytes::from_static(b"value"), Compression::None)
}

/// Returns a Produce request with one record of this value.
fn produce_request_of(correlation: i32, value: Bytes, compression: Compression) -> Vec<u8> {
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
        value: Some(value),
        headers: [].into_iter().collect(),
        delete_horizon: false,
    };
    let mut records = BytesMut::new();
    let options = RecordEncodeOptions {
        version: 2,
        compression,
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

/// Returns the response to [`produce_request`]: Produce v7, without an error.
fn produce_response(correlation: i32) -> Vec<u8> {
    let mut body = correlation.to_be_bytes().to_vec();
    body.extend(1i32.to_be_bytes());
    body.extend(b"\0\x06orders");
    body.extend(1i32.to_be_bytes());
    let (index, error_code) = (0i32, 0i16);
    body.extend(index.to_be_bytes());
    body.extend(error_code.to_be_bytes());
    // Base offset, time of appending, and start of the log.
    for number in [0i64, -1, 0] {
        body.extend(number.to_be_bytes());
    }
    let throttle_time_ms = 0i32;
    body.extend(throttle_time_ms.to_be_bytes());
    framed(&body)
}

#[tokio::test]
async fn injection_setting_applies_to_open_connections() {
    let (listener, broker) = listen().await;
    let proxy = Running::start(config(vec![before(&[broker])])).await;
    let mut client = proxy.connect().await;
    let mut correlation = 0;
    let mut stream = None;
    for injects in [true, false, true] {
        let inject = if injects {
            InjectionMode::Always
        } else {
            InjectionMode::Never
        };
        proxy.control.apply(Arc::new(Settings {
            inject,
            ..Settings::default()
        }));
        correlation += 1;
        client
            .write_all(&produce_request(correlation))
            .await
            .unwrap();
        if stream.is_none() {
            stream = Some(within(listener.accept()).await.unwrap().0);
        }
        let got = within(read_frame(stream.as_mut().unwrap())).await.unwrap();
        assert_eq!(carries_context(&got), injects);
        assert!(
            injects || framed(&got) == produce_request(correlation),
            "without injection the request passes unmodified"
        );
        // The next request waits for the evidence that the topic accepts an injected batch.
        let broker = stream.as_mut().unwrap();
        broker
            .write_all(&produce_response(correlation))
            .await
            .unwrap();
        let response = within(read_frame(&mut client)).await.unwrap();
        assert_eq!(framed(&response), produce_response(correlation));
    }
}

/// Panics at the first span.
struct PanickingSink;

impl SpanSink for PanickingSink {
    fn try_send(&self, _: Span) -> Result<(), SinkFull> {
        panic!("a span arrived")
    }
}

#[tokio::test]
async fn panic_closes_one_connection_and_is_counted() {
    let (listener, broker) = listen().await;
    let proxy = Running::start_with(config(vec![before(&[broker])]), Arc::new(PanickingSink)).await;
    let mut other = proxy.connect().await;
    let (stream, _) = within(listener.accept()).await.unwrap();
    tokio::spawn(echo(stream));
    round_trip(&mut other, 1, b"before").await;
    let mut client = proxy.connect().await;
    client.write_all(&produce_request(1)).await.unwrap();
    let (mut stream, _) = within(listener.accept()).await.unwrap();
    within(read_frame(&mut stream)).await.unwrap();
    // The span ends with the response.
    stream.write_all(&produce_response(1)).await.unwrap();
    read_end(&mut client).await;
    proxy
        .until_metric("throughline_kafka_connections_failed_total{reason=\"panic\"} 1")
        .await;
    proxy
        .until_metric("throughline_kafka_connections_open 1")
        .await;
    round_trip(&mut other, 2, b"after").await;
}

/// Returns the time that a request with a large compressed batch took through the proxy, and the
/// longest time of a small request on another connection meanwhile.
async fn race_large_and_small(proxy: &Running, large: &[u8]) -> (Duration, Duration) {
    let (mut slow, mut fast) = (proxy.connect().await, proxy.connect().await);
    round_trip(&mut slow, 1, b"x").await;
    round_trip(&mut fast, 1, b"x").await;
    slow.write_all(large).await.unwrap();
    let begin = Instant::now();
    let answered = tokio::spawn(async move {
        within(read_frame(&mut slow)).await.unwrap();
        begin.elapsed()
    });
    let mut longest = Duration::ZERO;
    for correlation in 2.. {
        let sent = Instant::now();
        round_trip(&mut fast, correlation, b"x").await;
        longest = longest.max(sent.elapsed());
        if answered.is_finished() {
            break;
        }
    }
    (answered.await.unwrap(), longest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn recompression_on_one_connection_delays_no_other() {
    const ATTEMPTS: usize = 10;
    let proxy = Running::start(config(vec![before(&[echo_broker().await])])).await;
    // Hexadecimal digits of a generator: neither constant nor incompressible.
    let mut state = 1u64;
    let digits = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        b"0123456789abcdef"[usize::try_from(state >> 60).unwrap()]
    });
    let value: Bytes = digits.take(1 << 20).collect();
    let large = produce_request_of(2, value, Compression::Gzip);
    let mut races = Vec::new();
    // A busy machine may stop the only worker for a while; a proxy that recompresses on it never
    // comes close.
    for _ in 0..ATTEMPTS {
        let (large, small) = race_large_and_small(&proxy, &large).await;
        if small < large / 3 {
            return;
        }
        races.push((large, small));
    }
    panic!("small requests waited for the large one: {races:?}");
}
