//! The walk over links, nearest traces first, until there is enough.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use throughline_model::{Link, Span, SpanId, SpanKind, TraceId};
use throughline_store::{Message, Store, Summary};

use super::{JourneyAnswer, JourneyLink, JourneySpan, JourneySpanDetail, JourneyTrace};
use crate::query::throughline::columns;
use crate::query::throughline::micros::Micros;

/// A walk under way.
pub(super) struct Walk<'a> {
    store: &'a dyn Store,
    hops: usize,
    spans: u64,
    traces: Vec<JourneyTrace>,
    seen: HashSet<TraceId>,
    missing: BTreeSet<TraceId>,
    links: Vec<Edge>,
    known_links: HashSet<(TraceId, SpanId, TraceId, SpanId)>,
    more: bool,
}

/// A span, and one of its links.
struct Edge {
    effect: Arc<Span>,
    link: Link,
}

// === impl Walk ===

impl<'a> Walk<'a> {
    pub(super) fn new(store: &'a dyn Store, hops: usize, spans: usize) -> Self {
        Self {
            store,
            hops,
            spans: spans as u64,
            traces: Vec::new(),
            seen: HashSet::new(),
            missing: BTreeSet::new(),
            links: Vec::new(),
            known_links: HashSet::new(),
            more: false,
        }
    }

    /// From this trace on.
    pub(super) fn go(mut self, first: &Summary) -> JourneyAnswer {
        let mut queue = VecDeque::from([(first.id, 0)]);
        self.take(first, 0);
        while let Some((id, hop)) = queue.pop_front() {
            for neighbour in self.neighbours(id) {
                if self.reaches(neighbour, hop) {
                    queue.push_back((neighbour, hop + 1));
                }
            }
        }
        self.finish()
    }

    /// Traces that this one links to, or that link to it. Their links are noted.
    fn neighbours(&mut self, id: TraceId) -> Vec<TraceId> {
        let mut found = Vec::new();
        let (out, back) = (
            self.store.links_from(id, LINKS_MAX),
            self.store.links_to(id, LINKS_MAX),
        );
        self.more |= out.len() >= LINKS_MAX || back.len() >= LINKS_MAX;
        for span in out {
            for link in span.links.iter().filter(|link| link.trace_id != id) {
                found.push(link.trace_id);
                self.note(&span, link);
            }
        }
        for span in back {
            found.push(span.trace_id);
            for link in span.links.iter().filter(|link| link.trace_id == id) {
                self.note(&span, link);
            }
        }
        found
    }

    fn note(&mut self, effect: &Arc<Span>, link: &Link) {
        if self.known_links.contains(&(
            link.trace_id,
            link.span_id,
            effect.trace_id,
            effect.span_id,
        )) {
            return;
        }
        if self.links.len() >= LINKS_MAX {
            self.more = true;
            return;
        }
        self.known_links
            .insert((link.trace_id, link.span_id, effect.trace_id, effect.span_id));
        self.links.push(Edge {
            effect: Arc::clone(effect),
            link: link.clone(),
        });
    }

    /// Whether a trace is new and within bounds; then it is part of the journey.
    fn reaches(&mut self, id: TraceId, hop: usize) -> bool {
        if self.seen.contains(&id) || self.missing.contains(&id) {
            return false;
        }
        let Some(summary) = self.store.summary(id) else {
            if self.missing.len() < TRACES_MAX {
                self.missing.insert(id);
            } else {
                self.more = true;
            }
            return false;
        };
        let spans: u64 = self.traces.iter().map(|trace| trace.summary.spans).sum();
        if hop >= self.hops || spans >= self.spans || self.traces.len() >= TRACES_MAX {
            self.more = true;
            return false;
        }
        self.take(&summary, hop + 1);
        true
    }

    fn take(&mut self, summary: &Summary, hop: usize) {
        self.seen.insert(summary.id);
        let hop = u32::try_from(hop).unwrap_or(u32::MAX);
        self.traces.push(JourneyTrace {
            hop,
            summary: summary.into(),
        });
    }

    /// Only links whose both ends are shown, or known to be missing.
    fn finish(mut self) -> JourneyAnswer {
        let is_shown = |id: TraceId| self.seen.contains(&id) || self.missing.contains(&id);
        let links = std::mem::take(&mut self.links);
        let links = links
            .into_iter()
            .filter(|edge| is_shown(edge.link.trace_id) && is_shown(edge.effect.trace_id));
        let links = links.map(|edge| link(self.store, &edge)).collect();
        let missing = self.missing.iter().map(ToString::to_string).collect();
        JourneyAnswer {
            traces: self.traces,
            links,
            missing,
            more: self.more,
        }
    }
}

fn link(store: &dyn Store, Edge { effect, link }: &Edge) -> JourneyLink {
    let cause = store.span(link.trace_id, link.span_id);
    let on_link = Message::of_attributes(&link.attributes, true);
    let on_effect = Message::of(effect).unwrap_or_default();
    let on_cause = cause.as_deref().and_then(Message::of).unwrap_or_default();
    // A batch names its topic once, and offsets on each link.
    let is_single = effect.links.len() == 1;
    let waited = || {
        let sent = cause
            .as_deref()
            .filter(|cause| cause.kind == SpanKind::Producer)?
            .end;
        Some(effect.start.saturating_sub(sent))
    };
    let of_effect = |number: Option<i64>| number.filter(|_| is_single);
    JourneyLink {
        topic: on_link
            .topic
            .or(on_effect.topic)
            .or(on_cause.topic)
            .map(str::to_owned),
        partition: on_link
            .partition
            .or(on_effect.partition)
            .or(on_cause.partition),
        offset: on_link
            .offset
            .or_else(|| of_effect(on_effect.offset))
            .or(on_cause.offset),
        group: on_link.group.or(on_effect.group).map(str::to_owned),
        lag: on_link.lag.or(on_effect.lag),
        queue: waited()
            .or(on_link.queue_time)
            .or_else(|| on_effect.queue_time.filter(|_| is_single))
            .map(Micros::of),
        attributes: link
            .attributes
            .iter()
            .map(|pair| (pair.key.to_string(), columns::json(&pair.value)))
            .collect(),
        cause: end(link.trace_id, link.span_id, cause.as_deref()),
        effect: end(effect.trace_id, effect.span_id, Some(effect)),
    }
}

fn end(trace: TraceId, id: SpanId, span: Option<&Span>) -> JourneySpan {
    let detail = |span: &Span| JourneySpanDetail {
        service: span.service().to_owned(),
        operation: span.name.clone(),
        start: Micros::moment(span.start),
        duration: Micros::of(span.duration()),
        failed: span.failed(),
    };
    JourneySpan {
        trace_id: trace.to_string(),
        span_id: id.to_string(),
        span: span.map(detail),
    }
}

/// Links of a journey.
const LINKS_MAX: usize = 1000;

/// Traces of a journey.
const TRACES_MAX: usize = 100;
