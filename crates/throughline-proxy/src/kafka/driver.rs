//! The bytes of one connection, both ways through its session. Moves them and decides nothing.
//!
//! ```text
//!    client ── read ──► handle_bytes ─► poll_transmit ─► outbox ── write ──► broker
//!           ◄─ write ── outbox ◄─ poll_transmit ◄─ handle_bytes ◄── read ──
//! ```
//!
//! A side is read only while little waits to be written to the other: who does not read is not read for either, as if the two
//! were connected directly. An end of one side goes on to the other once all before it has been written.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use throughline_intercept::kafka::Settings;
use throughline_intercept::{KafkaSession, Side, Timestamp};
use throughline_model::SpanSink;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep};

use crate::clock::Clock;
use crate::kafka::cluster::View;
use crate::switch::Watch;
use crate::telemetry::metrics::SideCounts;
use crate::telemetry::reporter::Herald;
use crate::transport::drain::Stop;
use crate::transport::own_connections::Listed;
use crate::transport::read_buffer::Inbox;
use crate::transport::write_queue::Outbox;

/// A connection that is served.
pub(crate) struct Pump<C, B> {
    session: KafkaSession<View>,
    client: End<C>,
    broker: End<B>,
    settings: Watch<Settings>,
    sink: Arc<dyn SpanSink>,
    herald: Arc<Herald>,
    clock: Clock,
    alarm: Alarm,
    is_draining: bool,
    /// How it ends, as far as that is known: who ended it first.
    ended: Option<Ended>,
    /// Once one side has ended, the other has so long to do the same.
    linger: Option<Pin<Box<Sleep>>>,
    _listed: Option<Listed>,
}

/// One side of it.
struct End<S> {
    stream: S,
    inbox: Inbox,
    outbox: Outbox,
    counts: SideCounts,
    is_reading: bool,
    writing: Writing,
    /// When bytes were read on the other side that now wait here.
    waiting_since: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writing {
    Open,
    /// All has been written so far, and may wait inside of TLS.
    Flushing,
    /// No more comes: what is left goes out, then the end.
    Ending,
    Ended,
}

/// When the session wants to be called.
#[derive(Default)]
struct Alarm {
    at: Option<Timestamp>,
    sleep: Option<Pin<Box<Sleep>>>,
}

/// Who ended a connection.
#[derive(Debug)]
pub(crate) enum Ended {
    /// This side, in an orderly way.
    By(Side),
    /// This side broke.
    Broken(Side, io::Error),
    /// We did, between two exchanges, as we are about to end.
    Drained,
    /// We did, as the time was up.
    Cut,
}

/// What serves all connections, as far as a pump needs it.
pub(crate) struct Parts {
    pub(crate) session: KafkaSession<View>,
    pub(crate) settings: Watch<Settings>,
    pub(crate) sink: Arc<dyn SpanSink>,
    pub(crate) herald: Arc<Herald>,
    pub(crate) clock: Clock,
    /// That the connection to the broker is ours, for as long as it lasts.
    pub(crate) listed: Option<Listed>,
}

// === impl Pump ===

impl<C, B> Pump<C, B>
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    pub(crate) fn new(parts: Parts, client: C, broker: B) -> Self {
        let Parts {
            session,
            settings,
            sink,
            herald,
            clock,
            listed,
        } = parts;
        let client = End::new(client, herald.metrics.side(Side::Client));
        let broker = End::new(broker, herald.metrics.side(Side::Broker));
        Self {
            session,
            client,
            broker,
            settings,
            sink,
            herald,
            clock,
            alarm: Alarm::default(),
            is_draining: false,
            ended: None,
            linger: None,
            _listed: listed,
        }
    }

    /// Serves the connection to its end.
    pub(crate) async fn run(mut self, stop: &Stop) -> Ended {
        let ended = self.serve(stop).await;
        // Whatever is open is closed; the spans of unanswered requests come out.
        let now = self.clock.now();
        self.session.handle_close(Side::Client, now);
        self.session.handle_close(Side::Broker, now);
        self.drain_session();
        ended
    }

    async fn serve(&mut self, stop: &Stop) -> Ended {
        tokio::select! {
            ended = poll_fn(|context| self.poll(context)) => return ended,
            () = stop.begun() => {}
        }
        self.is_draining = true;
        tokio::select! {
            ended = poll_fn(|context| self.poll(context)) => ended,
            () = stop.over() => Ended::Cut,
        }
    }

