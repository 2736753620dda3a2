//! The walk over links, nearest traces first, until a limit is reached.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use throughline_model::{Link, Span, SpanId, SpanKind, TraceId};
use throughline_store::{MessageAttributes, SpanKey, Store, TraceSummary, WeavingView};

use super::response::{JourneyLink, JourneyResponse, JourneySpan, JourneySpanDetail, JourneyTrace};
use crate::query::throughline::json_value::to_json_value;
use crate::query::throughline::microseconds::Microseconds;

/// Maximum number of links of a journey.
const MAX_LINKS: usize = 1000;

/// Maximum number of traces of a journey, and of missing ones.
const MAX_TRACES: usize = 100;

/// A breadth-first walk over links.
pub(super) struct LinkWalk<'a> {
    store: &'a dyn Store,
    view: WeavingView,
    max_hops: usize,
    max_spans: u64,
    traces: Vec<JourneyTrace>,
    visited: HashSet<TraceId>,
    /// Traces by the ids that were reported for them.
    listed: HashMap<TraceId, TraceId>,
    missing: BTreeSet<TraceId>,
    links: Vec<LinkEdge>,
    /// Keys of the cause and the effect of each link.
    known_links: HashSet<(SpanKey, SpanKey)>,
    more: bool,
}

/// A span, and one of its links.
struct LinkEdge {
    effect: Arc<Span>,
    link: Link,
}

// === impl LinkWalk ===

impl<'a> LinkWalk<'a> {
    pub(super) fn new(
        store: &'a dyn Store,
        view: WeavingView,
        max_hops: usize,
        max_spans: usize,
    ) -> Self {
        Self {
            store,
            view,
            max_hops,
            max_spans: max_spans as u64,
            traces: Vec::new(),
            visited: HashSet::new(),
            listed: HashMap::new(),
            missing: BTreeSet::new(),
            links: Vec::new(),
            known_links: HashSet::new(),
            more: false,
        }
    }

    /// Walks from a trace.
    pub(super) fn run(mut self, first: &TraceSummary) -> JourneyResponse {
        // Breadth first: when a limit ends the walk, the nearest traces are in.
        let mut queue = VecDeque::from([(first.id, 0)]);
        self.add_trace(first, 0);
        while let Some((id, hop)) = queue.pop_front() {
            for neighbour in self.neighbours(id) {
                if self.visit(neighbour, hop) {
                    queue.push_back((neighbour, hop + 1));
                }
            }
        }
        self.finish()
    }

    /// Returns the traces that this one links to, and those that link to it; records their links.
    fn neighbours(&mut self, id: TraceId) -> Vec<TraceId> {
        let mut found = Vec::new();
        let (outgoing, incoming) = (
            self.store.links_from(id, self.view, MAX_LINKS),
            self.store.links_to(id, self.view, MAX_LINKS),
        );
        // A full list may have been cut.
        self.more |= outgoing.len() >= MAX_LINKS || incoming.len() >= MAX_LINKS;
        for span in outgoing {
            for link in &span.links {
                let target = self.listed_id(link.trace_id);
                if target != id {
                    found.push(target);
                    self.record(&span, link);
                }
            }
        }
        for span in incoming {
            found.push(self.listed_id(span.trace_id));
            for link in &span.links {
                if self.listed_id(link.trace_id) == id {
                    self.record(&span, link);
                }
            }
        }
        found
    }

    /// Returns the id of the trace that a reported one is part of.
    fn listed_id(&mut self, id: TraceId) -> TraceId {
        let (store, view) = (self.store, self.view);
        let listed = self.listed.entry(id);
        *listed.or_insert_with(|| store.summary(id, view).map_or(id, |summary| summary.id))
    }

    fn record(&mut self, effect: &Arc<Span>, link: &Link) {
        // Both of its ends find the same link.
        let key = (SpanKey::of_link(link), SpanKey::of(effect));
        if self.known_links.contains(&key) {
            return;
        }
        if self.links.len() >= MAX_LINKS {
            self.more = true;
            return;
        }
        self.known_links.insert(key);
        self.listed_id(link.trace_id);
        self.listed_id(effect.trace_id);
        self.links.push(LinkEdge {
            effect: Arc::clone(effect),
            link: link.clone(),
        });
    }

