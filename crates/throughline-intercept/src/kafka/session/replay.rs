//! Replay of original requests whose changed form the broker refused.
//!
//! ```text
//!   request at risk is sent ----> what follows is held -------------------------> sent
//!                                   | response rejects a change                     ^
//!                                   v                                               |
//!                        a round: responses are held, until all requests under way  |
//!                        are answered; then the originals are sent; when they are   |
//!                        answered, all responses go to the client in their order ---+
//! ```

use std::collections::VecDeque;

use bytes::Bytes;
use throughline_kafka::frame::ResponseHeader;

use super::connection::Connection;
use super::in_flight::{InFlightRequest, RequestHead};
use crate::kafka::handler::{ApiFrame, BatchKey, OriginalProduce, PendingRequest};
use crate::kafka::{ClusterHandle, SessionEvent, SkipReason, error_code};
use crate::{Side, Timestamp};

/// Requests and responses that are held back around a replay.
#[derive(Debug, Default)]
pub(super) struct ReplayState {
    /// What the client sent behind the barrier, or during a round.
    held: VecDeque<HeldRequest>,
    held_bytes: usize,
    /// Serial number of the request whose response releases what is held.
    barrier: Option<u64>,
    round: Option<ReplayRound>,
    /// The connection ended in a round: clients take no response out of order.
    drops_responses: bool,
}

/// Piece of what the client sent.
#[derive(Debug)]
enum HeldRequest {
    Bytes(Bytes),
    /// A request with this serial number ends here, and is at risk itself.
    AtRisk(u64),
}

/// Replay of the requests in flight that were refused.
#[derive(Debug)]
struct ReplayRound {
    responses: VecDeque<HeldResponse>,
    /// Serial number of the last request that was sent before the replay; [`None`] while a frame
    /// of the client is on its way.
    last_sent: Option<u64>,
    /// Batches that the broker refused so far.
    missing: Vec<BatchKey>,
    is_replayed: bool,
    /// Number of replayed requests without a response.
    unanswered: usize,
}

/// Response that the client does not have yet.
#[derive(Debug)]
enum HeldResponse {
    Bytes(Bytes),
    Rejected(Box<RejectedProduce>),
}

/// Request that was refused at the first attempt.
#[derive(Debug)]
pub(super) struct RejectedProduce {
    pub(super) head: RequestHead,
    pub(super) first_byte: Timestamp,
    pub(super) pending: PendingRequest,
    pub(super) original: Box<OriginalProduce>,
    pub(super) response: Bytes,
    pub(super) rejected: Vec<BatchKey>,
}

// === impl ReplayState ===

impl ReplayState {
    /// Returns whether nothing is held.
    pub(super) fn is_idle(&self) -> bool {
        self.round.is_none() && self.held.is_empty()
    }

    /// Returns the number of bytes of requests that are held.
    pub(super) const fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Returns the number of pieces that are held.
    pub(super) fn held_pieces(&self) -> usize {
        let responses = self.round.as_ref().map_or(0, |it| it.responses.len());
        self.held.len() + responses
    }

    /// Returns whether a round has begun.
    pub(super) const fn is_in_round(&self) -> bool {
        self.round.is_some()
    }

    /// Returns the batches that the broker refused in this round.
    pub(super) fn missing(&self) -> Vec<BatchKey> {
        let round = self.round.as_ref();
        round.map_or_else(Vec::new, |it| it.missing.clone())
    }

    /// Returns the bytes of the budget that refused requests take.
    pub(super) fn reserved_bytes(&self) -> usize {
        let responses = self.round.iter().flat_map(|it| &it.responses);
        let bytes = responses.map(|it| match it {
            HeldResponse::Bytes(_) => 0,
            HeldResponse::Rejected(it) => it.original.reserved_bytes,
        });
        bytes.sum()
    }

    fn is_holding(&self) -> bool {
        let round = self.round.as_ref();
        self.barrier.is_some() || round.is_some_and(|it| it.last_sent.is_some())
    }

    fn push_held(&mut self, piece: HeldRequest) {
        if let HeldRequest::Bytes(bytes) = &piece {
            self.held_bytes += bytes.len();
        }
        self.held.push_back(piece);
    }

    fn pop_held(&mut self) -> Option<HeldRequest> {
        let piece = self.held.pop_front()?;
        if let HeldRequest::Bytes(bytes) = &piece {
            self.held_bytes -= bytes.len();
        }
        Some(piece)
    }
}

// === impl Connection ===

