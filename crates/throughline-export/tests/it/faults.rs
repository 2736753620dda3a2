//! Failures between exporter and collector, and the fate of the spans.

use std::io::Read as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flate2::read::GzDecoder;
use throughline_export::{BatchSettings, Compression, ExportProtocol, Exporter};
use throughline_model::{SinkFull, SpanSink as _};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::server::{Reaction, Server};
use crate::{LONG, config, send, span, until};

fn start(url: &str) -> Exporter {
    Exporter::start(&config(url, ExportProtocol::HttpProtobuf)).unwrap()
}

/// Returns an address without a listener.
async fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn request_has_the_form_of_the_protocol() {
    let server = Server::start([]).await;
    let mut config = config(&server.url(), ExportProtocol::HttpProtobuf);
    config.headers.insert("x-api-key", "abc".parse().unwrap());
    config.compression = Compression::Gzip;
    let exporter = Exporter::start(&config).unwrap();
    send(&exporter, 3);
    assert!(exporter.flush(LONG).await);
    let [request] = server.requests().try_into().unwrap();
    assert!(
        request.head.starts_with("post /v1/traces http/1.1\r\n"),
        "{}",
        request.head
    );
    for line in [
        "content-type: application/x-protobuf",
        "content-encoding: gzip",
        "x-api-key: abc",
    ] {
        assert!(request.head.contains(line), "{line} in {}", request.head);
    }
    let mut body = Vec::new();
    GzDecoder::new(request.body.as_slice())
        .read_to_end(&mut body)
        .unwrap();
    assert_eq!(
        throughline_otlp::decode_protobuf(&body)
            .unwrap()
            .spans
            .len(),
        3
    );
}

#[tokio::test]
async fn retry_after_is_respected() {
    for status in ["429 Too Many Requests", "503 Service Unavailable"] {
        let server =
            Server::start([Reaction::Respond(status, &["retry-after: 1"], Vec::new())]).await;
        let mut config = config(&server.url(), ExportProtocol::HttpProtobuf);
        config.retry.max_interval = Duration::from_secs(1);
        let exporter = Exporter::start(&config).unwrap();
        send(&exporter, 2);
        until("the spans are sent", || exporter.counts().sent == 2).await;
        let [first, second] = server.requests().try_into().unwrap();
        assert!(
            second.at - first.at >= Duration::from_secs(1),
            "{status}: {:?}",
            second.at - first.at
        );
        assert_eq!(first.body, second.body);
        assert_eq!(exporter.counts().retries, 1);
    }
}

