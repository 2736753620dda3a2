//! The connections of a listener, with the phase that each is in.
//!
//! A client that opens connections and never completes a request must not keep others out. Heads
//! have a deadline of their own, and when all places are taken, the connection that has waited
//! longest is closed for the next one. Connections without any request so far come before idle
//! ones.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The connections of one listener.
#[derive(Debug, Default)]
pub(crate) struct ConnectionTable {
    connections: Mutex<HashMap<u64, Arc<TrackedConnection>>>,
    next_id: AtomicU64,
}

/// A connection and the phase that it is in.
#[derive(Debug)]
pub(crate) struct TrackedConnection {
    state: Mutex<ConnectionState>,
    /// Cancelled to close the connection.
    closing: CancellationToken,
    /// Number of bytes that a client sends before its first request on an HTTP/2 connection: with
    /// them it is idle, and not in the middle of a head.
    preface_bytes: usize,
}

#[derive(Debug)]
struct ConnectionState {
    /// Number of requests whose response is not sent yet.
    requests: usize,
    /// Whether a request has arrived, ever.
    is_used: bool,
    /// Whether a head is being received; true from the start, so that silence has the same
    /// deadline.
    is_in_head: bool,
    bytes_read: usize,
    /// Start of the present phase.
    since: Instant,
}

/// A connection's place in the table; leaves it when dropped.
#[derive(Debug)]
pub(crate) struct TablePlace {
    table: Arc<ConnectionTable>,
    id: u64,
}

/// A request whose response is not sent yet.
#[derive(Debug)]
pub(crate) struct ActiveRequest(Arc<TrackedConnection>);

/// A response body that ends its request when it is dropped.
#[derive(Debug)]
struct GuardedBody {
    body: Body,
    _guard: ActiveRequest,
}

// === impl ConnectionTable ===

impl ConnectionTable {
    /// Adds a connection.
    pub(crate) fn add(
        self: &Arc<Self>,
        preface_bytes: usize,
    ) -> (Arc<TrackedConnection>, TablePlace) {
        let connection = Arc::new(TrackedConnection {
            state: Mutex::new(ConnectionState {
                requests: 0,
                is_used: false,
                is_in_head: true,
                bytes_read: 0,
                since: Instant::now(),
            }),
            closing: CancellationToken::new(),
            preface_bytes,
        });
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(id, Arc::clone(&connection));
        let table = Arc::clone(self);
        (connection, TablePlace { table, id })
    }

    /// Closes the connection that has waited longest for a request, and at least for `min_waiting`.
    /// Returns whether there was one.
    pub(crate) fn close_oldest(&self, min_waiting: Duration) -> bool {
        let now = Instant::now();
        let connections = self.lock();
        let oldest = connections
            .values()
            .filter(|connection| !connection.closing.is_cancelled())
            .filter_map(|connection| Some((connection.waiting()?, connection)))
            .filter(|((_, since), _)| now.duration_since(*since) >= min_waiting)
            .min_by_key(|(order, _)| *order);
        if let Some((_, connection)) = oldest {
            connection.closing.cancel();
        }
        oldest.is_some()
    }

    /// Closes the connections whose head has taken longer than `timeout`, and returns their number.
    pub(crate) fn close_late_heads(&self, timeout: Duration) -> u64 {
        let now = Instant::now();
        let mut closed = 0;
        for connection in self.lock().values() {
            let is_late = {
                let state = connection.state();
                state.requests == 0
                    && state.is_in_head
                    && now.duration_since(state.since) >= timeout
            };
            if is_late && !connection.closing.is_cancelled() {
                connection.closing.cancel();
                closed += 1;
            }
        }
        closed
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<TrackedConnection>>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl TrackedConnection ===

impl TrackedConnection {
    /// Waits until the connection is to be closed.
    pub(crate) async fn closed(&self) {
        self.closing.cancelled().await;
    }

    /// Notes that bytes were read.
    pub(crate) fn count_read(&self, length: usize) {
        let mut state = self.state();
        state.bytes_read = state.bytes_read.saturating_add(length);
        if state.requests > 0 || length == 0 {
            return;
        }
        // The preface of HTTP/2 does not begin a request, and pings follow it at any time:
        // from then on hyper's keep-alive finds silent clients.
        let is_in_head = self.preface_bytes == 0 || state.bytes_read < self.preface_bytes;
        if state.is_in_head != is_in_head {
            state.is_in_head = is_in_head;
            state.since = Instant::now();
        }
    }

    /// Notes that a request has arrived.
    pub(crate) fn begin_request(self: &Arc<Self>) -> ActiveRequest {
        let mut state = self.state();
        state.requests += 1;
        state.is_used = true;
        ActiveRequest(Arc::clone(self))
    }

    /// Returns since when the connection waits, with unused ones sorted first; `None` while it has
    /// a request.
    fn waiting(&self) -> Option<(bool, Instant)> {
        let state = self.state();
        (state.requests == 0).then_some((state.is_used, state.since))
    }

    fn state(&self) -> MutexGuard<'_, ConnectionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl ActiveRequest ===

impl ActiveRequest {
    /// Returns the body, which ends the request when it is sent or dropped.
    pub(crate) fn attach(self, body: Body) -> Body {
        Body::new(GuardedBody { body, _guard: self })
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.requests = state.requests.saturating_sub(1);
        if state.requests == 0 {
            state.is_in_head = false;
            state.since = Instant::now();
        }
    }
}

impl HttpBody for GuardedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    // Delegated, because hyper derives the content length from it.
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for TablePlace {
    fn drop(&mut self) {
        self.table.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn unused_connections_are_closed_before_idle_ones_and_busy_ones_never() {
        let table = Arc::new(ConnectionTable::default());
        let (busy, _busy) = table.add(0);
        let _request = busy.begin_request();
        let (idle, _idle) = table.add(0);
        drop(idle.begin_request());
        tokio::time::advance(SECOND).await;
        let (older, _older) = table.add(0);
        tokio::time::advance(SECOND).await;
        let (newer, _newer) = table.add(0);
        let is_closed = |connection: &TrackedConnection| connection.closing.is_cancelled();

        assert!(table.close_oldest(SECOND) && is_closed(&older));
        // The newer one has not waited long enough yet.
        assert!(table.close_oldest(SECOND) && is_closed(&idle) && !is_closed(&newer));
        assert!(!table.close_oldest(SECOND));
        tokio::time::advance(SECOND).await;
        assert!(table.close_oldest(SECOND) && is_closed(&newer));
        assert!(!table.close_oldest(SECOND) && !is_closed(&busy));
    }

    #[tokio::test(start_paused = true)]
    async fn heads_have_a_deadline_from_their_first_byte() {
        let table = Arc::new(ConnectionTable::default());
        let (idle, _idle) = table.add(0);
        drop(idle.begin_request());
        let (http2, _http2) = table.add(24);
        http2.count_read(24);
        let (trickling, _trickling) = table.add(0);
        for _ in 0..4 {
            tokio::time::advance(SECOND).await;
            trickling.count_read(1);
        }
        assert_eq!(table.close_late_heads(5 * SECOND), 0);
        tokio::time::advance(SECOND).await;
        assert_eq!(table.close_late_heads(5 * SECOND), 1);
        assert!(trickling.closing.is_cancelled());

        idle.count_read(1);
        tokio::time::advance(5 * SECOND).await;
        assert_eq!(table.close_late_heads(5 * SECOND), 1);
        assert!(idle.closing.is_cancelled() && !http2.closing.is_cancelled());
    }
}
