//! Requests: from the header of a frame to the decision of its handler.

use bytes::{Bytes, BytesMut};
use throughline_kafka::api::ApiKey;
use throughline_kafka::frame::{FrameEvent, FrameHeader, RequestHeader};
use throughline_kafka::message::ParseOutcome;
use throughline_kafka::wire::{Error, WireReader};

use super::connection::Connection;
use super::in_flight::{InFlightRequest, RequestHead};
use super::stream::{
    Admission, CompleteFrame, CurrentFrame, FrameAction, FrameHandling, StartedFrame,
};
use super::version;
use crate::kafka::handler::{ApiFrame, PendingRequest, RequestDecision};
use crate::kafka::{ClusterHandle, SessionEvent, Settings, SkipReason};
use crate::{Side, Timestamp};

/// Bytes of a Produce request within which its acks must show: a client id and a transactional id
/// of 32 KiB each, and the fields around them.
const MAX_PEEKED_BYTES: usize = 80 * 1024;

/// First version of Produce that begins with the transactional id (KIP-98).
const TRANSACTIONAL_ID_SINCE: i16 = 3;

/// Outcome of reading a request.
#[derive(Debug, Default)]
struct ReadRequest {
    /// Pieces to forward in place of the request, if it changes.
    replacement: Option<Vec<Bytes>>,
    /// Serial number of a request that the broker may refuse for the change.
    at_risk: Option<u64>,
}

/// Returns the action that a session wants to take on a request.
fn action_for(head: RequestHead, settings: &Settings) -> FrameAction {
    match head.api {
        ApiKey::PRODUCE if settings.injects_any() => FrameAction::Change,
        ApiKey::PRODUCE
        | ApiKey::FETCH
        | ApiKey::SHARE_FETCH
        | ApiKey::SHARE_ACKNOWLEDGE
        | ApiKey::OFFSET_COMMIT
        | ApiKey::TXN_OFFSET_COMMIT
        | ApiKey::JOIN_GROUP
        | ApiKey::SYNC_GROUP
        | ApiKey::HEARTBEAT
        | ApiKey::LEAVE_GROUP
        | ApiKey::CONSUMER_GROUP_HEARTBEAT
        | ApiKey::STREAMS_GROUP_HEARTBEAT
        | ApiKey::API_VERSIONS
        | ApiKey::ALTER_CONFIGS
        | ApiKey::INCREMENTAL_ALTER_CONFIGS => FrameAction::Read,
        _ => FrameAction::Pass,
    }
}

/// Returns the state of a request that passes unread; with a reason when it should have been read.
fn pending_unread(head: RequestHead, reason: Option<SkipReason>) -> PendingRequest {
    match head.api {
        // It may have changed the fetch session: no position is known from here on.
        ApiKey::FETCH if reason.is_some() => PendingRequest::unread_fetch(),
        _ => PendingRequest::Plain,
    }
}

/// Returns the acks of a Produce request as soon as its beginning shows them.
fn peek_acks(beginning: &[u8]) -> Option<i16> {
    let header = RequestHeader::parse(beginning).ok()?;
    let body = beginning.get(header.body_start?..)?;
    let is_flexible = header.api_key.is_flexible(header.version)?;
    let mut reader = WireReader::new(body, header.version, is_flexible);
    if header.version >= TRANSACTIONAL_ID_SINCE {
        reader.nullable_string().ok()?;
    }
    reader.i16().ok()
}

// === impl Connection ===

