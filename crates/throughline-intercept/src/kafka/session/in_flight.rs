//! Requests in flight: a response belongs to a request by the order on the connection, and by the
//! correlation id.

use std::collections::VecDeque;

use throughline_kafka::api::ApiKey;
use throughline_kafka::types::CorrelationId;

use crate::Timestamp;
use crate::kafka::handler::{OriginalProduce, PendingRequest};

/// Header of a request, as far as it is needed for the response.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestHead {
    pub(super) api: ApiKey,
    pub(super) version: i16,
    pub(super) correlation_id: CorrelationId,
}

/// Request that waits for its response.
#[derive(Debug)]
pub(super) struct InFlightRequest {
    pub(super) head: RequestHead,
    /// Arrival of the first byte.
    pub(super) first_byte: Timestamp,
    /// Whether there is a response for certain; false for a Produce whose acks could not be read.
    pub(super) is_answered: bool,
    pub(super) pending: PendingRequest,
    /// Original of a request that was changed.
    pub(super) original: Option<Box<OriginalProduce>>,
    /// Whether this is the second attempt of a request: the client awaits no response to it.
    pub(super) is_replay: bool,
    /// Place in the order of all requests of the connection.
    serial: u64,
}

/// Request that a response belongs to.
#[derive(Debug)]
pub(super) enum ResponseMatch {
    /// The first one in flight.
    InOrder(InFlightRequest),
    /// One behind the first.
    OutOfOrder(InFlightRequest),
    /// None.
    Unknown,
}

/// Table of the requests in flight, in their order.
#[derive(Debug, Default)]
pub(super) struct InFlightRequests {
    waiting: VecDeque<InFlightRequest>,
    /// Number of requests at the front that have timed out.
    expired: usize,
    /// Requests without a response that a later response overtook.
    skipped: Vec<InFlightRequest>,
    last_serial: u64,
    /// Number of requests whose original is kept.
    originals: usize,
}

// === impl InFlightRequests ===

impl InFlightRequests {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Adds a request, and returns its serial number.
    pub(super) fn push(&mut self, mut request: InFlightRequest) -> u64 {
        self.last_serial += 1;
        self.originals += usize::from(request.original.is_some());
        request.serial = self.last_serial;
        self.waiting.push_back(request);
        self.last_serial
    }

    /// Adds a request that is answered before all others.
    pub(super) fn push_front(&mut self, request: InFlightRequest) {
        // Expired requests are counted from the front; they have no state left to expire again.
        self.expired = 0;
        self.waiting.push_front(request);
    }

    /// Returns the serial number of the last request.
    pub(super) const fn last_serial(&self) -> u64 {
        self.last_serial
    }

    /// Returns whether the response to a request up to this one is awaited.
    pub(super) fn awaits_until(&self, serial: u64) -> bool {
        let mut waiting = self.waiting.iter().take_while(|it| it.serial <= serial);
        waiting.any(|it| it.is_answered || it.original.is_some())
    }

    /// Returns whether the original of any request is kept.
    pub(super) const fn has_originals(&self) -> bool {
        self.originals > 0
    }

    /// Returns the original of the first request without a response, if it is kept.
    pub(super) fn first_original(&self) -> Option<&OriginalProduce> {
        self.waiting.front()?.original.as_deref()
    }

    /// Bytes of the budget that kept originals take.
    pub(super) fn reserved_bytes(&self) -> usize {
        let originals = self.waiting.iter().filter_map(|it| it.original.as_ref());
        originals.map(|it| it.reserved_bytes).sum()
    }

    /// Removes and returns the request that a response belongs to.
    pub(super) fn match_response(&mut self, id: CorrelationId) -> ResponseMatch {
        let is_overtaken =
            |first: &InFlightRequest| first.head.correlation_id != id && !first.is_answered;
        // Brokers answer in order, so that a later response proves that there is none.
        while self.waiting.front().is_some_and(is_overtaken) {
            let skipped = self.remove(0);
            self.skipped.extend(skipped);
        }
        let mut waiting = self.waiting.iter();
        let at = waiting.position(|request| request.head.correlation_id == id);
        match at.and_then(|at| Some((at, self.remove(at)?))) {
            None => ResponseMatch::Unknown,
            Some((0, request)) => ResponseMatch::InOrder(request),
            Some((_, request)) => ResponseMatch::OutOfOrder(request),
        }
    }

    fn remove(&mut self, at: usize) -> Option<InFlightRequest> {
        // The count of expired requests at the front moves with them.
        if at < self.expired {
            self.expired -= 1;
        }
        let request = self.waiting.remove(at)?;
        self.originals -= usize::from(request.original.is_some());
        Some(request)
    }

