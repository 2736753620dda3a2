//! What resources and scopes take: each is shared by the spans of one export, and counted once as long as one of them is kept.

use std::collections::HashMap;
use std::sync::Arc;

use throughline_model::Span;

use super::{signature, weight};

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
    /// Of its attributes, as [`signature`] has them.
    hashes: Box<[u32]>,
}

/// Which of the two that a span shares it is the first or last to hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Alone {
    pub(super) resource: bool,
    pub(super) scope: bool,
}

impl Shared {
    /// Bytes of all that is shared.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// A span came in.
    pub(super) fn hold(&mut self, span: &Span) -> Alone {
        let (resource, scope) = (&span.resource, &span.scope);
        Alone {
            resource: self.hold_one(Arc::as_ptr(resource).addr(), || {
                (
                    weight::resource(resource),
                    signature::of_attributes(&resource.attributes),
                )
            }),
            scope: self.hold_one(Arc::as_ptr(scope).addr(), || {
                (
                    weight::scope(scope),
                    signature::of_attributes(&scope.attributes),
                )
            }),
        }
    }

    /// A span goes; to be called while it still is.
    pub(super) fn release(&mut self, span: &Span) -> Alone {
        Alone {
            resource: self.release_one(Arc::as_ptr(&span.resource).addr()),
            scope: self.release_one(Arc::as_ptr(&span.scope).addr()),
        }
    }

    /// The hashes of the resource and of the scope of a span that is held.
    pub(super) fn hashes(&self, span: &Span) -> (&[u32], &[u32]) {
        let of = |address: usize| {
            self.holders
                .get(&address)
                .map_or(&[][..], |holding| &holding.hashes)
        };
        (
            of(Arc::as_ptr(&span.resource).addr()),
            of(Arc::as_ptr(&span.scope).addr()),
        )
    }

    fn hold_one(&mut self, address: usize, weigh: impl FnOnce() -> (usize, Box<[u32]>)) -> bool {
        let holding = self.holders.entry(address).or_insert_with(|| {
            let (bytes, hashes) = weigh();
            let bytes = bytes + size_of_val(&*hashes);
            self.bytes += bytes;
            Holding {
                spans: 0,
                bytes,
                hashes,
            }
        });
        holding.spans += 1;
        holding.spans == 1
    }

    fn release_one(&mut self, address: usize) -> bool {
        let Some(holding) = self.holders.get_mut(&address) else {
            return false;
        };
        holding.spans -= 1;
        let is_last = holding.spans == 0;
        if is_last {
            self.bytes -= holding.bytes;
            self.holders.remove(&address);
        }
        is_last
    }
}
