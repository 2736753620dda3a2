//! What clients ask.

use bytes::{Bytes, BytesMut};
use throughline_kafka::api::ApiKey;
use throughline_kafka::frame::RequestHeader;
use throughline_kafka::message::group::{
    ConsumerGroupHeartbeatRequest, JoinGroupRequest, SyncGroupRequest,
};
use throughline_kafka::message::{ApiMessage, ParseOutcome};
use throughline_kafka::wire::{Error, WireReader};

use super::{Begun, Current, Handling, Request, Session, Wish};
use crate::kafka::delivery::Asked;
use crate::kafka::exchange::{Exchange, Story};
use crate::kafka::produce::{Change, Sending};
use crate::kafka::settle::{Acknowledging, Commit};
use crate::kafka::tracer::Tracer;
use crate::kafka::{Cluster, Notice, Reason, Settings};
use crate::{Side, Timestamp};

/// A client id and a transactional id of 32 KiB each, and what is around them.
const PEEKED: usize = 80 * 1024;

/// A frame, piece by piece.
type Pieces = Vec<Bytes>;

// === impl Session ===

impl<C: Cluster> Session<C> {
    pub(super) fn begin_request(&mut self, request: Request, size: usize, now: Timestamp) {
        self.tracer.out.notice(Notice::Request(request.api));
        if request.api == ApiKey::SASL_HANDSHAKE && request.version == 0 {
            // Tokens without headers follow. The answer has one.
            self.tracer.passed(Reason::SaslTokens, 0);
            self.expect(request, now, Story::Plain);
            self.requests.framer.expect_sasl_token();
            return;
        }
        if std::mem::take(&mut self.tokens) > 0 {
            // The last token of GSSAPI has no answer.
            self.responses.framer.cancel_sasl_token();
        }
        let wish = if self.is_blind {
            Wish::Nothing
        } else {
            request.wish(&self.tracer.settings)
        };
        match self.requests.begin(&self.tracer, request, wish, size, now) {
            Begun::Kept => {}
            Begun::Passes(request, reason) => {
                if let Some(reason) = reason {
                    self.tracer.passed(reason, 0);
                }
                if request.api == ApiKey::PRODUCE {
                    let handling = Handling::Peeked {
                        beginning: BytesMut::new(),
                        left: size,
                    };
                    self.requests.current = Some(Current {
                        subject: request,
                        begun: now,
                        handling,
                        reserved: 0,
                    });
                } else if request.api == ApiKey::FETCH && !self.is_blind {
                    self.expect(request, now, Story::Fetch(Box::new(Asked::unread())));
                } else {
                    self.expect(request, now, Story::Plain);
                }
            }
        }
    }

    /// A piece of a request has passed.
    pub(super) fn follow_request(&mut self, piece: Bytes, now: Timestamp) {
        self.peek(&piece);
        if let Some((request, begun, reserved, frame)) = self.requests.follow(piece) {
            drop(self.read_request(request, begun, &frame, Change::Nothing, now));
            self.tracer.release(reserved);
        }
    }

    /// A request that was held has come in whole.
    pub(super) fn finish_held_request(&mut self, frame: Bytes, now: Timestamp) {
        let Some(current) = self.requests.current.take() else {
            return self.tracer.out.transmit(Side::Broker, frame);
        };
        let changed =
            self.read_request(current.subject, current.begun, &frame, Change::Inject, now);
        self.tracer.release(current.reserved);
        for piece in changed.unwrap_or_else(|| vec![frame]) {
            self.tracer.out.transmit(Side::Broker, piece);
        }
        self.tracer.held(current.begun, now);
    }

    /// An answer is to be awaited.
    fn expect(&mut self, request: Request, begun: Timestamp, story: Story) {
        self.expect_perhaps(request, begun, story, true);
    }

    pub(super) fn expect_perhaps(
        &mut self,
        request: Request,
        begun: Timestamp,
        story: Story,
        is_answered: bool,
    ) {
        if self.exchanges.len() >= self.tracer.settings.limits.max_in_flight {
            self.tracer.passed(Reason::Capacity, 0);
            self.tracer.forget(story, Reason::Capacity);
            return;
        }
        let Request {
            api,
            version,
            correlation,
        } = request;
        self.exchanges.push(Exchange {
            correlation,
            api,
            version,
            begun,
            is_answered,
            story,
        });
    }

    /// Looks at the beginning of a Produce that passes unread, only for whether it will be answered.
    fn peek(&mut self, piece: &Bytes) {
        let Some(Current {
            subject,
            begun,
            handling: Handling::Peeked { beginning, left },
            ..
        }) = &mut self.requests.current
        else {
            return;
        };
        let (request, begun) = (*subject, *begun);
        *left = left.saturating_sub(piece.len());
        let room = PEEKED.saturating_sub(beginning.len()).min(piece.len());
        beginning.extend_from_slice(piece.get(..room).unwrap_or_default());
        let acks = acks(beginning);
        if acks.is_none() && *left > 0 && beginning.len() < PEEKED {
            return;
        }
        self.requests.current = None;
        if acks != Some(0) {
            self.expect_perhaps(request, begun, Story::Plain, acks.is_some());
        }
    }

    /// Reads a request that is here in whole. Gives the one that is to go on in its place, if it is to be changed.
    fn read_request(
        &mut self,
        request: Request,
        begun: Timestamp,
        frame: &Bytes,
        change: Change,
        now: Timestamp,
    ) -> Option<Pieces> {
        let read = self.open_request(request, begun, frame, change);
        let (story, changed) = match read {
            Ok(ParseOutcome::Parsed((story, changed))) => (story, changed),
            Ok(ParseOutcome::UnsupportedVersion) => (None, None),
            Err(_) => {
                self.tracer.passed(Reason::Malformed, 0);
                // A broker may still make something of it.
                let is_answered = request.api != ApiKey::PRODUCE;
                self.expect_perhaps(request, begun, Story::Plain, is_answered);
                return None;
            }
        };
        match story {
            Some(Story::Produce(sending)) if sending.acks == 0 => {
                sending.sent(&mut self.tracer, now)
            }
            Some(story) => self.expect(request, begun, story),
            None => self.expect(request, begun, Story::Plain),
        }
        changed
    }

