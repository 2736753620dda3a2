//! One connection: its two streams, what is held of them, and what answers what.

mod fault;
mod request;
mod response;

use std::net::IpAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use throughline_kafka::api::ApiKey;
use throughline_kafka::frame::{FrameEvent, FrameHeader, Framer, FramingError};
use throughline_kafka::types::CorrelationId;
use throughline_model::Span;

use super::delivery::Positions;
use super::exchange::{Exchange, Exchanges, Story};
use super::tracer::Tracer;
use super::{Cluster, Notice, Reason, Settings, error};
use crate::{Side, Timestamp};

/// Who is at the two ends of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    /// Where the client connects from (`client.address`).
    pub address: Option<IpAddr>,
    /// The broker that it is connected to (`server.address`, `server.port`).
    pub broker: Option<(Arc<str>, u16)>,
}

/// One connection between a client and a broker: takes the bytes of both sides, gives them back as they are to go on, and
/// gives the spans of what was said.
///
/// Input is `handle_*`; after each of them drain [`Session::poll_transmit`], [`Session::poll_span`] and
/// [`Session::poll_notice`] until they give [`None`], and call [`Session::handle_timeout`] when the time of
/// [`Session::poll_timeout`] has come. Time never steps back.
///
/// At the end of a connection, whoever ended it, [`Session::handle_close`] is called for both sides: the spans that wait for
/// an answer are closed then.
///
/// ```text
///               +-- nothing to do with it: passes as it comes
///   a frame's   |
///   head comes -+-- to be read: passes as it comes, and its pieces are kept until the last of them is here
///               |
///               +-- to be changed: held until all of it is here, changed or not, then goes on
/// ```
#[derive(Debug)]
pub struct Session<C: Cluster> {
    tracer: Tracer<C>,
    requests: Stream<Request>,
    responses: Stream<Exchange>,
    exchanges: Exchanges,
    positions: Positions,
    /// SASL tokens of the client's that the broker has not answered.
    tokens: u32,
    /// The broker answers no more.
    is_over: bool,
    /// An error of our own has happened: nothing is read any more but what must be changed.
    is_blind: bool,
}

/// A frame of the client's, as far as its head shows.
#[derive(Debug, Clone, Copy)]
struct Request {
    api: ApiKey,
    version: i16,
    correlation: CorrelationId,
}

/// One direction.
#[derive(Debug)]
struct Stream<T> {
    framer: Framer,
    /// The frame that is coming in, if it is of interest.
    current: Option<Current<T>>,
}

/// A frame that is coming in: whose it is, and what is done with it.
#[derive(Debug)]
struct Current<T> {
    subject: T,
    /// When its first byte came.
    begun: Timestamp,
    handling: Handling,
    /// Bytes of the process's budget that it takes.
    reserved: usize,
}

#[derive(Debug)]
enum Handling {
    /// The framer has it.
    Held,
    /// Its pieces pass, and are kept.
    Followed { pieces: Pieces, left: usize },
    /// It passes; its beginning is kept until it can be told whether there will be an answer.
    Peeked { beginning: BytesMut, left: usize },
}

/// What has come of a frame that passes.
#[derive(Debug, Default)]
struct Pieces {
    long: Vec<Bytes>,
    /// Short ones are copied together: a driver's buffer of many KiB may lie behind a single byte.
    short: BytesMut,
}

/// What a session wants to do with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    /// It passes.
    Nothing,
    Read,
    Change,
    /// As [`Wish::Change`], and the client is misled when it cannot be.
    MustChange,
}

/// Pieces of a frame that are shorter than this are copied.
const COPIED: usize = 8 * 1024;

/// Frames of this length and less are not counted in the process's budget: they hold nothing up, and who asks for what must
/// not be missed.
const SHORT: usize = 16 * 1024;

// === impl Session ===

