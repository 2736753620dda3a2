use throughline_intercept::kafka::Peer;
use throughline_model::{SinkFull, Span};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::JoinHandle;

use super::*;
use crate::knowledge::{Clients, Knowledge};
use crate::metrics::Metrics;
use crate::switch::Switch;

/// Spans are not looked at here.
struct NoSpans;

impl SpanSink for NoSpans {
    fn try_send(&self, _: Span) -> Result<(), SinkFull> {
        Ok(())
    }
}

/// A pump between two pipes.
struct Served {
    client: DuplexStream,
    broker: DuplexStream,
    stop: Stop,
    ended: JoinHandle<Ended>,
    metrics: Arc<Metrics>,
}

/// Pipes that hold so many bytes.
fn serve(width: usize) -> Served {
    let metrics = Arc::new(Metrics::new());
    let (settings, watch) = Watch::new(&Arc::new(Switch::new(Arc::new(Settings::default()))));
    let view = Knowledge::transparent(Clients::default()).view("here".into());
    let parts = Parts {
        session: KafkaSession::new(settings, view, Peer::default(), 1),
        settings: watch,
        sink: Arc::new(NoSpans),
        herald: Arc::new(Herald::new(Arc::clone(&metrics))),
        clock: Clock::new(),
        listed: None,
    };
    let ((client, to_client), (broker, to_broker)) = (duplex(width), duplex(width));
    let stop = Stop::default();
    let pump = Pump::new(parts, to_client, to_broker);
    let seen = stop.clone();
    let ended = tokio::spawn(async move { pump.run(&seen).await });
    Served {
        client,
        broker,
        stop,
        ended,
        metrics,
    }
}

/// A request of an API that nobody knows, which nobody here may touch.
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
async fn bytes_come_through_narrow_pipes_both_ways_unchanged_and_in_order() {
    let Served {
        client,
        broker,
        ended,
        ..
    } = serve(7);
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
    assert!(matches!(ended.await.unwrap(), Ended::By(_)));
}

#[tokio::test]
async fn a_client_that_has_said_all_still_gets_its_answer() {
    let Served {
        mut client,
        mut broker,
        ended,
        ..
    } = serve(4096);
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
    assert!(matches!(ended.await.unwrap(), Ended::By(Side::Client)));
}

#[tokio::test]
async fn a_broker_that_goes_in_the_middle_of_a_frame_leaves_the_client_what_there_was() {
    let Served {
        mut client,
        mut broker,
        ended,
        ..
    } = serve(4096);
    client.write_all(&request(1, b"q")).await.unwrap();
    read(&mut broker, request(1, b"q").len()).await;
    let half = response(1, &[7; 100])[..50].to_vec();
    broker.write_all(&half).await.unwrap();
    drop(broker);
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, half);
    drop(client);
    assert!(matches!(ended.await.unwrap(), Ended::By(Side::Broker)));
}

#[tokio::test]
async fn a_client_that_goes_in_the_middle_of_a_frame_ends_the_connection_and_the_broker_gets_what_there_was()
 {
    let Served {
        mut client,
        mut broker,
        ended,
        ..
    } = serve(4096);
    let half = request(1, &[7; 100])[..6].to_vec();
    client.write_all(&half).await.unwrap();
    drop(client);
    let mut got = Vec::new();
    broker.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, half);
    drop(broker);
    assert!(matches!(ended.await.unwrap(), Ended::By(Side::Client)));
}

#[tokio::test(start_paused = true)]
async fn a_side_that_does_not_end_after_the_other_is_cut() {
    let Served {
        mut client,
        broker,
        ended,
        ..
    } = serve(4096);
    client.shutdown().await.unwrap();
    let begin = Instant::now();
    assert!(matches!(ended.await.unwrap(), Ended::By(Side::Client)));
    assert!((LINGER..LINGER * 2).contains(&begin.elapsed()));
    drop((client, broker));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_is_not_read_for() {
    let Served {
        client, mut broker, ..
    } = serve(64 << 10);
    let frame = response(1, &vec![7; 1 << 20]);
    let mut written = 0;
    // Paused time moves when nothing else can: the broker's write stands for good.
    while tokio::time::timeout(Duration::from_secs(1), broker.write_all(&frame[..1 << 16]))
        .await
        .is_ok()
    {
        written += 1 << 16;
        assert!(
            written < 4 << 20,
            "a client that reads nothing is read for without bound"
        );
    }
    assert!(written >= BACKLOG_MAX, "{written}");
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_an_idle_connection_at_once() {
    let Served {
        mut client,
        mut broker,
        stop,
        ended,
        ..
    } = serve(4096);
    client.write_all(&request(1, b"q")).await.unwrap();
    read(&mut broker, request(1, b"q").len()).await;
    broker.write_all(&response(1, b"a")).await.unwrap();
    read(&mut client, response(1, b"a").len()).await;
    let begin = Instant::now();
    stop.begin();
    assert!(matches!(ended.await.unwrap(), Ended::Drained));
    assert!(
        begin.elapsed() < Duration::from_millis(10),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
    assert_eq!(broker.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_drain_lets_an_exchange_end_and_begins_no_other() {
    let Served {
        mut client,
        mut broker,
        stop,
        ended,
        ..
    } = serve(4096);
    let first = request(1, b"q");
    // In the middle of a request: the rest is still read.
    client.write_all(&first[..9]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.begin();
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
    assert!(matches!(ended.await.unwrap(), Ended::Drained));
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
async fn an_exchange_that_does_not_end_is_cut_when_the_time_is_up() {
    let Served {
        mut client,
        mut broker,
        stop,
        ended,
        ..
    } = serve(4096);
    client.write_all(&request(1, b"q")).await.unwrap();
    read(&mut broker, request(1, b"q").len()).await;
    stop.begin();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!ended.is_finished());
    stop.finish();
    assert!(matches!(ended.await.unwrap(), Ended::Cut));
}

#[tokio::test]
async fn bytes_and_requests_are_counted_and_the_added_latency_is_measured() {
    let Served {
        mut client,
        mut broker,
        metrics,
        ..
    } = serve(4096);
    client.write_all(&request(1, b"q")).await.unwrap();
    let size = request(1, b"q").len();
    read(&mut broker, size).await;
    broker.write_all(&response(1, b"a")).await.unwrap();
    read(&mut client, response(1, b"a").len()).await;
    let text = metrics.render(0, 0, &[]);
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
