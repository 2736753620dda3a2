//! Connections to those who are asked: made, kept for the next request, and let go.
//!
//! In HTTP/1 a connection serves one request at a time and waits for the next in a pool; the last one that was used is used next,
//! so that those that are too many grow old. In HTTP/2 one connection serves all requests of one connection to us, as it would without us: who does not
//! read, or fills the streams that a server allows, holds up nobody else.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use throughline_intercept::http::Direction;
use tokio::time::{Instant, timeout};

use super::body::Sent;
use super::config::{Limits, Origin};
use super::metrics::Metrics;
use super::place::Place;
use super::refusal::Refusal;
use crate::address::HostPort;
use crate::transport::dial::{DialedSocket, UpstreamDialer};
use crate::transport::own_connections::{OwnConnectionGuard, OwnConnections, SocketPair};
use crate::transport::stream::MaybeTlsStream;
use crate::transport::tls::UpstreamTls;

/// All connections of one direction.
pub(super) struct Upstream {
    direction: Direction,
    limits: Limits,
    metrics: Arc<Metrics>,
    /// TLS that agrees on HTTP/1.1, and TLS that agrees on HTTP/2.
    tls: Option<(UpstreamTls, UpstreamTls)>,
    dialer: UpstreamDialer,
    idle: Mutex<HashMap<Origin, VecDeque<Idle>>>,
}

/// A connection of HTTP/1 that serves a request. It can serve another once that is over.
pub(super) struct Lease {
    upstream: Arc<Upstream>,
    origin: Origin,
    sender: http1::SendRequest<Sent>,
    own: Arc<Own>,
}

struct Idle {
    sender: http1::SendRequest<Sent>,
    since: Instant,
}

/// The connections that only the requests of one connection to us go out on.
#[derive(Default)]
pub(super) struct Own {
    /// Of HTTP/2, by origin.
    http2: Mutex<HashMap<Origin, Arc<Slot>>>,
    /// Of HTTP/1, where the pool is not for all: who made a connection there would have made it without us, and may have said who he is
    /// on it.
    http1: Option<Mutex<Option<http1::SendRequest<Sent>>>>,
    /// Why the first request cannot go out.
    refusal: Mutex<Option<Refusal>>,
}

/// The connection of HTTP/2 to one origin. Locked while it is made, so that it is made once.
type Slot = tokio::sync::Mutex<Option<http2::SendRequest<Sent>>>;

// === impl Upstream ===

impl Upstream {
    pub(super) fn new(
        direction: Direction,
        limits: Limits,
        metrics: Arc<Metrics>,
        outgoing: OwnConnections,
        tls: Option<&UpstreamTls>,
    ) -> Self {
        let deadline = limits.connect_deadline;
        Self {
            direction,
            limits,
            metrics,
            tls: tls.map(|tls| (tls.with_alpn(&[b"http/1.1"]), tls.with_alpn(&[b"h2"]))),
            dialer: UpstreamDialer {
                tls: None,
                connect_timeout: deadline,
                own_connections: outgoing,
            },
            idle: Mutex::default(),
        }
    }

    /// Whether this connection to us is one of these.
    pub(super) fn made(&self, from: SocketAddr, to: SocketAddr) -> bool {
        self.dialer
            .own_connections
            .contains(SocketPair::new(from, to))
    }

