//! The weaving engine of one process, and the translation between its numbers and our spans.

use std::collections::{BTreeMap, HashMap, VecDeque};

use throughline_model::TraceId;
use throughline_store::{AlternativeParent, MAX_ALTERNATIVES, SpanKey, WovenEdge, WovenEvidence};
use throughline_weave::{
    Decision, EvidenceTier, InboundId, InboundOutcome, InboundStart, Nanos, OperationKey,
    OutboundId, OutboundStart, QueuePosition, WeaveEvent, Weaver, WeaverSettings,
};

use super::activity_span::{ActivityRole, ActivitySpan};

/// Events of a process that wait for earlier ones.
const MAX_PENDING: usize = 65_536;

/// Received and sent spans of a process that are remembered.
const MAX_KNOWN: usize = 32_768;

/// A request this long is waited for at most: its span arrives when it ends, after its calls.
const MAX_REQUEST: u64 = 60_000_000_000;

/// Events are passed on in slices of this length, so that a pass can end between them.
const SLICE_NS: Nanos = 250_000_000;

/// Decisions that a late request can take back.
const MAX_REVISABLE: usize = 8_192;

/// Times in which requests are missing or came late.
const MAX_GAPS: usize = 256;

/// The engine of one process.
#[derive(Debug)]
pub(super) struct ProcessWeaver {
    weaver: Weaver,
    numbers: SpanNumbers,
    /// Events in the order of their times; spans arrive in the order of their ends.
    pending: BTreeMap<(Nanos, u64), PendingEvent>,
    next_event: u64,
    /// Spans without a parent among them.
    pending_open: usize,
    /// Whether a span without a parent was seen. Until then there is nothing to decide.
    has_open: bool,
    /// Longest request seen lately.
    longest: u64,
    /// Least time seen from the end of a span to its arrival: the difference of the clocks, and the
    /// delay of the export.
    least_delay: i64,
    /// Longest time beyond that, lately.
    longest_delay: u64,
    /// The engine has all events up to here.
    released: Nanos,
    /// Whether a pass ended before everything that was due had been passed on.
    pub(super) is_behind: bool,
    /// Starts of the calls that wait for a decision.
    starts: HashMap<u64, Nanos>,
    /// Times in which a request was not known when calls were decided.
    gaps: VecDeque<(Nanos, Nanos)>,
    /// Joins of the last time with the starts of their calls.
    revisable: VecDeque<(Nanos, WovenEdge)>,
    /// Joins that are taken back.
    revised: Vec<WovenEdge>,
    /// Arrival of the last span.
    pub(super) last_seen: u64,
}

/// An event that waits for earlier ones.
#[derive(Debug)]
enum PendingEvent {
    Event(WeaveEvent),
    /// A span that is translated when it is due: the one that caused it may arrive later.
    Span(ActivitySpan),
}

/// Numbers of spans in the engine.
#[derive(Debug)]
pub(super) struct SpanNumbers {
    next: u64,
    inbound: KnownSpans,
    outbound: KnownSpans,
    inbound_by_key: HashMap<SpanKey, InboundId>,
    /// The span that a trace entered the process with: its own tracer may have made spans between
    /// that and a call.
    inbound_by_trace: HashMap<TraceId, InboundId>,
}

/// Spans by number, the oldest forgotten first.
#[derive(Debug)]
struct KnownSpans {
    keys: HashMap<u64, SpanKey>,
    order: VecDeque<u64>,
    max_known: usize,
}

// === impl SpanNumbers ===

impl SpanNumbers {
    pub(super) fn with_limit(max_known: usize) -> Self {
        Self {
            next: 0,
            inbound: KnownSpans::with_limit(max_known),
            outbound: KnownSpans::with_limit(max_known),
            inbound_by_key: HashMap::new(),
            inbound_by_trace: HashMap::new(),
        }
    }

