//! What a session has for its driver.

use std::collections::VecDeque;

use bytes::Bytes;
use throughline_model::Span;

use super::Notice;
use crate::Side;

/// Bytes, spans and notices on their way out. Short: the driver drains it after each call.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    transmits: VecDeque<(Side, Bytes)>,
    spans: VecDeque<Span>,
    notices: VecDeque<Notice>,
}

// === impl Outbox ===

impl Outbox {
    /// Bytes to be written to this side.
    pub(super) fn transmit(&mut self, to: Side, bytes: Bytes) {
        if !bytes.is_empty() {
            self.transmits.push_back((to, bytes));
        }
    }

    /// How many pieces wait to be written.
    pub(super) fn waiting(&self) -> usize {
        self.transmits.len()
    }

    pub(super) fn span(&mut self, span: Span) {
        self.spans.push_back(span);
    }

    pub(super) fn notice(&mut self, notice: Notice) {
        self.notices.push_back(notice);
    }

    pub(super) fn poll_transmit(&mut self) -> Option<(Side, Bytes)> {
        self.transmits.pop_front()
    }

    pub(super) fn poll_span(&mut self) -> Option<Span> {
        self.spans.pop_front()
    }

    pub(super) fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }
}
