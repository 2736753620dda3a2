//! Responses: from the header of a frame to the decision of its handler.

use bytes::Bytes;
use throughline_kafka::api::ApiKey;
use throughline_kafka::frame::{FrameEvent, FrameHeader, ResponseHeader};
use throughline_kafka::types::CorrelationId;

use super::connection::Connection;
use super::in_flight::{InFlightRequest, RequestHead, ResponseMatch};
use super::replay_state::RejectedProduce;
use super::stream::{Admission, CompleteFrame, FrameAction, StartedFrame};
use super::version::{self, FETCH_ENDPOINTS_SINCE, PRODUCE_ENDPOINTS_SINCE};
use crate::kafka::handler::{ApiFrame, PendingRequest};
use crate::kafka::{ClusterHandle, SkipReason};
use crate::{Side, Timestamp};

/// Decision about a response.
#[derive(Debug)]
enum ResponseDecision {
    Unmodified,
    Changed(Bytes),
    /// The client gets it later, or not at all.
    Withheld,
}

/// Outcome for a request whose original may be kept.
#[derive(Debug)]
enum Checked {
    Withheld,
    Accepted {
        /// Whether the client expects no response.
        is_silent: bool,
        request: InFlightRequest,
    },
}

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
                self.send_to_client(bytes.clone());
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
        self.advance_replay(now);
    }

    fn begin_response(&mut self, id: CorrelationId, size: usize, now: Timestamp) {
        let matched = self.in_flight.match_response(id);
        let reason = SkipReason::OutOfOrder;
        for skipped in self.in_flight.take_skipped() {
            self.discard(skipped, reason);
        }
        let request = match matched {
            ResponseMatch::InOrder(request) => request,
            ResponseMatch::OutOfOrder(request) => {
                // Brokers answer in order: one of the two streams was misunderstood.
                self.context.out.skip(reason, 0);
                return self.discard(request, reason);
            }
            ResponseMatch::Unknown => return self.context.out.skip(reason, 0),
        };
        if request.head.api == ApiKey::OFFSET_FETCH && !self.tracing_disabled {
            self.context.offsets_fetched(now);
        }
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
            self.discard(request, reason);
        }
    }

    /// Returns the action that is wanted for the response to a request.
    fn response_action(&self, request: &InFlightRequest) -> FrameAction {
        // The client must not see the rejection of something that it did not send.
        if request.original.is_some() || request.is_replay {
            return FrameAction::MustChange;
        }
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
        if matches!(
            head.api,
            ApiKey::METADATA
                | ApiKey::DESCRIBE_CLUSTER
                | ApiKey::FIND_COORDINATOR
                | ApiKey::CREATE_TOPICS
                | ApiKey::DESCRIBE_CONFIGS
        ) {
            return FrameAction::Read;
        }
        match &request.pending {
            PendingRequest::Plain => FrameAction::Pass,
            // Nobody gets the records that a client had requested before it closed.
            PendingRequest::Fetch(_) | PendingRequest::ShareFetch(_) if self.client_closed => {
                FrameAction::Pass
            }
            // Only Change: addresses in a Fetch are hints, clients fall back to Metadata (KIP-951).
            PendingRequest::Fetch(_) if is_addressed && head.version >= FETCH_ENDPOINTS_SINCE => {
                FrameAction::Change
            }
            PendingRequest::Fetch(_) | PendingRequest::ShareFetch(_) if settings.patches_any() => {
                FrameAction::Change
            }
            PendingRequest::ShareFetch(_) if is_addressed => FrameAction::Change,
            PendingRequest::Commit(_) if !self.uses_commits() => FrameAction::Pass,
            PendingRequest::Produce(_)
            | PendingRequest::Fetch(_)
            | PendingRequest::ShareFetch(_)
            | PendingRequest::ShareAcknowledge(_)
            | PendingRequest::Commit(_)
            | PendingRequest::Configs(_)
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
            return self.send_to_client(bytes);
        };
        let (first_byte, reserved_bytes) = (frame.first_byte, frame.reserved_bytes);
        let decision = self.read_response(frame, true, now);
        self.release_bytes(reserved_bytes);
        match decision {
            ResponseDecision::Unmodified => self.send_to_client(bytes),
            ResponseDecision::Changed(changed) => self.send_to_client(changed),
            ResponseDecision::Withheld => {}
        }
        self.report_held(first_byte, now);
    }

    /// Reads a response that has arrived in whole.
    fn read_response(
        &mut self,
        frame: CompleteFrame<InFlightRequest>,
        is_buffered: bool,
        now: Timestamp,
    ) -> ResponseDecision {
        let request = frame.subject;
        let head = request.head;
        if request.is_replay {
            self.finish_replay(&frame.bytes, now);
            return ResponseDecision::Withheld;
        }
        let header = ResponseHeader::parse(&frame.bytes, head.api, head.version).ok();
        let Some(body_start) = header.and_then(|header| header.body_start) else {
            self.context.out.skip(SkipReason::Malformed, 0);
            self.discard(request, SkipReason::Malformed);
            return ResponseDecision::Unmodified;
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
            return version::narrow(&mut self.context, &response).into();
        }
        let (is_silent, request) = match self.check_original(request, &response, now) {
            Checked::Withheld => return ResponseDecision::Withheld,
            Checked::Accepted { is_silent, request } => (is_silent, request),
        };
        let changed = self
            .handlers
            .on_response(&mut self.context, request.pending, &response);
        if is_silent {
            return ResponseDecision::Withheld;
        }
        changed.into()
    }

    /// Withholds a response that rejects what was changed.
    fn check_original(
        &mut self,
        mut request: InFlightRequest,
        response: &ApiFrame<'_>,
        now: Timestamp,
    ) -> Checked {
        let Some(original) = request.original.take() else {
            return Checked::Accepted {
                is_silent: false,
                request,
            };
        };
        original.record_answer(&self.context);
        let missing = self.replay.missing();
        let rejected = original.rejected(&mut self.context, response, &missing, now);
        if !rejected.is_empty() && response.is_buffered {
            self.withhold(RejectedProduce {
                head: request.head,
                first_byte: request.first_byte,
                pending: request.pending,
                original,
                response: response.bytes.clone(),
                rejected,
            });
            return Checked::Withheld;
        }
        self.release_bytes(original.reserved_bytes);
        Checked::Accepted {
            is_silent: original.is_silent(),
            request,
        }
    }
}

// === impl ResponseDecision ===

impl From<Option<Bytes>> for ResponseDecision {
    fn from(changed: Option<Bytes>) -> Self {
        changed.map_or(Self::Unmodified, Self::Changed)
    }
}
