//! Links backwards: which spans of other traces link to a trace.

use std::collections::{BTreeSet, HashMap};

use throughline_model::{Span, SpanId, TraceId};

/// Spans that link, by the trace that they link to.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    to: HashMap<TraceId, BTreeSet<(TraceId, SpanId)>>,
    bytes: usize,
}

impl Incoming {
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// A span came in.
    pub(super) fn add(&mut self, span: &Span) {
        for link in span
            .links
            .iter()
            .filter(|link| link.trace_id != span.trace_id)
        {
            let from = self.to.entry(link.trace_id).or_insert_with(|| {
                self.bytes += TARGET_PLACE;
                BTreeSet::new()
            });
            if from.insert((span.trace_id, span.span_id)) {
                self.bytes += SOURCE_PLACE;
            }
        }
    }

    /// A span goes.
    pub(super) fn remove(&mut self, span: &Span) {
        for link in &span.links {
            let Some(from) = self.to.get_mut(&link.trace_id) else {
                continue;
            };
            if from.remove(&(span.trace_id, span.span_id)) {
                self.bytes -= SOURCE_PLACE;
            }
            if from.is_empty() {
                self.to.remove(&link.trace_id);
                self.bytes -= TARGET_PLACE;
            }
        }
    }

    /// The spans that link to this trace.
    pub(super) fn of(&self, id: TraceId) -> impl Iterator<Item = (TraceId, SpanId)> {
        self.to.get(&id).into_iter().flatten().copied()
    }
}

/// A place in the map, and the smallest set.
const TARGET_PLACE: usize = 384;

/// A place in a set that is at least half full.
const SOURCE_PLACE: usize = 64;
