//! Sends woven traces on once they are settled: no span has come for a while, and none waits for a
//! decision about its parent.
//!
//! ```text
//!  spans arrive ─► PendingTrace ─(settled)─► Store::trace ─► the new spans ─► WovenTraceSink
//!  decisions ────────┘                                          └─► SentTraces
//! ```
//!
//! Spans are read from the store, so what is sent is what queries show. A span that comes late is
//! sent with the trace id of the others. A decision that comes after its span was sent cannot be
//! sent any more, and is counted.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

use throughline_model::{Span, SpanId, TraceId};
use throughline_store::{SpanKey, Store, StoredTrace, WeavingView, WovenEdge};

use super::delivery_tracker::DeliveryTracker;
use super::sent_traces::{ReportedSpan, SentTraces};
use super::trace_sink::WovenTraceSink;

/// Maximum number of spans that wait; beyond it the trace that is due first is sent at once.
const MAX_PENDING: usize = 524_288;

/// Time after the first span of a trace at which it is sent in any case: longer than the longest
/// request that a decision waits for.
const MAX_WAIT: u64 = 90_000_000_000;

/// Time between two looks at a trace with spans that wait for a decision.
const RECHECK: u64 = 1_000_000_000;

/// Time that a consumer waits for the span of its record's producer, in multiples of the time
/// without spans after which a trace is settled.
const PRODUCER_WAITS: u64 = 3;

/// A span that came, as far as forwarding needs it.
#[derive(Debug, Clone, Copy)]
pub(super) struct SpanArrival {
    pub(super) trace: TraceId,
    pub(super) span: ReportedSpan,
}

/// The traces that are to be sent on.
#[derive(Debug)]
pub(super) struct TraceForwarder {
    sink: Arc<dyn WovenTraceSink>,
    /// Time without spans after which a trace is settled.
    quiet: u64,
    pending: HashMap<TraceId, PendingTrace>,
    /// The time of the next look at each pending trace.
    due: BinaryHeap<Reverse<(u64, TraceId)>>,
    pending_spans: usize,
    sent: SentTraces,
    counts: ForwarderCounts,
    delivery: Option<TrackedDelivery>,
}

/// The state of the records whose spans are sent.
#[derive(Debug)]
struct TrackedDelivery {
    tracker: Arc<DeliveryTracker>,
    /// All records below this number were taken.
    taken: u64,
}

/// Counters of [`TraceForwarder`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ForwarderCounts {
    /// Spans that wait until their trace is settled.
    pub(super) pending: u64,
    /// Spans that were not stored any more when their trace was settled.
    pub(super) evicted: u64,
    /// Spans that could not be read until their trace had to be sent.
    pub(super) unreadable: u64,
    /// Traces that were sent before they were settled.
    pub(super) unsettled: u64,
    /// Joins that were found after their span was sent.
    pub(super) late_joins: u64,
    /// Spans that were not sent before the end.
    pub(super) abandoned: u64,
}

/// A reported trace with spans that were not sent.
#[derive(Debug)]
struct PendingTrace {
    /// The first record with one of them.
    first_record: u64,
    spans: HashSet<ReportedSpan>,
    first_arrival: u64,
    last_arrival: u64,
    /// Spans that wait for a decision about their parent.
    undecided: u32,
    /// Consumers whose producers have not come.
    unjoined: u32,
}

// === impl TraceForwarder ===

impl TraceForwarder {
    /// Makes a forwarder; with a tracker, nothing is dropped, and records are tracked.
    pub(super) fn new(
        sink: Arc<dyn WovenTraceSink>,
        quiet: u64,
        tracker: Option<Arc<DeliveryTracker>>,
    ) -> Self {
        let delivery = tracker.map(|tracker| TrackedDelivery { tracker, taken: 0 });
        Self {
            delivery,
            sink,
            quiet,
            pending: HashMap::new(),
            due: BinaryHeap::new(),
            pending_spans: 0,
            sent: SentTraces::default(),
            counts: ForwarderCounts::default(),
        }
    }

