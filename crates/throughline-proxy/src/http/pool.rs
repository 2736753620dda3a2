//! Upstream connections that are kept for further requests.
//!
//! An HTTP/1 connection serves one request at a time and waits for the next one in the pool of all
//! requests. The most recently used one is taken first, so that surplus connections age and close.
//! An HTTP/2 connection serves the requests of one downstream connection only, as it would without
//! the proxy: a client that does not read, or that uses all streams of a server, delays no other.
//!
//! A connection that a client may have logged in on ([`super::authentication`]) never gets into the
//! pool of all requests: it belongs to the downstream connection of that client.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::client::conn::http1;
use tokio::time::Instant;

use super::config::{HttpLimits, PoolScope, UpstreamOrigin};
use super::error::ProxyError;
use super::http1_driver::Http1Driver;
use super::http1_io::Http1Progress;
use super::http2_pool::{Http2Pool, StreamPermit};
use super::keep_alive::KeepAliveLimit;
use super::replay::ReplayBody;

/// Number of origins of one downstream connection from which on closed connections are removed.
const MAX_ORIGINS_BEFORE_SWEEP: usize = 16;

/// Maximum number of origins whose keep-alive limits are remembered.
const MAX_KNOWN_ORIGINS: usize = 1024;

pub(super) type Http1Sender = http1::SendRequest<ReplayBody>;
/// Idle HTTP/1 connections by origin.
pub(super) struct UpstreamPool {
    origins: Mutex<HashMap<UpstreamOrigin, OriginPool>>,
    scope: PoolScope,
    idle_timeout: Duration,
    max_idle_per_origin: usize,
}

/// The connections to one origin.
#[derive(Default)]
struct OriginPool {
    idle: VecDeque<IdleConnection>,
    limit: KeepAliveLimit,
}

/// An open HTTP/1 connection.
pub(super) struct Http1Connection {
    pub(super) sender: Http1Sender,
    /// Dropped after the sender, which ends the connection.
    pub(super) driver: Http1Driver,
    pub(super) progress: Arc<Http1Progress>,
    /// Whether a client may have logged in on the connection.
    pub(super) is_bound: bool,
}

struct IdleConnection {
    connection: Http1Connection,
    since: Instant,
}

/// An HTTP/1 connection that serves a request, and can serve another one after it.
pub(super) struct PooledConnection {
    pub(super) pool: Arc<UpstreamPool>,
    pub(super) downstream: Arc<DownstreamPool>,
    pub(super) origin: UpstreamOrigin,
    pub(super) connection: Http1Connection,
    /// Whether the server closes the connection after its response.
    pub(super) closes: bool,
}

/// The upstream connection of a request, until its response has ended.
pub(super) enum UpstreamLease {
    Http1(PooledConnection),
    Http2(#[expect(dead_code, reason = "frees the stream when it is dropped")] StreamPermit),
}

/// An idle connection for a request, if there is one.
#[derive(Default)]
pub(super) struct IdleLookup {
    pub(super) connection: Option<Http1Connection>,
    /// Whether the server has closed the connection that the client may have logged in on.
    pub(super) has_lost_login: bool,
}

/// The upstream connections that serve the requests of one downstream connection only.
#[derive(Default)]
pub(super) struct DownstreamPool {
    http2: Mutex<HashMap<UpstreamOrigin, Arc<Http2Pool>>>,
    http1: Mutex<HashMap<UpstreamOrigin, Vec<IdleConnection>>>,
    /// Whether no HTTP/1 connection is shared, because the downstream connection is redirected: the
    /// client opened a connection of its own.
    owns_http1: bool,
    /// Error for the first request, if the redirected connection could not be dialed.
    error: Mutex<Option<ProxyError>>,
}

// === impl UpstreamPool ===

impl UpstreamPool {
    pub(super) fn new(limits: &HttpLimits, scope: PoolScope) -> Self {
        Self {
            origins: Mutex::default(),
            scope,
            idle_timeout: limits.upstream_idle_timeout,
            max_idle_per_origin: limits.max_idle_per_origin,
        }
    }

