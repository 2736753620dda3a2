//! Links by target: the traces whose spans link to a trace.
//!
//! Receivers of batches have hundreds of links each, nearly all to traces that nothing else links
//! to. An entry is therefore eight bytes: a hash of the target and the number of the source. Two
//! targets may share a hash, so a reader looks at the links of the source themselves.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};

use throughline_model::{Span, TraceId};

/// Memory of an entry in a set that is half full on average, with its share of the inner nodes.
const ENTRY_BYTES: usize = 16;

/// Traces, by number, by the hash of a trace they link to.
#[derive(Debug, Default)]
pub(super) struct BacklinkIndex {
    entries: BTreeSet<(u32, u32)>,
    /// Keyed at random, so that no sender can choose ids with one hash.
    hash_key: RandomState,
}

impl BacklinkIndex {
    /// Returns the estimated memory of the index.
    pub(super) fn bytes(&self) -> usize {
        self.entries.len() * ENTRY_BYTES
    }

    /// Adds the links of a span of the trace with this number.
    pub(super) fn add(&mut self, span: &Span, source: u32) {
        for target in self.targets(span).collect::<Vec<_>>() {
            self.entries.insert((target, source));
        }
    }

    pub(super) fn remove(&mut self, target: u32, source: u32) {
        self.entries.remove(&(target, source));
    }

    /// Returns the hashes of the traces that a span links to.
    pub(super) fn targets(&self, span: &Span) -> impl Iterator<Item = u32> {
        let own = span.trace_id;
        // A link within its own trace needs no index: the trace is read as a whole.
        let links = span.links.iter().filter(move |link| link.trace_id != own);
        links.map(|link| self.hash(link.trace_id))
    }

    /// Returns the numbers of the traces that may link to this trace.
    pub(super) fn sources(&self, id: TraceId) -> impl Iterator<Item = u32> {
        let target = self.hash(id);
        self.entries
            .range((target, 0)..=(target, u32::MAX))
            .map(|(_, source)| *source)
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "any 32 bits of the hash do"
    )]
    fn hash(&self, id: TraceId) -> u32 {
        self.hash_key.hash_one(id) as u32
    }
}
