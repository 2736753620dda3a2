//! Upstream connections that are kept for further requests.
//!
//! An HTTP/1 connection serves one request at a time and waits for the next one in the pool of all
//! requests. The most recently used one is taken first, so that surplus connections age and close.
//! An HTTP/2 connection serves the requests of one downstream connection only, as it would without
//! the proxy: a client that does not read, or that uses all streams of a server, delays no other.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use tokio::time::Instant;

use super::config::{HttpLimits, UpstreamOrigin};
use super::error::ProxyError;
use super::request_body::RequestBody;

/// Number of origins of one downstream connection from which on closed connections are removed.
const MAX_ORIGINS_BEFORE_SWEEP: usize = 16;

pub(super) type Http1Sender = http1::SendRequest<RequestBody>;
pub(super) type Http2Sender = http2::SendRequest<RequestBody>;

/// The HTTP/2 connection to one origin. The lock is held while it is opened, so that concurrent
/// requests open one only.
pub(super) type Http2Slot = tokio::sync::Mutex<Option<Http2Sender>>;

/// Idle HTTP/1 connections by origin.
pub(super) struct UpstreamPool {
    idle: Mutex<HashMap<UpstreamOrigin, VecDeque<IdleConnection>>>,
    idle_timeout: Duration,
    max_idle_per_origin: usize,
}

struct IdleConnection {
    sender: Http1Sender,
    since: Instant,
}

/// An HTTP/1 connection that serves a request, and can serve another one after it.
pub(super) struct PooledConnection {
    pub(super) pool: Arc<UpstreamPool>,
    pub(super) downstream: Arc<DownstreamPool>,
    pub(super) origin: UpstreamOrigin,
    pub(super) sender: Http1Sender,
}

/// The upstream connections that serve the requests of one downstream connection only.
#[derive(Default)]
pub(super) struct DownstreamPool {
    http2: Mutex<HashMap<UpstreamOrigin, Arc<Http2Slot>>>,
    /// The HTTP/1 connection of a redirected downstream connection; otherwise [`None`]. It is not
    /// shared: the client opened its own connection, and may have authenticated on it.
    http1: Option<Mutex<Option<Http1Sender>>>,
    /// Error for the first request, if the redirected connection could not be dialed.
    error: Mutex<Option<ProxyError>>,
}

// === impl UpstreamPool ===

impl UpstreamPool {
    pub(super) fn new(limits: &HttpLimits) -> Self {
        Self {
            idle: Mutex::default(),
            idle_timeout: limits.upstream_idle_timeout,
            max_idle_per_origin: limits.max_idle_per_origin,
        }
    }

    /// Takes the most recently used connection to an origin.
    pub(super) fn take(&self, origin: &UpstreamOrigin) -> Option<Http1Sender> {
        let mut idle = lock(&self.idle);
        let connections = idle.get_mut(origin)?;
        // A closed connection is noticed here at the latest; the sweep runs only now and then.
        while let Some(connection) = connections.pop_back() {
            if !connection.sender.is_closed() && connection.since.elapsed() < self.idle_timeout {
                return Some(connection.sender);
            }
        }
        None
    }

    /// Closes the connections that have been idle for too long.
    pub(super) fn sweep(&self, now: Instant) {
        lock(&self.idle).retain(|_, connections| {
            connections.retain(|connection| {
                now.saturating_duration_since(connection.since) < self.idle_timeout
                    && !connection.sender.is_closed()
            });
            !connections.is_empty()
        });
    }

    fn put(&self, origin: UpstreamOrigin, connection: IdleConnection) {
        let mut idle = lock(&self.idle);
        let connections = idle.entry(origin).or_default();
        // The newest at the back, so that the one dropped below is the oldest.
        connections.push_back(connection);
        if connections.len() > self.max_idle_per_origin {
            connections.pop_front();
        }
    }
}

// === impl PooledConnection ===

impl PooledConnection {
    /// Returns the connection for the next request.
    pub(super) fn give_back(self, now: Instant) {
        let Self {
            pool,
            downstream,
            origin,
            sender,
        } = self;
        // The server may have sent `connection: close`.
        if sender.is_closed() {
            return;
        }
        if let Some(own) = &downstream.http1 {
            *lock(own) = Some(sender);
            return;
        }
        pool.put(origin, IdleConnection { sender, since: now });
    }
}

// === impl DownstreamPool ===

impl DownstreamPool {
    /// Creates the pool of a redirected connection, whose upstream may have failed to connect.
    pub(super) fn redirected(error: Option<ProxyError>) -> Self {
        Self {
            http1: Some(Mutex::default()),
            error: Mutex::new(error),
            ..Self::default()
        }
    }

    /// Whether HTTP/1 requests use the connection of this pool rather than the shared ones.
    pub(super) const fn has_own_http1(&self) -> bool {
        self.http1.is_some()
    }

    pub(super) fn take_http1(&self) -> Option<Http1Sender> {
        let sender = lock(self.http1.as_ref()?).take();
        sender.filter(|sender| !sender.is_closed())
    }

    pub(super) fn put_http1(&self, sender: Http1Sender) {
        if let Some(own) = &self.http1 {
            *lock(own) = Some(sender);
        }
    }

    /// Takes the error of the first request.
    pub(super) fn take_error(&self) -> Option<ProxyError> {
        lock(&self.error).take()
    }

    /// Returns the slot of the HTTP/2 connection to an origin.
    pub(super) fn http2_slot(&self, origin: &UpstreamOrigin) -> Arc<Http2Slot> {
        let mut slots = lock(&self.http2);
        if let Some(slot) = slots.get(origin) {
            return Arc::clone(slot);
        }
        if slots.len() >= MAX_ORIGINS_BEFORE_SWEEP {
            // A locked slot is in use, and so are connections that are open.
            slots.retain(|_, slot| {
                slot.try_lock().map_or(true, |sender| {
                    sender.as_ref().is_some_and(|sender| !sender.is_closed())
                })
            });
        }
        Arc::clone(slots.entry(origin.clone()).or_default())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
