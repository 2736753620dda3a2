//! Slow, idle and aborted connections affect no other connection, and their memory is bounded.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};
use throughline_testkit::wait;

use crate::fixture::{MIB, SidecarFixture, TIMEOUT, full, read_to_end};
use crate::frames::{Http2Stream, StreamOutcome, get};
use crate::recorder::{RecordedInput, RequestRecorder};

// --- slow connections ---

/// Connections of each kind.
const SLOW_CONNECTIONS: usize = 400;

/// The head timeout is 30 seconds; it is checked four times in that time.
const HEAD_DEADLINE: Duration = Duration::from_secs(30);

#[test]
fn slow_heads_and_bodies_delay_no_other_request() {
    let service = RequestRecorder::start();
    let side = SidecarFixture::start(service.address(), &[]);
    side.assert_works();
    let idle = side.resident();
    let open = |head: &str| {
        let mut stream = side.connect();
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let head = "GET /slow HTTP/1.1\r\nhost: a\r\nx: ";
    let body =
        "POST /slow HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 1000000\r\n\r\n";
    let heads: Vec<TcpStream> = (0..SLOW_CONNECTIONS).map(|_| open(head)).collect();
    let bodies: Vec<TcpStream> = (0..SLOW_CONNECTIONS).map(|_| open(body)).collect();
    let (stop, stopped) = sync_channel(0);
    let dripping = thread::spawn(move || send_slowly(heads, bodies, &stopped));

    // Other requests succeed while the slow ones last.
    let long = if full() {
        HEAD_DEADLINE * 5 / 4 + Duration::from_secs(2)
    } else {
        Duration::from_secs(2)
    };
    let (mut took, begin) = (Vec::new(), Instant::now());
    while begin.elapsed() < long {
        let begin = Instant::now();
        side.assert_works();
        took.push(begin.elapsed());
    }
    let peak = side.peak();
    drop(stop);
    let (mut heads, mut bodies) = dripping.join().unwrap();
    took.sort_unstable();
    eprintln!(
        "{SLOW_CONNECTIONS} heads and {SLOW_CONNECTIONS} slow bodies: \
         {} other requests, p50 {:?}, p99 {:?}; \
        {} MiB resident before, {} MiB at most",
        took.len(),
        took[took.len() / 2],
        took[took.len() * 99 / 100],
        idle / MIB,
        peak / MIB
    );
    assert!(
        took[took.len() * 99 / 100] < Duration::from_secs(1),
        "{took:?}"
    );
    assert!(
        peak < idle + 2 * SLOW_CONNECTIONS * 128 * 1024,
        "{} MiB",
        peak / MIB
    );
    if full() {
        for stream in &mut heads {
            assert_eq!(read_to_end(stream), "", "a late head did not time out");
        }
    }
    // A body that makes progress has no total timeout.
    let last = &mut bodies[0];
    last.write_all(&vec![b'x'; 1_000_000]).unwrap();
    assert!(read_to_end(last).starts_with("HTTP/1.1 200 "));
    drop((heads, bodies));
    side.wait_for_metric("connections_open{direction=\"inbound\"}", |open| {
        open == 0.0
    });
    let inputs = service.take();
    assert_eq!(inputs.iter().filter(is_slow_request).count(), 1);
    side.assert_no_panic();
}

fn is_slow_request(input: &&RecordedInput) -> bool {
    matches!(input, RecordedInput::Request(request) if request.line.ends_with("/slow"))
}

/// Sends a byte on each connection every 100 ms, until the other end of the channel is dropped.
fn send_slowly(
    mut heads: Vec<TcpStream>,
    mut bodies: Vec<TcpStream>,
    stop: &Receiver<()>,
) -> (Vec<TcpStream>, Vec<TcpStream>) {
    while stop.recv_timeout(Duration::from_millis(100)) == Err(RecvTimeoutError::Timeout) {
        for stream in heads.iter_mut().chain(&mut bodies) {
            // The sidecar may have closed the connection.
            drop(stream.write_all(b"x"));
        }
    }
    (heads, bodies)
}

// --- idle connections ---

const IDLE_CONNECTIONS: usize = 5_000;

#[test]
fn five_thousand_idle_connections_use_little_memory() {
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files).unwrap();
    let service = RequestRecorder::start();
    let side = SidecarFixture::start(service.address(), &[]);
    side.assert_works();
    let before = side.resident();
    let mut idle: Vec<TcpStream> = (0..IDLE_CONNECTIONS).map(|_| side.connect()).collect();
    wait::until(TIMEOUT, || {
        (side.open_files() >= IDLE_CONNECTIONS).then_some(())
    })
    .expect("all connections are accepted");
    let silent = side.resident();
    for stream in &mut idle {
        stream
            .write_all(b"GET /idle HTTP/1.1\r\nhost: a\r\n\r\n")
            .unwrap();
        let mut answer = [0; 512];
        let count = stream.read(&mut answer).unwrap();
        assert!(answer[..count].starts_with(b"HTTP/1.1 200 "));
    }
    side.wait_for_metric("connections_open{direction=\"inbound\"}", |open| {
        open >= 5_000.0
    });
    let asked = side.resident();
    let each = |bytes: usize| bytes.saturating_sub(before) / IDLE_CONNECTIONS;
    eprintln!(
        "{IDLE_CONNECTIONS} idle connections: {} MiB resident before, \
         {} MiB while they are silent ({} bytes each), {} MiB after a \
        request on each ({} bytes each)",
        before / MIB,
        silent / MIB,
        each(silent),
        asked / MIB,
        each(asked)
    );
    assert!(
        each(silent) < 16 * 1024 && each(asked) < 48 * 1024,
        "{} and {} bytes each",
        each(silent),
        each(asked)
    );
    side.assert_works();
    drop(idle);
    side.wait_for_metric("connections_open{direction=\"inbound\"}", |open| {
        open == 0.0
    });
    side.assert_no_panic();
}

