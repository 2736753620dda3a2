//! Against our own collector: what was sent is what it has.

use std::net::SocketAddr;
use std::time::Duration;

use throughline_collector::{CollectorAddresses, CollectorServer};
use throughline_export::{Compression, Config, Exporter, Protocol};
use throughline_model::SpanSink as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{LONG, config, span};

async fn collector() -> CollectorAddresses {
    let config = throughline_collector::Config {
        otlp_grpc_port: 0,
        otlp_http_port: 0,
        zipkin_port: 0,
        query_port: 0,
        ..throughline_collector::Config::default()
    };
    let collector = CollectorServer::bind(config).await.unwrap();
    let addresses = collector.addresses();
    tokio::spawn(collector.run(std::future::pending()));
    addresses
}

/// The collector's JSON about the trace that [`span`] numbers so.
async fn trace(query: SocketAddr, trace: u8) -> String {
    let id = format!("{trace:02x}").repeat(16);
    let mut stream = TcpStream::connect(query).await.unwrap();
    let request =
        format!("GET /api/traces/{id} HTTP/1.1\r\nhost: {query}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn what_is_sent_arrives(protocol: Protocol, compression: Compression) {
    let addresses = collector().await;
    let door = if protocol == Protocol::Grpc {
        addresses.otlp_grpc
    } else {
        addresses.otlp_http
    };
    let exporter = Exporter::start(&Config {
        compression,
        ..config(&format!("http://{door}"), protocol)
    })
    .unwrap();
    for id in 1..=200 {
        exporter.try_send(span(7, id)).unwrap();
    }
    assert!(exporter.flush(LONG).await);
    let counts = exporter.counts();
    assert_eq!(
        (
            counts.sent,
            counts.queued,
            counts.dropped.total(),
            counts.retries
        ),
        (200, 0, 0, 0)
    );
    let trace = trace(addresses.query, 7).await;
    assert_eq!(
        trace.matches("\"operationName\":\"send orders\"").count(),
        200,
        "{trace}"
    );
    assert!(trace.contains("\"serviceName\":\"orders\""), "{trace}");
}

#[tokio::test]
async fn spans_arrive_over_http() {
    what_is_sent_arrives(Protocol::HttpProtobuf, Compression::None).await;
}

#[tokio::test]
async fn spans_arrive_over_http_by_gzip() {
    what_is_sent_arrives(Protocol::HttpProtobuf, Compression::Gzip).await;
}

#[tokio::test]
async fn spans_arrive_over_grpc() {
    what_is_sent_arrives(Protocol::Grpc, Compression::None).await;
}

#[tokio::test]
async fn spans_arrive_over_grpc_by_gzip() {
    what_is_sent_arrives(Protocol::Grpc, Compression::Gzip).await;
}

/// Whoever tries it out must not wait: with nothing configured, a span is there within about a second.
#[tokio::test]
async fn a_single_span_is_there_within_a_second() {
    let addresses = collector().await;
    let usual = Config::default().batching;
    let http = config(
        &format!("http://{}", addresses.otlp_http),
        Protocol::HttpProtobuf,
    );
    let exporter = Exporter::start(&Config {
        batching: usual,
        ..http
    })
    .unwrap();
    exporter.try_send(span(8, 1)).unwrap();
    let sent = async {
        while exporter.counts().sent == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    // Twice the time that is promised, for a machine that has other things to do.
    tokio::time::timeout(Duration::from_secs(2), sent)
        .await
        .expect("the span was not sent in time");
    assert!(trace(addresses.query, 8).await.contains("send orders"));
}

#[tokio::test]
async fn a_port_that_speaks_the_other_protocol_is_no_collector() {
    let addresses = collector().await;
    for (door, protocol) in [
        (addresses.otlp_http, Protocol::Grpc),
        (addresses.otlp_grpc, Protocol::HttpProtobuf),
    ] {
        let mut config = config(&format!("http://{door}"), protocol);
        config.retry.give_up_after = Duration::from_millis(50);
        config.timeout = Duration::from_secs(2);
        let exporter = Exporter::start(&config).unwrap();
        exporter.try_send(span(6, 1)).unwrap();
        assert!(exporter.flush(LONG).await);
        let counts = exporter.counts();
        assert_eq!(
            (counts.sent, counts.dropped.total()),
            (0, 1),
            "{protocol:?}"
        );
    }
}
