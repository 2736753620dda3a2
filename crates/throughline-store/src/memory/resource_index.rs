//! Resources and scopes. The spans of one export share them, so the memory of each counts once,
//! as long as a stored span refers to it.

use std::collections::HashMap;
use std::sync::Arc;

use throughline_model::Span;

use super::{fingerprint, heap_size};

/// The resources and scopes of the stored spans, by address. An address stays unique while a span
/// refers to it.
#[derive(Debug, Default)]
pub(super) struct ResourceIndex {
    entries: HashMap<usize, ResourceUsage>,
    bytes: usize,
}

/// A resource or scope that stored spans refer to.
#[derive(Debug)]
struct ResourceUsage {
    spans: usize,
    bytes: usize,
    /// Hashes of its attributes; see [`fingerprint`].
    hashes: Box<[u32]>,
}

/// Whether a span is the first or last stored span to refer to its resource and its scope.
#[derive(Debug, Clone, Copy)]
pub(super) struct SoleReference {
    pub(super) resource: bool,
    pub(super) scope: bool,
}

impl ResourceIndex {
    /// Returns the estimated memory of all resources and scopes.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds the references of a span; returns which of them are the first.
    pub(super) fn acquire(&mut self, span: &Span) -> SoleReference {
        let (resource, scope) = (&span.resource, &span.scope);
        SoleReference {
            resource: self.acquire_address(Arc::as_ptr(resource).addr(), || {
                (
                    heap_size::resource(resource),
                    fingerprint::hashes_of(&resource.attributes),
                )
            }),
            scope: self.acquire_address(Arc::as_ptr(scope).addr(), || {
                (
                    heap_size::scope(scope),
                    fingerprint::hashes_of(&scope.attributes),
                )
            }),
        }
    }

    /// Removes the references of a span, which must still hold them; returns which of them were
    /// the last.
    pub(super) fn release(&mut self, span: &Span) -> SoleReference {
        SoleReference {
            resource: self.release_address(Arc::as_ptr(&span.resource).addr()),
            scope: self.release_address(Arc::as_ptr(&span.scope).addr()),
        }
    }

    /// Returns the hashes of the resource and of the scope of a stored span.
    pub(super) fn hashes(&self, span: &Span) -> (&[u32], &[u32]) {
        let hashes = |address: usize| {
            self.entries
                .get(&address)
                .map_or(&[][..], |usage| &usage.hashes)
        };
        (
            hashes(Arc::as_ptr(&span.resource).addr()),
            hashes(Arc::as_ptr(&span.scope).addr()),
        )
    }

    fn acquire_address(
        &mut self,
        address: usize,
        measure: impl FnOnce() -> (usize, Box<[u32]>),
    ) -> bool {
        let usage = self.entries.entry(address).or_insert_with(|| {
            let (bytes, hashes) = measure();
            let bytes = bytes + size_of_val(&*hashes);
            self.bytes += bytes;
            ResourceUsage {
                spans: 0,
                bytes,
                hashes,
            }
        });
        usage.spans += 1;
        usage.spans == 1
    }

    fn release_address(&mut self, address: usize) -> bool {
        let Some(usage) = self.entries.get_mut(&address) else {
            return false;
        };
        usage.spans -= 1;
        let is_last = usage.spans == 0;
        // Removed before the span is dropped: the next allocation may reuse the address.
        if is_last {
            self.bytes -= usage.bytes;
            self.entries.remove(&address);
        }
        is_last
    }
}
