use throughline_intercept::kafka::ConnectionEndpoints;
use throughline_model::{SinkFull, Span};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::JoinHandle;

use super::*;
use crate::kafka::cluster::{ClusterConfig, SharedCluster};
use crate::telemetry::kafka_metrics::{ClusterGauges, KafkaMetrics};

/// Discards spans.
struct NullSink;

impl SpanSink for NullSink {
    fn try_send(&self, _: Span) -> Result<(), SinkFull> {
        Ok(())
    }
}

/// A driver between two pipes.
struct DrivenConnection {
    client: DuplexStream,
    broker: DuplexStream,
    drain: Drain,
    closed: JoinHandle<CloseReason>,
    metrics: Arc<KafkaMetrics>,
}

/// Starts a driver between pipes of this capacity.
fn drive(pipe_bytes: usize) -> DrivenConnection {
    let metrics = Arc::new(KafkaMetrics::new());
    let settings = watch::Sender::new(Arc::new(Settings::default())).subscribe();
    let current = Arc::clone(&settings.borrow());
    let view = SharedCluster::transparent(ClusterConfig::default()).view("here".into());
    let context = DriverContext {
        session: KafkaSession::new(current, view, ConnectionEndpoints::default(), 1),
        settings,
        sink: Arc::new(NullSink),
        reporter: Arc::new(Reporter::new(Arc::clone(&metrics))),
        clock: SpanClock::new(),
        own_guard: None,
    };
    let (client, downstream) = duplex(pipe_bytes);
    let (broker, upstream) = duplex(pipe_bytes);
    let drain = Drain::default();
    let driver = ConnectionDriver::new(context, downstream, upstream);
    let seen = drain.clone();
    let closed = tokio::spawn(async move { driver.run(&seen).await });
    DrivenConnection {
        client,
        broker,
        drain,
        closed,
        metrics,
    }
}

/// Returns a request of an unknown API, which a session must not change.
fn request(correlation: i32, body: &[u8]) -> Vec<u8> {
    let mut frame = [999_i16.to_be_bytes(), 0_i16.to_be_bytes()].concat();
    frame.extend(correlation.to_be_bytes());
    frame.extend((-1_i16).to_be_bytes());
    frame.extend(body);
    framed(&frame)
}

fn response(correlation: i32, body: &[u8]) -> Vec<u8> {
    framed(&[&correlation.to_be_bytes(), body].concat())
}

fn framed(frame: &[u8]) -> Vec<u8> {
    [&i32::try_from(frame.len()).unwrap().to_be_bytes(), frame].concat()
}

async fn read(stream: &mut DuplexStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

#[tokio::test]
async fn bytes_pass_narrow_pipes_both_ways_unchanged_and_in_order() {
    let DrivenConnection {
        client,
        broker,
        closed,
        ..
    } = drive(7);
    let body = |seed: i32| {
        vec![u8::try_from(seed % 251).unwrap(); usize::try_from(seed * 13 % 600).unwrap()]
    };
    let requests: Vec<u8> = (0..50)
        .flat_map(|number| request(number, &body(number)))
        .collect();
    let responses: Vec<u8> = (0..50)
        .flat_map(|number| response(number, &body(number * 7)))
        .collect();
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_broker, mut to_broker) = tokio::io::split(broker);
    let (sent, answered) = (requests.clone(), responses.clone());
    let writers = tokio::spawn(async move {
        let client = async {
            to_client.write_all(&sent).await.unwrap();
            to_client.shutdown().await.unwrap();
        };
        let broker = async {
            to_broker.write_all(&answered).await.unwrap();
            to_broker.shutdown().await.unwrap();
        };
        tokio::join!(client, broker);
    });
    let (mut at_broker, mut at_client) = (Vec::new(), Vec::new());
    let (one, two) = tokio::join!(
        from_broker.read_to_end(&mut at_broker),
        from_client.read_to_end(&mut at_client)
    );
    assert!(one.is_ok() && two.is_ok());
    writers.await.unwrap();
    assert!(at_broker == requests && at_client == responses);
    assert!(matches!(closed.await.unwrap(), CloseReason::EndOfStream(_)));
}

#[tokio::test]
async fn half_closed_client_still_gets_its_response() {
    let DrivenConnection {
        mut client,
        mut broker,
        closed,
        ..
    } = drive(4096);
    client.write_all(&request(1, b"q")).await.unwrap();
    client.shutdown().await.unwrap();
    let mut asked = Vec::new();
    broker.read_to_end(&mut asked).await.unwrap();
    assert_eq!(asked, request(1, b"q"));
    broker.write_all(&response(1, b"a")).await.unwrap();
    drop(broker);
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, response(1, b"a"));
    assert!(matches!(
        closed.await.unwrap(),
        CloseReason::EndOfStream(Side::Client)
    ));
}

#[tokio::test]
async fn truncated_response_is_passed_before_the_end() {
    let DrivenConnection {
        mut client,
        mut broker,
        closed,
        ..
    } = drive(4096);
    client.write_all(&request(1, b"q")).await.unwrap();
    read(&mut broker, request(1, b"q").len()).await;
    let half = response(1, &[7; 100])[..50].to_vec();
    broker.write_all(&half).await.unwrap();
    drop(broker);
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, half);
    drop(client);
    assert!(matches!(
        closed.await.unwrap(),
        CloseReason::EndOfStream(Side::Broker)
    ));
}

