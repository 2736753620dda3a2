//! One connection of whoever asks: its protocol, its requests, how long it may be silent, and its end.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use super::config::{Limits, Route};
use super::intake::{Activity, Intake};
use super::service::{Caller, Service};
use super::upstream::{BUFFER_MIN, head_max};
use crate::address::unmap_ipv4;
use crate::listener::detect::read_http_version;
use crate::listener::protocol::DetectedProtocol;
use crate::transport::drain::Drain;
use crate::transport::stream::{self, MaybeTlsStream};
use crate::transport::tls::DownstreamTls;

/// What the connections of one listener have in common.
pub(super) struct Connections {
    pub(super) service: Arc<Service>,
    pub(super) route: Route,
    pub(super) tls: Option<DownstreamTls>,
}

/// Counts a connection as open as long as it lives.
pub(super) struct Counted(Gauge);

/// What is watched over while a connection is served.
struct Watch<'a> {
    activity: &'a Activity,
    limits: &'a Limits,
    stop: &'a Drain,
    /// Whether the head of a request is looked at as bytes come: in HTTP/2 bytes come without any.
    heads: bool,
}

// === impl Connections ===

impl Connections {
    /// Serves a connection to its end.
    pub(super) async fn serve(&self, stream: TcpStream, client: SocketAddr) {
        let stop = self.service.tracing.stop.clone();
        let begun = tokio::select! {
            begun = self.begin(stream) => begun,
            // Nothing has been asked on it yet.
            () = stop.draining() => return,
        };
        match begun {
            Ok((stream, local, spoken, ahead)) => {
                let activity = Activity::new();
                let caller = Caller {
                    route: self.route.clone(),
                    client: unmap_ipv4(client),
                    local,
                    is_tls: self.tls.is_some(),
                    activity: activity.clone(),
                    own: Arc::default(),
                };
                let _counted =
                    Counted::new(self.service.tracing.metrics.connection(caller.direction()));
                let intake = Intake::new(ahead, stream, activity);
                serve(Arc::clone(&self.service), Arc::new(caller), intake, spoken).await;
            }
            Err(error) => tracing::debug!(%client, %error, "a connection did not come about"),
        }
    }

    /// TLS, and which HTTP it is.
    async fn begin(
        &self,
        mut stream: TcpStream,
    ) -> std::io::Result<(MaybeTlsStream, SocketAddr, DetectedProtocol, Bytes)> {
        stream::configure(&stream);
        let local = unmap_ipv4(stream.local_addr()?);
        let limits = &self.service.limits;
        if let Some(tls) = &self.tls {
            let stream = timeout(limits.head_deadline, tls.accept(stream)).await??;
            let spoken = if stream.alpn_protocol() == Some(b"h2") {
                DetectedProtocol::Http2
            } else {
                DetectedProtocol::Http1
            };
            return Ok((stream, local, spoken, Bytes::new()));
        }
        // A peek and not `readable`, which may be wrong.
        timeout(limits.idle, stream.peek(&mut [0])).await??;
        let (spoken, ahead) =
            timeout(limits.head_deadline, read_http_version(&mut stream)).await??;
        Ok((MaybeTlsStream::Plain(stream), local, spoken, ahead))
    }
}

/// Serves what has begun. What is neither of both is answered as HTTP/1 answers nonsense.
pub(super) async fn serve<S>(
    service: Arc<Service>,
    caller: Arc<Caller>,
    intake: Intake<S>,
    spoken: DetectedProtocol,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (limits, stop, activity) = (
        service.limits.clone(),
        service.tracing.stop.clone(),
        caller.activity.clone(),
    );
    let mut watch = Watch {
        activity: &activity,
        limits: &limits,
        stop: &stop,
        heads: false,
    };
    let io = TokioIo::new(intake);
    let answer = service_fn(move |request: Request<Incoming>| {
        Arc::clone(&service).answer(Arc::clone(&caller), request)
    });
    if spoken == DetectedProtocol::Http2 {
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams_max)
            .max_header_list_size(head_max(&limits))
            .serve_connection(io, answer);
        watch
            .over(connection, http2::Connection::graceful_shutdown)
            .await;
    } else {
        watch.heads = true;
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_buf_size(limits.head_bytes_max.max(BUFFER_MIN))
            .max_headers(limits.fields_max)
            .serve_connection(io, answer)
            .with_upgrades();
        watch
            .over(connection, http1::UpgradeableConnection::graceful_shutdown)
            .await;
    }
}

// === impl Watch ===

impl Watch<'_> {
    /// Drives a connection until it ends: by itself, for its silence, or with the proxy.
    async fn over<C>(&self, connection: C, end_gracefully: fn(Pin<&mut C>))
    where
        C: Future<Output = hyper::Result<()>>,
    {
        let mut connection = std::pin::pin!(connection);
        let (mut is_ending, mut next) = (false, Instant::now() + self.pace());
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a connection broke");
                    }
                    return;
                }
                () = self.stop.aborted() => return,
                () = self.stop.draining(), if !is_ending => {
                    is_ending = true;
                    end_gracefully(connection.as_mut());
                }
                () = sleep_until(next) => {
                    next = Instant::now() + self.pace();
                    if self.is_too_slow() {
                        return;
                    }
                    if !is_ending && self.activity.idle().is_some_and(|idle| idle >= self.limits.idle) {
                        is_ending = true;
                        end_gracefully(connection.as_mut());
                    }
                }
            }
        }
    }

    fn is_too_slow(&self) -> bool {
        self.heads
            && self
                .activity
                .head_age()
                .is_some_and(|age| age >= self.limits.head_deadline)
    }

    /// How often it is looked at.
    fn pace(&self) -> Duration {
        (self.limits.head_deadline.min(self.limits.idle) / 4).max(PACE_MIN)
    }
}

// === impl Counted ===

impl Counted {
    pub(super) fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

const PACE_MIN: Duration = Duration::from_millis(10);