    /// Moves what can be moved. Ready when both sides have ended.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Ended> {
        loop {
            let mut moved =
                self.poll_write(Side::Broker, context) | self.poll_write(Side::Client, context);
            moved |= self.poll_read(Side::Client, context);
            moved |= self.poll_read(Side::Broker, context);
            moved |= self.poll_alarm(context);
            moved |= self.end_if_idle();
            if self.has_ended() || self.poll_linger(moved, context) {
                return Poll::Ready(self.ended.take().unwrap_or(Ended::Cut));
            }
            if !moved {
                return Poll::Pending;
            }
        }
    }

    /// Reads once, if the other side has room. Says whether something came.
    fn poll_read(&mut self, side: Side, context: &mut Context<'_>) -> bool {
        let has_room = match side {
            Side::Client => self.broker.outbox.len() < BACKLOG_MAX,
            Side::Broker => self.client.outbox.len() < BACKLOG_MAX,
        };
        if !has_room || self.is_paused(side) {
            return false;
        }
        let read = match side {
            Side::Client => self.client.poll_read(context),
            Side::Broker => self.broker.poll_read(context),
        };
        match read {
            Poll::Pending => return false,
            Poll::Ready(Ok(bytes)) if bytes.is_empty() => self.end(side, Ended::By(side)),
            Poll::Ready(Ok(bytes)) => self.take(side, bytes),
            Poll::Ready(Err(error)) => self.break_off(side, error),
        }
        true
    }

    /// Gives bytes to the session, and what comes of them to the outboxes.
    fn take(&mut self, from: Side, bytes: Bytes) {
        if let Some(settings) = self.settings.news() {
            self.session.handle_settings(settings);
        }
        let moment = Instant::now();
        self.session
            .handle_bytes(from, self.clock.at(moment.into_std()), bytes);
        self.drain_session();
        self.client.stamp(moment);
        self.broker.stamp(moment);
    }

    fn drain_session(&mut self) {
        while let Some((side, bytes)) = self.session.poll_transmit() {
            match side {
                Side::Client => self.client.push(bytes),
                Side::Broker => self.broker.push(bytes),
            }
        }
        while let Some(span) = self.session.poll_span() {
            self.herald.metrics.spans.inc();
            if self.sink.try_send(span).is_err() {
                self.herald.sink_full();
            }
        }
        while let Some(notice) = self.session.poll_notice() {
            self.herald.notice(&notice);
        }
    }

    fn poll_write(&mut self, side: Side, context: &mut Context<'_>) -> bool {
        let written = match side {
            Side::Client => self.client.poll_write(context),
            Side::Broker => self.broker.poll_write(context),
        };
        match written {
            Poll::Pending => false,
            Poll::Ready(Ok(moved)) => moved,
            Poll::Ready(Err(error)) => {
                self.break_off(side, error);
                true
            }
        }
    }

    /// This side sends no more: the other gets what there is, then the end.
    fn end(&mut self, side: Side, ended: Ended) {
        self.session.handle_close(side, self.clock.now());
        self.drain_session();
        match side {
            Side::Client => {
                self.client.is_reading = false;
                self.broker.finish();
            }
            Side::Broker => {
                self.broker.is_reading = false;
                self.client.finish();
            }
        }
        self.ended.get_or_insert(ended);
    }

    /// Nothing can be written to this side either.
    fn break_off(&mut self, side: Side, error: io::Error) {
        match side {
            Side::Client => self.client.give_up(),
            Side::Broker => self.broker.give_up(),
        }
        self.end(side, Ended::Broken(side, error));
    }

    fn has_ended(&self) -> bool {
        self.client.has_ended() && self.broker.has_ended()
    }

    /// Calls the session when its time has come.
    fn poll_alarm(&mut self, context: &mut Context<'_>) -> bool {
        let is_time = self
            .alarm
            .poll(self.session.poll_timeout(), self.clock, context);
        if is_time {
            self.session.handle_timeout(self.clock.now());
            self.drain_session();
        }
        is_time
    }

    /// Whether one side has ended and the other has had the time to do the same. As long as bytes move, there is time.
    fn poll_linger(&mut self, moved: bool, context: &mut Context<'_>) -> bool {
        if self.ended.is_none() {
            return false;
        }
        let linger = self
            .linger
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        if moved {
            linger.as_mut().reset(Instant::now() + LINGER);
        }
        linger.as_mut().poll(context).is_ready()
    }

    /// While we are about to end, no new request is begun.
    fn is_paused(&self, side: Side) -> bool {
        self.is_draining && side == Side::Client && self.session.is_between_requests()
    }

    /// While we are about to end, a connection ends as soon as nothing is under way on it. Says whether that is now.
    fn end_if_idle(&mut self) -> bool {
        let is_time = self.is_draining && self.ended.is_none() && self.session.is_idle();
        if is_time {
            self.end(Side::Client, Ended::Drained);
            self.end(Side::Broker, Ended::Drained);
        }
        is_time
    }
}

