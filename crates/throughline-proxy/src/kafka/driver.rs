//! The driver of one connection: moves its bytes through a session, both ways, and decides nothing.
//!
//! ```text
//!    client ── read ──► handle_bytes ──► poll_transmit ──► queue ── write ──► broker
//!           ◄─ write ── queue ◄── poll_transmit ◄── handle_bytes ◄── read ──
//! ```
//!
//! An end is read only while few bytes are queued at the other: a slow reader slows its sender down
//! as if the two were connected directly. The end of one stream is passed on after its last byte.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use throughline_intercept::kafka::Settings;
use throughline_intercept::{KafkaSession, Side};
use throughline_model::SpanSink;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};

use crate::clock::SpanClock;
use crate::kafka::cluster::ClusterView;
use crate::kafka::connection_end::ConnectionEnd;
use crate::kafka::session_timer::SessionTimer;
use crate::telemetry::reporter::Reporter;
use crate::transport::drain::Drain;
use crate::transport::own_connections::OwnConnectionGuard;

/// Queued bytes at one end from which the other end is not read. A single read of a frame that was
/// buffered may exceed it.
const MAX_QUEUED_BYTES: usize = 256 << 10;

/// Time for one end to close after the other, measured from the last byte that moved.
const LINGER_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection between a client and a broker.
pub(crate) struct ConnectionDriver<S> {
    session: KafkaSession<ClusterView>,
    /// The client's end and the broker's end.
    ends: [ConnectionEnd<S>; 2],
    settings: watch::Receiver<Arc<Settings>>,
    sink: Arc<dyn SpanSink>,
    reporter: Arc<Reporter>,
    clock: SpanClock,
    timer: SessionTimer,
    is_draining: bool,
    /// The client sends no more, and the broker's stream ends when the session is done.
    is_broker_close_due: bool,
    /// Set by the first end that closes.
    close_reason: Option<CloseReason>,
    linger: Option<Pin<Box<Sleep>>>,
    _own_guard: Option<OwnConnectionGuard>,
}

/// The cause of the end of a connection.
#[derive(Debug)]
pub(crate) enum CloseReason {
    /// This side ended its stream in order.
    EndOfStream(Side),
    /// This side's stream failed.
    Failed(Side, io::Error),
    /// The proxy drained, and no request was in flight.
    Drained,
    /// The proxy aborted the connection at the end of its drain.
    Aborted,
}

/// The parts of the proxy that a driver works with.
pub(crate) struct DriverContext {
    pub(crate) session: KafkaSession<ClusterView>,
    pub(crate) settings: watch::Receiver<Arc<Settings>>,
    pub(crate) sink: Arc<dyn SpanSink>,
    pub(crate) reporter: Arc<Reporter>,
    pub(crate) clock: SpanClock,
    /// The registration of the upstream connection, held for its lifetime.
    pub(crate) own_guard: Option<OwnConnectionGuard>,
}

// === impl ConnectionDriver ===

impl<S: AsyncRead + AsyncWrite + Unpin> ConnectionDriver<S> {
    pub(crate) fn new(context: DriverContext, client: S, broker: S) -> Self {
        let DriverContext {
            session,
            settings,
            sink,
            reporter,
            clock,
            own_guard,
        } = context;
        let ends = [
            ConnectionEnd::new(client, reporter.metrics.side(Side::Client)),
            ConnectionEnd::new(broker, reporter.metrics.side(Side::Broker)),
        ];
        Self {
            session,
            ends,
            settings,
            sink,
            reporter,
            clock,
            timer: SessionTimer::default(),
            is_draining: false,
            is_broker_close_due: false,
            close_reason: None,
            linger: None,
            _own_guard: own_guard,
        }
    }

    /// Serves the connection until both ends are closed.
    pub(crate) async fn run(mut self, drain: &Drain) -> CloseReason {
        let reason = self.serve(drain).await;
        // Requests that are still in flight yield their spans here.
        let now = self.clock.now();
        self.session.handle_close(Side::Client, now);
        self.session.handle_close(Side::Broker, now);
        self.drain_session();
        reason
    }

    async fn serve(&mut self, drain: &Drain) -> CloseReason {
        tokio::select! {
            reason = poll_fn(|context| self.poll(context)) => return reason,
            () = drain.draining() => {}
        }
        // The second poll reads the flag, and ends a connection that is idle already.
        self.is_draining = true;
        tokio::select! {
            reason = poll_fn(|context| self.poll(context)) => reason,
            () = drain.aborted() => CloseReason::Aborted,
        }
    }

