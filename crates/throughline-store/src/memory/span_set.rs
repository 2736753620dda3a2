//! The spans of one trace, of which several may have the same id.
//!
//! Zipkin's clients give both sides of a call one span id (openzipkin/b3-propagation, "Why is
//! `ParentSpanId` optional?"), and all receivers of a message the id of its sender. Collectors that
//! translate Zipkin to OTLP keep those ids. The spans are therefore stored by id, side and
//! endpoint, as they were sent; ids and parents become unique when a trace is read, from the spans
//! that have arrived by then.

use std::collections::BTreeMap;
use std::sync::Arc;

use throughline_model::convention::SHARED_ID;
use throughline_model::{KeyValue, Span, SpanId, TraceId};

use super::stored_identity::StoredIdentity;

/// Maximum number of spans of one id that are examined for a match.
const MAX_SAME_ID: usize = 64;

/// The spans of one trace.
#[derive(Debug, Default)]
pub(super) struct SpanSet {
    by_identity: BTreeMap<StoredIdentity, Arc<Span>>,
    /// True once two spans had the same id; most traces are then read without a look at the ids.
    has_shared_ids: bool,
}

// === impl SpanSet ===

impl SpanSet {
    pub(super) const fn new() -> Self {
        Self {
            by_identity: BTreeMap::new(),
            has_shared_ids: false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_identity.len()
    }

    /// Returns the spans as they were sent.
    pub(super) fn values(&self) -> impl Iterator<Item = &Arc<Span>> {
        self.by_identity.values()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (StoredIdentity, &Arc<Span>)> {
        self.by_identity
            .iter()
            .map(|(identity, span)| (*identity, span))
    }

    /// Adds a span; returns the span of the same identity that it replaces.
    pub(super) fn insert(&mut self, span: &Arc<Span>) -> Option<Arc<Span>> {
        let replaced = self
            .by_identity
            .insert(StoredIdentity::of(span), Arc::clone(span));
        if replaced.is_none() && !self.has_shared_ids {
            let has_second = self.with_id(span.span_id).nth(1).is_some();
            self.has_shared_ids = has_second;
        }
        replaced
    }

    pub(super) fn get(&self, identity: StoredIdentity) -> Option<&Arc<Span>> {
        self.by_identity.get(&identity)
    }

    /// Removes and returns a stored span of which `span` may be another fragment.
    pub(super) fn take_fragment(&mut self, span: &Span) -> Option<Arc<Span>> {
        let own = StoredIdentity::of(span);
        let identity = if self.by_identity.contains_key(&own) {
            own
        } else {
            self.with_id(span.span_id)
                .take(MAX_SAME_ID)
                .find(|(_, stored)| StoredIdentity::may_be_same(stored, span))?
                .0
        };
        self.by_identity.remove(&identity)
    }

    /// Returns the span of this id; that of the caller when several have it.
    pub(super) fn first_with_id(&self, id: SpanId) -> Option<&Arc<Span>> {
        self.with_id(id).next().map(|(_, span)| span)
    }

    /// Returns the parent of a span of this set.
    pub(super) fn parent_of(&self, span: &Span) -> Option<&Arc<Span>> {
        self.parent_entry(StoredIdentity::of(span), span)
            .map(|(_, parent)| parent)
    }

    /// Returns the caller's half when `identity` is that of a receiver with the same id.
    pub(super) fn caller_of(
        &self,
        identity: StoredIdentity,
    ) -> Option<(StoredIdentity, &Arc<Span>)> {
        if !self.has_shared_ids || !identity.is_callee() {
            return None;
        }
        // Callers come first in the order.
        let (first, span) = self.with_id(identity.span_id).next()?;
        first.is_caller().then_some((first, span))
    }

    /// Returns the id that a span has in the trace: its own, unless another span keeps that.
    pub(super) fn unique_id(&self, identity: StoredIdentity) -> SpanId {
        let is_first = || {
            let first = self.with_id(identity.span_id).next();
            first.is_some_and(|(first, _)| first == identity)
        };
        if !self.has_shared_ids || is_first() {
            identity.span_id
        } else {
            identity.derived_id()
        }
    }

    /// Returns the spans with unique ids, ordered by identity.
    pub(super) fn resolved(&self) -> Vec<Arc<Span>> {
        self.iter()
            .map(|(identity, span)| self.resolve(identity, span))
            .collect()
    }

    /// Returns the spans that link to another trace, with unique ids.
    pub(super) fn linking_to(
        &self,
        is_target: impl Fn(TraceId) -> bool,
    ) -> impl Iterator<Item = Arc<Span>> {
        self.iter()
            .filter(move |(_, span)| span.links.iter().any(|link| is_target(link.trace_id)))
            .map(|(identity, span)| self.resolve(identity, span))
    }

    /// Returns a span with its unique id and that of its parent.
    fn resolve(&self, identity: StoredIdentity, span: &Arc<Span>) -> Arc<Span> {
        if !self.has_shared_ids {
            return Arc::clone(span);
        }
        let id = self.unique_id(identity);
        let parent = self
            .parent_entry(identity, span)
            .map(|(parent, _)| self.unique_id(parent))
            .or(span.parent_span_id);
        if id == span.span_id && parent == span.parent_span_id {
            return Arc::clone(span);
        }
        let mut resolved = Span::clone(span);
        resolved.span_id = id;
        resolved.parent_span_id = parent;
        if id != span.span_id {
            // The id that was sent stays readable.
            let sent = KeyValue::new(SHARED_ID, span.span_id.to_string());
            resolved.attributes.push(sent);
        }
        Arc::new(resolved)
    }

    fn parent_entry(
        &self,
        identity: StoredIdentity,
        span: &Span,
    ) -> Option<(StoredIdentity, &Arc<Span>)> {
        // A receiver with the id of its caller is the caller's child, whatever parent it names:
        // that is the parent of both.
        if let Some(caller) = self.caller_of(identity) {
            return Some(caller);
        }
        let parent = span.parent_span_id?;
        // The children of a shared span belong to the half of their own service, the receiver's
        // before the caller's: a caller waits, the receiver works.
        let candidates = || {
            self.with_id(parent)
                .take(MAX_SAME_ID)
                .filter(|(candidate, _)| *candidate != identity)
        };
        if !self.has_shared_ids {
            return candidates().next();
        }
        let service = span.service();
        let own = || candidates().filter(|(_, half)| half.service() == service);
        let same_endpoint = own().find(|(candidate, half)| {
            candidate.is_callee() && StoredIdentity::has_same_address(half, span)
        });
        same_endpoint
            .or_else(|| own().find(|(candidate, _)| candidate.is_callee()))
            .or_else(|| own().next())
            .or_else(|| candidates().next())
    }

    fn with_id(&self, id: SpanId) -> impl Iterator<Item = (StoredIdentity, &Arc<Span>)> {
        self.by_identity
            .range(StoredIdentity::range(id))
            .map(|(identity, span)| (*identity, span))
    }
}