    /// Translates a span into events. A received span is known from here on: the spans that it
    /// caused, and its settlement, must be translated after it.
    pub(super) fn events(&mut self, span: &ActivitySpan) -> Vec<WeaveEvent> {
        let (start, end) = (nanos(span.start), nanos(span.end));
        let operation = OperationKey(span.operation);
        match span.role {
            ActivityRole::Request { is_abandoned } => {
                let start = self.inbound_start(span, None);
                let outcome = if is_abandoned {
                    InboundOutcome::Abandoned
                } else {
                    InboundOutcome::Completed
                };
                let end = WeaveEvent::InboundEnded {
                    id: start.id,
                    at: end,
                    outcome,
                };
                vec![WeaveEvent::InboundStarted(start), end]
            }
            ActivityRole::Record { queue, offset } => {
                let position = Some(QueuePosition { queue, offset });
                vec![WeaveEvent::InboundStarted(
                    self.inbound_start(span, position),
                )]
            }
            ActivityRole::Settlement => {
                let record = span.parent.and_then(|span_id| {
                    let trace_id = span.trace_id();
                    self.inbound_by_key.get(&SpanKey { trace_id, span_id })
                });
                let ended = |id: &InboundId| WeaveEvent::InboundEnded {
                    id: *id,
                    at: end,
                    outcome: InboundOutcome::Completed,
                };
                record.map(ended).into_iter().collect()
            }
            ActivityRole::Outbound { is_record, is_open } => {
                let exact = if is_open { None } else { self.cause_of(span) };
                if !is_open && exact.is_none() {
                    // Its cause is known, and none of ours: it competes with nobody.
                    return Vec::new();
                }
                let id = OutboundId(self.number());
                if is_open {
                    self.outbound.insert(id.0, span.key);
                }
                let started = OutboundStart {
                    id,
                    at: start,
                    operation,
                    tokens: span.tokens.clone(),
                    is_record,
                    exact,
                };
                let ended = WeaveEvent::OutboundEnded { id, at: end };
                vec![WeaveEvent::OutboundStarted(started), ended]
            }
        }
    }

    fn inbound_start(
        &mut self,
        span: &ActivitySpan,
        position: Option<QueuePosition>,
    ) -> InboundStart {
        InboundStart {
            id: self.add_inbound(span),
            at: nanos(span.start),
            operation: OperationKey(span.operation),
            position,
            tokens: span.tokens.clone(),
        }
    }

    /// Translates a decision about a span without a parent; `None` for other spans.
    pub(super) fn edge(&self, decision: &Decision, min_confidence: f64) -> Option<WovenEdge> {
        let child = *self.outbound.keys.get(&decision.outbound.0)?;
        let key_of = |id: InboundId| self.inbound.keys.get(&id.0).copied();
        let evidence = match decision.tier {
            // Nothing in the message named its parent, or it would not be open.
            EvidenceTier::Exact | EvidenceTier::Proven => WovenEvidence::Proven,
            EvidenceTier::Tokens => WovenEvidence::Tokens,
            EvidenceTier::Structure => WovenEvidence::Structure,
            EvidenceTier::Timing => WovenEvidence::Timing,
        };
        let parent = decision.parent.map(key_of);
        // A parent that was forgotten meanwhile is not the same as none.
        if parent == Some(None) {
            return None;
        }
        let parent = parent.flatten();
        let alternatives = decision.alternatives.iter().filter_map(|other| {
            let parent = match other.parent {
                Some(id) => Some(key_of(id)?),
                None => None,
            };
            Some(AlternativeParent {
                parent,
                confidence: other.confidence,
            })
        });
        Some(WovenEdge {
            child,
            parent,
            evidence,
            confidence: decision.confidence,
            alternatives: alternatives.take(MAX_ALTERNATIVES).collect(),
            is_joined: parent.is_some() && decision.confidence >= min_confidence,
        })
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn add_inbound(&mut self, span: &ActivitySpan) -> InboundId {
        let id = InboundId(self.number());
        if let Some(old) = self.inbound.insert(id.0, span.key) {
            self.inbound_by_key.remove(&old);
            self.inbound_by_trace.remove(&old.trace_id);
        }
        self.inbound_by_key.insert(span.key, id);
        self.inbound_by_trace.insert(span.trace_id(), id);
        id
    }

    /// Returns the span that caused one whose parent is known.
    fn cause_of(&self, span: &ActivitySpan) -> Option<InboundId> {
        let trace_id = span.trace_id();
        let parent = span.parent?;
        let key = SpanKey {
            trace_id,
            span_id: parent,
        };
        let direct = self.inbound_by_key.get(&key);
        direct
            .or_else(|| self.inbound_by_trace.get(&trace_id))
            .copied()
    }
}

// === impl KnownSpans ===

impl KnownSpans {
    fn with_limit(max_known: usize) -> Self {
        Self {
            keys: HashMap::new(),
            order: VecDeque::new(),
            max_known,
        }
    }

