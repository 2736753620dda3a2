//! Builds the service graph from the spans of a time range.
//!
//! The read lock is held for [`CHUNK_TRACES`] traces at a time.

use std::collections::HashMap;
use std::sync::Arc;

use throughline_model::{Span, SpanKind, TraceId};

use super::trace_index::{LockedIndex, TraceIndex};
use crate::{
    EdgeKind, GraphEdge, LatencyHistogram, MessageAttributes, ServiceDependency, ServiceGraph,
    ServiceNode, SpanKey, TopicNode,
};

/// Traces examined under one lock.
const CHUNK_TRACES: usize = 256;

/// Maximum number of services, topics and groups of a graph.
const MAX_NAMES: usize = 2000;

/// Maximum number of edges of a graph.
const MAX_EDGES: usize = 2000;

/// Maximum number of links of a span that are followed to the sender of its message.
const MAX_SENDER_LINKS: usize = 100;

/// Name number of an edge without a consumer group.
const NO_GROUP: usize = 0;

/// Builds the graph of the spans that started from `from` to `until`.
pub(super) fn build(index: &LockedIndex, from: u64, until: u64) -> ServiceGraph {
    // A trace that started later has no span in the range; one that started earlier may.
    let ids: Vec<TraceId> = {
        let guard = index.read();
        let started = guard.starts_in(..);
        started
            .take_while(|(start, _)| *start <= until)
            .map(|(_, id)| *id)
            .collect()
    };
    let mut builder = GraphBuilder {
        from,
        until,
        ..GraphBuilder::default()
    };
    for chunk in ids.chunks(CHUNK_TRACES) {
        let guard = index.read();
        // The address of a resource identifies it only while the lock keeps it from being freed.
        builder.services_by_address.clear();
        for entry in chunk
            .iter()
            .filter_map(|id| guard.entry(*id))
            // All spans of the others started before the range.
            .filter(|entry| entry.last_start >= from)
        {
            for span in entry.spans.values() {
                builder.add_span(&guard, span);
            }
        }
    }
    builder.finish()
}

/// A graph under construction. Names are numbers until it is finished: an edge is then found by
/// comparing four numbers.
#[derive(Debug, Default)]
struct GraphBuilder {
    from: u64,
    until: u64,
    first_start: Option<u64>,
    spans: u64,
    numbers: HashMap<Arc<str>, usize>,
    names: Vec<Arc<str>>,
    services_by_address: HashMap<usize, usize>,
    services: HashMap<usize, SpanCounters>,
    topics: HashMap<usize, TopicCounters>,
    edges: HashMap<EdgeKey, EdgeCounters>,
    /// By caller and callee.
    dependencies: HashMap<(usize, usize), u64>,
    more: bool,
}

/// The spans of a service.
#[derive(Debug, Default, Clone, Copy)]
struct SpanCounters {
    spans: u64,
    errors: u64,
}

/// The messages of a topic.
#[derive(Debug, Default, Clone, Copy)]
struct TopicCounters {
    sent: u64,
    received: u64,
}

/// The identity of an edge; names by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct EdgeKey {
    kind: EdgeKind,
    from: usize,
    to: usize,
    group: usize,
}

/// The counts behind an edge.
#[derive(Debug, Default)]
struct EdgeCounters {
    count: u64,
    errors: u64,
    latency: LatencyHistogram,
    queue_time: LatencyHistogram,
    max_lag: Option<i64>,
}

/// A span of the range with its service and its parent.
#[derive(Clone, Copy)]
struct GraphSpan<'a> {
    span: &'a Span,
    service: usize,
    parent: Option<&'a Span>,
}

// === impl GraphBuilder ===

impl GraphBuilder {
    fn add_span(&mut self, index: &TraceIndex, span: &Span) {
        if !(self.from..=self.until).contains(&span.start) {
            return;
        }
        self.spans += 1;
        let first = self.first_start;
        self.first_start = Some(first.map_or(span.start, |first| first.min(span.start)));
        let Some(service) = self.service(span) else {
            return;
        };
        let counters = self.services.entry(service).or_default();
        counters.spans += 1;
        counters.errors += u64::from(span.failed());
        let parent = index.parent_of(span);
        let current = GraphSpan {
            span,
            service,
            parent: parent.map(|parent| &**parent),
        };
        self.add_dependencies(index, current);
        match span.kind {
            SpanKind::Producer => self.add_send(current),
            SpanKind::Consumer => self.add_receive(index, current),
            SpanKind::Unspecified | SpanKind::Internal | SpanKind::Server | SpanKind::Client => {}
        }
        if span.kind != SpanKind::Consumer {
            self.add_call(current);
        }
    }