impl<C: ClusterHandle> Connection<C> {
    /// Sends bytes of the client, or holds them.
    pub(super) fn send_to_broker(&mut self, bytes: Bytes) {
        if self.replay.is_holding() {
            self.replay.push_held(HeldRequest::Bytes(bytes));
        } else {
            self.context.out.transmit(Side::Broker, bytes);
        }
    }

    /// Sends bytes of the broker, or holds them.
    pub(super) fn send_to_client(&mut self, bytes: Bytes) {
        if self.replay.drops_responses {
            return;
        }
        match &mut self.replay.round {
            Some(round) => round.responses.push_back(HeldResponse::Bytes(bytes)),
            None => self.context.out.transmit(Side::Client, bytes),
        }
    }

    /// Number of pieces that wait to be sent, wherever they are.
    pub(super) fn pending_output(&self) -> usize {
        self.context.out.pending_transmits() + self.replay.held_pieces()
    }

    /// Holds what follows the request that was just sent.
    pub(super) fn hold_behind(&mut self, serial: u64) {
        if self.replay.is_holding() {
            self.replay.push_held(HeldRequest::AtRisk(serial));
        } else {
            self.replay.barrier = Some(serial);
        }
    }

    /// Withholds a response that rejects changed batches. Their originals go out when all requests
    /// that were sent before have been answered.
    pub(super) fn withhold(&mut self, rejected: RejectedProduce) {
        let is_mid_frame = self.requests.framer.is_within_passing_frame();
        let last_sent = match self.replay.barrier {
            Some(serial) => Some(serial),
            // A replay must not begin within a frame of the client.
            None => (!is_mid_frame).then(|| self.in_flight.last_serial()),
        };
        let round = self.replay.round.get_or_insert_with(|| ReplayRound {
            responses: VecDeque::new(),
            last_sent,
            missing: Vec::new(),
            is_replayed: false,
            unanswered: 0,
        });
        round.missing.extend(rejected.rejected.iter().cloned());
        let rejected = HeldResponse::Rejected(Box::new(rejected));
        round.responses.push_back(rejected);
    }

    /// Takes the next step of a round, or ends the barrier, if it is due.
    pub(super) fn advance_replay(&mut self, now: Timestamp) {
        // A response that is arriving may be the one that decides.
        if self.responses.current.is_some() {
            return;
        }
        let is_mid_frame = self.requests.framer.is_within_passing_frame();
        let Some(round) = &mut self.replay.round else {
            if let Some(serial) = self.replay.barrier
                && !self.in_flight.awaits_until(serial)
            {
                self.release_held();
            }
            return;
        };
        if round.last_sent.is_none() && !is_mid_frame {
            round.last_sent = Some(self.in_flight.last_serial());
        }
        if !round.is_replayed {
            let Some(last_sent) = round.last_sent else {
                return;
            };
            if self.in_flight.awaits_until(last_sent) {
                return;
            }
            round.is_replayed = true;
            self.send_replays(now);
        }
        let round = self.replay.round.take_if(|round| round.unanswered == 0);
        for response in round.into_iter().flat_map(|it| it.responses) {
            match response {
                HeldResponse::Bytes(bytes) => self.context.out.transmit(Side::Client, bytes),
                // Each was resolved when its response arrived.
                HeldResponse::Rejected(it) => self.forward_rejection(*it),
            }
        }
        if self.replay.round.is_none() {
            self.release_held();
        }
    }

    /// Sends the originals of all refused batches, in their order.
    fn send_replays(&mut self, now: Timestamp) {
        let Some(round) = &mut self.replay.round else {
            return;
        };
        let (mut replays, mut partitions) = (Vec::new(), 0u32);
        for response in &mut round.responses {
            let HeldResponse::Rejected(it) = response else {
                continue;
            };
            let count = u32::try_from(it.rejected.len()).unwrap_or(u32::MAX);
            let Some(frame) = it.original.replay(&mut self.context, &it.rejected) else {
                continue;
            };
            partitions = partitions.saturating_add(count);
            self.context.out.transmit(Side::Broker, frame);
            if it.original.is_silent() {
                let reserved_bytes = it.original.reserved_bytes;
                self.context
                    .cluster
                    .with_state(|state| state.release_bytes(reserved_bytes));
                *response = HeldResponse::Bytes(Bytes::new());
                continue;
            }
            let (head, first_byte) = (it.head, it.first_byte.min(now));
            replays.push(InFlightRequest::replay_of(head, first_byte));
        }
        round.unanswered = replays.len();
        // In front of requests that are held: these are sent later.
        for replay in replays.into_iter().rev() {
            self.in_flight.push_front(replay);
        }
        let event = SessionEvent::Replayed { partitions };
        self.context.out.push_event(event);
    }