    /// Adds a span; returns the one that is forgotten for it.
    fn insert(&mut self, number: u64, key: SpanKey) -> Option<SpanKey> {
        self.keys.insert(number, key);
        self.order.push_back(number);
        if self.order.len() <= self.max_known {
            return None;
        }
        let oldest = self.order.pop_front()?;
        self.keys.remove(&oldest)
    }
}

// === impl ProcessWeaver ===

impl ProcessWeaver {
    pub(super) fn new() -> Self {
        Self {
            weaver: Weaver::new(WeaverSettings::default()),
            numbers: SpanNumbers::with_limit(MAX_KNOWN),
            pending: BTreeMap::new(),
            next_event: 0,
            pending_open: 0,
            has_open: false,
            longest: 0,
            least_delay: i64::MAX,
            longest_delay: 0,
            released: Nanos::MIN,
            is_behind: false,
            starts: HashMap::new(),
            gaps: VecDeque::new(),
            revisable: VecDeque::new(),
            revised: Vec::new(),
            last_seen: 0,
        }
    }

    /// Takes a span that arrives now.
    pub(super) fn push(&mut self, span: ActivitySpan, now: u64) {
        self.last_seen = now;
        let delay = nanos(now) - nanos(span.end);
        self.least_delay = self.least_delay.min(delay);
        let beyond = u64::try_from(delay - self.least_delay).unwrap_or(0);
        self.longest_delay = fade(self.longest_delay).max(beyond.min(MAX_REQUEST));
        match span.role {
            ActivityRole::Request { .. } => self.notice_late(nanos(span.start), nanos(span.end)),
            ActivityRole::Record { .. } => self.notice_late(nanos(span.start), Nanos::MAX),
            ActivityRole::Settlement | ActivityRole::Outbound { .. } => {}
        }
        match span.role {
            ActivityRole::Outbound { is_open, .. } => {
                self.has_open |= is_open;
                self.pending_open += usize::from(is_open);
            }
            ActivityRole::Request { .. } => {
                self.longest = fade(self.longest).max((span.end - span.start).min(MAX_REQUEST));
            }
            ActivityRole::Record { .. } | ActivityRole::Settlement => {}
        }
        match span.role {
            ActivityRole::Request { .. } | ActivityRole::Record { .. } => {
                for event in self.numbers.events(&span) {
                    self.insert(event.at(), PendingEvent::Event(event));
                }
            }
            ActivityRole::Settlement => self.insert(nanos(span.end), PendingEvent::Span(span)),
            ActivityRole::Outbound { .. } => {
                self.insert(nanos(span.start), PendingEvent::Span(span));
            }
        }
    }

    fn insert(&mut self, at: Nanos, event: PendingEvent) {
        self.pending.insert((at, self.next_event), event);
        self.next_event += 1;
    }

    /// Takes note of a request or record whose calls may have been decided without it.
    fn notice_late(&mut self, start: Nanos, end: Nanos) {
        if self.has_open && start < self.released {
            self.add_gap(start, end.min(self.released));
        }
    }

    /// Takes note that spans which arrived up to `now` were lost.
    pub(super) fn notice_loss(&mut self, now: u64) {
        if self.has_open {
            let until = nanos(now) - self.least_delay.min(nanos(now));
            self.add_gap(self.released.min(until), until);
        }
    }

    /// From here on no call in this time is joined; those that were are separated again.
    fn add_gap(&mut self, start: Nanos, end: Nanos) {
        if self.gaps.len() >= MAX_GAPS {
            self.gaps.pop_front();
        }
        self.gaps.push_back((start, end));
        let all = std::mem::take(&mut self.revisable).into_iter();
        let (revised, kept): (VecDeque<_>, VecDeque<_>) =
            all.partition(|(at, _)| (start..=end).contains(at));
        self.revisable = kept;
        self.revised
            .extend(revised.into_iter().map(|(_, edge)| WovenEdge {
                is_joined: false,
                ..edge
            }));
    }

