//! Output of a session: bytes, spans and events that the driver polls.

use std::collections::VecDeque;

use bytes::Bytes;
use throughline_model::{Span, SpanGroup};

use crate::Side;
use crate::kafka::{SessionEvent, SkipReason};

/// Queues of output. They stay short: the driver drains them after each call.
#[derive(Debug, Default)]
pub(in crate::kafka) struct Outbox {
    transmits: VecDeque<(Side, Bytes)>,
    groups: VecDeque<SpanGroup>,
    /// Spans of the group that is polled one by one.
    spans: VecDeque<Span>,
    events: VecDeque<SessionEvent>,
}

// === impl Outbox ===

impl Outbox {
    /// Queues bytes for one side.
    pub(in crate::kafka) fn transmit(&mut self, to: Side, bytes: Bytes) {
        // A driver takes empty bytes for the end of a stream.
        if !bytes.is_empty() {
            self.transmits.push_back((to, bytes));
        }
    }

    /// Returns the number of queued pieces of bytes.
    pub(in crate::kafka) fn pending_transmits(&self) -> usize {
        self.transmits.len()
    }

    pub(in crate::kafka) fn push_spans(&mut self, spans: SpanGroup) {
        if !spans.is_empty() {
            self.groups.push_back(spans);
        }
    }

    pub(in crate::kafka) fn push_event(&mut self, event: SessionEvent) {
        self.events.push_back(event);
    }

    /// Reports that something passes unmodified. `records` is 0 where their number is unknown.
    pub(in crate::kafka) fn skip(&mut self, reason: SkipReason, records: u32) {
        self.push_event(SessionEvent::Skipped { reason, records });
    }

    /// Reports spans that were due and are not made.
    pub(in crate::kafka) fn drop_spans(&mut self, reason: SkipReason, spans: u32) {
        if spans > 0 {
            self.push_event(SessionEvent::SpansDropped { reason, spans });
        }
    }

    pub(in crate::kafka) fn poll_transmit(&mut self) -> Option<(Side, Bytes)> {
        self.transmits.pop_front()
    }

    pub(in crate::kafka) fn poll_spans(&mut self) -> Option<SpanGroup> {
        self.groups.pop_front()
    }

    pub(in crate::kafka) fn poll_span(&mut self) -> Option<Span> {
        if self.spans.is_empty()
            && let Some(group) = self.groups.pop_front()
        {
            self.spans.extend(group.spans());
        }
        self.spans.pop_front()
    }

    pub(in crate::kafka) fn poll_event(&mut self) -> Option<SessionEvent> {
        self.events.pop_front()
    }
}