impl<C: ClusterHandle> Connection<C> {
    /// Takes an event of the client's stream.
    pub(super) fn handle_request_event(&mut self, event: FrameEvent, now: Timestamp) {
        match event {
            FrameEvent::Header(FrameHeader::Request {
                size,
                api_key: api,
                version,
                correlation_id,
            }) => {
                let subject = RequestHead {
                    api,
                    version,
                    correlation_id,
                };
                self.begin_request(StartedFrame {
                    subject,
                    size,
                    first_byte: now,
                });
            }
            // The framer of requests gives no headers of responses.
            FrameEvent::Header(FrameHeader::Response { .. }) => {}
            FrameEvent::SaslToken => {
                self.sasl.token_sent();
                self.expect_sasl_token();
            }
            FrameEvent::Passthrough(bytes) => {
                self.send_to_broker(bytes.clone());
                self.mirror_request(bytes, now);
                // A round may wait for the end of the frame.
                self.advance_replay(now);
            }
            FrameEvent::Frame(frame) => self.finish_buffered_request(frame, now),
            FrameEvent::FramingFailed(error) => self.fail_framing(Side::Client, error, now),
        }
    }

    fn begin_request(&mut self, frame: StartedFrame<RequestHead>) {
        let (head, size, first_byte) = (frame.subject, frame.size, frame.first_byte);
        self.context.out.push_event(SessionEvent::Request(head.api));
        if head.api == ApiKey::SASL_HANDSHAKE && head.version == 0 {
            // After version 0, tokens follow without headers. The response still has one.
            self.context.out.skip(SkipReason::SaslTokens, 0);
            self.push_plain(head, first_byte);
            self.requests.framer.expect_sasl_token();
            return;
        }
        if self.sasl.end() {
            self.responses.framer.cancel_sasl_token();
        }
        let action = self.request_action(head);
        let admission = self.requests.begin(&self.context, frame, action);
        let Admission::Passes(_, reason) = admission else {
            return;
        };
        if let Some(reason) = reason {
            self.context.out.skip(reason, 0);
        }
        if head.api == ApiKey::PRODUCE {
            // Whether there will be a response depends on a field of the body.
            self.requests.current = Some(CurrentFrame {
                subject: head,
                first_byte,
                handling: FrameHandling::Peeked {
                    beginning: BytesMut::new(),
                    left: size,
                },
                reserved_bytes: 0,
            });
        } else {
            let pending = pending_unread(head, reason);
            self.push_in_flight(InFlightRequest::new(head, first_byte, pending));
        }
    }

    /// Returns the action that is wanted for a request; reports an unsupported version.
    fn request_action(&mut self, head: RequestHead) -> FrameAction {
        if self.tracing_disabled {
            return FrameAction::Pass;
        }
        let is_addressed = self.context.cluster.is_addressed();
        if version::is_unsupported(head.api, head.version, is_addressed) {
            self.context.out.skip(SkipReason::Version, 0);
            let (api, version) = (head.api, head.version);
            let event = SessionEvent::VersionUnsupported { api, version };
            self.context.out.push_event(event);
            return FrameAction::Pass;
        }
        let action = action_for(head, &self.context.settings);
        let is_full = self.in_flight.len() >= self.context.settings.limits.max_in_flight;
        if is_full && action == FrameAction::Change {
            // Its response could not be matched: what was changed could not be taken back.
            return FrameAction::Read;
        }
        action
    }

    /// Takes a piece of a request that was forwarded.
    fn mirror_request(&mut self, piece: Bytes, now: Timestamp) {
        self.peek_request(&piece);
        if let Some(frame) = self.requests.mirror(piece) {
            // Too late for a change: the frame is on its way.
            drop(self.read_request(&frame, false, now));
            self.release_bytes(frame.reserved_bytes);
        }
    }

    /// Takes a request that was buffered.
    fn finish_buffered_request(&mut self, bytes: Bytes, now: Timestamp) {
        let Some(frame) = self.requests.complete(bytes.clone()) else {
            return self.send_to_broker(bytes);
        };
        let read = self.read_request(&frame, true, now);
        self.release_bytes(frame.reserved_bytes);
        match read.replacement {
            Some(pieces) => {
                for piece in pieces {
                    self.send_to_broker(piece);
                }
            }
            None => self.send_to_broker(bytes),
        }
        if let Some(serial) = read.at_risk {
            self.hold_behind(serial);
        }
        self.report_held(frame.first_byte, now);
    }