    /// Returns the decisions that are due, `wait` nanoseconds after the spans they rest on. The
    /// pass ends early when `is_over` returns true.
    pub(super) fn poll(
        &mut self,
        now: u64,
        wait: u64,
        min_confidence: f64,
        is_over: &dyn Fn() -> bool,
    ) -> Vec<WovenEdge> {
        let longest = self.longest.saturating_add(self.longest_delay);
        // In the clock of the process.
        let until = nanos(now) - self.least_delay.min(nanos(now)) - nanos(wait.max(longest));
        let mut edges = std::mem::take(&mut self.revised);
        loop {
            let first = self.pending.first_key_value().map(|((at, _), _)| *at);
            let next = first.map_or(until, |at| at.saturating_add(SLICE_NS).min(until));
            self.release_until(next);
            if self.has_open {
                edges.extend(self.decide(next, min_confidence));
            }
            self.is_behind = next < until;
            if !self.is_behind || is_over() {
                return edges;
            }
        }
    }

    /// Passes the events up to a time on to the engine.
    fn release_until(&mut self, until: Nanos) {
        self.released = self.released.max(until);
        while let Some(first) = self.pending.first_entry() {
            let is_due = first.key().0 <= until;
            // With too many of them the wait is cut short.
            if !is_due && self.pending.len() <= MAX_PENDING {
                break;
            }
            let Some((_, event)) = self.pending.pop_first() else {
                break;
            };
            if self.has_open {
                self.release(event);
            }
        }
    }

    fn decide(&mut self, until: Nanos, min_confidence: f64) -> Vec<WovenEdge> {
        let mut edges = Vec::new();
        for decision in self.weaver.poll(until) {
            let number = decision.outbound.0;
            let start = self.starts.remove(&number).unwrap_or(Nanos::MIN);
            let edge = self.numbers.edge(&decision, min_confidence);
            self.numbers.outbound.keys.remove(&number);
            let Some(mut edge) = edge else { continue };
            let mut gaps = self.gaps.iter();
            edge.is_joined &= !gaps.any(|(from, to)| (*from..=*to).contains(&start));
            if edge.is_joined {
                if self.revisable.len() >= MAX_REVISABLE {
                    self.revisable.pop_front();
                }
                self.revisable.push_back((start, edge.clone()));
            }
            edges.push(edge);
        }
        edges
    }

    /// Passes an event on to the engine.
    fn release(&mut self, event: PendingEvent) {
        let span = match event {
            PendingEvent::Event(event) => return self.weaver.push(event),
            PendingEvent::Span(span) => span,
        };
        if let ActivityRole::Outbound { is_open: true, .. } = span.role {
            self.pending_open = self.pending_open.saturating_sub(1);
        }
        let mut events = self.numbers.events(&span).into_iter();
        if let Some(first) = events.next() {
            if let WeaveEvent::OutboundStarted(start) = &first
                && start.exact.is_none()
                && self.starts.len() < MAX_KNOWN
            {
                self.starts.insert(start.id.0, start.at);
            }
            self.weaver.push(first);
        }
        // The end, in its turn.
        for event in events {
            self.insert(event.at(), PendingEvent::Event(event));
        }
    }

    /// Returns the number of spans that wait for a decision.
    pub(super) fn open(&self) -> usize {
        self.pending_open + self.numbers.outbound.keys.len()
    }
}

/// Lets a maximum fade slowly: one long request does not delay everything for good.
const fn fade(longest: u64) -> u64 {
    longest - longest / 256
}

fn nanos(time: u64) -> Nanos {
    Nanos::try_from(time).unwrap_or(Nanos::MAX)
}

#[cfg(test)]
mod tests {
    use throughline_model::SpanId;

    use super::*;

    const MS: u64 = 1_000_000;
    const WAIT: u64 = 5_000 * MS;