    /// Counts the services that the span's service was called by. The parent is the caller; for a
    /// span without one, the spans it links to are.
    fn add_dependencies(&mut self, index: &TraceIndex, current: GraphSpan<'_>) {
        let caller = current
            .parent
            .and_then(|parent| self.other_service(parent, current));
        if let Some(caller) = caller {
            self.count_dependency(caller, current.service);
        }
        // A parent that is not stored does not turn links into callers.
        if current.span.parent_span_id.is_some() {
            return;
        }
        for link in &current.span.links {
            let target = index.span(SpanKey::of_link(link));
            let caller = target.and_then(|target| self.other_service(target, current));
            if let Some(caller) = caller {
                self.count_dependency(caller, current.service);
            }
        }
    }

    fn count_dependency(&mut self, caller: usize, callee: usize) {
        *self.dependencies.entry((caller, callee)).or_default() += 1;
    }

    /// Returns the service of a related span when it is another one.
    fn other_service(&mut self, related: &Span, current: GraphSpan<'_>) -> Option<usize> {
        // Most spans share the resource of their parent: comparing addresses avoids two lookups.
        if Arc::ptr_eq(&related.resource, &current.span.resource) {
            return None;
        }
        self.service(related)
            .filter(|service| *service != current.service)
    }

    fn add_send(&mut self, current: GraphSpan<'_>) {
        let Some(topic) = MessageAttributes::of(current.span).and_then(|message| message.topic)
        else {
            return;
        };
        let Some(topic) = self.number(topic) else {
            return;
        };
        // Counted even when the edge is beyond the limit: the node itself is known.
        self.topics.entry(topic).or_default().sent += 1;
        let key = EdgeKey {
            kind: EdgeKind::Send,
            from: current.service,
            to: topic,
            group: NO_GROUP,
        };
        self.count_edge(key, current.span, current.span.failed());
    }

    /// Counts a reception once, however many spans of the receiver describe it.
    fn add_receive(&mut self, index: &TraceIndex, current: GraphSpan<'_>) {
        let GraphSpan {
            span,
            service,
            parent,
        } = current;
        // A consumer span below one of the same service describes the same reception again.
        if parent.is_some_and(|parent| {
            parent.kind == SpanKind::Consumer && parent.service() == span.service()
        }) {
            return;
        }
        let message = MessageAttributes::of(span).unwrap_or_default();
        let producers = producers(index, current);
        // The producer's span names the topic where the consumer's does not.
        let producer_topic = || {
            let mut messages = producers.iter().copied().filter_map(MessageAttributes::of);
            messages.find_map(|message| message.topic)
        };
        let Some(topic) = message
            .topic
            .or_else(producer_topic)
            .and_then(|topic| self.number(topic))
        else {
            return self.add_call(current);
        };
        let group = message
            .group
            .map_or(Some(NO_GROUP), |group| self.number(group));
        let Some(group) = group else { return };
        self.topics.entry(topic).or_default().received += 1;
        let key = EdgeKey {
            kind: EdgeKind::Receive,
            from: topic,
            to: service,
            group,
        };
        let Some(counters) = self.count_edge(key, span, span.failed()) else {
            return;
        };
        counters.max_lag = counters.max_lag.max(message.lag);
        // A record's timestamp lies before its sending, so the time recorded by the consumer
        // counts only where no producer span gives the end of the sending.
        match (producers.as_slice(), message.queue_time) {
            ([], None) => {}
            ([], Some(time)) => counters.queue_time.add(time),
            (senders, _) => {
                for sender in senders {
                    let waited = span.start.saturating_sub(sender.end);
                    counters.queue_time.add(waited);
                }
            }
        }
    }

    /// Counts a call from another service, unless it went through a topic.
    fn add_call(&mut self, current: GraphSpan<'_>) {
        let GraphSpan {
            span,
            service,
            parent,
        } = current;
        let Some(parent) = parent else { return };
        let Some(caller) = self.other_service(parent, current) else {
            return;
        };
        // The client may see a failure (a timeout) that the server does not.
        let failed = span.failed() || (parent.kind == SpanKind::Client && parent.failed());
        let through = (parent.kind == SpanKind::Producer)
            .then(|| MessageAttributes::of(parent)?.topic)
            .flatten();
        let key = match through {
            None => EdgeKey {
                kind: EdgeKind::Call,
                from: caller,
                to: service,
                group: NO_GROUP,
            },
            // Receivers without a consumer span: their work is a direct child of the producer.
            Some(topic) => {
                let Some(topic) = self.number(topic) else {
                    return;
                };
                self.topics.entry(topic).or_default().received += 1;
                EdgeKey {
                    kind: EdgeKind::Receive,
                    from: topic,
                    to: service,
                    group: NO_GROUP,
                }
            }
        };
        self.count_edge(key, span, failed);
    }

