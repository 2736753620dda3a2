//! Errors of our own: what they were found in passes as it came, and the connection stands.
//!
//! What a session was at when it panicked cannot be trusted any more, and what makes it panic once may do so with every record. So
//! nothing on the connection is read from there on, but answers that would mislead the client if they were not changed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use throughline_kafka::frame::{FrameEvent, FrameHeader};

use super::{Request, Session};
use crate::kafka::exchange::Story;
use crate::kafka::{Cluster, Reason};
use crate::{Side, Timestamp};

/// What is needed to go on when an event is not handled to its end.
struct Before {
    /// A frame that the framer has given out, and that nobody else has.
    frame: Option<Bytes>,
    /// Whose the event is, if it is of the client's.
    request: Option<(Request, Timestamp)>,
    /// Bytes of the budget that the current frame takes.
    reserved: usize,
    /// Pieces that waited to be written.
    sent: usize,
    exchanges: usize,
}

// === impl Session ===

impl<C: Cluster> Session<C> {
    /// Handles one event, whatever happens.
    pub(super) fn guard_event(&mut self, from: Side, event: FrameEvent, now: Timestamp) {
        let before = self.before(from, &event, now);
        let is_done = self.guard(|session| match from {
            Side::Client => session.handle_client(event, now),
            Side::Broker => session.handle_broker(event, now),
        });
        if !is_done {
            self.make_up(from, before);
        }
    }

    /// Does this work. False when it panicked.
    pub(super) fn guard(&mut self, work: impl FnOnce(&mut Self)) -> bool {
        // What it leaves half done is not looked at again: stories are given up, frames are not begun.
        let is_done = catch_unwind(AssertUnwindSafe(|| work(self))).is_ok();
        if !is_done {
            self.is_blind = true;
            self.tracer.passed(Reason::Panic, 0);
            let (stories, tracer) = (self.exchanges.take_stories(), &mut self.tracer);
            let forget = || {
                stories
                    .into_iter()
                    .for_each(|story| tracer.forget(story, Reason::Panic))
            };
            drop(catch_unwind(AssertUnwindSafe(forget)));
        }
        is_done
    }

    fn before(&self, from: Side, event: &FrameEvent, now: Timestamp) -> Before {
        let (request, reserved) = match from {
            Side::Client => {
                let current = self.requests.current.as_ref();
                (
                    current.map(|it| (it.subject, it.begun)),
                    current.map_or(0, |it| it.reserved),
                )
            }
            Side::Broker => (
                None,
                self.responses.current.as_ref().map_or(0, |it| it.reserved),
            ),
        };
        let (frame, request) = match event {
            FrameEvent::Frame(frame) => (Some(frame.clone()), request),
            FrameEvent::Header(FrameHeader::Request {
                api_key: api,
                version,
                correlation_id: correlation,
                ..
            }) => {
                let begun = Request {
                    api: *api,
                    version: *version,
                    correlation: *correlation,
                };
                (None, Some((begun, now)))
            }
            FrameEvent::Header(FrameHeader::Response { .. })
            | FrameEvent::SaslToken
            | FrameEvent::Passthrough(_)
            | FrameEvent::FramingFailed(_) => (None, request),
        };
        Before {
            frame,
            request,
            reserved,
            sent: self.tracer.out.waiting(),
            exchanges: self.exchanges.len(),
        }
    }

    /// Lets go on what was not handled to its end.
    fn make_up(&mut self, from: Side, before: Before) {
        if let Some(frame) = before.frame
            && self.tracer.out.waiting() == before.sent
        {
            self.tracer.out.transmit(from.opposite(), frame);
        }
        let current = match from {
            Side::Client => self.requests.current.take().map(|it| it.reserved),
            Side::Broker => self.responses.current.take().map(|it| it.reserved),
        };
        let reserved = current.unwrap_or(before.reserved);
        drop(catch_unwind(AssertUnwindSafe(|| {
            self.tracer.release(reserved)
        })));
        if let Some((request, begun)) = before.request
            && self.exchanges.len() == before.exchanges
        {
            // Whether a Produce is answered is not known.
            self.expect_perhaps(
                request,
                begun,
                Story::Plain,
                request.api != super::ApiKey::PRODUCE,
            );
        }
    }
}