    fn key(number: u64) -> SpanKey {
        SpanKey {
            trace_id: TraceId::from_bytes(u128::from(number).to_be_bytes()).unwrap(),
            span_id: SpanId::from_bytes(number.to_be_bytes()).unwrap(),
        }
    }

    fn span(number: u64, role: ActivityRole, start: u64, end: u64) -> ActivitySpan {
        ActivitySpan {
            key: key(number),
            process: 1,
            parent: None,
            role,
            start,
            end,
            operation: 1,
            tokens: Vec::new(),
        }
    }

    const REQUEST: ActivityRole = ActivityRole::Request {
        is_abandoned: false,
    };

    const fn call(is_open: bool) -> ActivityRole {
        ActivityRole::Outbound {
            is_record: false,
            is_open,
        }
    }

    /// Requests that overlap with none, each with one call; returns the joined calls.
    fn weave(weaver: &mut ProcessWeaver, requests: std::ops::Range<u64>) -> Vec<WovenEdge> {
        let mut edges = Vec::new();
        let mut now = 0;
        for number in requests {
            let start = number * 100 * MS;
            now = start + 20 * MS;
            weaver.push(span(2 * number, REQUEST, start, now), now);
            let (from, to) = (start + 5 * MS, start + 15 * MS);
            weaver.push(span(2 * number + 1, call(true), from, to), now);
            edges.extend(weaver.poll(now, WAIT, 0.95, &|| false));
        }
        edges.extend(weaver.poll(now + 2 * WAIT, WAIT, 0.95, &|| false));
        edges.retain(|edge| edge.is_joined);
        edges
    }

    #[test]
    fn calls_of_lone_requests_are_joined() {
        let mut weaver = ProcessWeaver::new();
        let edges = weave(&mut weaver, 1..200);
        let is_right = |edge: &&WovenEdge| {
            let number = |key: SpanKey| u128::from_be_bytes(key.trace_id.to_bytes());
            edge.parent.map(number) == Some(number(edge.child) - 1)
        };
        assert_eq!(edges.iter().filter(is_right).count(), edges.len());
        assert!(edges.len() > 150, "{}", edges.len());
    }

    #[test]
    fn request_that_arrives_late_takes_the_joins_of_its_time_back() {
        let mut weaver = ProcessWeaver::new();
        let joined = weave(&mut weaver, 1..200);
        let last = joined.last().unwrap();
        // It was in flight during the last ten requests.
        let now = 1_000_000 * MS;
        weaver.push(span(9_000, REQUEST, 19_000 * MS, 30_000 * MS), now);
        let revised = weaver.poll(now, WAIT, 0.95, &|| false);
        assert!(revised.iter().all(|edge| !edge.is_joined));
        assert!(revised.iter().any(|edge| edge.child == last.child));
        assert!((5..=11).contains(&revised.len()), "{}", revised.len());
    }

    #[test]
    fn nothing_is_joined_while_spans_are_lost() {
        let mut weaver = ProcessWeaver::new();
        weave(&mut weaver, 1..100);
        weaver.notice_loss(40_000 * MS);
        assert!(weave(&mut weaver, 300..380).is_empty());
        assert!(!weave(&mut weaver, 500..580).is_empty());
    }

    #[test]
    fn call_with_a_parent_elsewhere_competes_with_nobody() {
        let mut numbers = SpanNumbers::with_limit(10);
        let mut decided = span(7, call(false), 1, 2);
        decided.parent = Some(SpanId::from_bytes([9; 8]).unwrap());
        assert!(numbers.events(&decided).is_empty());
        let open = span(8, call(true), 1, 2);
        assert_eq!(numbers.events(&open).len(), 2);
    }

    #[test]
    fn pass_ends_between_slices() {
        let mut weaver = ProcessWeaver::new();
        for number in 1..200 {
            let start = number * 100 * MS;
            weaver.push(span(2 * number, call(true), start, start + MS), 60_000 * MS);
        }
        weaver.poll(120_000 * MS, WAIT, 0.95, &|| true);
        assert!(weaver.is_behind && weaver.pending.len() > 150);
        weaver.poll(120_000 * MS, WAIT, 0.95, &|| false);
        assert!(!weaver.is_behind && weaver.pending.is_empty());
    }
}