    /// Looks into the beginning of a Produce request that passes unread, for its acks.
    fn peek_request(&mut self, piece: &Bytes) {
        let Some(CurrentFrame {
            subject,
            first_byte,
            handling: FrameHandling::Peeked { beginning, left },
            ..
        }) = &mut self.requests.current
        else {
            return;
        };
        let (head, first_byte) = (*subject, *first_byte);
        *left = left.saturating_sub(piece.len());
        // The rest of the request passes without being kept.
        let room = MAX_PEEKED_BYTES.saturating_sub(beginning.len());
        let room = room.min(piece.len());
        beginning.extend_from_slice(piece.get(..room).unwrap_or_default());
        let acks = peek_acks(beginning);
        let may_show = *left > 0 && beginning.len() < MAX_PEEKED_BYTES;
        if acks.is_none() && may_show {
            return;
        }
        self.requests.current = None;
        // Without a readable acks the response may come or not: it must not block later ones.
        match acks {
            Some(0) => {}
            Some(_) => self.push_plain(head, first_byte),
            None => {
                self.push_in_flight(InFlightRequest::unsure(head, first_byte));
            }
        }
    }

    /// Reads a request that has arrived in whole.
    fn read_request(
        &mut self,
        frame: &CompleteFrame<RequestHead>,
        is_buffered: bool,
        now: Timestamp,
    ) -> ReadRequest {
        let (head, first_byte) = (frame.subject, frame.first_byte);
        self.context.follows_change = self.in_flight.has_originals() || self.replay.is_in_round();
        let decision = match self.decide_request(frame, is_buffered, now) {
            Ok(ParseOutcome::Parsed(decision)) => decision,
            Ok(ParseOutcome::UnsupportedVersion) => RequestDecision::forward(PendingRequest::Plain),
            Err(_) => {
                self.context.out.skip(SkipReason::Malformed, 0);
                // The broker may still read it, and answer. A Produce may have had acks=0.
                let mut request = InFlightRequest::unsure(head, first_byte);
                request.is_answered = head.api != ApiKey::PRODUCE;
                self.push_in_flight(request);
                return ReadRequest::default();
            }
        };
        let is_at_risk = decision.original.as_ref().is_some_and(|it| it.is_at_risk);
        // A changed request with acks=0 has a response as well.
        let is_silent = decision.pending.is_none();
        let mut serial = None;
        if !is_silent || decision.original.is_some() {
            let pending = decision.pending.unwrap_or(PendingRequest::Plain);
            let mut request = InFlightRequest::new(head, first_byte, pending);
            (request.is_answered, request.original) = (!is_silent, decision.original);
            serial = self.push_in_flight(request);
        }
        ReadRequest {
            replacement: decision.replacement,
            at_risk: serial.filter(|_| is_at_risk),
        }
    }

    /// Has the handler of its API decide about a request.
    fn decide_request(
        &mut self,
        frame: &CompleteFrame<RequestHead>,
        is_buffered: bool,
        now: Timestamp,
    ) -> Result<ParseOutcome<RequestDecision<PendingRequest>>, Error> {
        let context = &mut self.context;
        let header = RequestHeader::parse(&frame.bytes)?;
        let client_id = header.client_id.and_then(|id| id.text());
        // Every request repeats the client id; it changes when a proxy shares a connection.
        context.set_client_id(client_id, now);
        let Some(body_start) = header.body_start else {
            return Ok(ParseOutcome::UnsupportedVersion);
        };
        let request = ApiFrame {
            bytes: &frame.bytes,
            body_start,
            api: frame.subject.api,
            version: frame.subject.version,
            first_byte: frame.first_byte,
            last_byte: now,
            is_buffered,
        };
        self.handlers.on_request(context, &request)
    }
}