    /// Sends a request, and has the head of its answer. With a lease, if the connection can serve again.
    pub(super) async fn send(
        self: &Arc<Self>,
        place: &Place,
        request: Request<Sent>,
        own: &Arc<Own>,
    ) -> Result<(Response<Incoming>, Option<Lease>), Refusal> {
        if let Some(refusal) = own
            .refusal
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            return Err(refusal);
        }
        let sending = async {
            if place.is_http2 {
                self.send_http2(&own.slot(&place.origin), &place.origin, request)
                    .await
                    .map(|answer| (answer, None))
            } else {
                self.send_http1(&place.origin, request, own)
                    .await
                    .map(|(answer, lease)| (answer, Some(lease)))
            }
        };
        match self.limits.answer_deadline {
            None => sending.await,
            Some(deadline) => timeout(deadline, sending)
                .await
                .unwrap_or(Err(Refusal::AnswerTimeout)),
        }
    }

    /// A connection for a tunnel.
    pub(super) async fn open(&self, origin: &Origin) -> Result<Opened, Refusal> {
        self.dial(origin, false).await
    }

    /// Takes in a connection that others have made, for requests that have their own.
    pub(super) async fn adopt(&self, origin: &Origin, opened: Opened, is_http2: bool, own: &Own) {
        self.metrics.connected_upstream(self.direction);
        if is_http2 {
            *own.slot(origin).lock().await = self.begin_http2(opened).await.ok();
        } else if let (Ok(sender), Some(mine)) = (self.begin_http1(opened).await, &own.http1) {
            *mine.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        }
    }

    /// Lets go of the connections that have waited too long.
    pub(super) fn sweep(&self, now: Instant) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|_, waiting| {
            waiting.retain(|one| {
                now.saturating_duration_since(one.since) < self.limits.upstream_idle
                    && !one.sender.is_closed()
            });
            !waiting.is_empty()
        });
    }

    // --- HTTP/1 ---

    async fn send_http1(
        self: &Arc<Self>,
        origin: &Origin,
        mut request: Request<Sent>,
        own: &Arc<Own>,
    ) -> Result<(Response<Incoming>, Lease), Refusal> {
        loop {
            let waiting = self.waiting(origin, own);
            let is_reused = waiting.is_some();
            let mut sender = match waiting {
                Some(sender) => sender,
                // Seldom: most requests need no room for all that it takes.
                None => Box::pin(self.connect_http1(origin)).await?,
            };
            // It may have ended while it waited, or just now: then nothing of the request has gone out, and it comes back.
            if is_reused && sender.ready().await.is_err() {
                continue;
            }
            match sender.try_send_request(request).await {
                Ok(answer) => {
                    let (upstream, origin, own) =
                        (Arc::clone(self), origin.clone(), Arc::clone(own));
                    return Ok((
                        answer,
                        Lease {
                            upstream,
                            origin,
                            sender,
                            own,
                        },
                    ));
                }
                Err(mut error) => match error.take_message().filter(|_| is_reused) {
                    Some(unsent) => request = unsent,
                    None => return Err(refusal(&error.into_error())),
                },
            }
        }
    }

    fn waiting(&self, origin: &Origin, own: &Own) -> Option<http1::SendRequest<Sent>> {
        if let Some(mine) = &own.http1 {
            let mine = mine.lock().unwrap_or_else(PoisonError::into_inner).take();
            return mine.filter(|sender| !sender.is_closed());
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = idle.get_mut(origin)?;
        while let Some(one) = waiting.pop_back() {
            if !one.sender.is_closed() && one.since.elapsed() < self.limits.upstream_idle {
                return Some(one.sender);
            }
        }
        None
    }

    async fn connect_http1(&self, origin: &Origin) -> Result<http1::SendRequest<Sent>, Refusal> {
        self.begin_http1(self.dial(origin, false).await?).await
    }

    async fn begin_http1(&self, opened: Opened) -> Result<http1::SendRequest<Sent>, Refusal> {
        let Opened { stream, listed } = opened;
        let mut builder = http1::Builder::new();
        builder
            .max_buf_size(self.limits.head_bytes_max.max(BUFFER_MIN))
            .max_headers(self.limits.fields_max);
        let (sender, connection) = builder
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| refusal(&error))?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a connection to who is asked broke");
            }
            drop(listed);
        });
        Ok(sender)
    }

    // --- HTTP/2 ---

    async fn send_http2(
        &self,
        slot: &Slot,
        origin: &Origin,
        mut request: Request<Sent>,
    ) -> Result<Response<Incoming>, Refusal> {
        loop {
            let (mut sender, is_reused) = self.sender_http2(slot, origin).await?;
            match sender.try_send_request(request).await {
                Ok(answer) => return Ok(answer),
                Err(mut error) => match error.take_message().filter(|_| is_reused) {
                    Some(unsent) => {
                        // It takes no more: another takes its place.
                        *slot.lock().await = None;
                        request = unsent;
                    }
                    None => return Err(refusal(&error.into_error())),
                },
            }
        }
    }

    async fn sender_http2(
        &self,
        slot: &Slot,
        origin: &Origin,
    ) -> Result<(http2::SendRequest<Sent>, bool), Refusal> {
        let mut held = slot.lock().await;
        if let Some(sender) = held.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok((sender.clone(), true));
        }
        let sender = Box::pin(self.connect_http2(origin)).await?;
        *held = Some(sender.clone());
        Ok((sender, false))
    }

    async fn connect_http2(&self, origin: &Origin) -> Result<http2::SendRequest<Sent>, Refusal> {
        self.begin_http2(self.dial(origin, true).await?).await
    }

    async fn begin_http2(&self, opened: Opened) -> Result<http2::SendRequest<Sent>, Refusal> {
        let Opened { stream, listed } = opened;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_header_list_size(head_max(&self.limits))
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW_MAX);
        let (sender, connection) = builder
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| refusal(&error))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to who is asked broke");
            }
            drop(listed);
        });
        Ok(sender)
    }

    // --- connecting ---

    async fn dial(&self, origin: &Origin, is_http2: bool) -> Result<Opened, Refusal> {
        let tls = match (&self.tls, origin.tls) {
            (_, false) => None,
            (Some((http1, http2)), true) => Some(if is_http2 { http2 } else { http1 }),
            (None, true) => return Err(Refusal::NoTls),
        };
        let dialled = timeout(
            self.limits.connect_deadline,
            self.connect(&origin.address, tls),
        )
        .await;
        match dialled {
            Ok(Ok(opened)) => {
                self.metrics.connected_upstream(self.direction);
                Ok(opened)
            }
            Ok(Err(error)) => {
                tracing::debug!(address = %origin.address, %error, "cannot connect");
                Err(Refusal::Unreachable)
            }
            Err(_) => Err(Refusal::ConnectTimeout),
        }
    }

    async fn connect(
        &self,
        address: &HostPort,
        tls: Option<&UpstreamTls>,
    ) -> std::io::Result<Opened> {
        let DialedSocket { stream, own_guard } = self.dialer.connect_tcp(address).await?;
        let stream = match tls {
            None => MaybeTlsStream::Plain(stream),
            Some(tls) => tls.connect(&address.host, stream).await?,
        };
        Ok(Opened {
            stream,
            listed: own_guard,
        })
    }
}

