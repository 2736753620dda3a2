//! Responses: from the header of a frame to the decision of its handler.

use bytes::Bytes;
use throughline_kafka::api::ApiKey;
use throughline_kafka::frame::{FrameEvent, FrameHeader, ResponseHeader};
use throughline_kafka::types::CorrelationId;

use super::connection::Connection;
use super::in_flight::{InFlightRequest, RequestHead, ResponseMatch};
use super::stream::{Admission, CompleteFrame, FrameAction, StartedFrame};
use super::version::{self, FETCH_ENDPOINTS_SINCE, PRODUCE_ENDPOINTS_SINCE};
use crate::kafka::handler::{ApiFrame, PendingRequest};
use crate::kafka::{ClusterHandle, SkipReason};
use crate::{Side, Timestamp};

/// Returns whether the response may hold addresses that are to be changed.
const fn has_addresses(head: RequestHead) -> bool {
    match head.api {
        ApiKey::METADATA
        | ApiKey::FIND_COORDINATOR
        | ApiKey::DESCRIBE_CLUSTER
        | ApiKey::SHARE_ACKNOWLEDGE => true,
        ApiKey::PRODUCE => head.version >= PRODUCE_ENDPOINTS_SINCE,
        _ => false,
    }
}

// === impl Connection ===

impl<C: ClusterHandle> Connection<C> {
    /// Takes an event of the broker's stream.
    pub(super) fn handle_response_event(&mut self, event: FrameEvent, now: Timestamp) {
        match event {
            FrameEvent::Header(FrameHeader::Response {
                size,
                correlation_id,
            }) => self.begin_response(correlation_id, size, now),
            // The framer of responses gives no headers of requests.
            FrameEvent::Header(FrameHeader::Request { .. }) => {}
            FrameEvent::SaslToken => {
                self.sasl.token_answered();
                self.expect_sasl_token();
            }
            FrameEvent::Passthrough(bytes) => {
                self.context.out.transmit(Side::Client, bytes.clone());
                if let Some(frame) = self.responses.mirror(bytes) {
                    let reserved_bytes = frame.reserved_bytes;
                    // Too late for a change: the frame is on its way.
                    drop(self.read_response(frame, false, now));
                    self.release_bytes(reserved_bytes);
                }
            }
            FrameEvent::Frame(frame) => self.finish_buffered_response(frame, now),
            FrameEvent::FramingFailed(error) => self.fail_framing(Side::Broker, error, now),
        }
    }

    fn begin_response(&mut self, id: CorrelationId, size: usize, now: Timestamp) {
        let matched = self.in_flight.match_response(id);
        let reason = SkipReason::OutOfOrder;
        for skipped in self.in_flight.take_skipped() {
            skipped.pending.discard(&mut self.context, reason);
        }
        let request = match matched {
            ResponseMatch::InOrder(request) => request,
            ResponseMatch::OutOfOrder(request) => {
                // Brokers answer in order: one of the two streams was misunderstood.
                self.context.out.skip(reason, 0);
                return request.pending.discard(&mut self.context, reason);
            }
            ResponseMatch::Unknown => return self.context.out.skip(reason, 0),
        };
        if request.head.api == ApiKey::SASL_HANDSHAKE && request.head.version == 0 {
            // Tokens may have arrived before this response did.
            return self.expect_sasl_token();
        }
        let action = self.response_action(&request);
        let frame = StartedFrame {
            subject: request,
            size,
            first_byte: now,
        };
        let admission = self.responses.begin(&self.context, frame, action);
        if let Admission::Passes(request, Some(reason)) = admission {
            self.context.out.skip(reason, 0);
            request.pending.discard(&mut self.context, reason);
        }
    }

    /// Returns the action that is wanted for the response to a request.
    fn response_action(&self, request: &InFlightRequest) -> FrameAction {
        let action = self.wanted_response_action(request);
        // After an internal error, only what would mislead the client is still read.
        if self.tracing_disabled && action != FrameAction::MustChange {
            return FrameAction::Pass;
        }
        action
    }

    fn wanted_response_action(&self, request: &InFlightRequest) -> FrameAction {
        let (head, settings) = (request.head, &self.context.settings);
        let is_addressed = self.context.cluster.is_addressed();
        if version::is_unsupported(head.api, head.version, is_addressed) {
            // Reported at the request.
            return FrameAction::Pass;
        }
        // A client that hears of other versions or addresses would go past the proxy.
        if head.api == ApiKey::API_VERSIONS || (is_addressed && has_addresses(head)) {
            return FrameAction::MustChange;
        }
        if matches!(head.api, ApiKey::METADATA | ApiKey::DESCRIBE_CLUSTER) {
            return FrameAction::Read;
        }
        match &request.pending {
            PendingRequest::Plain => FrameAction::Pass,
            // Only Change: addresses in a Fetch are hints, clients fall back to Metadata (KIP-951).
            PendingRequest::Fetch(_) if is_addressed && head.version >= FETCH_ENDPOINTS_SINCE => {
                FrameAction::Change
            }
            PendingRequest::Fetch(_) if settings.patches_any() => FrameAction::Change,
            PendingRequest::ShareFetch(_) if is_addressed => FrameAction::Change,
            PendingRequest::Commit(_) if !self.uses_commits() => FrameAction::Pass,
            PendingRequest::Produce(_)
            | PendingRequest::Fetch(_)
            | PendingRequest::ShareFetch(_)
            | PendingRequest::ShareAcknowledge(_)
            | PendingRequest::Commit(_)
            | PendingRequest::Membership(_) => FrameAction::Read,
        }
    }

    /// Returns whether commits have spans, or are reported to the correlator.
    fn uses_commits(&self) -> bool {
        let is_correlated = self.context.cluster.token_extractor().is_some();
        is_correlated || self.context.settings.settles_any()
    }

    /// Takes a response that was buffered.
    fn finish_buffered_response(&mut self, bytes: Bytes, now: Timestamp) {
        let Some(frame) = self.responses.complete(bytes.clone()) else {
            return self.context.out.transmit(Side::Client, bytes);
        };
        let (first_byte, reserved_bytes) = (frame.first_byte, frame.reserved_bytes);
        let changed = self.read_response(frame, true, now);
        self.release_bytes(reserved_bytes);
        self.context
            .out
            .transmit(Side::Client, changed.unwrap_or(bytes));
        self.report_held(first_byte, now);
    }

    /// Reads a response that has arrived in whole. Returns the frame to forward in its place, if it
    /// changes.
    fn read_response(
        &mut self,
        frame: CompleteFrame<InFlightRequest>,
        is_buffered: bool,
        now: Timestamp,
    ) -> Option<Bytes> {
        let InFlightRequest { head, pending, .. } = frame.subject;
        let header = ResponseHeader::parse(&frame.bytes, head.api, head.version).ok();
        let Some(body_start) = header.and_then(|header| header.body_start) else {
            self.context.out.skip(SkipReason::Malformed, 0);
            pending.discard(&mut self.context, SkipReason::Malformed);
            return None;
        };
        let response = ApiFrame {
            bytes: &frame.bytes,
            body_start,
            api: head.api,
            version: head.version,
            first_byte: frame.first_byte,
            last_byte: now,
            is_buffered,
        };
        if head.api == ApiKey::API_VERSIONS {
            return version::narrow(&mut self.context, &response);
        }
        self.handlers
            .on_response(&mut self.context, pending, &response)
    }
}
