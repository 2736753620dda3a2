//! A trace as it is kept: its spans, and what lists and orders need of it, so that they need not look at the spans.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use throughline_model::{Span, SpanId, TraceId};

use super::signature::Signature;
use super::weight;
use crate::{
    Expression, Facts, Find, Message, Order, Place, ServiceCount, Summary, Trace, message,
};

/// A trace. The map keeps it free of doubles.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) spans: BTreeMap<SpanId, Arc<Span>>,
    /// The start of its first span, as in the order by start.
    pub(super) first_start: u64,
    pub(super) last_start: u64,
    last_end: u64,
    errors: u64,
    open: u64,
    woven: u64,
    /// A span without parent rather than one with; of those the first.
    root: (bool, u64, SpanId),
    services: Vec<ServiceCount>,
    topics: Vec<(Arc<str>, u64)>,
    pub(super) signature: Signature,
    /// When it last got a span, by the store's own counting.
    pub(super) touched: u64,
    /// Bytes of the spans.
    span_bytes: usize,
}

/// Texts that many traces share.
#[derive(Debug, Default)]
pub(super) struct Names(HashSet<Arc<str>>);

// === impl Entry ===

impl Entry {
    /// A trace that is about to get this span.
    pub(super) const fn new(span: &Span) -> Self {
        Self {
            spans: BTreeMap::new(),
            first_start: span.start,
            last_start: span.start,
            last_end: span.end,
            errors: 0,
            open: 0,
            woven: 0,
            root: rank(span),
            services: Vec::new(),
            topics: Vec::new(),
            signature: Signature::EMPTY,
            touched: 0,
            span_bytes: 0,
        }
    }

    /// Bytes of it all, without what is shared.
    pub(super) const fn bytes(&self) -> usize {
        TRACE_OVERHEAD
            + self.span_bytes
            + self.signature.bytes()
            + self.services.capacity() * size_of::<ServiceCount>()
            + self.topics.capacity() * size_of::<(Arc<str>, u64)>()
    }

    /// A span comes in.
    pub(super) fn count_in(&mut self, span: &Span, topic: Option<&str>, names: &mut Names) {
        self.span_bytes += weight::span(span);
        self.first_start = self.first_start.min(span.start);
        self.last_start = self.last_start.max(span.start);
        self.last_end = self.last_end.max(span.end);
        self.root = self.root.min(rank(span));
        let failed = u64::from(span.failed());
        self.errors += failed;
        let (open, woven) = fragments(span);
        self.open += open;
        self.woven += woven;
        let service = span.service();
        if let Some(count) = self
            .services
            .iter_mut()
            .find(|count| &*count.name == service)
        {
            count.spans += 1;
            count.errors += failed;
        } else if self.services.len() < NAMES_MAX {
            self.services.push(ServiceCount {
                name: names.take(service),
                spans: 1,
                errors: failed,
            });
        }
        let Some(topic) = topic else { return };
        if let Some((_, count)) = self.topics.iter_mut().find(|(own, _)| &**own == topic) {
            *count += 1;
        } else if self.topics.len() < NAMES_MAX {
            self.topics.push((names.take(topic), 1));
        }
    }