    pub(super) const fn sink(&self) -> &Arc<dyn WovenTraceSink> {
        &self.sink
    }

    /// Returns whether spans are kept elsewhere, after their delivery.
    pub(super) const fn is_tracking(&self) -> bool {
        self.delivery.is_some()
    }

    pub(super) fn counts(&self) -> ForwarderCounts {
        ForwarderCounts {
            pending: self.pending_spans as u64,
            ..self.counts
        }
    }

    /// Takes a span of a record that is stored. One that was sent before is not sent again.
    pub(super) fn push(&mut self, arrival: SpanArrival, record: u64, now: u64) {
        let SpanArrival { trace: id, span } = arrival;
        if self.sent.contains(id, span) {
            return;
        }
        let (due, quiet) = (&mut self.due, self.quiet);
        let trace = self.pending.entry(id).or_insert_with(|| {
            due.push(Reverse((now.saturating_add(quiet), id)));
            PendingTrace {
                first_record: record,
                spans: HashSet::new(),
                first_arrival: now,
                last_arrival: now,
                undecided: 0,
                unjoined: 0,
            }
        });
        trace.last_arrival = now;
        self.pending_spans += usize::from(trace.spans.insert(span));
    }

    /// Notes that all spans of a record were taken.
    pub(super) fn note_taken(&mut self, record: u64) {
        if let Some(delivery) = &mut self.delivery {
            delivery.taken = record + 1;
        }
    }

    /// Notes that a span of this trace waits for a decision.
    pub(super) fn expect_decision(&mut self, id: TraceId) {
        if let Some(trace) = self.pending.get_mut(&id) {
            trace.undecided += 1;
        }
    }

    /// Notes that nothing more is decided about a span.
    pub(super) fn note_decided(&mut self, span: SpanKey) {
        if let Some(trace) = self.pending.get_mut(&span.trace_id) {
            trace.undecided = trace.undecided.saturating_sub(1);
        }
    }

    /// Notes that a consumer of this trace waits for its producer.
    pub(super) fn expect_producer(&mut self, id: TraceId) {
        if let Some(trace) = self.pending.get_mut(&id) {
            trace.unjoined += 1;
        }
    }

    /// Notes a decision.
    pub(super) fn note_edge(&mut self, edge: &WovenEdge) {
        let id = edge.child.trace_id;
        if edge.is_joined && self.sent.contains_id(id, edge.child.span_id) {
            self.counts.late_joins += 1;
        }
        if let (true, Some(trace)) = (edge.evidence.is_exact(), self.pending.get_mut(&id)) {
            trace.unjoined = trace.unjoined.saturating_sub(1);
        }
    }

    /// Sends the traces that are settled.
    pub(super) fn poll(&mut self, store: &dyn Store, now: u64) {
        self.send_settled(store, now);
        self.deliver();
    }

    fn send_settled(&mut self, store: &dyn Store, now: u64) {
        while let Some(Reverse((at, id))) = self.due.peek().copied() {
            let is_full = self.pending_spans > MAX_PENDING;
            if (at > now && !is_full) || !self.may_send() {
                return;
            }
            self.due.pop();
            let Some(ready) = self.settled_at(id, now).map(|it| it.min(self.latest(id))) else {
                continue;
            };
            if ready <= now {
                self.send(store, id, now, is_full);
            } else if is_full {
                self.send(store, id, now, true);
            } else {
                self.due.push(Reverse((ready, id)));
            }
        }
    }