/// A connection, and its entry in the list of ours.
pub(super) struct Opened {
    pub(super) stream: MaybeTlsStream,
    pub(super) listed: OwnConnectionGuard,
}

// === impl Own ===

impl Own {
    /// For a connection to one place, which was redirected.
    pub(super) fn redirected(refusal: Option<Refusal>) -> Self {
        Self {
            http1: Some(Mutex::default()),
            refusal: Mutex::new(refusal),
            ..Self::default()
        }
    }

    fn slot(&self, origin: &Origin) -> Arc<Slot> {
        let mut slots = self.http2.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(origin) {
            return Arc::clone(slot);
        }
        if slots.len() >= ORIGINS_MANY {
            slots.retain(|_, slot| {
                slot.try_lock().map_or(true, |held| {
                    held.as_ref().is_some_and(|one| !one.is_closed())
                })
            });
        }
        Arc::clone(slots.entry(origin.clone()).or_default())
    }
}

// === impl Lease ===

impl Lease {
    /// The connection waits for the next request.
    pub(super) fn give_back(self, now: Instant) {
        let Self {
            upstream,
            origin,
            sender,
            own,
        } = self;
        if sender.is_closed() {
            return;
        }
        if let Some(mine) = &own.http1 {
            *mine.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
            return;
        }
        let mut idle = upstream.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = idle.entry(origin).or_default();
        waiting.push_back(Idle { sender, since: now });
        if waiting.len() > upstream.limits.upstream_idle_max {
            waiting.pop_front();
        }
    }
}

/// What an error says of who was asked.
fn refusal(error: &hyper::Error) -> Refusal {
    tracing::debug!(%error, "a request came to nothing");
    if error.is_parse() {
        Refusal::Protocol
    } else {
        Refusal::Reset
    }
}

/// As HTTP/2 has it.
pub(super) fn head_max(limits: &Limits) -> u32 {
    u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX)
}

/// What is taken of one answer that nobody reads.
const WINDOW: u32 = 256 << 10;

/// The most that HTTP/2 allows (RFC 9113, section 6.9.1): the answers of one connection are for many who asked, and those who do not
/// read theirs must not hold up the others.
const WINDOW_MAX: u32 = (1 << 31) - 1;

/// From so many places on, those that one connection of HTTP/2 no longer asks are forgotten.
const ORIGINS_MANY: usize = 16;

/// hyper wants no less.
pub(super) const BUFFER_MIN: usize = 8 << 10;
