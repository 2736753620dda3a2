//! Panic isolation: after an internal error the current frame passes unmodified, and the connection
//! goes on.
//!
//! The state that panicked is not trusted any more, and the cause may repeat with every record.
//! From there on nothing on the connection is read but frames that would mislead the client if they
//! were not changed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use throughline_kafka::api::ApiKey;
use throughline_kafka::frame::{FrameEvent, FrameHeader};

use super::connection::Connection;
use super::in_flight::{InFlightRequest, RequestHead};
use crate::kafka::{ClusterHandle, SkipReason};
use crate::{Side, Timestamp};

/// State before an event, from which the connection recovers if the event is not handled to its
/// end.
struct RecoveryPoint {
    /// Frame that the framer has given out, and that exists nowhere else.
    frame: Option<Bytes>,
    /// Request that the event belongs to, and the arrival of its first byte.
    request: Option<(RequestHead, Timestamp)>,
    /// Bytes of the budget that the current frame takes.
    reserved_bytes: usize,
    pending_output: usize,
    in_flight: usize,
}

/// Handles an event of one side's stream.
pub(super) fn guard_event<C: ClusterHandle>(
    connection: &mut Connection<C>,
    from: Side,
    event: FrameEvent,
    now: Timestamp,
) {
    let recovery_point = RecoveryPoint::new(connection, from, &event, now);
    let is_done = guard(connection, |connection| match from {
        Side::Client => connection.handle_request_event(event, now),
        Side::Broker => connection.handle_response_event(event, now),
    });
    if !is_done {
        recovery_point.recover(connection, from);
    }
}

/// Runs an operation. Returns false, and disables tracing, when it panics.
pub(super) fn guard<C: ClusterHandle>(
    connection: &mut Connection<C>,
    operation: impl FnOnce(&mut Connection<C>),
) -> bool {
    // Unwind safe: state that was left half changed is discarded below, or in `recover`.
    let is_done = catch_unwind(AssertUnwindSafe(|| operation(connection))).is_ok();
    if !is_done {
        connection.tracing_disabled = true;
        connection.context.out.skip(SkipReason::Panic, 0);
        let (pending, context) = (connection.in_flight.take_pending(), &mut connection.context);
        let discard = || {
            for request in pending {
                request.discard(context, SkipReason::Panic);
            }
            // The panic has skipped the flush at the end of the frame.
            context.flush_budget();
        };
        drop(catch_unwind(AssertUnwindSafe(discard)));
    }
    is_done
}

// === impl RecoveryPoint ===

impl RecoveryPoint {
    fn new<C: ClusterHandle>(
        connection: &Connection<C>,
        from: Side,
        event: &FrameEvent,
        now: Timestamp,
    ) -> Self {
        let current = connection.requests.current.as_ref();
        let current = current.filter(|_| from == Side::Client);
        let reserved_bytes = match from {
            Side::Client => connection.requests.reserved_bytes(),
            Side::Broker => connection.responses.reserved_bytes(),
        };
        let (frame, request) = match event {
            FrameEvent::Header(FrameHeader::Request {
                api_key: api,
                version,
                correlation_id,
                ..
            }) => {
                let head = RequestHead {
                    api: *api,
                    version: *version,
                    correlation_id: *correlation_id,
                };
                (None, Some((head, now)))
            }
            FrameEvent::Frame(frame) => (Some(frame.clone()), None),
            FrameEvent::Header(FrameHeader::Response { .. })
            | FrameEvent::SaslToken
            | FrameEvent::Passthrough(_)
            | FrameEvent::FramingFailed(_) => (None, None),
        };
        Self {
            frame,
            request: request.or_else(|| current.map(|it| (it.subject, it.first_byte))),
            reserved_bytes,
            pending_output: connection.pending_output(),
            in_flight: connection.in_flight.len(),
        }
    }

    /// Completes what the event did not: the frame is forwarded, its bytes are released, and its
    /// response is expected.
    fn recover<C: ClusterHandle>(self, connection: &mut Connection<C>, from: Side) {
        if let Some(frame) = self.frame
            // Forwarded already, perhaps changed, if the panic came after that.
            && connection.pending_output() == self.pending_output
        {
            match from {
                Side::Client => connection.send_to_broker(frame),
                Side::Broker => connection.send_to_client(frame),
            }
        }
        if from == Side::Broker {
            // Its state is not trusted any more.
            let abort = || connection.abort_replay();
            drop(catch_unwind(AssertUnwindSafe(abort)));
        }
        let current = match from {
            Side::Client => connection
                .requests
                .current
                .take()
                .map(|it| it.reserved_bytes),
            Side::Broker => connection
                .responses
                .current
                .take()
                .map(|it| it.reserved_bytes),
        };
        let reserved_bytes = current.unwrap_or(self.reserved_bytes);
        // The driver's lock may panic again.
        let release = || connection.release_bytes(reserved_bytes);
        drop(catch_unwind(AssertUnwindSafe(release)));
        if let Some((head, first_byte)) = self.request
            // Not if the request was added before the panic.
            && connection.in_flight.len() == self.in_flight
        {
            let mut request = InFlightRequest::unsure(head, first_byte);
            // Whether a Produce is answered depends on its acks, which are unknown here.
            request.is_answered = head.api != ApiKey::PRODUCE;
            connection.push_in_flight(request);
        }
    }
}
