//! The traces that were sent on, so that a span is sent once, and a late one with the same trace
//! id.

use std::collections::{HashMap, HashSet, VecDeque};

use throughline_model::convention::SHARED_ID;
use throughline_model::{Span, SpanId, SpanKind, TraceId, Value};

/// Maximum number of traces that are remembered; the one sent first is forgotten first.
const MAX_TRACES: usize = 131_072;

/// Maximum number of their spans.
const MAX_SPANS: usize = 524_288;

/// A span within its trace. The two sides of a call of Zipkin's clients have one id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ReportedSpan {
    pub(super) id: SpanId,
    pub(super) kind: SpanKind,
}

/// Reported traces that were sent, in part at least.
#[derive(Debug, Default)]
pub(super) struct SentTraces {
    traces: HashMap<TraceId, SentTrace>,
    /// In the order in which they were sent first.
    order: VecDeque<TraceId>,
    spans: usize,
}

#[derive(Debug)]
struct SentTrace {
    /// The trace id that its spans were sent with.
    sent_as: TraceId,
    spans: HashSet<ReportedSpan>,
}

// === impl ReportedSpan ===

impl ReportedSpan {
    /// Returns the identity of a span as it was reported, before the store gave it an id of its
    /// own.
    pub(super) fn of(span: &Span) -> Self {
        let shared = span.attribute(SHARED_ID).and_then(Value::as_str);
        let shared = shared.and_then(SpanId::from_hex);
        Self {
            id: shared.unwrap_or(span.span_id),
            kind: span.kind,
        }
    }
}

// === impl SentTraces ===

impl SentTraces {
    /// Returns the id that the spans of a reported trace were sent with.
    pub(super) fn sent_as(&self, id: TraceId) -> Option<TraceId> {
        self.traces.get(&id).map(|trace| trace.sent_as)
    }

    /// Returns whether a span was sent.
    pub(super) fn contains(&self, id: TraceId, span: ReportedSpan) -> bool {
        let trace = self.traces.get(&id);
        trace.is_some_and(|trace| trace.spans.contains(&span))
    }

    /// Returns whether a span was sent, of whatever kind.
    pub(super) fn contains_id(&self, id: TraceId, span_id: SpanId) -> bool {
        let trace = self.traces.get(&id);
        trace.is_some_and(|trace| trace.spans.iter().any(|span| span.id == span_id))
    }

    /// Notes that spans of a reported trace are sent.
    pub(super) fn insert(
        &mut self,
        id: TraceId,
        sent_as: TraceId,
        spans: impl IntoIterator<Item = ReportedSpan>,
    ) {
        let order = &mut self.order;
        let trace = self.traces.entry(id).or_insert_with(|| {
            order.push_back(id);
            SentTrace {
                sent_as,
                spans: HashSet::new(),
            }
        });
        let before = trace.spans.len();
        trace.spans.extend(spans);
        self.spans += trace.spans.len() - before;
        while self.order.len() > MAX_TRACES || self.spans > MAX_SPANS {
            let Some(oldest) = self.order.pop_front() else {
                return;
            };
            let forgotten = self.traces.remove(&oldest);
            self.spans -= forgotten.map_or(0, |trace| trace.spans.len());
        }
    }
}