    /// Takes the requests that a later response overtook.
    pub(super) fn take_skipped(&mut self) -> Vec<InFlightRequest> {
        std::mem::take(&mut self.skipped)
    }

    /// Returns when the first request with spans times out.
    pub(super) fn deadline(&self, timeout: u64) -> Option<Timestamp> {
        let mut waiting = self.waiting.iter().skip(self.expired);
        let first = waiting.find(|it| it.pending.has_spans() || it.original.is_some())?;
        Some(first.first_byte.saturating_add(timeout))
    }

    /// Takes the state of requests that have timed out. They keep their places: the response may
    /// still come.
    pub(super) fn expire(&mut self, now: Timestamp, timeout: u64) -> Vec<PendingRequest> {
        let mut pending = Vec::new();
        for request in self.waiting.iter_mut().skip(self.expired) {
            // Requests are in the order of their arrival: all behind this one are younger.
            if request.first_byte.saturating_add(timeout) > now {
                break;
            }
            self.expired += 1;
            if request.pending.has_spans() {
                pending.push(request.take_pending());
            }
        }
        pending
    }

    /// Returns the state of all requests.
    pub(super) fn pending_mut(&mut self) -> impl Iterator<Item = &mut PendingRequest> {
        self.waiting.iter_mut().map(|it| &mut it.pending)
    }

    /// Takes the state of all requests. They keep their places: responses still come.
    pub(super) fn take_pending(&mut self) -> Vec<PendingRequest> {
        let waiting = self.waiting.iter_mut();
        waiting.map(InFlightRequest::take_pending).collect()
    }

    /// Removes and returns all requests: no response comes any more.
    pub(super) fn abandon(&mut self) -> impl Iterator<Item = InFlightRequest> + use<> {
        (self.expired, self.originals) = (0, 0);
        std::mem::take(&mut self.waiting).into_iter()
    }
}

// === impl InFlightRequest ===

impl InFlightRequest {
    /// Returns a request that waits for its response.
    pub(super) const fn new(
        head: RequestHead,
        first_byte: Timestamp,
        pending: PendingRequest,
    ) -> Self {
        Self {
            head,
            first_byte,
            is_answered: true,
            pending,
            original: None,
            is_replay: false,
            serial: 0,
        }
    }

    /// Returns a request that may have no response.
    pub(super) const fn unsure(head: RequestHead, first_byte: Timestamp) -> Self {
        let mut request = Self::new(head, first_byte, PendingRequest::Plain);
        request.is_answered = false;
        request
    }

    /// Returns the second attempt of a request.
    pub(super) const fn replay_of(head: RequestHead, first_byte: Timestamp) -> Self {
        let mut request = Self::new(head, first_byte, PendingRequest::Plain);
        request.is_replay = true;
        request
    }

    const fn take_pending(&mut self) -> PendingRequest {
        std::mem::replace(&mut self.pending, PendingRequest::Plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(id: i32, is_answered: bool) -> InFlightRequest {
        let head = RequestHead {
            api: ApiKey::METADATA,
            version: 0,
            correlation_id: CorrelationId(id),
        };
        let request = InFlightRequest::new(head, 0, PendingRequest::Plain);
        InFlightRequest {
            is_answered,
            ..request
        }
    }

    fn table(ids: &[i32]) -> InFlightRequests {
        let mut table = InFlightRequests::default();
        for id in ids {
            table.push(request(*id, true));
        }
        table
    }

    /// Returns the id of the request that a response matches, and whether it was the first one.
    fn matched(table: &mut InFlightRequests, id: i32) -> Option<(i32, bool)> {
        match table.match_response(CorrelationId(id)) {
            ResponseMatch::InOrder(request) => Some((request.head.correlation_id.0, true)),
            ResponseMatch::OutOfOrder(request) => Some((request.head.correlation_id.0, false)),
            ResponseMatch::Unknown => None,
        }
    }

    #[test]
    fn responses_match_in_order_and_an_overtaking_one_is_reported() {
        let mut table = table(&[1, 2, 3, 1]);
        assert_eq!(matched(&mut table, 1), Some((1, true)));
        assert_eq!(matched(&mut table, 9), None);
        assert_eq!(matched(&mut table, 3), Some((3, false)));
        assert_eq!(matched(&mut table, 2), Some((2, true)));
        assert_eq!(matched(&mut table, 1), Some((1, true)));
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn request_that_may_have_no_response_does_not_block_later_ones() {
        let mut table = table(&[]);
        table.push(request(1, false));
        table.push(request(2, true));
        assert_eq!(matched(&mut table, 2), Some((2, true)));
        assert_eq!((table.take_skipped().len(), table.len()), (1, 0));
        table.push(request(3, false));
        assert_eq!(matched(&mut table, 3), Some((3, true)));
    }
}
