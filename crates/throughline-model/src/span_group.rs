//! Finished spans that are made together and have most of their content in common, such as those
//! of a batch of messages: the common content is made, queued and encoded once.

use std::sync::Arc;

use crate::context::{SpanContext, TraceState};
use crate::{
    DroppedCounts, Event, KeyValue, Link, Resource, Scope, Span, SpanId, SpanKind, Status, TraceId,
};

/// Finished spans with common content.
#[derive(Debug, Clone, PartialEq)]
pub struct SpanGroup {
    common: Arc<GroupContent>,
    members: Vec<SpanGroupMember>,
    /// Attributes of the members' own, in the order of the members: one allocation for all.
    attributes: Vec<KeyValue>,
}

#[derive(Debug, Clone, PartialEq)]
struct SpanGroupMember {
    span: GroupedSpan,
    attribute_count: usize,
}

/// Content that the spans of a group have in common, as in [`Span`].
#[derive(Debug, Clone, PartialEq)]
pub struct GroupContent {
    /// The operation.
    pub name: String,
    /// The side of the exchange.
    pub kind: SpanKind,
    /// Start, nanoseconds since the Unix epoch.
    pub start: u64,
    /// End, nanoseconds since the Unix epoch.
    pub end: u64,
    /// Attributes that all spans have, before those of their own.
    pub attributes: Vec<KeyValue>,
    /// Events that all spans have.
    pub events: Vec<Event>,
    /// The result.
    pub status: Status,
    /// The process.
    pub resource: Arc<Resource>,
    /// The instrumentation.
    pub scope: Arc<Scope>,
}

/// Content of one span of a group, as in [`Span`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupedSpan {
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// Its own id.
    pub span_id: SpanId,
    /// The span it is a child of.
    pub parent_span_id: Option<SpanId>,
    /// OTLP `Span.flags`.
    pub flags: u32,
    /// The W3C `tracestate` it ran under.
    pub trace_state: TraceState,
    /// The sender of the message, which the span follows: [`Link::follows_from`].
    pub sender: Option<SpanContext>,
}

// === impl SpanGroup ===

impl SpanGroup {
    /// Returns a group without spans.
    #[must_use]
    pub const fn new(common: Arc<GroupContent>) -> Self {
        Self {
            common,
            members: Vec::new(),
            attributes: Vec::new(),
        }
    }

    /// Reserves memory for more spans, with a number of attributes of their own each.
    pub fn reserve(&mut self, spans: usize, attributes: usize) {
        self.members.reserve(spans);
        self.attributes.reserve(spans.saturating_mul(attributes));
    }

    /// Adds a span; `append` appends the attributes of its own.
    pub fn push(&mut self, span: GroupedSpan, append: impl FnOnce(&mut Vec<KeyValue>)) {
        let before = self.attributes.len();
        append(&mut self.attributes);
        let attribute_count = self.attributes.len().saturating_sub(before);
        self.members.push(SpanGroupMember {
            span,
            attribute_count,
        });
    }

    /// Returns the number of spans.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Returns whether the group has no spans.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Returns the common content.
    #[must_use]
    pub const fn common(&self) -> &Arc<GroupContent> {
        &self.common
    }

    /// Returns the spans, each with the attributes of its own.
    pub fn members(&self) -> impl Iterator<Item = (&GroupedSpan, &[KeyValue])> {
        let mut attributes = self.attributes.as_slice();
        self.members.iter().map(move |member| {
            // The counts add up to the length, so that the split never fails.
            let (own, rest) = attributes
                .split_at_checked(member.attribute_count)
                .unwrap_or((attributes, &[]));
            attributes = rest;
            (&member.span, own)
        })
    }

    /// Keeps the first `count` spans, and returns a group of the others.
    #[must_use]
    pub fn split_off(&mut self, count: usize) -> Self {
        let count = count.min(self.members.len());
        let members = self.members.split_off(count);
        let own: usize = self.members.iter().map(|it| it.attribute_count).sum();
        Self {
            common: Arc::clone(&self.common),
            members,
            attributes: self.attributes.split_off(own.min(self.attributes.len())),
        }
    }

    /// Returns the spans, written out in full.
    pub fn spans(&self) -> impl Iterator<Item = Span> {
        self.members()
            .map(|(span, own)| self.common.with(span, own))
    }
}

// === impl GroupContent ===

impl GroupContent {
    fn with(&self, span: &GroupedSpan, own: &[KeyValue]) -> Span {
        Span {
            trace_id: span.trace_id,
            span_id: span.span_id,
            parent_span_id: span.parent_span_id,
            flags: span.flags,
            trace_state: span.trace_state.as_str().to_owned(),
            name: self.name.clone(),
            kind: self.kind,
            start: self.start,
            end: self.end,
            attributes: self.attributes.iter().chain(own).cloned().collect(),
            events: self.events.clone(),
            links: span.sender.iter().map(Link::follows_from).collect(),
            status: self.status.clone(),
            status_message: Box::default(),
            dropped: DroppedCounts::default(),
            resource: Arc::clone(&self.resource),
            scope: Arc::clone(&self.scope),
        }
    }
}

// === impl GroupedSpan ===

impl GroupedSpan {
    /// Returns a span without a parent.
    #[must_use]
    pub fn root(trace_id: TraceId, span_id: SpanId, flags: u32) -> Self {
        Self {
            trace_id,
            span_id,
            parent_span_id: None,
            flags,
            trace_state: TraceState::default(),
            sender: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Value, flag};

    fn group() -> SpanGroup {
        let common = GroupContent {
            name: "send orders".to_owned(),
            kind: SpanKind::Producer,
            start: 1,
            end: 2,
            attributes: vec![KeyValue::new("common", true)],
            events: Vec::new(),
            status: Status::Unset,
            resource: Arc::new(Resource::of_service("shop")),
            scope: Arc::default(),
        };
        let mut group = SpanGroup::new(Arc::new(common));
        // Different numbers of attributes: 0, 1, 2, 0, 1.
        for id in 0..5u8 {
            let trace_id = TraceId::from_bytes([id + 1; 16]).unwrap();
            let span_id = SpanId::from_bytes([id + 1; 8]).unwrap();
            let span = GroupedSpan::root(trace_id, span_id, flag::SAMPLED.into());
            group.push(span, |to| {
                let own = (0..id % 3).map(|_| KeyValue::new("own", i64::from(id)));
                to.extend(own);
            });
        }
        group
    }

    #[test]
    fn spans_have_the_common_attributes_and_their_own() {
        let spans: Vec<Span> = group().spans().collect();
        let own = |span: &Span| -> Vec<Value> {
            assert_eq!(span.attributes[0], KeyValue::new("common", true));
            let own = span.attributes[1..].iter();
            own.map(|it| it.value.clone()).collect()
        };
        let own: Vec<Vec<Value>> = spans.iter().map(own).collect();
        let [one, two, four] = [1, 2, 4].map(Value::Int);
        let wanted = [
            vec![],
            vec![one],
            vec![two.clone(), two],
            vec![],
            vec![four],
        ];
        assert_eq!(own, wanted);
    }

    #[test]
    fn parts_of_a_group_have_all_its_spans() {
        let whole: Vec<Span> = group().spans().collect();
        for count in 0..=6 {
            let mut first = group();
            let second = first.split_off(count);
            assert_eq!((first.len(), first.is_empty()), (count.min(5), count == 0));
            let parts: Vec<Span> = first.spans().chain(second.spans()).collect();
            assert_eq!(parts, whole, "{count}");
        }
    }
}
