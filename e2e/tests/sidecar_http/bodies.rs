//! Bodies of any length pass, and the buffered part does not grow with them.

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

use crate::fixture::{MIB, SidecarFixture, TIMEOUT, full};
use crate::service::{self, ServiceClient, ServiceProtocol};

/// A body of `length` bytes of the test pattern.
#[derive(Debug)]
struct PatternBody {
    length: usize,
    sent: usize,
}

/// The period is a prime, so that no two parts of the pattern are alike at power-of-two distances.
static PATTERN: LazyLock<Bytes> = LazyLock::new(|| {
    (0..PATTERN_PERIOD + CHUNK_BYTES)
        .map(|at| byte(at % PATTERN_PERIOD))
        .collect()
});

const PATTERN_PERIOD: usize = 65_521;
const CHUNK_BYTES: usize = 64 * 1024;

/// Permitted growth of memory, mostly the flow control windows of HTTP/2.
const MAX_GROWTH_BYTES: usize = 32 * MIB;

#[test]
fn long_bodies_pass_in_bounded_memory() {
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
            let sent = up.send(request("POST", length)).await.unwrap();
            assert_eq!(
                sent.into_body().collect().await.unwrap().to_bytes(),
                vec![byte(0)],
                "the body is incomplete"
            );
            let mut down = ServiceClient::open(spoken, side.inbound()).await;
            let came = down.send(request("GET", 0)).await.unwrap();
            assert_eq!(read(came.into_body()).await, Some(length));
        });
        let (took, peak) = (begin.elapsed(), side.peak());
        eprintln!(
            "{spoken:?}, {} MiB each way in {took:.1?}: {} MiB resident before, {} MiB at most",
            length / MIB,
            idle / MIB,
            peak / MIB
        );
        assert!(
            peak < idle + MAX_GROWTH_BYTES,
            "{spoken:?}: {} MiB",
            peak / MIB
        );
        side.assert_no_panic();
    }
}

#[test]
fn unread_bodies_are_not_read_ahead() {
    for spoken in [ServiceProtocol::Http1, ServiceProtocol::Http2] {
        let runtime = Runtime::new().unwrap();
        let endless = 1024 * 1024 * MIB;
        let service = runtime.block_on(service::start(spoken, move |request| async move {
            if request.method() == "POST" {
                std::future::pending::<()>().await;
            }
            Response::new(PatternBody::of(if request.uri().path() == "/other" {
                READ_BODY_BYTES
            } else {
                endless
            }))
        }));
        let side = SidecarFixture::start(service, &[]);
        let idle = side.resident();
        let held = runtime.block_on(async {
            let mut held = Vec::new();
            for _ in 0..STALLED_BODIES {
                let mut up = ServiceClient::open(spoken, side.inbound()).await;
                held.push(tokio::spawn(async move {
                    let answer = up.send(request("POST", endless)).await;
                    (up, answer)
                }));
                let mut down = ServiceClient::open(spoken, side.inbound()).await;
                held.push(tokio::spawn(async move {
                    let answer = down.send(request("GET", 0)).await;
                    // Kept unread until the runtime ends.
                    std::future::pending::<()>().await;
                    (down, answer)
                }));
            }
            held
        });
        wait_until_stalled(&side);
        runtime.block_on(async {
            let mut other = ServiceClient::open(spoken, side.inbound()).await;
            let mut other_request = request("GET", 0);
            *other_request.uri_mut() = "http://a/other".parse().unwrap();
            let answered =
                async { read(other.send(other_request).await.unwrap().into_body()).await };
            let answered = tokio::time::timeout(TIMEOUT, answered).await;
            assert_eq!(
                answered,
                Ok(Some(READ_BODY_BYTES)),
                "{spoken:?}: who reads is served"
            );
        });
        let peak = side.peak();
        let (up, down) = (
            passed_bytes(&side, "request"),
            passed_bytes(&side, "answer"),
        );
        eprintln!(
            "{spoken:?}, {STALLED_BODIES} unread bodies each way: {} and {} MiB passed, \
             {} MiB resident before, {} MiB at most",
            up / MIB,
            down / MIB,
            idle / MIB,
            peak / MIB
        );
        assert!(
            peak < idle + STALLED_BODIES * 2 * MAX_BODY_MEMORY_BYTES,
            "{spoken:?}: {} MiB",
            peak / MIB
        );
        drop((held, runtime));
        side.assert_no_panic();
    }
}

const STALLED_BODIES: usize = 50;

/// Size of the body that is read meanwhile.
const READ_BODY_BYTES: usize = 4 * MIB;

/// Permitted memory per unread body.
const MAX_BODY_MEMORY_BYTES: usize = 3 * MIB;

/// Waits until no body makes progress.
fn wait_until_stalled(side: &SidecarFixture) {
    let (mut last, mut still) = (0, Instant::now());
    let rests = || {
        let now = passed_bytes(side, "request") + passed_bytes(side, "answer");
        if now > last {
            (last, still) = (now, Instant::now());
        }
        (now > 0 && still.elapsed() > Duration::from_secs(1)).then_some(())
    };
    wait::until(TIMEOUT, rests).expect("reading stops for unread bodies");
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the counter holds whole bytes"
)]
fn passed_bytes(side: &SidecarFixture, part: &str) -> usize {
    side.metric(&format!(
        "body_bytes_total{{direction=\"inbound\",part=\"{part}\"}}"
    )) as usize
}

/// Reads a POST to its end and reports whether its body was right; responds to other methods with a
/// body.
async fn answer(request: Request<Incoming>, length: usize) -> Response<PatternBody> {
    if request.method() != "POST" {
        return Response::new(PatternBody::of(length));
    }
    let is_right = read(request.into_body()).await == Some(length);
    Response::new(PatternBody::of(usize::from(is_right)))
}

fn request(method: &str, length: usize) -> Request<PatternBody> {
    // HTTP/1 sends the absolute URI as it is, HTTP/2 splits it into pseudo-headers.
    Request::builder()
        .method(method)
        .uri("http://a/")
        .header("host", "a")
        .body(PatternBody::of(length))
        .unwrap()
}

/// Returns the length of a body if it is the pattern.
async fn read(mut body: Incoming) -> Option<usize> {
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let data = frame.ok()?.into_data().ok()?;
        for piece in data.chunks(CHUNK_BYTES) {
            if *piece != PATTERN[length % PATTERN_PERIOD..][..piece.len()] {
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

// === impl PatternBody ===

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
        let count = CHUNK_BYTES.min(own.length - own.sent);
        let at = own.sent % PATTERN_PERIOD;
        own.sent += count;
        Poll::Ready((count > 0).then(|| Ok(Frame::data(PATTERN.slice(at..at + count)))))
    }

    fn is_end_stream(&self) -> bool {
        self.sent == self.length
    }
}