impl<C: Cluster> Session<C> {
    /// A connection that has just been opened. `seed` is random: ids of traces and spans come of it.
    #[must_use]
    pub fn new(settings: Arc<Settings>, cluster: C, peer: Peer, seed: u64) -> Self {
        Self {
            tracer: Tracer::new(settings, cluster, peer, seed),
            requests: Stream {
                framer: Framer::requests(),
                current: None,
            },
            responses: Stream {
                framer: Framer::responses(),
                current: None,
            },
            exchanges: Exchanges::default(),
            positions: Positions::default(),
            tokens: 0,
            is_over: false,
            is_blind: false,
        }
    }

    /// Takes what was read from one side.
    pub fn handle_bytes(&mut self, from: Side, now: Timestamp, mut bytes: Bytes) {
        match from {
            Side::Client => {
                while let Some(event) = self.requests.framer.next(&mut bytes) {
                    self.guard_event(from, event, now);
                }
            }
            Side::Broker => {
                while let Some(event) = self.responses.framer.next(&mut bytes) {
                    self.guard_event(from, event, now);
                }
            }
        }
    }

    /// This side sends no more. What is held of a frame that it did not finish goes on, untouched.
    pub fn handle_close(&mut self, side: Side, now: Timestamp) {
        match side {
            Side::Client => self.requests.framer.set_opaque(),
            Side::Broker => self.responses.framer.set_opaque(),
        }
        self.is_over |= side == Side::Broker;
        self.guard(|session| {
            match side {
                Side::Client => session.drop_request(),
                Side::Broker => session.drop_response(now),
            }
            // What a client asks behind the end of the broker's side is not answered either.
            for exchange in session.abandoned() {
                session
                    .tracer
                    .fail(exchange.story, now, error::NETWORK_EXCEPTION);
            }
        });
        self.handle_bytes(side, now, Bytes::new());
    }

