//! One upstream connection in HTTP/2: its limits, its requests in flight, and its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::config::HttpLimits;
use super::http2_io::{Http2Activity, Http2Io};
use super::http2_liveness::{LivenessAction, LivenessProbe};
use super::replay::ReplayBody;
use crate::transport::own_connections::OwnConnectionGuard;
use crate::transport::stream::MaybeTlsStream;

/// Bytes of one HTTP/2 response that are buffered for a client that does not read.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;

/// HTTP/2's maximum (RFC 9113, section 6.9.1). A response that is not read must not hold up the
/// others of its connection; the stream window limits each of them.
const CONNECTION_WINDOW_BYTES: u32 = (1 << 31) - 1;

/// Interval of the checks while requests are in flight.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Interval of the checks for the server's first SETTINGS.
const SETTINGS_CHECK_INTERVAL: Duration = Duration::from_millis(1);

/// Time after which the system gives up a connection whose bytes nobody acknowledges. HTTP/2
/// servers read at all times: their flow control is above TCP's.
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(20);

/// Time for the requests of a connection that has ended to fail.
const END_GRACE: Duration = Duration::from_millis(250);

pub(super) type Http2Sender = http2::SendRequest<ReplayBody>;
type Http2Driver = http2::Connection<TokioIo<Http2Io>, ReplayBody, TokioExecutor>;

/// An upstream connection in HTTP/2.
#[derive(Debug)]
pub(super) struct Http2Connection {
    sender: Http2Sender,
    activity: Arc<Http2Activity>,
    state: Arc<Http2State>,
}

/// State that the task of a connection and its requests share.
#[derive(Debug)]
struct Http2State {
    /// From the server's SETTINGS.
    max_streams: AtomicUsize,
    /// The number of streams above which the server has refused one.
    max_accepted: AtomicUsize,
    /// Whether a request has been sent.
    is_used: AtomicBool,
    /// Cancelled once no new request uses the connection.
    left: CancellationToken,
    /// Cancelled once requests in flight should be repeated elsewhere.
    abandoned: CancellationToken,
    /// Cancelled when the connection has ended.
    ended: CancellationToken,
}

/// The failure to open a connection after its socket had been connected.
#[derive(Debug, thiserror::Error)]
pub(super) enum Http2OpenError {
    #[error("no SETTINGS from the server")]
    Timeout,
    #[error(transparent)]
    Failed(#[from] hyper::Error),
}

// === impl Http2Connection ===

impl Http2Connection {
    /// Opens a connection and waits for the limits of the server: what exceeds them is refused.
    pub(super) async fn open(
        stream: MaybeTlsStream,
        own_guard: OwnConnectionGuard,
        limits: &HttpLimits,
    ) -> Result<Self, Http2OpenError> {
        limit_unacknowledged(&stream);
        let (io, activity) = Http2Io::new(stream, own_guard);
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_header_list_size(limits.max_header_list_size())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            // The library's own guess would be 100.
            .initial_max_send_streams(0);
        let (sender, mut driver) = builder.handshake(TokioIo::new(io)).await?;
        let deadline = Instant::now() + limits.connect_timeout;
        let received = timeout_at(deadline, wait_for_settings(&mut driver, &activity)).await;
        match received {
            Ok(ended) => ended?,
            // A limit of 0 may be raised later.
            Err(_) if activity.has_answered() => {}
            Err(_) => {
                activity.close();
                return Err(Http2OpenError::Timeout);
            }
        }
        let state = Arc::new(Http2State {
            max_streams: AtomicUsize::new(driver.current_max_send_streams()),
            max_accepted: AtomicUsize::new(usize::MAX),
            is_used: AtomicBool::new(false),
            left: CancellationToken::new(),
            abandoned: CancellationToken::new(),
            ended: CancellationToken::new(),
        });
        tokio::spawn(drive(driver, Arc::clone(&activity), Arc::clone(&state)));
        Ok(Self {
            sender,
            activity,
            state,
        })
    }

    /// Whether the connection takes new requests.
    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_closed() && !self.state.left.is_cancelled()
    }

    /// Whether a stream is free, by the server's limit and its refusals.
    pub(super) fn has_free_stream(&self) -> bool {
        let max_streams = self.state.max_streams.load(Ordering::Acquire);
        let max_accepted = self.state.max_accepted.load(Ordering::Acquire);
        // With a limit of 0 the library keeps the request until it is raised.
        self.in_flight() < max_streams.min(max_accepted).max(1)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.activity.in_flight()
    }

    /// Takes a stream. Returns whether the connection has served a request before.
    pub(super) fn begin_request(&self) -> bool {
        self.activity.begin_request();
        self.state.is_used.swap(true, Ordering::AcqRel)
    }

    pub(super) fn end_request(&self) {
        self.activity.end_request();
    }

    pub(super) fn sender(&self) -> Http2Sender {
        self.sender.clone()
    }

    /// Sends no more requests on the connection; those in flight go on.
    pub(super) fn leave(&self) {
        self.state.left.cancel();
    }

    /// Waits until requests that can be repeated should be.
    pub(super) async fn abandoned(&self) {
        self.state.abandoned.cancelled().await;
    }

    /// Waits until the connection has ended, and every request on it should have failed.
    pub(super) async fn ended(&self) {
        self.state.ended.cancelled().await;
        sleep(END_GRACE).await;
    }

    /// Records that the server refused a stream: it takes fewer than it was sent.
    pub(super) fn record_refusal(&self) {
        let accepted = self.in_flight().saturating_sub(1).max(1);
        self.state
            .max_accepted
            .fetch_min(accepted, Ordering::AcqRel);
    }
}

/// Waits until the first SETTINGS have been applied; fails if the connection ends before.
async fn wait_for_settings(
    driver: &mut Http2Driver,
    activity: &Http2Activity,
) -> Result<(), hyper::Error> {
    while driver.current_max_send_streams() == 0 {
        tokio::select! {
            ended = &mut *driver => return ended,
            () = activity.has_read.notified() => tokio::task::yield_now().await,
            () = sleep(SETTINGS_CHECK_INTERVAL) => {}
        }
    }
    Ok(())
}

/// Drives a connection until it ends, and probes it while requests wait.
async fn drive(mut driver: Http2Driver, activity: Arc<Http2Activity>, state: Arc<Http2State>) {
    let mut probe = LivenessProbe::default();
    loop {
        let is_idle = activity.in_flight() == 0;
        tokio::select! {
            ended = &mut driver => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "upstream connection failed");
                }
                state.ended.cancel();
                return;
            }
            () = activity.is_busy.notified(), if is_idle => {}
            () = sleep(CHECK_INTERVAL), if !is_idle => {
                let max_streams = driver.current_max_send_streams();
                state.max_streams.store(max_streams, Ordering::Release);
                match probe.check(activity.snapshot()) {
                    LivenessAction::Keep => {}
                    LivenessAction::Probe => activity.ping(),
                    LivenessAction::Leave => state.left.cancel(),
                    LivenessAction::Abandon => state.abandoned.cancel(),
                    LivenessAction::Close => {
                        tracing::debug!("upstream connection does not answer");
                        state.abandoned.cancel();
                        activity.close();
                    }
                }
            }
        }
    }
}

fn limit_unacknowledged(stream: &MaybeTlsStream) {
    let timeout_ms = u32::try_from(UNACKNOWLEDGED_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
    if let Err(error) = set_tcp_user_timeout(stream.tcp(), timeout_ms) {
        tracing::debug!(%error, "setting socket options failed");
    }
}