    /// Moves bytes until nothing moves. Ready when both ends are closed.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<CloseReason> {
        loop {
            // Writes go first, because they make room for reads. Each step may enable another, so
            // all of them repeat until none makes progress.
            let mut progressed =
                self.poll_write(Side::Broker, context) | self.poll_write(Side::Client, context);
            progressed |= self.poll_read(Side::Client, context);
            progressed |= self.poll_read(Side::Broker, context);
            progressed |= self.poll_timer(context);
            progressed |= self.close_if_idle();
            if self.is_closed() || self.poll_linger(progressed, context).is_ready() {
                let reason = self.close_reason.take();
                return Poll::Ready(reason.unwrap_or(CloseReason::Aborted));
            }
            if !progressed {
                return Poll::Pending;
            }
        }
    }

    const fn end_mut(&mut self, side: Side) -> &mut ConnectionEnd<S> {
        let [client, broker] = &mut self.ends;
        match side {
            Side::Client => client,
            Side::Broker => broker,
        }
    }

    /// Reads once, unless the other end is behind. Returns whether anything moved.
    fn poll_read(&mut self, side: Side, context: &mut Context<'_>) -> bool {
        let held_bytes = match side {
            Side::Client => self.session.held_request_bytes(),
            Side::Broker => 0,
        };
        let queued_bytes = self.end_mut(side.opposite()).queued_bytes();
        let is_behind = queued_bytes.saturating_add(held_bytes) >= MAX_QUEUED_BYTES;
        if is_behind || self.is_paused(side) {
            return false;
        }
        match self.end_mut(side).poll_read(context) {
            Poll::Pending => return false,
            Poll::Ready(Ok(bytes)) if bytes.is_empty() => {
                self.close(side, CloseReason::EndOfStream(side));
            }
            Poll::Ready(Ok(bytes)) => self.handle_bytes(side, bytes),
            Poll::Ready(Err(error)) => self.handle_failure(side, error),
        }
        true
    }

    /// Passes bytes to the session, and its output to the ends.
    fn handle_bytes(&mut self, from: Side, bytes: Bytes) {
        // Settings change between two reads, so that each read sees one version.
        if self.settings.has_changed().unwrap_or(false) {
            let settings = Arc::clone(&self.settings.borrow_and_update());
            self.session.handle_settings(settings);
        }
        let read_at = Instant::now();
        self.session
            .handle_bytes(from, self.clock.at(read_at.into_std()), bytes);
        self.drain_session();
        // The session may send to either side, whichever the bytes came from.
        for end in &mut self.ends {
            end.mark_queued(read_at);
        }
    }

    fn drain_session(&mut self) {
        while let Some((side, bytes)) = self.session.poll_transmit() {
            self.end_mut(side).queue(bytes);
        }
        self.send_spans();
        while let Some(event) = self.session.poll_event() {
            self.reporter.session_event(&event);
        }
        if self.is_broker_close_due && !self.session.may_send_requests() {
            self.is_broker_close_due = false;
            self.end_mut(Side::Broker).close_after_writes();
        }
    }

    fn send_spans(&mut self) {
        while let Some(spans) = self.session.poll_spans() {
            let made = u64::try_from(spans.len()).unwrap_or(u64::MAX);
            // The sink never blocks: the data path does not wait for tracing.
            let dropped = self.sink.try_send_group(spans);
            self.reporter.spans_made(made, dropped);
        }
    }

    fn poll_write(&mut self, side: Side, context: &mut Context<'_>) -> bool {
        match self.end_mut(side).poll_write(context) {
            Poll::Pending => false,
            Poll::Ready(Ok(progressed)) => progressed,
            Poll::Ready(Err(error)) => {
                self.handle_failure(side, error);
                true
            }
        }
    }

    /// Ends the stream from one side: the other side gets the rest of its bytes, then the end.
    fn close(&mut self, side: Side, reason: CloseReason) {
        self.session.handle_close(side, self.clock.now());
        self.drain_session();
        self.end_mut(side).stop_reading();
        if side == Side::Client && self.session.may_send_requests() {
            // A request that the broker refuses may have to be sent again.
            self.is_broker_close_due = true;
        } else {
            self.end_mut(side.opposite()).close_after_writes();
        }
        // The first cause counts: the other end closes as a consequence.
        self.close_reason.get_or_insert(reason);
    }

    fn handle_failure(&mut self, side: Side, error: io::Error) {
        // Bytes queued for a broken stream are lost, as they would be without the proxy.
        self.end_mut(side).give_up();
        self.close(side, CloseReason::Failed(side, error));
    }

    fn is_closed(&self) -> bool {
        self.ends.iter().all(ConnectionEnd::is_closed)
    }

    /// Calls the session when its timeout has passed. Returns whether it has.
    fn poll_timer(&mut self, context: &mut Context<'_>) -> bool {
        let deadline = self.session.poll_timeout();
        let is_due = self.timer.poll(deadline, self.clock, context).is_ready();
        if is_due {
            self.session.handle_timeout(self.clock.now());
            self.drain_session();
        }
        is_due
    }

    /// Ready when one end is closed and the other has not closed in time.
    fn poll_linger(&mut self, progressed: bool, context: &mut Context<'_>) -> Poll<()> {
        if self.close_reason.is_none() {
            return Poll::Pending;
        }
        let linger = self
            .linger
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER_TIMEOUT)));
        // A large response may need longer than the timeout while its bytes still move.
        if progressed {
            linger.as_mut().reset(Instant::now() + LINGER_TIMEOUT);
        }
        linger.as_mut().poll(context)
    }

    /// Returns whether reading is paused: a drain admits no new requests of the client.
    fn is_paused(&self, side: Side) -> bool {
        // A request that has begun is read to its end, for the broker waits for the rest of it.
        self.is_draining && side == Side::Client && self.session.is_between_requests()
    }

    /// Closes a draining connection without requests in flight. Returns whether it did.
    fn close_if_idle(&mut self) -> bool {
        let is_due = self.is_draining && self.close_reason.is_none() && self.session.is_idle();
        if is_due {
            // Both ends close in order, so that the client reconnects without an error.
            self.close(Side::Client, CloseReason::Drained);
            self.close(Side::Broker, CloseReason::Drained);
        }
        is_due
    }
}

#[cfg(test)]
mod tests;
