//! State of a connection, and how it ends.

use std::sync::Arc;

use bytes::Bytes;
use throughline_kafka::frame::{FrameEvent, Framer, FramingError};

use super::in_flight::{InFlightRequest, InFlightRequests, RequestHead};
use super::replay_state::ReplayState;
use super::sasl::SaslExchange;
use super::stream::FrameStream;
use crate::kafka::handler::{HandlerContext, Handlers, PendingRequest};
use crate::kafka::{
    ClusterHandle, ConnectionEndpoints, SessionEvent, Settings, SkipReason, error_code,
};
use crate::{Side, Timestamp};

/// State of both directions of a connection.
#[derive(Debug)]
pub(super) struct Connection<C: ClusterHandle> {
    pub(super) context: HandlerContext<C>,
    pub(super) handlers: Handlers,
    pub(super) requests: FrameStream<RequestHead>,
    pub(super) responses: FrameStream<InFlightRequest>,
    pub(super) in_flight: InFlightRequests,
    pub(super) sasl: SaslExchange,
    pub(super) replay: ReplayState,
    /// The client sends no more requests, and is most likely gone.
    pub(super) client_closed: bool,
    /// The broker sends no more responses.
    broker_closed: bool,
    /// An internal error occurred: only frames that must be changed are read.
    pub(super) tracing_disabled: bool,
}

// === impl Connection ===

impl<C: ClusterHandle> Connection<C> {
    pub(super) fn new(
        settings: Arc<Settings>,
        cluster: C,
        endpoints: ConnectionEndpoints,
        seed: u64,
    ) -> Self {
        Self {
            context: HandlerContext::new(settings, cluster, endpoints, seed),
            handlers: Handlers::default(),
            requests: FrameStream::new(Framer::requests()),
            responses: FrameStream::new(Framer::responses()),
            in_flight: InFlightRequests::default(),
            sasl: SaslExchange::default(),
            replay: ReplayState::default(),
            client_closed: false,
            broker_closed: false,
            tracing_disabled: false,
        }
    }

    /// Adds a request that waits for its response. Returns its serial number.
    pub(super) fn push_in_flight(&mut self, request: InFlightRequest) -> Option<u64> {
        if self.in_flight.len() >= self.context.settings.limits.max_in_flight {
            // Its response will match nothing, and pass as one out of order.
            self.context.out.skip(SkipReason::Capacity, 0);
            self.discard(request, SkipReason::Capacity);
            return None;
        }
        Some(self.in_flight.push(request))
    }

    /// Ends a request whose result will not be known.
    pub(super) fn discard(&mut self, request: InFlightRequest, reason: SkipReason) {
        self.release_original(&request);
        request.pending.discard(&mut self.context, reason);
    }

    fn release_original(&self, request: &InFlightRequest) {
        let original = request.original.as_ref();
        self.release_bytes(original.map_or(0, |it| it.reserved_bytes));
    }

    /// Adds a request whose response concludes nothing.
    pub(super) fn push_plain(&mut self, head: RequestHead, first_byte: Timestamp) {
        let request = InFlightRequest::new(head, first_byte, PendingRequest::Plain);
        self.push_in_flight(request);
    }

    /// Prepares the framer of responses for a SASL token, if the next frame is one.
    pub(super) fn expect_sasl_token(&mut self) {
        if self.sasl.expects_token(self.in_flight.len()) {
            self.responses.framer.expect_sasl_token();
        }
    }

    /// Releases bytes of the process's budget.
    pub(super) fn release_bytes(&self, bytes: usize) {
        if bytes > 0 {
            self.context
                .cluster
                .with_state(|state| state.release_bytes(bytes));
        }
    }

    /// Reports the time for which a frame was buffered.
    pub(super) fn report_held(&mut self, first_byte: Timestamp, now: Timestamp) {
        let nanoseconds = now.saturating_sub(first_byte);
        let event = SessionEvent::Held { nanoseconds };
        self.context.out.push_event(event);
    }

    // --- the end ---

