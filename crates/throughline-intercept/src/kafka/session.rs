//! One connection.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use throughline_kafka::frame::{Event, Framer, Head, Loss};
use throughline_model::Span;

use super::outbox::Outbox;
use super::{Cluster, Notice, Settings};
use crate::{Side, Timestamp};

/// Who is at the two ends of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    /// Where the client connects from (`network.peer.address`).
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
#[derive(Debug)]
#[expect(dead_code, reason = "the pass-through that the drivers start from")]
pub struct Session<C> {
    settings: Arc<Settings>,
    cluster: C,
    peer: Peer,
    random: fastrand::Rng,
    requests: Framer,
    responses: Framer,
    /// Requests that wait for their response.
    in_flight: usize,
    out: Outbox,
}

// === impl Session ===

impl<C: Cluster> Session<C> {
    /// A connection that has just been opened. `seed` is random: ids of traces and spans come of it.
    #[must_use]
    pub fn new(settings: Arc<Settings>, cluster: C, peer: Peer, seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        let (requests, responses) = (Framer::requests(), Framer::responses());
        Self { settings, cluster, peer, random, requests, responses, in_flight: 0, out: Outbox::default() }
    }

    /// Takes what was read from one side.
    pub fn handle_bytes(&mut self, from: Side, now: Timestamp, mut bytes: Bytes) {
        let _ = now;
        loop {
            let framer = match from {
                Side::Client => &mut self.requests,
                Side::Broker => &mut self.responses,
            };
            match framer.next(&mut bytes) {
                None => break,
                Some(Event::Head(Head::Request { api, .. })) => {
                    self.in_flight = self.in_flight.saturating_add(1);
                    self.out.notice(Notice::Request(api));
                }
                Some(Event::Head(Head::Response { .. })) => self.in_flight = self.in_flight.saturating_sub(1),
                Some(Event::Pass(bytes) | Event::Frame(bytes)) => self.out.transmit(from.opposite(), bytes),
                Some(Event::Lost(loss)) => self.handle_loss(from, loss),
            }
        }
    }

    /// This side sends no more. What is held of a frame that it did not finish goes on, untouched.
    pub fn handle_close(&mut self, side: Side, now: Timestamp) {
        let framer = match side {
            Side::Client => &mut self.requests,
            Side::Broker => &mut self.responses,
        };
        framer.opaque();
        self.handle_bytes(side, now, Bytes::new());
    }

    /// The time of [`Session::poll_timeout`] has come.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "the pass-through that the drivers start from")]
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let _ = now;
    }

    /// The configuration has been read again. Requests that have been seen keep what they had.
    pub fn handle_settings(&mut self, settings: Arc<Settings>) {
        self.settings = settings;
    }

    /// Bytes to be written to this side.
    pub fn poll_transmit(&mut self) -> Option<(Side, Bytes)> {
        self.out.poll_transmit()
    }

    /// A finished span.
    pub fn poll_span(&mut self) -> Option<Span> {
        self.out.poll_span()
    }

    /// Something to be counted, or said.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.out.poll_notice()
    }

    /// When [`Session::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        None
    }

    /// Whether the client has sent whole requests only, so that a driver that is about to end may stop reading here.
    #[must_use]
    pub fn is_between_requests(&self) -> bool {
        self.requests.is_between()
    }

    /// Whether nothing is under way: whole frames only both ways, and no request that still waits for its response. A driver
    /// that is about to end may close the connection now, and no exchange is cut. Never so once a stream has been lost.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.is_between_requests() && self.responses.is_between() && self.in_flight == 0
    }

    /// Who is at the two ends.
    #[must_use]
    pub const fn peer(&self) -> &Peer {
        &self.peer
    }

    fn handle_loss(&mut self, side: Side, loss: Loss) {
        // Without one direction the other says nothing.
        self.requests.opaque();
        self.responses.opaque();
        let is_tls = side == Side::Client && loss == Loss::Tls;
        self.out.notice(if is_tls { Notice::ClientSpeaksTls } else { Notice::Lost { side, loss } });
    }
}
