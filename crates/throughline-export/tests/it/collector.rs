//! Delivery to the real collector.

use std::net::SocketAddr;
use std::time::Duration;

use throughline_collector::{CollectorAddresses, CollectorServer};
use throughline_export::{Compression, Config, ExportProtocol, Exporter};
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

/// Returns the collector's JSON of the trace with this number in [`span`].
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

async fn spans_arrive(protocol: ExportProtocol, compression: Compression) {
    let addresses = collector().await;
    let address = if protocol == ExportProtocol::Grpc {
        addresses.otlp_grpc
    } else {
        addresses.otlp_http
    };
    let exporter = Exporter::start(&Config {
        compression,
        ..config(&format!("http://{address}"), protocol)
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
    spans_arrive(ExportProtocol::HttpProtobuf, Compression::None).await;
}

#[tokio::test]
async fn spans_arrive_over_http_with_gzip() {
    spans_arrive(ExportProtocol::HttpProtobuf, Compression::Gzip).await;
}

#[tokio::test]
async fn spans_arrive_over_grpc() {
    spans_arrive(ExportProtocol::Grpc, Compression::None).await;
}

#[tokio::test]
async fn spans_arrive_over_grpc_with_gzip() {
    spans_arrive(ExportProtocol::Grpc, Compression::Gzip).await;
}

/// With the defaults a span is visible within about a second, for whoever tries the exporter out.
#[tokio::test]
async fn single_span_arrives_within_a_second() {
    let addresses = collector().await;
    let usual = Config::default().batch;
    let http = config(
        &format!("http://{}", addresses.otlp_http),
        ExportProtocol::HttpProtobuf,
    );
    let exporter = Exporter::start(&Config {
        batch: usual,
        ..http
    })
    .unwrap();
    exporter.try_send(span(8, 1)).unwrap();
    let sent = async {
        while exporter.counts().sent == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    // Twice the promised time, for a busy machine.
    tokio::time::timeout(Duration::from_secs(2), sent)
        .await
        .expect("the span was not sent in time");
    assert!(trace(addresses.query, 8).await.contains("send orders"));
}

#[tokio::test]
async fn port_of_the_other_protocol_rejects_spans() {
    let addresses = collector().await;
    for (address, protocol) in [
        (addresses.otlp_http, ExportProtocol::Grpc),
        (addresses.otlp_grpc, ExportProtocol::HttpProtobuf),
    ] {
        let mut config = config(&format!("http://{address}"), protocol);
        config.retry.max_elapsed_time = Duration::from_millis(50);
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
