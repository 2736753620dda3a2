//! State of a replay: requests and responses that are held back.

use std::collections::VecDeque;

use bytes::Bytes;

use super::in_flight::RequestHead;
use crate::Timestamp;
use crate::kafka::handler::{BatchKey, OriginalProduce, PendingRequest};

/// Requests and responses that are held back around a replay.
#[derive(Debug, Default)]
pub(super) struct ReplayState {
    /// Bytes that the client sent behind the barrier, or during a round.
    pub(super) held: VecDeque<HeldRequest>,
    pub(super) held_bytes: usize,
    /// Serial number of the request whose response releases what is held.
    pub(super) barrier: Option<u64>,
    pub(super) round: Option<ReplayRound>,
    /// The connection ended in a round: clients take no response out of order.
    pub(super) drops_responses: bool,
}

/// Piece of what the client sent.
#[derive(Debug)]
pub(super) enum HeldRequest {
    Bytes(Bytes),
    /// A request with this serial number ends here, and is at risk itself.
    AtRisk(u64),
}

/// Replay of the requests in flight that were refused.
#[derive(Debug)]
pub(super) struct ReplayRound {
    pub(super) responses: VecDeque<HeldResponse>,
    /// Serial number of the last request that was sent before the replay; [`None`] while a frame
    /// of the client is on its way.
    pub(super) last_sent: Option<u64>,
    /// Batches that the broker refused so far.
    pub(super) missing: Vec<BatchKey>,
    pub(super) is_replayed: bool,
    /// Number of replayed requests without a response.
    pub(super) unanswered: usize,
}

/// Response that the client does not have yet.
#[derive(Debug)]
pub(super) enum HeldResponse {
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

    /// Returns the state of refused requests.
    pub(super) fn pending_mut(&mut self) -> impl Iterator<Item = &mut PendingRequest> {
        let responses = self.round.iter_mut().flat_map(|it| &mut it.responses);
        responses.filter_map(|it| match it {
            HeldResponse::Bytes(_) => None,
            HeldResponse::Rejected(it) => Some(&mut it.pending),
        })
    }

    pub(super) fn is_holding(&self) -> bool {
        let round = self.round.as_ref();
        self.barrier.is_some() || round.is_some_and(|it| it.last_sent.is_some())
    }

    pub(super) fn push_held(&mut self, piece: HeldRequest) {
        if let HeldRequest::Bytes(bytes) = &piece {
            self.held_bytes += bytes.len();
        }
        self.held.push_back(piece);
    }

    pub(super) fn pop_held(&mut self) -> Option<HeldRequest> {
        let piece = self.held.pop_front()?;
        if let HeldRequest::Bytes(bytes) = &piece {
            self.held_bytes -= bytes.len();
        }
        Some(piece)
    }
}
