//! The HTTP/2 connections of one downstream connection to one origin: mostly one, and more while
//! the server's limit of concurrent streams is reached.
//!
//! A client that talks to the server directly sees that limit, and queues or opens another
//! connection. Behind the proxy it sees the proxy's limit, so the proxy does both: a request waits
//! for a stream, and after a moment for another connection.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use super::error::ProxyError;
use super::http2_connection::{Http2Connection, Http2Sender};

/// Time for a stream to become free before another connection is opened.
const STREAM_WAIT: Duration = Duration::from_millis(50);

/// Maximum number of connections; further requests wait for a stream.
const MAX_CONNECTIONS: usize = 128;

/// The connections to one origin.
#[derive(Default)]
pub(super) struct Http2Pool {
    connections: Mutex<Vec<Arc<Http2Connection>>>,
    /// Held while a connection is opened, so that concurrent requests open one only.
    opening: tokio::sync::Mutex<Option<ProxyError>>,
    /// Number of attempts to open a connection that failed.
    failures: AtomicU64,
    freed: Notify,
}

/// A stream of a connection, until it is dropped.
pub(super) struct StreamPermit {
    connection: Arc<Http2Connection>,
    pool: Arc<Http2Pool>,
    /// Whether the connection has served a request before.
    pub(super) is_reused: bool,
}

// === impl Http2Pool ===

impl Http2Pool {
    /// Takes a free stream; waits for one, or opens a connection with `open`.
    pub(super) async fn acquire<F>(
        self: &Arc<Self>,
        open: impl Fn() -> F + Send + Sync,
    ) -> Result<StreamPermit, ProxyError>
    where
        F: Future<Output = Result<Http2Connection, ProxyError>> + Send,
    {
        let mut has_waited = false;
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            if let Some(permit) = self.try_acquire() {
                return Ok(permit);
            }
            let count = lock(&self.connections).len();
            if count == 0 || (has_waited && count < MAX_CONNECTIONS) {
                match self.open_one(&open).await {
                    Ok(permit) => return Ok(permit),
                    Err(error) if count == 0 => return Err(error),
                    // The other connections go on.
                    Err(_) => has_waited = false,
                }
            } else {
                has_waited = timeout(STREAM_WAIT, freed).await.is_err();
            }
        }
    }

    /// Opens a connection, unless another request has just done so.
    async fn open_one<F>(
        self: &Arc<Self>,
        open: &(impl Fn() -> F + Send + Sync),
    ) -> Result<StreamPermit, ProxyError>
    where
        F: Future<Output = Result<Http2Connection, ProxyError>> + Send,
    {
        let failures = self.failures.load(Ordering::Acquire);
        let mut last_error = self.opening.lock().await;
        if let Some(permit) = self.try_acquire() {
            return Ok(permit);
        }
        // A failure that was waited for is this request's as well: one after the other, the
        // requests would wait for the sum of all timeouts.
        if let Some(error) = *last_error
            && self.failures.load(Ordering::Acquire) != failures
        {
            return Err(error);
        }
        match open().await {
            Ok(connection) => {
                let connection = Arc::new(connection);
                // Taken before the others see it.
                let permit = StreamPermit::new(&connection, self);
                lock(&self.connections).push(connection);
                self.freed.notify_waiters();
                Ok(permit)
            }
            Err(error) => {
                self.failures.fetch_add(1, Ordering::AcqRel);
                *last_error = Some(error);
                Err(error)
            }
        }
    }

    /// Adds a connection that was opened elsewhere.
    pub(super) fn add(&self, connection: Http2Connection) {
        lock(&self.connections).push(Arc::new(connection));
    }

    /// Whether a connection is open or being opened.
    pub(super) fn is_in_use(&self) -> bool {
        self.opening.try_lock().is_err()
            || lock(&self.connections)
                .iter()
                .any(|connection| connection.is_open())
    }

    fn try_acquire(self: &Arc<Self>) -> Option<StreamPermit> {
        let mut connections = lock(&self.connections);
        // Streams in flight keep their connection themselves.
        connections.retain(|connection| connection.is_open());
        let found = connections
            .iter()
            .find(|connection| connection.has_free_stream())?;
        Some(StreamPermit::new(found, self))
    }

    /// Closes the connections beyond the first that have become idle.
    fn release(&self) {
        let mut connections = lock(&self.connections);
        let mut is_first = true;
        connections
            .retain(|connection| std::mem::take(&mut is_first) || connection.in_flight() > 0);
        drop(connections);
        self.freed.notify_one();
    }
}

// === impl StreamPermit ===

impl StreamPermit {
    fn new(connection: &Arc<Http2Connection>, pool: &Arc<Http2Pool>) -> Self {
        Self {
            is_reused: connection.begin_request(),
            connection: Arc::clone(connection),
            pool: Arc::clone(pool),
        }
    }

    pub(super) fn sender(&self) -> Http2Sender {
        self.connection.sender()
    }

    pub(super) fn connection(&self) -> &Http2Connection {
        &self.connection
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.connection.end_request();
        self.pool.release();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