// === impl End ===

impl<S: AsyncRead + AsyncWrite + Unpin> End<S> {
    fn new(stream: S, counts: SideCounts) -> Self {
        Self {
            stream,
            inbox: Inbox::new(),
            outbox: Outbox::default(),
            counts,
            is_reading: true,
            writing: Writing::Open,
            waiting_since: None,
        }
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        if !self.is_reading {
            return Poll::Pending;
        }
        let read = self.inbox.poll_read(&mut self.stream, context);
        if let Poll::Ready(Ok(bytes)) = &read {
            self.counts.received.inc_by(bytes.len() as u64);
        }
        read
    }

    fn push(&mut self, bytes: Bytes) {
        if self.writing != Writing::Ended {
            self.outbox.push(bytes);
        }
    }

    /// Bytes that were read at this moment wait to be written here, if any do and none did before.
    fn stamp(&mut self, moment: Instant) {
        if self.waiting_since.is_none() && !self.outbox.is_empty() {
            self.waiting_since = Some(moment);
        }
    }

    /// Writes what the stream takes. Ready says whether anything moved.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut moved = false;
        while !self.outbox.is_empty() {
            match self.outbox.poll_write(&mut self.stream, context)? {
                Poll::Pending => return Poll::Ready(Ok(moved)),
                Poll::Ready(written) => self.counts.sent.inc_by(written as u64),
            };
            moved = true;
        }
        if moved && self.writing == Writing::Open {
            self.writing = Writing::Flushing;
        }
        match self.writing {
            Writing::Open | Writing::Ended => {}
            Writing::Flushing => {
                if Pin::new(&mut self.stream).poll_flush(context)?.is_pending() {
                    return Poll::Ready(Ok(moved));
                }
                self.writing = Writing::Open;
            }
            Writing::Ending => {
                if Pin::new(&mut self.stream)
                    .poll_shutdown(context)?
                    .is_pending()
                {
                    return Poll::Ready(Ok(moved));
                }
                self.writing = Writing::Ended;
                moved = true;
            }
        }
        if let Some(since) = self.waiting_since.take() {
            self.counts.latency.observe(since.elapsed().as_secs_f64());
        }
        Poll::Ready(Ok(moved))
    }

    /// No more comes to be written.
    fn finish(&mut self) {
        if self.writing != Writing::Ended {
            self.writing = Writing::Ending;
        }
    }

    /// The stream is broken: nothing is read or written here any more.
    fn give_up(&mut self) {
        self.is_reading = false;
        self.writing = Writing::Ended;
        self.outbox.clear();
    }

    const fn has_ended(&self) -> bool {
        !self.is_reading && matches!(self.writing, Writing::Ended)
    }
}

// === impl Alarm ===

impl Alarm {
    /// Whether it is time. The alarm follows what the session wants.
    fn poll(&mut self, wanted: Option<Timestamp>, clock: Clock, context: &mut Context<'_>) -> bool {
        let Some(at) = wanted else {
            self.at = None;
            return false;
        };
        let mut sleep = self
            .sleep
            .take()
            .unwrap_or_else(|| Box::pin(tokio::time::sleep(ALARM_MIN)));
        if self.at != Some(at) {
            // Never at once, so that a session that wants to be called again and again cannot keep everybody busy.
            let left = Duration::from_nanos(at.saturating_sub(clock.now())).max(ALARM_MIN);
            sleep.as_mut().reset(Instant::now() + left);
            self.at = Some(at);
        }
        let is_time = sleep.as_mut().poll(context).is_ready();
        if is_time {
            self.at = None;
        }
        self.sleep = Some(sleep);
        is_time
    }
}

/// Bytes that may wait for one side before the other is not read any more. What one read makes of a frame that was held comes on top.
const BACKLOG_MAX: usize = 256 << 10;

/// How long one side may take to end after the other, without a byte moving.
const LINGER: Duration = Duration::from_secs(30);

const ALARM_MIN: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests;
