//! Bodies of any length pass, and what is held of them does not grow with it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::{Request, Response};
use throughline_testkit::wait;
use tokio::runtime::Runtime;

use crate::fixture::{MIB, PATIENCE, SidecarFixture, full};
use crate::service::{self, ServiceClient, ServiceProtocol};

/// So many bytes of the pattern.
#[derive(Debug)]
struct PatternBody {
    length: usize,
    sent: usize,
}

/// No part of it is like the part behind, whatever their lengths: its period is a prime.
static PATTERN: LazyLock<Bytes> =
    LazyLock::new(|| (0..PERIOD + PIECE).map(|at| byte(at % PERIOD)).collect());

const PERIOD: usize = 65_521;
const PIECE: usize = 64 * 1024;

/// What may be held besides what is held anyway: the windows of HTTP/2 are the most of it.
const ROOM: usize = 32 * MIB;

#[test]
fn long_bodies_pass_both_ways_in_bounded_memory() {
    let length = if full() { 1024 * MIB } else { 64 * MIB };
    for spoken in [ServiceProtocol::Http1, ServiceProtocol::Http2] {
        let runtime = Runtime::new().unwrap();
        let service = runtime.block_on(service::start(spoken, move |request| {
            answer(request, length)
        }));
        let side = SidecarFixture::start(service, &[]);
        let idle = side.resident();
        let begin = Instant::now();
        runtime.block_on(async {
            let mut up = ServiceClient::open(spoken, side.inbound()).await;
            let sent = up.ask(request("POST", length)).await.unwrap();
            assert_eq!(
                sent.into_body().collect().await.unwrap().to_bytes(),
                vec![byte(0)],
                "all of it arrived"
            );
            let mut down = ServiceClient::open(spoken, side.inbound()).await;
            let came = down.ask(request("GET", 0)).await.unwrap();
            assert_eq!(read(came.into_body()).await, Some(length));
        });
        let (took, peak) = (begin.elapsed(), side.peak());
        eprintln!(
            "{spoken:?}, {} MiB each way in {took:.1?}: {} MiB resident before, {} MiB at most",
            length / MIB,
            idle / MIB,
            peak / MIB
        );
        assert!(peak < idle + ROOM, "{spoken:?}: {} MiB", peak / MIB);
        side.assert_calm();
    }
}

#[test]
fn bodies_that_nobody_reads_are_not_read() {
    for spoken in [ServiceProtocol::Http1, ServiceProtocol::Http2] {
        let runtime = Runtime::new().unwrap();
        let endless = 1024 * 1024 * MIB;
        let service = runtime.block_on(service::start(spoken, move |request| async move {
            if request.method() == "POST" {
                std::future::pending::<()>().await;
            }
            Response::new(PatternBody::of(if request.uri().path() == "/other" {
                OTHER
            } else {
                endless
            }))
        }));
        let side = SidecarFixture::start(service, &[]);
        let idle = side.resident();
        let held = runtime.block_on(async {
            let mut held = Vec::new();
            for _ in 0..STALLED {
                let mut up = ServiceClient::open(spoken, side.inbound()).await;
                held.push(tokio::spawn(async move {
                    let answer = up.ask(request("POST", endless)).await;
                    (up, answer)
                }));
                let mut down = ServiceClient::open(spoken, side.inbound()).await;
                held.push(tokio::spawn(async move {
                    let answer = down.ask(request("GET", 0)).await;
                    // Neither read nor let go, until the runtime ends.
                    std::future::pending::<()>().await;
                    (down, answer)
                }));
            }
            held
        });
        stalled(&side);
        runtime.block_on(async {
            let mut other = ServiceClient::open(spoken, side.inbound()).await;
            let mut asked = request("GET", 0);
            *asked.uri_mut() = "http://a/other".parse().unwrap();
            let answered = async { read(other.ask(asked).await.unwrap().into_body()).await };
            let answered = tokio::time::timeout(PATIENCE, answered).await;
            assert_eq!(answered, Ok(Some(OTHER)), "{spoken:?}: who reads is served");
        });
        let peak = side.peak();
        let (up, down) = (passed(&side, "request"), passed(&side, "answer"));
        eprintln!(
            "{spoken:?}, {STALLED} bodies each way that nobody reads: {} and {} MiB passed, {} MiB resident before, {} MiB at most",
            up / MIB,
            down / MIB,
            idle / MIB,
            peak / MIB
        );
        assert!(
            peak < idle + STALLED * 2 * HELD,
            "{spoken:?}: {} MiB",
            peak / MIB
        );
        drop((held, runtime));
        side.assert_calm();
    }
}

const STALLED: usize = 50;

/// What is read meanwhile.
const OTHER: usize = 4 * MIB;

/// What may be held of one such body.
const HELD: usize = 3 * MIB;

/// Waits until no more of any body passes.
fn stalled(side: &SidecarFixture) {
    let (mut last, mut still) = (0, Instant::now());
    let rests = || {
        let now = passed(side, "request") + passed(side, "answer");
        if now > last {
            (last, still) = (now, Instant::now());
        }
        (now > 0 && still.elapsed() > Duration::from_secs(1)).then_some(())
    };
    wait::until(PATIENCE, rests).expect("who does not read stops the reading");
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a counter of whole bytes"
)]
fn passed(side: &SidecarFixture, part: &str) -> usize {
    side.metric(&format!(
        "body_bytes_total{{direction=\"inbound\",part=\"{part}\"}}"
    )) as usize
}

/// A POST is read to its end and answered with whether it was right, anything else with a body.
async fn answer(request: Request<Incoming>, length: usize) -> Response<PatternBody> {
    if request.method() != "POST" {
        return Response::new(PatternBody::of(length));
    }
    let is_right = read(request.into_body()).await == Some(length);
    Response::new(PatternBody::of(usize::from(is_right)))
}

fn request(method: &str, length: usize) -> Request<PatternBody> {
    // HTTP/1 has it as it is, HTTP/2 takes it apart.
    Request::builder()
        .method(method)
        .uri("http://a/")
        .header("host", "a")
        .body(PatternBody::of(length))
        .unwrap()
}

/// How long a body is, if it is the pattern.
async fn read(mut body: Incoming) -> Option<usize> {
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let data = frame.ok()?.into_data().ok()?;
        for piece in data.chunks(PIECE) {
            if *piece != PATTERN[length % PERIOD..][..piece.len()] {
                return None;
            }
            length += piece.len();
        }
    }
    Some(length)
}

fn byte(at: usize) -> u8 {
    u8::try_from(at.wrapping_mul(2_654_435_761) >> 7 & 0xff).unwrap()
}

// === impl Flow ===

impl PatternBody {
    const fn of(length: usize) -> Self {
        Self { length, sent: 0 }
    }
}

impl Body for PatternBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let own = self.get_mut();
        let count = PIECE.min(own.length - own.sent);
        let at = own.sent % PERIOD;
        own.sent += count;
        Poll::Ready((count > 0).then(|| Ok(Frame::data(PATTERN.slice(at..at + count)))))
    }

    fn is_end_stream(&self) -> bool {
        self.sent == self.length
    }
}