    /// Takes the response to a replayed request.
    pub(super) fn finish_replay(&mut self, bytes: &Bytes, now: Timestamp) {
        let Some(round) = &mut self.replay.round else {
            return;
        };
        round.unanswered = round.unanswered.saturating_sub(1);
        let is_rejected = |it: &HeldResponse| matches!(it, HeldResponse::Rejected(_));
        let Some(at) = round.responses.iter().position(is_rejected) else {
            return;
        };
        let placeholder = HeldResponse::Bytes(Bytes::new());
        let slot = round.responses.get_mut(at);
        let slot = slot.map(|it| std::mem::replace(it, placeholder));
        let Some(HeldResponse::Rejected(rejected)) = slot else {
            return;
        };
        let response = self.resolve(*rejected, bytes, now);
        let round = self.replay.round.as_mut();
        if let Some(slot) = round.and_then(|it| it.responses.get_mut(at)) {
            *slot = HeldResponse::Bytes(response);
        }
    }

    /// Returns the response to the client after the second attempt, and ends the spans.
    fn resolve(&mut self, rejected: RejectedProduce, second: &Bytes, now: Timestamp) -> Bytes {
        let RejectedProduce {
            head,
            mut pending,
            original,
            response: first,
            rejected,
            ..
        } = rejected;
        self.release_bytes(original.reserved_bytes);
        let header = ResponseHeader::parse(&first, head.api, head.version).ok();
        let Some(body_start) = header.and_then(|it| it.body_start) else {
            return first;
        };
        let merged = original.merge(&first, second, body_start).unwrap_or(first);
        for batch in &rejected {
            pending.cancel_injection(&batch.partition, SkipReason::RefusedBefore);
        }
        let response = ApiFrame {
            bytes: &merged,
            body_start,
            api: head.api,
            version: head.version,
            first_byte: now,
            last_byte: now,
            is_buffered: true,
        };
        let handlers = &mut self.handlers;
        let changed = handlers.on_response(&mut self.context, pending, &response);
        changed.unwrap_or(merged)
    }

    /// Forwards the response of the first attempt: there can be no second one.
    fn forward_rejection(&mut self, rejected: RejectedProduce) {
        self.release_bytes(rejected.original.reserved_bytes);
        rejected
            .pending
            .discard(&mut self.context, SkipReason::OutOfOrder);
        if !rejected.original.is_silent() {
            self.context.out.transmit(Side::Client, rejected.response);
        }
    }

    /// Sends what is held, up to the next request at risk.
    fn release_held(&mut self) {
        self.replay.barrier = None;
        while let Some(piece) = self.replay.pop_held() {
            match piece {
                HeldRequest::Bytes(bytes) => self.context.out.transmit(Side::Broker, bytes),
                HeldRequest::AtRisk(serial) if self.in_flight.awaits_until(serial) => {
                    self.replay.barrier = Some(serial);
                    return;
                }
                HeldRequest::AtRisk(_) => {}
            }
        }
    }

    /// Sends what is held behind a request that was not answered in time.
    pub(super) fn expire_barrier(&mut self) {
        if self.replay.round.is_none() {
            self.release_everything();
        }
    }

    fn release_everything(&mut self) {
        self.replay.barrier = None;
        while let Some(piece) = self.replay.pop_held() {
            if let HeldRequest::Bytes(bytes) = piece {
                self.context.out.transmit(Side::Broker, bytes);
            }
        }
    }

    /// Gives up on a replay: all that is held goes on as it is.
    pub(super) fn abort_replay(&mut self) {
        let round = self.replay.round.take();
        for response in round.into_iter().flat_map(|it| it.responses) {
            match response {
                HeldResponse::Bytes(bytes) => self.context.out.transmit(Side::Client, bytes),
                HeldResponse::Rejected(it) => self.forward_rejection(*it),
            }
        }
        self.release_everything();
    }

    /// Ends a round at the end of the broker's stream. The client loses its connection without the
    /// rejection, and retries.
    pub(super) fn drop_replay(&mut self, now: Timestamp) {
        let Some(round) = self.replay.round.take() else {
            return;
        };
        self.replay.drops_responses = true;
        for response in round.responses {
            if let HeldResponse::Rejected(it) = response {
                self.release_bytes(it.original.reserved_bytes);
                let error = error_code::NETWORK_EXCEPTION;
                it.pending.fail(&mut self.context, now, error);
            }
        }
    }
}