    /// Sends all traces, settled or not, as the sink has room: the collector stops. When `has_time`
    /// says no, the rest is given up; where records are tracked, it is read again.
    pub(super) fn finish(&mut self, store: &dyn Store, now: u64, has_time: &dyn Fn() -> bool) {
        let pending = self.pending.iter();
        let mut ids: Vec<(u64, TraceId)> = pending
            .map(|(id, trace)| (trace.first_arrival, *id))
            .collect();
        ids.sort_unstable();
        for (_, id) in ids {
            // More may wait than the sink's queue takes.
            while has_time() && !self.sink.has_room() {
                self.sink.flush();
            }
            if !has_time() {
                break;
            }
            if self.pending.contains_key(&id) {
                self.send(store, id, now, true);
            }
        }
        if self.delivery.is_some() {
            while !self.deliver() && has_time() {}
        }
        if let Some(delivery) = &self.delivery {
            delivery.tracker.finish();
            return;
        }
        let lost = self.pending_spans as u64;
        if lost > 0 {
            tracing::warn!(lost, "not all woven traces were forwarded before the end");
        }
        self.counts.abandoned += lost;
        self.pending.clear();
        self.pending_spans = 0;
    }

    fn may_send(&self) -> bool {
        self.delivery.is_none() || self.sink.has_room()
    }

    /// Notes which records are delivered; returns whether all that was sent is.
    fn deliver(&mut self) -> bool {
        let Some(delivery) = &mut self.delivery else {
            return true;
        };
        if !self.sink.flush() {
            return false;
        }
        let pending = self.pending.values().map(|trace| trace.first_record);
        let first = pending.min().unwrap_or(u64::MAX);
        delivery.tracker.complete(first.min(delivery.taken));
        true
    }

    /// Returns when a pending trace is settled, as far as one knows now.
    fn settled_at(&self, id: TraceId, now: u64) -> Option<u64> {
        let trace = self.pending.get(&id)?;
        let waits = if trace.unjoined > 0 {
            PRODUCER_WAITS
        } else {
            1
        };
        let quiet_at = trace
            .last_arrival
            .saturating_add(self.quiet.saturating_mul(waits));
        Some(if trace.undecided > 0 {
            quiet_at.max(now.saturating_add(RECHECK))
        } else {
            quiet_at
        })
    }

    /// Returns when a trace is sent in any case: sooner where memory is short.
    fn latest(&self, id: TraceId) -> u64 {
        let delivery = self.delivery.as_ref();
        let is_pressed = delivery.is_some_and(|delivery| delivery.tracker.is_pressed());
        let max_wait = if is_pressed { self.quiet } else { MAX_WAIT };
        let trace = self.pending.get(&id);
        trace.map_or(0, |trace| trace.first_arrival.saturating_add(max_wait))
    }

    /// Sends the new spans of a trace with those of the traces that it is joined with, once all of
    /// them are settled or if it `must` be sent.
    fn send(&mut self, store: &dyn Store, id: TraceId, now: u64, must: bool) {
        let stored = store.trace(id, WeavingView::Woven);
        let members = stored.as_ref();
        let members = members.map_or_else(|| BTreeSet::from([id]), |it| members_of(it, id));
        let must = must || self.latest(id) <= now;
        let settled = members.iter().filter_map(|id| self.settled_at(*id, now));
        let settled = settled.max().unwrap_or_default();
        if settled > now && !must {
            let at = settled.min(self.latest(id));
            self.due.push(Reverse((at, id)));
            return;
        }
        let unread = self.unread(store, stored.as_ref(), &members);
        if unread > 0 && !must {
            let at = self.retry_at(id, now);
            self.due.push(Reverse((at, id)));
            return;
        }
        self.counts.unsettled += u64::from(settled > now);
        let missing = match stored {
            Some(stored) => self.send_new(stored, &members),
            None => self.take(id).len() as u64,
        };
        let unread = unread.min(missing);
        self.counts.unreadable += unread;
        self.counts.evicted += missing - unread;
    }