    /// Adds a trace to the journey; returns false when it is known, missing or beyond a limit.
    fn visit(&mut self, id: TraceId, hop: usize) -> bool {
        if self.visited.contains(&id) || self.missing.contains(&id) {
            return false;
        }
        // Looked up before the limits are checked: a trace that is missing does not mean more.
        let Some(summary) = self.store.summary(id, self.view) else {
            if self.missing.len() < MAX_TRACES {
                self.missing.insert(id);
            } else {
                self.more = true;
            }
            return false;
        };
        // Linear in at most 100 traces.
        let spans: u64 = self.traces.iter().map(|trace| trace.summary.spans).sum();
        if hop >= self.max_hops || spans >= self.max_spans || self.traces.len() >= MAX_TRACES {
            self.more = true;
            return false;
        }
        self.add_trace(&summary, hop + 1);
        true
    }

    fn add_trace(&mut self, summary: &TraceSummary, hop: usize) {
        self.visited.insert(summary.id);
        let hop = u32::try_from(hop).unwrap_or(u32::MAX);
        self.traces.push(JourneyTrace {
            hop,
            summary: summary.into(),
        });
    }

    /// Returns the journey, without the links to traces beyond a limit.
    fn finish(mut self) -> JourneyResponse {
        // A link with an unknown end would point to nothing in the response.
        let is_known = |id: TraceId| self.visited.contains(&id) || self.missing.contains(&id);
        let links = std::mem::take(&mut self.links);
        let links: Vec<JourneyLink> = links
            .into_iter()
            .filter_map(|edge| {
                let cause = *self.listed.get(&edge.link.trace_id)?;
                let effect = *self.listed.get(&edge.effect.trace_id)?;
                (is_known(cause) && is_known(effect))
                    .then(|| journey_link(self.store, &edge, (cause, effect)))
            })
            .collect();
        let missing = self.missing.iter().map(ToString::to_string).collect();
        JourneyResponse {
            traces: self.traces,
            links,
            missing,
            more: self.more,
        }
    }
}

/// Describes a link. The link's own attributes come first, then those of the receiver, then those
/// of the sender.
fn journey_link(
    store: &dyn Store,
    LinkEdge { effect, link }: &LinkEdge,
    traces: (TraceId, TraceId),
) -> JourneyLink {
    let cause = store.span(SpanKey::of_link(link));
    let on_link = MessageAttributes::of_attributes(&link.attributes, true);
    let on_effect = MessageAttributes::of(effect).unwrap_or_default();
    let on_cause = cause.as_deref().and_then(MessageAttributes::of);
    let on_cause = on_cause.unwrap_or_default();
    // The span of a batch names the topic once; its offsets are on its links.
    let is_single = effect.links.len() == 1;
    let waited = || {
        let sender = cause.as_deref();
        let sender = sender.filter(|cause| cause.kind == SpanKind::Producer)?;
        Some(effect.start.saturating_sub(sender.end))
    };
    let topic = on_link.topic.or(on_effect.topic).or(on_cause.topic);
    let partition = on_link.partition.or(on_effect.partition);
    let own_offset = on_effect.offset.filter(|_| is_single);
    let own_queue_time = on_effect.queue_time.filter(|_| is_single);
    JourneyLink {
        topic: topic.map(str::to_owned),
        partition: partition.or(on_cause.partition),
        offset: on_link.offset.or(own_offset).or(on_cause.offset),
        group: on_link.group.or(on_effect.group).map(str::to_owned),
        lag: on_link.lag.or(on_effect.lag),
        // Between the two spans if both are known; as recorded otherwise.
        queue: waited()
            .or(on_link.queue_time)
            .or(own_queue_time)
            .map(Microseconds::of),
        attributes: link
            .attributes
            .iter()
            .map(|pair| (pair.key.to_string(), to_json_value(&pair.value)))
            .collect(),
        cause: journey_span(traces.0, link.span_id, cause.as_deref()),
        effect: journey_span(traces.1, effect.span_id, Some(effect)),
    }
}

fn journey_span(trace_id: TraceId, span_id: SpanId, span: Option<&Span>) -> JourneySpan {
    let detail = |span: &Span| JourneySpanDetail {
        service: span.service().to_owned(),
        operation: span.name.clone(),
        start: Microseconds::since_epoch(span.start),
        duration: Microseconds::of(span.duration()),
        failed: span.failed(),
    };
    JourneySpan {
        trace_id: trace_id.to_string(),
        span_id: span_id.to_string(),
        span: span.map(detail),
    }
}
