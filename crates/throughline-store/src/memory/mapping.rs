//! Services, topics and what went between them, counted over the spans of a time. The lock is taken for some traces at a time.

use std::collections::HashMap;
use std::sync::Arc;

use throughline_model::{Span, SpanKind, TraceId};

use super::{MemoryStore, Shelf};
use crate::{Edge, EdgeKind, Histogram, Message, ServiceNode, System, TopicNode};

impl MemoryStore {
    pub(super) fn map(&self, from: u64, until: u64) -> System {
        let ids: Vec<TraceId> = self
            .read()
            .started_until(until)
            .map(|(_, id)| *id)
            .collect();
        let mut count = Count {
            from,
            until,
            ..Count::default()
        };
        for some in ids.chunks(CHUNK) {
            let shelf = self.read();
            // An address is a resource's own as long as nothing can go.
            count.services_by_address.clear();
            for entry in some
                .iter()
                .filter_map(|id| shelf.traces.get(id))
                .filter(|entry| entry.last_start >= from)
            {
                for span in entry.spans.values() {
                    count.span(&shelf, span);
                }
            }
        }
        count.finish()
    }
}

#[derive(Debug, Default)]
struct Count {
    from: u64,
    until: u64,
    first: Option<u64>,
    spans: u64,
    names: HashMap<Arc<str>, usize>,
    by_number: Vec<Arc<str>>,
    services_by_address: HashMap<usize, usize>,
    services: HashMap<usize, (u64, u64)>,
    topics: HashMap<usize, (u64, u64)>,
    edges: HashMap<Ends, Tally>,
    more: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Ends {
    kind: EdgeKind,
    from: usize,
    to: usize,
    group: usize,
}

#[derive(Debug, Default)]
struct Tally {
    count: u64,
    errors: u64,
    time: Histogram,
    queue: Histogram,
    lag_max: Option<i64>,
}

// === impl Count ===

impl Count {
    fn span(&mut self, shelf: &Shelf, span: &Span) {
        if !(self.from..=self.until).contains(&span.start) {
            return;
        }
        self.spans += 1;
        self.first = Some(self.first.map_or(span.start, |first| first.min(span.start)));
        let Some(service) = self.service(span) else {
            return;
        };
        let node = self.services.entry(service).or_default();
        node.0 += 1;
        node.1 += u64::from(span.failed());
        match span.kind {
            SpanKind::Producer => self.send(span, service),
            SpanKind::Consumer => self.receive(shelf, span, service),
            SpanKind::Unspecified | SpanKind::Internal | SpanKind::Server | SpanKind::Client => {}
        }
        if span.kind != SpanKind::Consumer {
            self.call(shelf, span, service);
        }
    }

    fn send(&mut self, span: &Span, service: usize) {
        let Some(topic) = Message::of(span).and_then(|message| message.topic) else {
            return;
        };
        let Some(topic) = self.topic(topic) else {
            return;
        };
        self.topics.entry(topic).or_default().0 += 1;
        self.tally(
            Ends {
                kind: EdgeKind::Send,
                from: service,
                to: topic,
                group: NO_GROUP,
            },
            span,
            span.failed(),
        );
    }

    /// What is got counts once, however many spans of the receiver speak of it.
    fn receive(&mut self, shelf: &Shelf, span: &Span, service: usize) {
        let parent = parent(shelf, span);
        if parent.is_some_and(|parent| {
            parent.kind == SpanKind::Consumer && parent.service() == span.service()
        }) {
            return;
        }
        let message = Message::of(span).unwrap_or_default();
        let links = span
            .links
            .iter()
            .take(LINKS_MAX)
            .filter_map(|link| shelf.span(link.trace_id, link.span_id));
        let is_producer = |span: &&Span| span.kind == SpanKind::Producer;
        let mut producers: Vec<&Span> = parent
            .into_iter()
            .chain(links.map(|span| &**span))
            .filter(is_producer)
            .collect();
        producers.dedup_by_key(|span| (span.trace_id, span.span_id));
        let of_producer = || {
            producers
                .iter()
                .find_map(|producer| Message::of(producer)?.topic)
        };
        let Some(topic) = message
            .topic
            .or_else(of_producer)
            .and_then(|topic| self.topic(topic))
        else {
            return self.call(shelf, span, service);
        };
        let group = message
            .group
            .map_or(Some(NO_GROUP), |group| self.number(group));
        let Some(group) = group else { return };
        self.topics.entry(topic).or_default().1 += 1;
        let ends = Ends {
            kind: EdgeKind::Receive,
            from: topic,
            to: service,
            group,
        };
        let Some(tally) = self.tally(ends, span, span.failed()) else {
            return;
        };
        tally.lag_max = tally.lag_max.max(message.lag);
        // A record's timestamp lies before it is sent, so what counts from there is only for who knows no sender.
        match (producers.as_slice(), message.queue_time) {
            ([], None) => {}
            ([], Some(time)) => tally.queue.add(time),
            (senders, _) => {
                senders
                    .iter()
                    .for_each(|sender| tally.queue.add(span.start.saturating_sub(sender.end)));
            }
        }
    }