    /// A span goes, because another takes its place; `true` when the trace must be measured anew.
    pub(super) fn count_out(
        &mut self,
        span: &Span,
        topic: Option<&str>,
        names: &mut Names,
    ) -> bool {
        self.span_bytes -= weight::span(span);
        self.signature.forget_resource();
        let failed = u64::from(span.failed());
        self.errors -= failed;
        let (open, woven) = fragments(span);
        self.open -= open;
        self.woven -= woven;
        let service = span.service();
        if let Some(at) = self
            .services
            .iter()
            .position(|count| &*count.name == service)
            && let Some(count) = self.services.get_mut(at)
        {
            count.spans = count.spans.saturating_sub(1);
            count.errors = count.errors.saturating_sub(failed);
            if count.spans == 0 {
                names.give_back(self.services.swap_remove(at).name);
            }
        }
        if let Some(topic) = topic
            && let Some(at) = self.topics.iter().position(|(own, _)| &**own == topic)
            && let Some((_, count)) = self.topics.get_mut(at)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                names.give_back(self.topics.swap_remove(at).0);
            }
        }
        span.start == self.first_start
            || span.start == self.last_start
            || span.end == self.last_end
            || span.span_id == self.root.2
    }

    /// Measures it anew, from its spans.
    pub(super) fn measure(&mut self) {
        let spans = || self.spans.values();
        let Some(root) = spans().map(|span| rank(span)).min() else {
            return;
        };
        self.root = root;
        self.first_start = spans().map(|span| span.start).min().unwrap_or_default();
        self.last_start = spans().map(|span| span.start).max().unwrap_or_default();
        self.last_end = spans().map(|span| span.end).max().unwrap_or_default();
    }

    /// The names it has of the shared ones.
    pub(super) fn into_names(self) -> impl Iterator<Item = Arc<str>> {
        self.services
            .into_iter()
            .map(|count| count.name)
            .chain(self.topics.into_iter().map(|(topic, _)| topic))
    }

    /// From its first start to its last end.
    pub(super) const fn duration(&self) -> u64 {
        self.last_end.saturating_sub(self.first_start)
    }

    pub(super) fn place(&self, id: TraceId, order: Order) -> Place {
        let value = match order {
            Order::Newest => self.first_start,
            Order::Duration => self.duration(),
            Order::Spans => self.spans.len() as u64,
            Order::Errors => self.errors,
        };
        Place {
            value,
            start: self.first_start,
            id,
        }
    }

    /// Whether it is as asked, but for the expression.
    pub(super) fn fits(&self, find: &Find) -> bool {
        find.duration.contains(&self.duration())
            && find
                .topic
                .as_ref()
                .is_none_or(|topic| self.topics.iter().any(|(own, _)| **own == **topic))
    }

    pub(super) fn holds(&self, id: TraceId, expression: &Expression) -> bool {
        expression.holds(&self.facts(id), &|| self.spans.values().map(|span| &**span))
    }

    fn facts(&self, id: TraceId) -> Facts<'_> {
        Facts {
            id,
            duration: self.duration(),
            root: self.root(),
        }
    }

    fn root(&self) -> Option<&Span> {
        self.spans.get(&self.root.2).map(|span| &**span)
    }

    pub(super) fn to_trace(&self, id: TraceId) -> Trace {
        let mut spans: Vec<Arc<Span>> = self.spans.values().map(Arc::clone).collect();
        spans.sort_by_key(|span| span.start);
        Trace { id, spans }
    }

    /// It in short, with the first spans that the expression is about.
    pub(super) fn to_summary(&self, id: TraceId, expression: Option<&Expression>) -> Summary {
        let root = self.root();
        let facts = self.facts(id);
        let mut services = self.services.clone();
        services.sort_by(|a, b| b.spans.cmp(&a.spans).then_with(|| a.name.cmp(&b.name)));
        let mut topics: Vec<Arc<str>> = self
            .topics
            .iter()
            .map(|(topic, _)| Arc::clone(topic))
            .collect();
        topics.sort_unstable();
        let matched = expression
            .filter(|expression| !expression.is_about_all())
            .map_or_else(Vec::new, |expression| {
                let named = self
                    .spans
                    .values()
                    .filter(|span| expression.names(span, &facts));
                let mut named: Vec<_> = named.map(|span| (span.start, span.span_id)).collect();
                named.sort_unstable();
                named
                    .into_iter()
                    .take(MATCHED_MAX)
                    .map(|(_, id)| id)
                    .collect()
            });
        Summary {
            id,
            service: root.map_or_else(|| Arc::from(""), |root| Arc::from(root.service())),
            operation: root.map(|root| root.name.clone()).unwrap_or_default(),
            rooted: !self.root.0,
            start: self.first_start,
            duration: self.duration(),
            spans: self.spans.len() as u64,
            errors: self.errors,
            open: self.open,
            woven: self.woven,
            services,
            topics,
            matched,
        }
    }
}

const fn rank(span: &Span) -> (bool, u64, SpanId) {
    (span.parent_span_id.is_some(), span.start, span.span_id)
}

/// Whether it begins a fragment, and whether its parent is inferred.
fn fragments(span: &Span) -> (u64, u64) {
    message::evidence(span).map_or((0, 0), |evidence| {
        (u64::from(evidence.is_open), u64::from(evidence.is_inferred))
    })
}

/// The topic that a span speaks of.
pub(super) fn topic(span: &Span) -> Option<&str> {
    Message::of(span).and_then(|message| message.topic)
}

// === impl Names ===

impl Names {
    fn take(&mut self, name: &str) -> Arc<str> {
        if let Some(name) = self.0.get(name) {
            return Arc::clone(name);
        }
        let name: Arc<str> = Arc::from(name);
        self.0.insert(Arc::clone(&name));
        name
    }

    /// Forgets a name that nobody else has.
    pub(super) fn give_back(&mut self, name: Arc<str>) {
        let holders = Arc::strong_count(&name);
        // The set's and this one.
        if holders <= 2 {
            self.0.remove(&name);
        }
        drop(name);
    }
}

/// A trace's place in the map, the queue and the order by start, the smallest map of spans, and a name of its own.
pub(super) const TRACE_OVERHEAD: usize = 576;

/// Services and topics that are counted of one trace.
const NAMES_MAX: usize = 64;

/// Spans that are named of a trace that was found.
const MATCHED_MAX: usize = 20;
