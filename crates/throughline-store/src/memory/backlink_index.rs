//! Links by target: the spans of other traces that link to a trace.

use std::collections::{BTreeSet, HashMap};

use throughline_model::{Span, TraceId};

use crate::SpanKey;

/// Memory of a target in the map, with the smallest set.
const TARGET_BYTES: usize = 384;

/// Memory of a source in a set that is at least half full.
const SOURCE_BYTES: usize = 64;

/// Linking spans, by the trace they link to.
#[derive(Debug, Default)]
pub(super) struct BacklinkIndex {
    sources: HashMap<TraceId, BTreeSet<SpanKey>>,
    bytes: usize,
}

impl BacklinkIndex {
    /// Returns the estimated memory of the index.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds the links of a span.
    pub(super) fn add(&mut self, span: &Span) {
        // A link within its own trace needs no index: the trace is read as a whole.
        for link in span
            .links
            .iter()
            .filter(|link| link.trace_id != span.trace_id)
        {
            let sources = self.sources.entry(link.trace_id).or_insert_with(|| {
                self.bytes += TARGET_BYTES;
                BTreeSet::new()
            });
            // A span may link to several spans of one trace.
            if sources.insert(SpanKey::of(span)) {
                self.bytes += SOURCE_BYTES;
            }
        }
    }

    /// Removes the links of a span.
    pub(super) fn remove(&mut self, span: &Span) {
        for link in &span.links {
            let Some(sources) = self.sources.get_mut(&link.trace_id) else {
                continue;
            };
            if sources.remove(&SpanKey::of(span)) {
                self.bytes -= SOURCE_BYTES;
            }
            if sources.is_empty() {
                self.sources.remove(&link.trace_id);
                self.bytes -= TARGET_BYTES;
            }
        }
    }

    /// Returns the spans that link to this trace.
    pub(super) fn sources(&self, id: TraceId) -> impl Iterator<Item = SpanKey> {
        self.sources.get(&id).into_iter().flatten().copied()
    }
}