    fn count_edge(&mut self, key: EdgeKey, span: &Span, failed: bool) -> Option<&mut EdgeCounters> {
        // Known edges are still counted: the graph is then partial, but not wrong.
        if self.edges.len() >= MAX_EDGES && !self.edges.contains_key(&key) {
            self.more = true;
            return None;
        }
        let counters = self.edges.entry(key).or_default();
        counters.count += 1;
        counters.errors += u64::from(failed);
        counters.latency.add(span.duration());
        Some(counters)
    }

    /// Returns the number of a span's service.
    fn service(&mut self, span: &Span) -> Option<usize> {
        let address = Arc::as_ptr(&span.resource).addr();
        if let Some(number) = self.services_by_address.get(&address) {
            return Some(*number);
        }
        let number = self.number(span.service())?;
        self.services_by_address.insert(address, number);
        Some(number)
    }

    /// Returns the number of a name; `None` when there are too many names.
    fn number(&mut self, name: &str) -> Option<usize> {
        if let Some(number) = self.numbers.get(name) {
            return Some(*number);
        }
        if self.names.len() >= MAX_NAMES {
            self.more = true;
            return None;
        }
        let name: Arc<str> = Arc::from(name);
        // Numbers start at 1: 0 is `NO_GROUP`.
        let number = self.names.len() + 1;
        self.numbers.insert(Arc::clone(&name), number);
        self.names.push(name);
        Some(number)
    }

    fn name(&self, number: usize) -> Arc<str> {
        let name = number.checked_sub(1).and_then(|at| self.names.get(at));
        name.map_or_else(|| Arc::from(""), Arc::clone)
    }

    fn finish(mut self) -> ServiceGraph {
        let edges = std::mem::take(&mut self.edges);
        let edge = |(key, counters): (EdgeKey, EdgeCounters)| GraphEdge {
            kind: key.kind,
            from: self.name(key.from),
            to: self.name(key.to),
            group: self.name(key.group),
            count: counters.count,
            errors: counters.errors,
            latency: counters.latency,
            queue_time: counters.queue_time,
            max_lag: counters.max_lag,
        };
        // Sorted by name throughout: hash maps iterate in a different order in each process.
        let mut edges: Vec<GraphEdge> = edges.into_iter().map(edge).collect();
        edges.sort_by(|a, b| {
            (a.kind, &a.from, &a.to, &a.group).cmp(&(b.kind, &b.from, &b.to, &b.group))
        });
        let service = |(number, counters): (&usize, &SpanCounters)| ServiceNode {
            name: self.name(*number),
            spans: counters.spans,
            errors: counters.errors,
        };
        let mut services: Vec<ServiceNode> = self.services.iter().map(service).collect();
        services.sort_by(|a, b| a.name.cmp(&b.name));
        let topic = |(number, counters): (&usize, &TopicCounters)| TopicNode {
            name: self.name(*number),
            sent: counters.sent,
            received: counters.received,
        };
        let mut topics: Vec<TopicNode> = self.topics.iter().map(topic).collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        let dependency = |((parent, child), calls): (&(usize, usize), &u64)| ServiceDependency {
            parent: self.name(*parent),
            child: self.name(*child),
            calls: *calls,
        };
        let mut dependencies: Vec<_> = self.dependencies.iter().map(dependency).collect();
        dependencies.sort_unstable();
        ServiceGraph {
            first_start: self.first_start,
            spans: self.spans,
            services,
            topics,
            edges,
            dependencies,
            more: self.more,
        }
    }
}

/// Returns the producer spans of a received message: the parent, and the spans it links to.
fn producers<'a>(index: &'a TraceIndex, current: GraphSpan<'a>) -> Vec<&'a Span> {
    let links = current.span.links.iter().take(MAX_SENDER_LINKS);
    let linked = links.filter_map(|link| index.span(SpanKey::of_link(link)));
    let mut producers: Vec<&Span> = current
        .parent
        .into_iter()
        .chain(linked.map(|span| &**span))
        .filter(|span| span.kind == SpanKind::Producer)
        .collect();
    // The parent is often linked to as well.
    producers.dedup_by_key(|span| SpanKey::of(span));
    producers
}