// --- aborted responses ---

const HALF_BODY_BYTES: usize = 10_000;

#[test]
fn aborted_response_is_never_taken_for_a_complete_one() {
    let (go_on, heard) = sync_channel(0);
    let service = aborting_service(heard);
    let side = SidecarFixture::start(service, &[]);
    for (kind, count) in [("length", 50), ("chunks", 50)] {
        for _ in 0..count {
            let mut stream = side.connect();
            stream
                .write_all(format!("GET /{kind} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes())
                .unwrap();
            let mut half = vec![0; HALF_BODY_BYTES];
            stream.read_exact(&mut half).unwrap();
            assert!(half.starts_with(b"HTTP/1.1 200 "));
            go_on.send(()).unwrap();
            let rest = read_to_end(&mut stream);
            assert!(
                !rest.ends_with("0\r\n\r\n") && rest.len() < HALF_BODY_BYTES,
                "{kind}: {} bytes",
                rest.len()
            );
        }
    }
    // Aborts before the response, and in the middle of the request.
    for (_, request) in (0..50).flat_map(|nth| [(nth, ""), (nth, "content-length: 100000\r\n")]) {
        let mut stream = side.connect();
        let head =
            format!("POST /nothing HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{request}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        go_on.send(()).unwrap();
        let answer = read_to_end(&mut stream);
        assert_eq!(answer, "", "the connection ends as the service ended it");
    }
    side.wait_for_metric(
        "failures_total{direction=\"inbound\",reason=\"reset\"}",
        |resets| resets == 200.0,
    );
    side.assert_no_panic();
}

#[test]
fn aborted_response_is_a_reset_in_http2() {
    let (go_on, heard) = sync_channel(0);
    let side = SidecarFixture::start(aborting_service(heard), &["--inbound-protocol", "http1"]);
    let mut stream = Http2Stream::open(side.inbound());
    stream.send_request(&get("/length"), None);
    assert_eq!(stream.outcome(), StreamOutcome::Passed);
    go_on.send(()).unwrap();
    assert!(
        matches!(stream.end(), StreamOutcome::Ended(Some(_))),
        "the stream ended instead"
    );
    side.wait_for_metric(
        "failures_total{direction=\"inbound\",reason=\"reset\"}",
        |resets| resets == 1.0,
    );
    side.assert_no_panic();
}

/// Starts a service that begins a response and aborts it on a signal.
fn aborting_service(signal: Receiver<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut line = [0; 16];
            // Unread request bytes make the kernel send RST instead of FIN.
            stream.read_exact(&mut line).unwrap();
            let body = vec![b'x'; 2 * HALF_BODY_BYTES];
            let sent = if line.starts_with(b"GET /length") {
                stream.write_all(
                    format!(
                        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
                        10 * HALF_BODY_BYTES
                    )
                    .as_bytes(),
                )
            } else if line.starts_with(b"GET /chunks") {
                stream.write_all(
                    format!(
                        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n",
                        10 * HALF_BODY_BYTES
                    )
                    .as_bytes(),
                )
            } else {
                Ok(())
            };
            sent.unwrap();
            if line.starts_with(b"GET ") {
                stream.write_all(&body[..HALF_BODY_BYTES]).unwrap();
            }
            signal.recv().unwrap();
        }
    });
    address
}

// --- excess bytes ---

/// Bytes behind a response's content-length must not become the next response.
#[test]
fn bytes_behind_a_response_are_discarded() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let service = listener.local_addr().unwrap();
    let (asked, paths): (SyncSender<String>, _) = sync_channel(1000);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let asked = asked.clone();
            thread::spawn(move || respond_with_excess_bytes(stream, &asked));
        }
    });
    let side = SidecarFixture::start(service, &[]);
    for nth in 0..200 {
        let answer = side
            .raw(format!("GET /{nth} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").as_bytes());
        assert!(
            answer.starts_with("HTTP/1.1 ") && !answer.contains("POISON"),
            "{nth}: {answer}"
        );
        if answer.starts_with("HTTP/1.1 200 ") {
            assert!(
                answer.ends_with(&format!("\r\n\r\n/{nth}")),
                "{nth}: {answer}"
            );
        }
    }
    assert_eq!(paths.try_iter().count(), 200, "each path is requested once");
    side.assert_no_panic();
}

fn respond_with_excess_bytes(mut stream: TcpStream, asked: &SyncSender<String>) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
        let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}\
             HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nPOISON",
            path.len()
        );
        asked.send(path).unwrap();
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
