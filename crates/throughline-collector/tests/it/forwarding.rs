//! Woven traces that are sent on, over real sockets: the end of the collector.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::json;
use throughline_collector::{TraceSinkCounts, WovenTraceSink};
use throughline_model::{Span, SpanId};

use crate::running::{RunningCollector, eventually, open};

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A back end that keeps what it gets, or that takes nothing any more.
#[derive(Debug, Default)]
struct RecordingSink {
    spans: Mutex<Vec<SpanId>>,
    is_stuck: AtomicBool,
}

impl WovenTraceSink for RecordingSink {
    fn send(&self, spans: Vec<Span>) {
        let ids = spans.iter().map(|span| span.span_id);
        self.spans.lock().unwrap().extend(ids);
    }

    fn has_room(&self) -> bool {
        !self.is_stuck.load(Ordering::Relaxed)
    }

    fn flush(&self) -> bool {
        thread::park_timeout(Duration::from_millis(20));
        self.has_room()
    }

    fn counts(&self) -> TraceSinkCounts {
        TraceSinkCounts::default()
    }
}

fn collector(sink: &Arc<RecordingSink>, wait: Duration) -> RunningCollector {
    RunningCollector::configured(|config| {
        config.forward = Some(Arc::clone(sink) as _);
        config.weaving.wait = wait;
    })
}

/// The head and the body of a request with one span of this number.
fn request(number: u64) -> (String, String) {
    let body = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [{
        "traceId": format!("{number:032x}"), "spanId": format!("{number:016x}"), "name": "GET",
        "kind": 2, "startTimeUnixNano": "1000", "endTimeUnixNano": "2000",
    }] }] }] })
    .to_string();
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: collector\r\ncontent-type: application/json\r\n\
         connection: close\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    (head, body)
}

/// Sends the head of a request, and waits until the collector reads its body.
fn begin(address: SocketAddr, head: &str) -> TcpStream {
    let mut stream = open(address, head.as_bytes());
    let mut answer = [0; CONTINUE.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, CONTINUE);
    stream
}

/// Sends the body of a request; returns whether its spans are acknowledged.
fn end(mut stream: TcpStream, body: &str) -> bool {
    let mut response = String::new();
    let sent = stream.write_all(body.as_bytes());
    sent.and_then(|()| stream.read_to_string(&mut response))
        .unwrap_or_default();
    response.starts_with("HTTP/1.1 200")
}

#[test]
fn spans_that_are_acknowledged_while_the_collector_stops_are_sent_on() {
    const REQUESTS: u64 = 32;
    let sink = Arc::new(RecordingSink::default());
    let collector = collector(&sink, Duration::from_secs(5));
    let address = collector.addresses.otlp_http;
    // Each is under way when the collector is stopped.
    let requests = (1..=REQUESTS).map(|number| {
        let (head, body) = request(number);
        (begin(address, &head), body)
    });
    let requests: Vec<(TcpStream, String)> = requests.collect();
    let stopped = thread::spawn(move || collector.stop());
    eventually("the end of the listeners", || {
        TcpStream::connect(address).is_err().then_some(())
    });
    let answers = requests.into_iter();
    let answers = answers.map(|(stream, body)| end(stream, &body));
    let acknowledged = answers.filter(|is_acknowledged| *is_acknowledged).count();
    stopped.join().unwrap();
    assert!(acknowledged > 0);
    assert_eq!(sink.spans.lock().unwrap().len(), acknowledged);
}

#[test]
fn sink_that_is_stuck_delays_the_end_for_a_bounded_time() {
    let sink = Arc::new(RecordingSink::default());
    sink.is_stuck.store(true, Ordering::Relaxed);
    let collector = collector(&sink, Duration::from_secs(60));
    let (head, body) = request(1);
    let stream = begin(collector.addresses.otlp_http, &head);
    assert!(end(stream, &body));
    let stopped = collector.stop();
    assert!(stopped >= Duration::from_secs(4), "{stopped:?}");
    assert!(stopped < Duration::from_secs(20), "{stopped:?}");
    assert!(sink.spans.lock().unwrap().is_empty());
}