    fn open_request(
        &mut self,
        request: Request,
        begun: Timestamp,
        frame: &Bytes,
        change: Change,
    ) -> Result<ParseOutcome<(Option<Story>, Option<Pieces>)>, Error> {
        let header = RequestHeader::parse(frame)?;
        self.tracer
            .see_client(header.client_id.and_then(|id| id.text()));
        let Some(start) = header.body_start else {
            return Ok(ParseOutcome::UnsupportedVersion);
        };
        let body = (frame.get(start..).unwrap_or_default(), request.version);
        let tracer = &mut self.tracer;
        let story = match request.api {
            ApiKey::PRODUCE => return send(tracer, (frame, start), request.version, begun, change),
            ApiKey::FETCH => {
                Asked::read(tracer, body.0, body.1)?.map(|asked| Story::Fetch(Box::new(asked)))
            }
            ApiKey::OFFSET_COMMIT | ApiKey::TXN_OFFSET_COMMIT => {
                Commit::read(tracer, request.api, body, begun)?
                    .map(|commit| Story::Commit(Box::new(commit)))
            }
            ApiKey::SHARE_FETCH => Acknowledging::read(tracer, request.api, body, begun)?
                .map(|of| Story::ShareFetch(Box::new(of))),
            ApiKey::SHARE_ACKNOWLEDGE => Acknowledging::read(tracer, request.api, body, begun)?
                .map(|of| Story::Acknowledge(Box::new(of))),
            _ => {
                learn_group(tracer, request.api, body)?;
                ParseOutcome::Parsed(Story::Plain)
            }
        };
        Ok(story.map(|story| (Some(story), None)))
    }
}

/// Reads a Produce, and makes the one with the contexts in it.
fn send<C: Cluster>(
    tracer: &mut Tracer<C>,
    (frame, start): (&Bytes, usize),
    version: i16,
    begun: Timestamp,
    change: Change,
) -> Result<ParseOutcome<(Option<Story>, Option<Pieces>)>, Error> {
    tracer.with_tools(|tracer, tools| {
        let body = frame.get(start..).unwrap_or_default();
        let opened = Sending::read(tracer, tools, (body, version), begun, change)?;
        let ParseOutcome::Parsed(mut sending) = opened else {
            return Ok(ParseOutcome::UnsupportedVersion);
        };
        let mut changed = None;
        if !tools.splice.is_empty() {
            let mut pieces = Vec::new();
            let max = tracer.settings.limits.max_request_bytes.max(frame.len());
            let fits = tools
                .splice
                .resealed_size(frame)
                .is_some_and(|length| length <= max);
            if fits
                && tools
                    .splice
                    .reseal_pieces(frame, start, |piece| pieces.push(piece))
                    .is_ok()
            {
                changed = Some(pieces);
            } else {
                sending.give_up_injection(Reason::BatchTooLarge);
            }
        }
        sending.tell(tracer);
        Ok(ParseOutcome::Parsed((
            Some(Story::Produce(Box::new(sending))),
            changed,
        )))
    })
}

/// A request in which a client says of which group it is.
fn learn_group<C: Cluster>(
    tracer: &mut Tracer<C>,
    api: ApiKey,
    (body, version): (&[u8], i16),
) -> Result<(), Error> {
    let group = match api {
        ApiKey::JOIN_GROUP => JoinGroupRequest::parse(body, version)?
            .parsed()
            .and_then(|of| of.group_id.text()),
        ApiKey::SYNC_GROUP => SyncGroupRequest::parse(body, version)?
            .parsed()
            .and_then(|of| of.group_id.text()),
        ApiKey::CONSUMER_GROUP_HEARTBEAT => ConsumerGroupHeartbeatRequest::parse(body, version)?
            .parsed()
            .and_then(|of| of.group_id.text()),
        _ => None,
    };
    if let Some(group) = group {
        tracer.see_group(group);
    }
    Ok(())
}

/// How many acknowledgements a Produce wants, as soon as its beginning shows.
fn acks(beginning: &[u8]) -> Option<i16> {
    let header = RequestHeader::parse(beginning).ok()?;
    let body = beginning.get(header.body_start?..)?;
    let mut reader = WireReader::new(
        body,
        header.version,
        header.api_key.is_flexible(header.version)?,
    );
    if header.version >= 3 {
        // transactional_id
        reader.nullable_string().ok()?;
    }
    reader.i16().ok()
}

// === impl Request ===

impl Request {
    /// What a session wants to do with it.
    fn wish(self, settings: &Settings) -> Wish {
        match self.api {
            ApiKey::PRODUCE if !self.api.supports(self.version) => Wish::Nothing,
            ApiKey::PRODUCE if settings.injects() => Wish::Change,
            ApiKey::PRODUCE
            | ApiKey::FETCH
            | ApiKey::SHARE_FETCH
            | ApiKey::SHARE_ACKNOWLEDGE
            | ApiKey::OFFSET_COMMIT
            | ApiKey::TXN_OFFSET_COMMIT
            | ApiKey::JOIN_GROUP
            | ApiKey::SYNC_GROUP
            | ApiKey::CONSUMER_GROUP_HEARTBEAT => Wish::Read,
            _ => Wish::Nothing,
        }
    }
}