    /// A call from another service; not what came through a topic.
    fn call(&mut self, shelf: &Shelf, span: &Span, service: usize) {
        let Some(parent) =
            parent(shelf, span).filter(|parent| !Arc::ptr_eq(&parent.resource, &span.resource))
        else {
            return;
        };
        let Some(caller) = self.service(parent).filter(|caller| *caller != service) else {
            return;
        };
        let failed = span.failed() || (parent.kind == SpanKind::Client && parent.failed());
        let through = (parent.kind == SpanKind::Producer)
            .then(|| Message::of(parent)?.topic)
            .flatten();
        let ends = match through {
            None => Ends {
                kind: EdgeKind::Call,
                from: caller,
                to: service,
                group: NO_GROUP,
            },
            Some(topic) => {
                let Some(topic) = self.topic(topic) else {
                    return;
                };
                self.topics.entry(topic).or_default().1 += 1;
                Ends {
                    kind: EdgeKind::Receive,
                    from: topic,
                    to: service,
                    group: NO_GROUP,
                }
            }
        };
        self.tally(ends, span, failed);
    }

    fn tally(&mut self, ends: Ends, span: &Span, failed: bool) -> Option<&mut Tally> {
        if self.edges.len() >= EDGES_MAX && !self.edges.contains_key(&ends) {
            self.more = true;
            return None;
        }
        let tally = self.edges.entry(ends).or_default();
        tally.count += 1;
        tally.errors += u64::from(failed);
        tally.time.add(span.duration());
        Some(tally)
    }

    /// The number of a span's service.
    fn service(&mut self, span: &Span) -> Option<usize> {
        let address = Arc::as_ptr(&span.resource).addr();
        if let Some(number) = self.services_by_address.get(&address) {
            return Some(*number);
        }
        let number = self.number(span.service())?;
        self.services_by_address.insert(address, number);
        Some(number)
    }

    fn topic(&mut self, topic: &str) -> Option<usize> {
        self.number(topic)
    }

    fn number(&mut self, name: &str) -> Option<usize> {
        if let Some(number) = self.names.get(name) {
            return Some(*number);
        }
        if self.names.len() >= NAMES_MAX {
            self.more = true;
            return None;
        }
        let name: Arc<str> = Arc::from(name);
        // 0 stands for no group.
        let number = self.by_number.len() + 1;
        self.names.insert(Arc::clone(&name), number);
        self.by_number.push(name);
        Some(number)
    }

    fn name(&self, number: usize) -> Arc<str> {
        let known = number.checked_sub(1).and_then(|at| self.by_number.get(at));
        known.map_or_else(|| Arc::from(""), Arc::clone)
    }

    fn finish(mut self) -> System {
        let edges = std::mem::take(&mut self.edges);
        let edge = |(ends, tally): (Ends, Tally)| Edge {
            kind: ends.kind,
            from: self.name(ends.from),
            to: self.name(ends.to),
            group: self.name(ends.group),
            count: tally.count,
            errors: tally.errors,
            time: tally.time,
            queue: tally.queue,
            lag_max: tally.lag_max,
        };
        let mut edges: Vec<Edge> = edges.into_iter().map(edge).collect();
        edges.sort_by(|a, b| {
            (a.kind, &a.from, &a.to, &a.group).cmp(&(b.kind, &b.from, &b.to, &b.group))
        });
        let service = |(number, (spans, errors)): (&usize, &(u64, u64))| ServiceNode {
            name: self.name(*number),
            spans: *spans,
            errors: *errors,
        };
        let mut services: Vec<ServiceNode> = self.services.iter().map(service).collect();
        services.sort_by(|a, b| a.name.cmp(&b.name));
        let topic = |(number, (sent, received)): (&usize, &(u64, u64))| TopicNode {
            name: self.name(*number),
            sent: *sent,
            received: *received,
        };
        let mut topics: Vec<TopicNode> = self.topics.iter().map(topic).collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        System {
            first: self.first,
            spans: self.spans,
            services,
            topics,
            edges,
            more: self.more,
        }
    }
}

fn parent<'a>(shelf: &'a Shelf, span: &Span) -> Option<&'a Span> {
    shelf
        .span(span.trace_id, span.parent_span_id?)
        .map(|parent| &**parent)
}

const NO_GROUP: usize = 0;

/// Traces looked at under one lock.
const CHUNK: usize = 256;

/// Services, topics and groups of a map.
const NAMES_MAX: usize = 2000;

/// Edges of a map.
const EDGES_MAX: usize = 2000;

/// Links of one span that are followed to the message's sender.
const LINKS_MAX: usize = 100;