#[tokio::test]
async fn truncated_request_is_passed_before_the_end() {
    let DrivenConnection {
        mut client,
        mut broker,
        closed,
        ..
    } = drive(4096);
    let half = request(1, &[7; 100])[..6].to_vec();
    client.write_all(&half).await.unwrap();
    drop(client);
    let mut got = Vec::new();
    broker.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, half);
    drop(broker);
    assert!(matches!(
        closed.await.unwrap(),
        CloseReason::EndOfStream(Side::Client)
    ));
}

#[tokio::test(start_paused = true)]
async fn side_that_does_not_close_after_the_other_is_closed() {
    let DrivenConnection {
        mut client,
        broker,
        closed,
        ..
    } = drive(4096);
    client.shutdown().await.unwrap();
    let begin = Instant::now();
    assert!(matches!(
        closed.await.unwrap(),
        CloseReason::EndOfStream(Side::Client)
    ));
    assert!((LINGER_TIMEOUT..LINGER_TIMEOUT * 2).contains(&begin.elapsed()));
    drop((client, broker));
}

#[tokio::test(start_paused = true)]
async fn slow_reader_slows_its_sender_down() {
    let DrivenConnection {
        client, mut broker, ..
    } = drive(64 << 10);
    let frame = response(1, &vec![7; 1 << 20]);
    let mut written = 0;
    // Paused time advances only when no task can run: then the broker's write is blocked.
    while tokio::time::timeout(Duration::from_secs(1), broker.write_all(&frame[..1 << 16]))
        .await
        .is_ok()
    {
        written += 1 << 16;
        assert!(
            written < 4 << 20,
            "the proxy reads without bound for a client that does not read"
        );
    }
    assert!(written >= MAX_QUEUED_BYTES, "{written}");
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn drain_closes_an_idle_connection_at_once() {
    let DrivenConnection {
        mut client,
        mut broker,
        drain,
        closed,
        ..
    } = drive(4096);
    client.write_all(&request(1, b"q")).await.unwrap();
    read(&mut broker, request(1, b"q").len()).await;
    broker.write_all(&response(1, b"a")).await.unwrap();
    read(&mut client, response(1, b"a").len()).await;
    let begin = Instant::now();
    drain.start();
    assert!(matches!(closed.await.unwrap(), CloseReason::Drained));
    assert!(
        begin.elapsed() < Duration::from_millis(10),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
    assert_eq!(broker.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn drain_completes_requests_in_flight_and_admits_no_more() {
    let DrivenConnection {
        mut client,
        mut broker,
        drain,
        closed,
        ..
    } = drive(4096);
    let first = request(1, b"q");
    // The drain starts in the middle of a request, whose rest is still read.
    client.write_all(&first[..9]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    drain.start();
    tokio::time::sleep(Duration::from_secs(1)).await;
    client.write_all(&first[9..]).await.unwrap();
    assert_eq!(read(&mut broker, first.len()).await, first);
    client.write_all(&request(2, b"too late")).await.unwrap();
    let begin = Instant::now();
    broker.write_all(&response(1, b"a")).await.unwrap();
    assert_eq!(
        read(&mut client, response(1, b"a").len()).await,
        response(1, b"a")
    );
    assert!(matches!(closed.await.unwrap(), CloseReason::Drained));
    assert!(
        begin.elapsed() < Duration::from_millis(10),
        "{:?}",
        begin.elapsed()
    );
    let mut more = Vec::new();
    broker.read_to_end(&mut more).await.unwrap();
    assert!(more.is_empty(), "{more:?}");
}

#[tokio::test(start_paused = true)]
async fn request_in_flight_is_aborted_at_the_end_of_the_drain() {
    let DrivenConnection {
        mut client,
        mut broker,
        drain,
        closed,
        ..
    } = drive(4096);
    client.write_all(&request(1, b"q")).await.unwrap();
    read(&mut broker, request(1, b"q").len()).await;
    drain.start();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!closed.is_finished());
    drain.abort();
    assert!(matches!(closed.await.unwrap(), CloseReason::Aborted));
}

#[tokio::test]
async fn bytes_requests_and_latency_are_measured() {
    let DrivenConnection {
        mut client,
        mut broker,
        metrics,
        ..
    } = drive(4096);
    client.write_all(&request(1, b"q")).await.unwrap();
    let size = request(1, b"q").len();
    read(&mut broker, size).await;
    broker.write_all(&response(1, b"a")).await.unwrap();
    read(&mut client, response(1, b"a").len()).await;
    let text = metrics.render(ClusterGauges::default(), &[]);
    for line in [
        format!("throughline_kafka_bytes_total{{side=\"client\",direction=\"received\"}} {size}\n"),
        format!("throughline_kafka_bytes_total{{side=\"broker\",direction=\"sent\"}} {size}\n"),
        "throughline_kafka_requests_total{api=\"unknown\"} 1\n".to_owned(),
        "throughline_kafka_added_latency_seconds_count{to=\"broker\"} 1\n".to_owned(),
        "throughline_kafka_added_latency_seconds_count{to=\"client\"} 1\n".to_owned(),
    ] {
        assert!(text.contains(&line), "{line} is missing in:\n{text}");
    }
}
