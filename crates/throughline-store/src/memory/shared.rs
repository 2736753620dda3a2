//! What resources and scopes take: each is shared by the spans of one export, and counted once as long as one of them is kept.

use std::collections::HashMap;
use std::sync::Arc;

use throughline_model::Span;

use super::weight;

/// The resources and scopes that spans in the store hold, by address: an address stays theirs while a span holds them.
#[derive(Debug, Default)]
pub(super) struct Shared {
    holders: HashMap<usize, Holding>,
    bytes: usize,
}

#[derive(Debug)]
struct Holding {
    spans: usize,
    bytes: usize,
}

impl Shared {
    /// Bytes of all that is shared.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// A span came in.
    pub(super) fn hold(&mut self, span: &Span) {
        self.hold_one(Arc::as_ptr(&span.resource).addr(), || weight::resource(&span.resource));
        self.hold_one(Arc::as_ptr(&span.scope).addr(), || weight::scope(&span.scope));
    }

    /// A span goes; to be called while it still is.
    pub(super) fn release(&mut self, span: &Span) {
        self.release_one(Arc::as_ptr(&span.resource).addr());
        self.release_one(Arc::as_ptr(&span.scope).addr());
    }

    fn hold_one(&mut self, address: usize, weigh: impl FnOnce() -> usize) {
        let holding = self.holders.entry(address).or_insert_with(|| {
            let bytes = weigh();
            self.bytes += bytes;
            Holding { spans: 0, bytes }
        });
        holding.spans += 1;
    }

    fn release_one(&mut self, address: usize) {
        let Some(holding) = self.holders.get_mut(&address) else { return };
        holding.spans -= 1;
        if holding.spans == 0 {
            self.bytes -= holding.bytes;
            self.holders.remove(&address);
        }
    }
}