    /// The time of [`Session::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let timeout = self.tracer.settings.limits.request_timeout;
        self.guard(|session| {
            for story in session.exchanges.expire(now, timeout) {
                session.tracer.fail(story, now, error::REQUEST_TIMED_OUT);
            }
        });
    }

    /// The configuration has been read again. Requests that have been seen keep what they had.
    pub fn handle_settings(&mut self, settings: Arc<Settings>) {
        self.tracer.set_settings(settings);
    }

    /// Bytes to be written to this side.
    pub fn poll_transmit(&mut self) -> Option<(Side, Bytes)> {
        self.tracer.out.poll_transmit()
    }

    /// A finished span.
    pub fn poll_span(&mut self) -> Option<Span> {
        self.tracer.out.poll_span()
    }

    /// Something to be counted, or said.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.tracer.out.poll_notice()
    }

    /// When [`Session::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.exchanges
            .deadline(self.tracer.settings.limits.request_timeout)
    }

    /// Who is at the two ends.
    #[must_use]
    pub const fn peer(&self) -> &Peer {
        &self.tracer.peer
    }

    /// Whether the client has sent whole requests only, so that a driver that is about to end may stop reading here.
    #[must_use]
    pub fn is_between_requests(&self) -> bool {
        self.requests.framer.is_at_frame_boundary()
    }

    /// Whether both streams stand between two frames and no answer is awaited: a driver that is about to end may close the
    /// connection now, and no exchange is cut. Never so once a stream has been lost.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.is_between_requests()
            && self.responses.framer.is_at_frame_boundary()
            && self.exchanges.len() == 0
    }

    fn handle_client(&mut self, event: FrameEvent, now: Timestamp) {
        match event {
            FrameEvent::Header(FrameHeader::Request {
                size,
                api_key: api,
                version,
                correlation_id: correlation,
            }) => {
                self.begin_request(
                    Request {
                        api,
                        version,
                        correlation,
                    },
                    size,
                    now,
                );
            }
            FrameEvent::Header(FrameHeader::Response { .. }) => {}
            FrameEvent::SaslToken => {
                self.tokens = self.tokens.saturating_add(1);
                self.expect_token();
            }
            FrameEvent::Passthrough(bytes) => {
                self.tracer.out.transmit(Side::Broker, bytes.clone());
                self.follow_request(bytes, now);
            }
            FrameEvent::Frame(frame) => self.finish_held_request(frame, now),
            FrameEvent::FramingFailed(loss) => self.lose(Side::Client, loss, now),
        }
    }

    fn handle_broker(&mut self, event: FrameEvent, now: Timestamp) {
        match event {
            FrameEvent::Header(FrameHeader::Response {
                size,
                correlation_id: correlation,
            }) => self.begin_response(correlation, size, now),
            FrameEvent::SaslToken => {
                self.tokens = self.tokens.saturating_sub(1);
                self.expect_token();
            }
            FrameEvent::Header(FrameHeader::Request { .. }) => {}
            FrameEvent::Passthrough(bytes) => {
                self.tracer.out.transmit(Side::Client, bytes.clone());
                self.follow_response(bytes, now);
            }
            FrameEvent::Frame(frame) => self.finish_held_response(frame, now),
            FrameEvent::FramingFailed(loss) => self.lose(Side::Broker, loss, now),
        }
    }

    /// A stream cannot be followed any more; without one direction the other says nothing.
    fn lose(&mut self, side: Side, loss: FramingError, now: Timestamp) {
        self.pass_all(now);
        let is_tls = side == Side::Client && loss == FramingError::Tls;
        self.tracer.out.notice(if is_tls {
            Notice::ClientSpeaksTls
        } else {
            Notice::Lost { side, loss }
        });
    }

    /// All that comes passes from here on.
    fn pass_all(&mut self, now: Timestamp) {
        self.drop_request();
        self.drop_response(now);
        for exchange in self.exchanges.abandon() {
            self.tracer.forget(exchange.story, Reason::OutOfOrder);
        }
        for (side, framer) in [
            (Side::Client, &mut self.requests.framer),
            (Side::Broker, &mut self.responses.framer),
        ] {
            framer.set_opaque();
            // What was held comes out at once: nothing may come behind it.
            while let Some(FrameEvent::Passthrough(bytes)) = framer.next(&mut Bytes::new()) {
                self.tracer.out.transmit(side.opposite(), bytes);
            }
        }
    }

    /// The broker answers a token with one, once the handshake has been answered.
    fn expect_token(&mut self) {
        if self.tokens > 0 && self.exchanges.len() == 0 {
            self.responses.framer.expect_sasl_token();
        }
    }

    /// Requests that nobody will answer any more.
    fn abandoned(&mut self) -> Vec<Exchange> {
        if self.is_over {
            self.exchanges.abandon().collect()
        } else {
            Vec::new()
        }
    }

    fn drop_request(&mut self) {
        if let Some(current) = self.requests.current.take() {
            self.tracer.release(current.reserved);
        }
    }

    fn drop_response(&mut self, now: Timestamp) {
        if let Some(current) = self.responses.current.take() {
            self.tracer.release(current.reserved);
            self.tracer
                .fail(current.subject.story, now, error::NETWORK_EXCEPTION);
        }
    }
}

impl<C: Cluster> Drop for Session<C> {
    /// What was reserved is everybody's.
    fn drop(&mut self) {
        let requests = self
            .requests
            .current
            .take()
            .map_or(0, |current| current.reserved);
        let responses = self
            .responses
            .current
            .take()
            .map_or(0, |current| current.reserved);
        self.tracer.release(requests + responses);
    }
}

// === impl Stream ===

impl<T> Stream<T> {
    /// Begins a frame of so many bytes, as is wished and as is possible.
    fn begin<C: Cluster>(
        &mut self,
        tracer: &Tracer<C>,
        subject: T,
        wish: Wish,
        size: usize,
        begun: Timestamp,
    ) -> Begun<T> {
        if wish == Wish::Nothing {
            return Begun::Passes(subject, None);
        }
        if size > tracer.settings.limits.max_frame_bytes {
            return Begun::Passes(subject, Some(Reason::FrameTooLarge));
        }
        let reserved = if size <= SHORT { 0 } else { size };
        if wish == Wish::MustChange {
            // It is held whatever else is.
            tracer.cluster.known(|known| known.hold(reserved));
        } else if !tracer.reserve(reserved) {
            return Begun::Passes(subject, Some(Reason::Budget));
        }
        let handling = if wish != Wish::Read && self.framer.collect(size) {
            Handling::Held
        } else {
            Handling::Followed {
                pieces: Pieces::default(),
                left: size,
            }
        };
        self.current = Some(Current {
            subject,
            begun,
            handling,
            reserved,
        });
        Begun::Kept
    }