    /// Takes the most recently used connection for a request of a downstream connection. A request
    /// that cannot be repeated gets none that the server may be about to close.
    pub(super) fn take(
        &self,
        origin: &UpstreamOrigin,
        downstream: &DownstreamPool,
        is_repeatable: bool,
    ) -> IdleLookup {
        let now = Instant::now();
        let mut origins = lock(&self.origins);
        let mut shared = origins.get_mut(origin);
        let max_idle = shared
            .as_ref()
            .and_then(|pool| pool.limit.max_idle(now, is_repeatable))
            .or_else(|| KeepAliveLimit::default().max_idle(now, is_repeatable))
            .map_or(self.idle_timeout, |limit| limit.min(self.idle_timeout));
        let own = downstream.take_http1(origin, max_idle, now);
        if own.connection.is_some() || self.is_owner(downstream) {
            return own;
        }
        let connection = shared.as_mut().and_then(|pool| pool.take(max_idle, now));
        IdleLookup { connection, ..own }
    }

    /// Closes the connections that have been idle for too long, and learns from those that the
    /// servers have closed.
    pub(super) fn sweep(&self, now: Instant) {
        lock(&self.origins).retain(|_, pool| {
            pool.sweep(self.idle_timeout, now);
            !pool.idle.is_empty() || pool.limit.max_idle(now, true).is_some()
        });
    }

    /// Closes the connections that were idle before a request was sent to which nothing has been
    /// answered: their path may be dead as well.
    pub(super) fn distrust(&self, origin: &UpstreamOrigin, sent_at: Instant) {
        if let Some(pool) = lock(&self.origins).get_mut(origin) {
            pool.idle.retain(|idle| idle.since > sent_at);
        }
    }

    pub(super) fn record_announcement(&self, origin: &UpstreamOrigin, timeout: Duration) {
        let mut origins = lock(&self.origins);
        if origins.len() < MAX_KNOWN_ORIGINS || origins.contains_key(origin) {
            let pool = origins.entry(origin.clone()).or_default();
            pool.limit.record_announcement(timeout);
        }
    }

    fn is_owner(&self, downstream: &DownstreamPool) -> bool {
        downstream.owns_http1 || self.scope == PoolScope::PerConnection
    }

    fn put(&self, origin: UpstreamOrigin, idle: IdleConnection) {
        let mut origins = lock(&self.origins);
        let pool = origins.entry(origin).or_default();
        // The newest at the back, so that the one dropped below is the oldest.
        pool.idle.push_back(idle);
        if pool.idle.len() > self.max_idle_per_origin {
            pool.idle.pop_front();
        }
    }
}

// === impl OriginPool ===

impl OriginPool {
    fn take(&mut self, max_idle: Duration, now: Instant) -> Option<Http1Connection> {
        // A closed connection is noticed here at the latest; the sweep runs only now and then.
        while let Some(idle) = self.idle.pop_back() {
            let age = now.saturating_duration_since(idle.since);
            if idle.connection.sender.is_closed() {
                self.limit.record_close(idle.age_at_end(now), now);
                continue;
            }
            self.limit.record_survival(age);
            if age < max_idle {
                return Some(idle.connection);
            }
            // It stays, for requests that can be repeated, and until the server's limit shows.
            self.idle.push_back(idle);
            return None;
        }
        None
    }

    fn sweep(&mut self, idle_timeout: Duration, now: Instant) {
        let Self { idle, limit } = self;
        idle.retain(|idle| {
            let age = now.saturating_duration_since(idle.since);
            if idle.connection.sender.is_closed() {
                limit.record_close(idle.age_at_end(now), now);
                return false;
            }
            limit.record_survival(age);
            age < idle_timeout
        });
    }
}

// === impl IdleConnection ===

impl IdleConnection {
    /// Returns how long a connection that has ended had been idle.
    fn age_at_end(&self, now: Instant) -> Duration {
        let end = self.connection.progress.ended_at().unwrap_or(now);
        end.saturating_duration_since(self.since)
    }
}

// === impl PooledConnection ===

impl PooledConnection {
    /// Returns the connection for the next request.
    fn give_back(self, now: Instant) {
        let Self {
            pool,
            downstream,
            origin,
            connection,
            closes,
        } = self;
        connection.progress.end();
        connection.driver.detach();
        // A closed connection with a login is kept: the next request learns from it that the login
        // is lost.
        if closes
            || connection.progress.is_half_closed()
            || (connection.sender.is_closed() && !connection.is_bound)
        {
            return;
        }
        let idle = IdleConnection {
            connection,
            since: now,
        };
        if idle.connection.is_bound || pool.is_owner(&downstream) {
            downstream.put(origin, idle, pool.max_idle_per_origin);
        } else {
            pool.put(origin, idle);
        }
    }