    /// Returns the number of waiting spans that the store may have, but does not show.
    fn unread(
        &self,
        store: &dyn Store,
        stored: Option<&StoredTrace>,
        members: &BTreeSet<TraceId>,
    ) -> u64 {
        let shown = stored.into_iter().flat_map(|stored| &stored.spans);
        // The kind of a span that is merged from fragments may be another one.
        let shown: HashSet<SpanId> = shown.map(|span| ReportedSpan::of(span).id).collect();
        let waiting = members
            .iter()
            .filter_map(|id| Some((id, self.pending.get(id)?)));
        let waiting = waiting.flat_map(|(id, trace)| trace.spans.iter().map(|it| (*id, it.id)));
        let missing = waiting.filter(|(_, span_id)| !shown.contains(span_id));
        let missing = missing.filter(|(trace_id, span_id)| {
            store.may_have(SpanKey {
                trace_id: *trace_id,
                span_id: *span_id,
            })
        });
        missing.count() as u64
    }

    /// Returns when a trace is read again that cannot be read now: less often as time goes by.
    fn retry_at(&self, id: TraceId, now: u64) -> u64 {
        let trace = self.pending.get(&id);
        let waited = trace.map_or(0, |trace| now.saturating_sub(trace.first_arrival));
        now.saturating_add(RECHECK.max(waited / 2))
            .min(self.latest(id))
    }

    /// Sends the new spans of a trace; returns the number of those that it does not have.
    fn send_new(&mut self, stored: StoredTrace, members: &BTreeSet<TraceId>) -> u64 {
        let former = members.iter().find_map(|id| self.sent.sent_as(*id));
        let sent_as = former.unwrap_or_else(|| root_of(&stored, members));
        let mut new: HashSet<ReportedSpan> = HashSet::new();
        for member in members {
            let spans = self.take(*member);
            self.sent.insert(*member, sent_as, spans.iter().copied());
            new.extend(spans);
        }
        let mut spans = stored.spans;
        spans.retain(|span| new.contains(&ReportedSpan::of(span)));
        for span in &spans {
            new.remove(&ReportedSpan::of(span));
        }
        let spans = spans.into_iter();
        let spans: Vec<Span> = spans
            .map(|span| with_trace_id(Arc::unwrap_or_clone(span), stored.id, sent_as))
            .collect();
        if !spans.is_empty() {
            self.sink.send(spans);
        }
        new.len() as u64
    }

    /// Takes the spans of a trace that wait. Its entry among those that are due is found to be
    /// empty later.
    fn take(&mut self, id: TraceId) -> HashSet<ReportedSpan> {
        let taken = self.pending.remove(&id);
        let spans = taken.map(|trace| trace.spans).unwrap_or_default();
        self.pending_spans -= spans.len();
        spans
    }
}

/// Returns the reported traces that a trace consists of, and those that it is to be joined with.
fn members_of(stored: &StoredTrace, id: TraceId) -> BTreeSet<TraceId> {
    let joins = joins_of(stored).flat_map(|(child, parent)| [child, parent]);
    [stored.id, id].into_iter().chain(joins).collect()
}

/// Returns the id of a woven trace: that of the store, unless the trace that it begins with is
/// stored elsewhere.
fn root_of(stored: &StoredTrace, members: &BTreeSet<TraceId>) -> TraceId {
    let joined: HashSet<TraceId> = joins_of(stored)
        .filter(|(child, parent)| child != parent)
        .map(|(child, _)| child)
        .collect();
    let mut roots = members.iter().filter(|id| !joined.contains(id));
    if !joined.contains(&stored.id) {
        return stored.id;
    }
    roots.next().copied().unwrap_or(stored.id)
}

fn joins_of(stored: &StoredTrace) -> impl Iterator<Item = (TraceId, TraceId)> {
    let joined = stored.edges.iter().filter(|edge| edge.is_joined);
    joined.filter_map(|edge| Some((edge.child.trace_id, edge.parent?.trace_id)))
}

/// Moves a span into another trace, with its links to spans of its own trace.
fn with_trace_id(mut span: Span, from: TraceId, to: TraceId) -> Span {
    if from != to {
        span.trace_id = to;
        for link in &mut span.links {
            if link.trace_id == from {
                link.trace_id = to;
            }
        }
    }
    span
}

#[cfg(test)]
mod tests;