    /// Takes a piece of the frame that passes. Gives the frame when it was the last.
    fn follow(&mut self, piece: Bytes) -> Option<(T, Timestamp, usize, Bytes)> {
        let Handling::Followed { pieces, left } = &mut self.current.as_mut()?.handling else {
            return None;
        };
        *left = left.saturating_sub(piece.len());
        pieces.push(piece, *left == 0);
        if *left > 0 {
            return None;
        }
        let current = self.current.take()?;
        let Handling::Followed { pieces, .. } = current.handling else {
            return None;
        };
        Some((
            current.subject,
            current.begun,
            current.reserved,
            pieces.joined(),
        ))
    }
}

/// What became of a wish.
enum Begun<T> {
    Kept,
    /// It passes; with a reason when that was not the wish.
    Passes(T, Option<Reason>),
}

// === impl Pieces ===

impl Pieces {
    /// The last one will be let go at once.
    fn push(&mut self, piece: Bytes, is_last: bool) {
        if piece.len() < COPIED && !is_last {
            self.short.extend_from_slice(&piece);
            return;
        }
        if !self.short.is_empty() {
            self.long.push(self.short.split().freeze());
        }
        self.long.push(piece);
    }

    /// All as one; nothing is copied when there is one only.
    fn joined(mut self) -> Bytes {
        if self.long.len() == 1 {
            return self.long.pop().unwrap_or_default();
        }
        self.long.concat().into()
    }

    /// Bytes of a driver's that it holds on to, and its own.
    #[cfg(test)]
    fn held(&self) -> (usize, usize) {
        (self.long.len(), self.short.len())
    }
}

// === impl Tracer ===

impl<C: Cluster> Tracer<C> {
    /// A story ends without an answer.
    fn fail(&mut self, story: Story, now: Timestamp, error_code: i16) {
        match story {
            Story::Produce(sending) => sending.fail(self, now, error_code),
            Story::Plain
            | Story::Fetch(_)
            | Story::ShareFetch(_)
            | Story::Commit(_)
            | Story::Acknowledge(_) => {}
        }
    }

    /// A story ends, and nobody can say how.
    fn forget(&mut self, story: Story, reason: Reason) {
        match story {
            Story::Produce(sending) => sending.forget(self, reason),
            Story::Plain
            | Story::Fetch(_)
            | Story::ShareFetch(_)
            | Story::Commit(_)
            | Story::Acknowledge(_) => {}
        }
    }

    fn reserve(&self, bytes: usize) -> bool {
        bytes == 0 || self.cluster.known(|known| known.reserve(bytes))
    }

    fn release(&self, bytes: usize) {
        if bytes > 0 {
            self.cluster.known(|known| known.release(bytes));
        }
    }

    /// A frame that was held goes on.
    fn held(&mut self, begun: Timestamp, now: Timestamp) {
        self.out.notice(Notice::Held {
            nanoseconds: now.saturating_sub(begun),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_comes_in_crumbs_holds_none_of_the_drivers_buffers() {
        let mut pieces = Pieces::default();
        let frame: Vec<u8> = (0..=255).cycle().take(3 * COPIED).collect();
        for crumb in frame[..COPIED].chunks(1) {
            pieces.push(Bytes::copy_from_slice(crumb), false);
        }
        assert_eq!(pieces.held(), (0, COPIED));
        pieces.push(Bytes::copy_from_slice(&frame[COPIED..2 * COPIED]), false);
        assert_eq!(
            pieces.held(),
            (2, 0),
            "what is long is kept as it is, behind what came before it"
        );
        pieces.push(
            Bytes::copy_from_slice(&frame[2 * COPIED..3 * COPIED - 1]),
            false,
        );
        pieces.push(Bytes::copy_from_slice(&frame[3 * COPIED - 1..]), true);
        assert_eq!(pieces.joined(), frame);
    }
}