    const fn ends_downstream(&self) -> bool {
        self.closes && self.connection.is_bound
    }
}

// === impl UpstreamLease ===

impl UpstreamLease {
    /// Returns the connection for the next request, if it can serve one: its request has been sent
    /// completely.
    pub(super) fn give_back(self, is_complete: bool, now: Instant) {
        match self {
            Self::Http1(connection) if is_complete => connection.give_back(now),
            Self::Http1(_) | Self::Http2(_) => {}
        }
    }

    /// Polls what a request waits for from the connection, and the connection itself where it has
    /// no task of its own meanwhile.
    pub(super) fn poll<T>(
        &self,
        context: &mut Context<'_>,
        mut exchange: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        match self {
            Self::Http1(leased) => leased.connection.driver.poll(context, exchange),
            Self::Http2(_) => exchange(context),
        }
    }

    /// Leaves the connection to its own task: it becomes a tunnel.
    pub(super) fn detach(&self) {
        if let Self::Http1(leased) = self {
            leased.connection.driver.detach();
        }
    }

    /// Whether the downstream connection has to end with this one: the client's login ends.
    pub(super) const fn ends_downstream(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.ends_downstream(),
            Self::Http2(_) => false,
        }
    }
}

// === impl DownstreamPool ===

impl DownstreamPool {
    /// Creates the pool of a redirected connection, whose upstream may have failed to connect.
    pub(super) fn redirected(error: Option<ProxyError>) -> Self {
        Self {
            owns_http1: true,
            error: Mutex::new(error),
            ..Self::default()
        }
    }

    fn take_http1(&self, origin: &UpstreamOrigin, max_idle: Duration, now: Instant) -> IdleLookup {
        let mut http1 = lock(&self.http1);
        let mut lookup = IdleLookup::default();
        let Some(connections) = http1.get_mut(origin) else {
            return lookup;
        };
        while let Some(IdleConnection { connection, since }) = connections.pop() {
            if connection.sender.is_closed() {
                lookup.has_lost_login |= connection.is_bound;
            } else if connection.is_bound || now.saturating_duration_since(since) < max_idle {
                lookup.connection = Some(connection);
                break;
            }
        }
        if connections.is_empty() {
            http1.remove(origin);
        }
        lookup
    }

    /// Keeps a connection for the next request of this downstream connection.
    pub(super) fn put_http1(&self, origin: UpstreamOrigin, connection: Http1Connection) {
        let idle = IdleConnection {
            connection,
            since: Instant::now(),
        };
        self.put(origin, idle, 1);
    }

    fn put(&self, origin: UpstreamOrigin, idle: IdleConnection, max_idle: usize) {
        let mut http1 = lock(&self.http1);
        if http1.len() >= MAX_ORIGINS_BEFORE_SWEEP && !http1.contains_key(&origin) {
            // A client that visits many hosts over one connection keeps its logins, and no others.
            http1.retain(|_, connections| {
                connections
                    .retain(|idle| idle.connection.is_bound && !idle.connection.sender.is_closed());
                !connections.is_empty()
            });
        }
        let connections = http1.entry(origin).or_default();
        connections.push(idle);
        if connections.len() > max_idle {
            connections.remove(0);
        }
    }

    /// Takes the error of the first request.
    pub(super) fn take_error(&self) -> Option<ProxyError> {
        lock(&self.error).take()
    }

    /// Returns the HTTP/2 connections to an origin.
    pub(super) fn http2_pool(&self, origin: &UpstreamOrigin) -> Arc<Http2Pool> {
        let mut pools = lock(&self.http2);
        if let Some(pool) = pools.get(origin) {
            return Arc::clone(pool);
        }
        if pools.len() >= MAX_ORIGINS_BEFORE_SWEEP {
            pools.retain(|_, pool| pool.is_in_use());
        }
        Arc::clone(pools.entry(origin.clone()).or_default())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