#[tokio::test]
async fn rejected_batch_is_counted_and_not_retried() {
    let server = Server::start([Reaction::Respond("400 Bad Request", &[], b"no".to_vec())]).await;
    let exporter = start(&server.url());
    send(&exporter, 4);
    assert!(exporter.flush(LONG).await);
    let counts = exporter.counts();
    assert_eq!(
        (counts.sent, counts.dropped.refused, counts.retries),
        (0, 4, 0)
    );
    send(&exporter, 1);
    assert!(exporter.flush(LONG).await);
    assert_eq!(exporter.counts().sent, 1);
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn partial_success_is_counted_and_not_retried() {
    // ExportTraceServiceResponse { partial_success { rejected_spans: 2, error_message: "no" } }
    let answer = vec![0x0a, 0x06, 0x08, 0x02, 0x12, 0x02, b'n', b'o'];
    let server = Server::start([Reaction::Respond("200 OK", &[], answer)]).await;
    let exporter = start(&server.url());
    send(&exporter, 5);
    assert!(exporter.flush(LONG).await);
    let counts = exporter.counts();
    assert_eq!(
        (counts.sent, counts.dropped.refused, counts.retries),
        (3, 2, 0)
    );
}

#[tokio::test]
async fn stalled_or_cut_off_response_is_retried() {
    let server = Server::start([Reaction::Stall, Reaction::Break]).await;
    let mut config = config(&server.url(), ExportProtocol::HttpProtobuf);
    config.timeout = Duration::from_millis(50);
    let exporter = Exporter::start(&config).unwrap();
    send(&exporter, 2);
    assert!(exporter.flush(LONG).await);
    let counts = exporter.counts();
    assert_eq!((counts.sent, counts.retries), (2, 2));
}

#[tokio::test]
async fn spans_wait_for_a_collector_that_starts_later() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let exporter = start(&format!("http://{address}"));
    send(&exporter, 3);
    until("it was tried again", || exporter.counts().retries > 2).await;
    assert_eq!(exporter.counts().queued, 3);
    let server = Server::on(TcpListener::bind(address).await.unwrap(), []);
    assert!(exporter.flush(LONG).await);
    assert_eq!(exporter.counts().sent, 3);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn batch_is_dropped_after_its_time() {
    let mut config = config(&nowhere().await, ExportProtocol::Grpc);
    config.retry.max_elapsed_time = Duration::from_millis(60);
    let exporter = Exporter::start(&config).unwrap();
    send(&exporter, 3);
    assert!(exporter.flush(LONG).await);
    let counts = exporter.counts();
    assert_eq!(
        (counts.sent, counts.dropped.unreachable, counts.queued),
        (0, 3, 0)
    );
    assert!(counts.retries > 0);
}

#[tokio::test]
async fn memory_is_bounded_and_producers_do_not_wait_without_a_collector() {
    const BYTES: usize = 1 << 20;
    let mut config = config(&nowhere().await, ExportProtocol::HttpProtobuf);
    config.batch = BatchSettings {
        max_queue_spans: 1_000_000,
        max_queue_bytes: BYTES,
        ..config.batch
    };
    let exporter = Exporter::start(&config).unwrap();
    let mut refused = 0;
    let begin = Instant::now();
    for _ in 0..100_000 {
        refused += u64::from(exporter.try_send(span(1, 1)) == Err(SinkFull));
    }
    // No producer waited: all calls together took less than the timeout of one attempt.
    assert!(begin.elapsed() < config.timeout, "{:?}", begin.elapsed());
    let counts = exporter.counts();
    assert!(counts.queued_bytes <= BYTES as u64, "{counts:?}");
    assert!(refused > 90_000, "{counts:?}");
    assert_eq!(counts.dropped.queue_full, refused);
    assert_eq!(counts.queued + counts.dropped.total(), 100_000);
    assert!(!exporter.shutdown(Duration::from_millis(50)).await);
    let counts = exporter.counts();
    assert_eq!((counts.queued, counts.queued_bytes), (0, 0));
    assert_eq!(counts.sent + counts.dropped.total(), 100_000);
}

#[tokio::test]
async fn shutdown_sends_queued_spans_and_rejects_new_ones() {
    let server = Server::start([]).await;
    let mut config = config(&server.url(), ExportProtocol::HttpProtobuf);
    config.batch.delay = Duration::from_secs(3600);
    let exporter = Exporter::start(&config).unwrap();
    send(&exporter, 5);
    assert!(exporter.shutdown(LONG).await);
    assert_eq!(exporter.counts().sent, 5);
    assert_eq!(exporter.try_send(span(1, 1)), Err(SinkFull));
    assert_eq!(exporter.counts().dropped.shutdown, 1);
}

#[tokio::test]
async fn shutdown_respects_its_timeout() {
    let server = Server::start([Reaction::Stall]).await;
    let exporter = start(&server.url());
    send(&exporter, 5);
    let begin = Instant::now();
    assert!(!exporter.shutdown(Duration::from_millis(100)).await);
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(exporter.counts().dropped.shutdown, 5);
}

/// The subscriber is set for this thread only: tests beside it log as well.
#[tokio::test]
async fn outage_is_logged_in_two_lines() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let writer = Arc::clone(&lines);
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || Lines(Arc::clone(&writer)))
        .with_ansi(false)
        .with_max_level(tracing_subscriber::filter::LevelFilter::INFO)
        .finish();
    let _guard = tracing_subscriber::util::SubscriberInitExt::set_default(subscriber);
    let unavailable = Reaction::Respond("503 Service Unavailable", &[], Vec::new());
    let server = Server::start(vec![unavailable; 8]).await;
    let mut config = config(&server.url(), ExportProtocol::HttpProtobuf);
    config.batch = BatchSettings {
        max_queue_spans: 100,
        max_batch_spans: 10,
        ..config.batch
    };
    let exporter = Exporter::start(&config).unwrap();
    let refused = (0..500)
        .filter(|_| exporter.try_send(span(1, 1)).is_err())
        .count();
    // The exporter's thread may have taken a batch out of the queue meanwhile.
    assert!((300..=400).contains(&refused), "{refused}");
    assert!(exporter.flush(LONG).await);
    let text = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(
        text.contains(" WARN ") && text.contains(&server.url()) && text.contains("throughline up"),
        "{text}"
    );
    assert!(
        text.contains(" INFO ")
            && text.contains(&format!("{refused} spans were dropped meanwhile")),
        "{text}"
    );
}

struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