    /// Takes the end of one side's stream: bytes of an incomplete frame pass.
    pub(super) const fn set_closed(&mut self, side: Side) {
        match side {
            Side::Client => {
                self.requests.framer.set_opaque();
                self.client_closed = true;
            }
            Side::Broker => {
                self.responses.framer.set_opaque();
                self.broker_closed = true;
            }
        }
    }

    /// Ends the frame that was arriving from this side, and requests that will have no response.
    pub(super) fn end_side(&mut self, side: Side, now: Timestamp) {
        let is_cut = match side {
            Side::Client => self
                .requests
                .current
                .as_ref()
                .is_some_and(|it| it.is_kept()),
            Side::Broker => self
                .responses
                .current
                .as_ref()
                .is_some_and(|it| it.is_kept()),
        };
        if is_cut {
            self.context.out.skip(SkipReason::Disconnected, 0);
        }
        match side {
            Side::Client => {
                self.drop_request();
                let pending = self.in_flight.pending_mut();
                for pending in pending.chain(self.replay.pending_mut()) {
                    pending.record_unanswered(&self.context, now);
                }
            }
            Side::Broker => {
                if let Some(original) = self.in_flight.first_original()
                    && self.responses.current.is_none()
                    && !self.client_closed
                {
                    original.record_close(&mut self.context, now);
                }
                self.drop_response(now);
            }
        }
        self.handlers.close(&self.context, now);
        // Also at the end of the client's side: requests may have come after the broker closed.
        if self.broker_closed {
            self.drop_replay(now);
            for request in self.in_flight.abandon() {
                self.release_original(&request);
                let error = error_code::NETWORK_EXCEPTION;
                request.pending.fail(&mut self.context, now, error);
            }
        }
    }

    /// Closes the spans of requests that have timed out.
    pub(super) fn expire(&mut self, now: Timestamp) {
        let timeout = self.context.settings.limits.request_timeout;
        if self.in_flight.deadline(timeout).is_some_and(|it| it <= now) {
            self.expire_barrier();
        }
        for pending in self.in_flight.expire(now, timeout) {
            pending.fail(&mut self.context, now, error_code::REQUEST_TIMED_OUT);
        }
    }

    /// Gives up on both streams: without one direction the other cannot be understood.
    pub(super) fn fail_framing(&mut self, side: Side, error: FramingError, now: Timestamp) {
        // First: the event below is about a connection that is not traced any more.
        self.pass_everything(now);
        let is_client_tls = side == Side::Client && error == FramingError::Tls;
        self.context.out.push_event(if is_client_tls {
            SessionEvent::ClientSpeaksTls
        } else {
            SessionEvent::FramingFailed { side, error }
        });
    }

    /// Forwards everything unread from here on.
    fn pass_everything(&mut self, now: Timestamp) {
        self.drop_request();
        self.drop_response(now);
        self.abort_replay();
        for request in self.in_flight.abandon() {
            self.discard(request, SkipReason::OutOfOrder);
        }
        let framers = [
            (Side::Client, &mut self.requests.framer),
            (Side::Broker, &mut self.responses.framer),
        ];
        for (side, framer) in framers {
            framer.set_opaque();
            // Buffered bytes come out at once: nothing may overtake them.
            while let Some(FrameEvent::Passthrough(bytes)) = framer.next(&mut Bytes::new()) {
                self.context.out.transmit(side.opposite(), bytes);
            }
        }
    }

    fn drop_request(&mut self) {
        if let Some(current) = self.requests.current.take() {
            self.release_bytes(current.reserved_bytes);
        }
    }

    fn drop_response(&mut self, now: Timestamp) {
        if let Some(current) = self.responses.current.take() {
            self.release_bytes(current.reserved_bytes);
            self.release_original(&current.subject);
            let (pending, error) = (current.subject.pending, error_code::NETWORK_EXCEPTION);
            pending.fail(&mut self.context, now, error);
        }
    }
}

impl<C: ClusterHandle> Drop for Connection<C> {
    /// Gives the reserved bytes back to the other connections.
    fn drop(&mut self) {
        let frames = self.requests.reserved_bytes() + self.responses.reserved_bytes();
        let originals = self.in_flight.reserved_bytes() + self.replay.reserved_bytes();
        self.release_bytes(frames + originals);
    }
}
