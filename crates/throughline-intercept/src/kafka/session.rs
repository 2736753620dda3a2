//! Session: one connection between a client and a broker.
//!
//! | module | content |
//! |---|---|
//! | [`connection`] | state of both directions, and how it ends |
//! | [`stream`] | one direction: which frames pass, are mirrored, or are buffered |
//! | [`request`], [`response`] | a frame from its header to its decision |
//! | [`in_flight`] | requests that wait for their response |
//! | [`replay`], [`replay_state`] | original requests, where the broker refused what was changed |
//! | [`version`] | API versions that are read here, and what clients hear of them |
//! | [`sasl`] | authentication tokens that are not frames |
//! | [`panic_guard`] | isolation of internal errors |

mod connection;
mod in_flight;
mod panic_guard;
mod replay;
mod replay_state;
mod request;
mod response;
mod sasl;
mod stream;
mod version;

use std::sync::Arc;

use bytes::Bytes;
use throughline_model::{Span, SpanGroup};

use self::connection::Connection;
use self::panic_guard::{guard, guard_event};
use super::{ClusterHandle, ConnectionEndpoints, SessionEvent, Settings};
use crate::{Side, Timestamp};

/// One connection between a client and a broker. Takes the bytes of both sides, returns them as
/// they are to be forwarded, and records spans of what the client does.
///
/// Input goes through `handle_*`. After each call drain [`KafkaSession::poll_transmit`],
/// [`KafkaSession::poll_spans`] and [`KafkaSession::poll_event`] until they return [`None`], and
/// call [`KafkaSession::handle_timeout`] at the time of [`KafkaSession::poll_timeout`]. Time never
/// steps back.
///
/// At the end of a connection, whichever side ended it, call [`KafkaSession::handle_close`] for
/// both sides: spans that wait for a response are closed then.
///
/// ```text
///                +-- pass:   forwarded as it arrives
///   frame header |
///   arrives -----+-- mirror: forwarded as it arrives, and its pieces are kept until it is whole
///                |
///                +-- buffer: held back until it is whole; forwarded changed or unmodified
/// ```
#[derive(Debug)]
pub struct KafkaSession<C: ClusterHandle> {
    connection: Connection<C>,
}

// === impl KafkaSession ===

impl<C: ClusterHandle> KafkaSession<C> {
    /// Returns the session of a connection that has just been opened. `seed` is random: ids of
    /// traces and spans derive from it.
    #[must_use]
    pub fn new(
        settings: Arc<Settings>,
        cluster: C,
        endpoints: ConnectionEndpoints,
        seed: u64,
    ) -> Self {
        Self {
            connection: Connection::new(settings, cluster, endpoints, seed),
        }
    }

    /// Takes bytes that were read from one side.
    pub fn handle_bytes(&mut self, from: Side, now: Timestamp, mut bytes: Bytes) {
        let connection = &mut self.connection;
        match from {
            Side::Client => {
                while let Some(event) = connection.requests.framer.next(&mut bytes) {
                    guard_event(connection, from, event, now);
                }
            }
            Side::Broker => {
                while let Some(event) = connection.responses.framer.next(&mut bytes) {
                    guard_event(connection, from, event, now);
                }
            }
        }
    }

    /// Takes the end of one side's stream. Bytes of an incomplete frame are forwarded unmodified.
    pub fn handle_close(&mut self, side: Side, now: Timestamp) {
        self.connection.set_closed(side);
        guard(&mut self.connection, |connection| {
            connection.end_side(side, now);
        });
        // The framer returns the bytes that it still holds.
        self.handle_bytes(side, now, Bytes::new());
    }

    /// Takes the time of [`KafkaSession::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Timestamp) {
        guard(&mut self.connection, |connection| connection.expire(now));
    }

    /// Takes new settings. Requests in flight keep the decisions that were made about them.
    pub fn handle_settings(&mut self, settings: Arc<Settings>) {
        self.connection.context.set_settings(settings);
    }

    /// Returns bytes to be written to a side.
    pub fn poll_transmit(&mut self) -> Option<(Side, Bytes)> {
        self.connection.context.out.poll_transmit()
    }

    /// Returns finished spans that have most of their content in common. A driver polls either
    /// these or [`Self::poll_span`].
    pub fn poll_spans(&mut self) -> Option<SpanGroup> {
        self.connection.context.out.poll_spans()
    }

    /// Returns a finished span, written out in full.
    pub fn poll_span(&mut self) -> Option<Span> {
        self.connection.context.out.poll_span()
    }

    /// Returns an event to be counted or logged.
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        self.connection.context.out.poll_event()
    }

    /// Returns the time at which [`KafkaSession::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let timeout = self.connection.context.settings.limits.request_timeout;
        self.connection.in_flight.deadline(timeout)
    }

    /// Returns the addresses of the two ends.
    #[must_use]
    pub const fn endpoints(&self) -> &ConnectionEndpoints {
        &self.connection.context.client.endpoints
    }

    /// Returns whether the client has sent whole requests only: a driver that drains its
    /// connections may stop reading here.
    #[must_use]
    pub fn is_between_requests(&self) -> bool {
        self.connection.requests.framer.is_at_frame_boundary()
    }

    /// Returns whether both streams are between two frames and no response is awaited: a driver
    /// that drains its connections may close this one now. Never true once framing has failed.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.is_between_requests()
            && self.connection.responses.framer.is_at_frame_boundary()
            && self.connection.in_flight.len() == 0
            && self.connection.replay.is_idle()
    }

    /// Returns whether the session may still send to the broker although the client sends no more:
    /// requests are held back, or may have to be sent again. A driver ends the broker's stream
    /// after that.
    #[must_use]
    pub fn may_send_requests(&self) -> bool {
        !self.connection.replay.is_idle() || self.connection.in_flight.has_originals()
    }

    /// Returns the number of bytes of requests that are held back. A driver that reads on from the
    /// client increases it.
    #[must_use]
    pub const fn held_request_bytes(&self) -> usize {
        self.connection.replay.held_bytes()
    }
}
