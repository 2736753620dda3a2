//! The weaving engine of one process, and the translation between its numbers and our spans.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use throughline_model::TraceId;
use throughline_store::{AlternativeParent, MAX_ALTERNATIVES, SpanKey, WovenEdge, WovenEvidence};
use throughline_weave::{
    Decision, EvidenceTier, InboundId, InboundOutcome, InboundStart, LiveChecks, Nanos,
    OperationKey, OutboundId, OutboundStart, QueuePosition, WeaveEvent, Weaver, WeaverSettings,
};

use super::activity_span::{ActivityRole, ActivitySpan};

/// Events of a process that wait for earlier ones.
const MAX_PENDING: usize = 65_536;

/// The same of a process that has shown no span without a parent yet. They teach the engine what
/// its requests do, before the first that it has to decide about.
const MAX_REMEMBERED: usize = 256;

/// Time from the first span of a process until the last commit that may cover records delivered
/// before it. A later one covers records whose spans were lost.
const MAX_BEHIND: u64 = 60_000_000_000;

/// Received and sent spans of a process that are remembered.
const MAX_KNOWN: usize = 32_768;

/// A request this long is waited for at most: its span arrives when it ends, after its calls.
const MAX_REQUEST: u64 = 60_000_000_000;

/// The engine of one process.
#[derive(Debug)]
pub(super) struct ProcessWeaver {
    weaver: Weaver,
    /// Checks that were reported.
    reported_checks: LiveChecks,
    numbers: SpanNumbers,
    /// Parents that calls of a new process were joined with, until all is decided again.
    provisional: HashMap<u64, Option<SpanKey>>,
    /// Events in the order of their times; spans arrive in the order of their ends. Records that
    /// were delivered together are in the order of their offsets, whatever that of their spans.
    pending: BTreeMap<(Nanos, i64, u64), PendingEvent>,
    next_event: u64,
    /// Spans without a parent among them.
    pending_open: usize,
    /// Whether a span without a parent was seen. Until then there is nothing to decide.
    has_open: bool,
    /// Start of the earliest span.
    first_start: u64,
    /// Partition and time of the last commit that covers a record whose delivery was not seen.
    behind: Option<(u64, u64)>,
    /// Calls that are not decided about again although the process is new.
    given_up: HashSet<u64>,
    /// Longest request seen lately.
    longest: u64,
    /// Least time seen from the end of a span to its arrival: the difference of the clocks, and the
    /// delay of the export.
    least_delay: i64,
    /// Arrival of the last span.
    last_seen: u64,
}

/// Decisions that are due.
#[derive(Debug, Default)]
pub(super) struct DueDecisions {
    /// Decisions of a new process, which are made again.
    pub(super) provisional: Vec<WovenEdge>,
    /// Joins that turned out to be wrong, as decisions that join nothing.
    pub(super) separated: Vec<WovenEdge>,
    /// Decisions that are not made again, and were not made before like this.
    pub(super) last: Vec<WovenEdge>,
    /// Decisions that are not made again, and are as they were.
    pub(super) confirmed: Vec<WovenEdge>,
    /// Spans about which nothing more is decided.
    pub(super) decided: Vec<SpanKey>,
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
            ActivityRole::Record { position } => {
                let start = self.inbound_start(span, Some(position));
                vec![WeaveEvent::InboundStarted(start)]
            }
            ActivityRole::Settlement { .. } => {
                let record = self.parent_of(span);
                // When the consumer asked for it: it goes on while the broker commits.
                let ended = |id: &InboundId| WeaveEvent::InboundEnded {
                    id: *id,
                    at: start,
                    outcome: InboundOutcome::Completed,
                };
                record.as_ref().map(ended).into_iter().collect()
            }
            ActivityRole::Outbound { is_record, is_open } => {
                let id = OutboundId(self.number());
                if is_open {
                    self.outbound.insert(id.0, span.key);
                    self.outbound.take_excess();
                }
                let exact = if is_open { None } else { self.cause_of(span) };
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
        self.inbound.insert(id.0, span.key);
        self.forget_excess();
        self.inbound_by_key.insert(span.key, id);
        self.inbound_by_trace.insert(span.trace_id(), id);
        id
    }

    /// Returns the received span that is the parent of one.
    fn parent_of(&self, span: &ActivitySpan) -> Option<InboundId> {
        let (trace_id, span_id) = (span.trace_id(), span.parent?);
        let key = SpanKey { trace_id, span_id };
        self.inbound_by_key.get(&key).copied()
    }

    fn limit_known(&mut self, max_known: usize) {
        self.inbound.max_known = max_known;
        self.outbound.max_known = max_known;
        self.outbound.take_excess();
        self.forget_excess();
    }

    /// Forgets received spans beyond the limit.
    fn forget_excess(&mut self) {
        for old in self.inbound.take_excess() {
            self.inbound_by_key.remove(&old);
            self.inbound_by_trace.remove(&old.trace_id);
        }
    }

    /// Returns the span that caused one whose parent is known.
    fn cause_of(&self, span: &ActivitySpan) -> Option<InboundId> {
        span.parent?;
        let of_trace = self.inbound_by_trace.get(&span.trace_id());
        self.parent_of(span).or_else(|| of_trace.copied())
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

    fn insert(&mut self, number: u64, key: SpanKey) {
        self.keys.insert(number, key);
        self.order.push_back(number);
    }

    /// Takes the earliest spans beyond the limit.
    fn take_excess(&mut self) -> Vec<SpanKey> {
        let excess = self.order.len().saturating_sub(self.max_known);
        let numbers = self.order.drain(..excess);
        numbers.filter_map(|it| self.keys.remove(&it)).collect()
    }
}

// === impl ProcessWeaver ===

impl ProcessWeaver {
    pub(super) fn new() -> Self {
        Self {
            weaver: Weaver::new(WeaverSettings::default()),
            reported_checks: LiveChecks::default(),
            numbers: SpanNumbers::with_limit(MAX_KNOWN),
            provisional: HashMap::new(),
            pending: BTreeMap::new(),
            next_event: 0,
            pending_open: 0,
            has_open: false,
            first_start: u64::MAX,
            behind: None,
            given_up: HashSet::new(),
            longest: 0,
            least_delay: i64::MAX,
            last_seen: 0,
        }
    }

    /// Takes a span that arrives now.
    pub(super) fn push(&mut self, span: ActivitySpan, now: u64) {
        self.last_seen = now;
        self.first_start = self.first_start.min(span.start);
        self.least_delay = self.least_delay.min(nanos(now) - nanos(span.end));
        match span.role {
            ActivityRole::Outbound { is_open, .. } => {
                self.has_open |= is_open;
                self.pending_open += usize::from(is_open);
            }
            ActivityRole::Request { .. } => {
                // Fades slowly: one long request does not delay everything for good.
                let faded = self.longest - self.longest / 256;
                self.longest = faded.max((span.end - span.start).min(MAX_REQUEST));
            }
            ActivityRole::Record { .. } | ActivityRole::Settlement { .. } => {}
        }
        match span.role {
            ActivityRole::Request { .. } | ActivityRole::Record { .. } => {
                for event in self.numbers.events(&span) {
                    self.insert(event.at(), PendingEvent::Event(event));
                }
            }
            ActivityRole::Settlement { .. } => {
                self.insert(nanos(span.start), PendingEvent::Span(span));
            }
            ActivityRole::Outbound { .. } => {
                self.insert(nanos(span.start), PendingEvent::Span(span));
            }
        }
    }

    fn insert(&mut self, at: Nanos, event: PendingEvent) {
        let offset = match &event {
            PendingEvent::Event(WeaveEvent::InboundStarted(start)) => {
                start.position.map_or(i64::MAX, |position| position.offset)
            }
            PendingEvent::Event(_) | PendingEvent::Span(_) => i64::MAX,
        };
        self.pending.insert((at, offset, self.next_event), event);
        self.next_event += 1;
    }

    /// Adds the decisions that are due, `wait` nanoseconds after the spans they rest on.
    pub(super) fn poll(
        &mut self,
        now: u64,
        wait: u64,
        min_confidence: f64,
        due: &mut DueDecisions,
    ) {
        let wait = nanos(wait.max(self.longest));
        // In the clock of the process.
        let until = nanos(now) - self.least_delay.min(nanos(now)) - wait;
        while let Some(first) = self.pending.first_entry() {
            let is_due = first.key().0 <= until;
            // With too many of them the wait is cut short.
            if !is_due && self.pending.len() <= MAX_PENDING {
                break;
            }
            if !self.has_open && self.pending.len() <= MAX_REMEMBERED {
                break;
            }
            let Some((_, event)) = self.pending.pop_first() else {
                break;
            };
            if self.has_open {
                self.release(event);
            }
        }
        if self.has_open {
            for decision in self.weaver.poll(until) {
                self.sort(&decision, min_confidence, due);
            }
        }
    }

    /// Adds a decision to those that are due.
    fn sort(&mut self, decision: &Decision, min_confidence: f64, due: &mut DueDecisions) {
        let number = decision.outbound.0;
        let edge = self.numbers.edge(decision, min_confidence);
        let parent = edge.as_ref().and_then(joined_parent);
        let earlier = self.provisional.remove(&number);
        let is_new = earlier.is_none_or(|it| it != parent);
        let separation = earlier.flatten().zip(edge.as_ref());
        due.separated
            .extend(separation.and_then(|(parent, edge)| separation_from(parent, edge)));
        if self.weaver.is_opening() && !self.given_up.remove(&number) {
            self.provisional.insert(number, parent);
            due.provisional.extend(edge.filter(|_| is_new));
            return;
        }
        due.decided
            .extend(self.numbers.outbound.keys.remove(&number));
        if is_new {
            due.last.extend(edge);
        } else {
            due.confirmed.extend(edge);
        }
    }

    /// Passes an event on to the engine.
    fn release(&mut self, event: PendingEvent) {
        let span = match event {
            PendingEvent::Event(event) => return self.weaver.push(event),
            PendingEvent::Span(span) => span,
        };
        match span.role {
            ActivityRole::Outbound { is_open: true, .. } => {
                self.pending_open = self.pending_open.saturating_sub(1);
            }
            ActivityRole::Settlement {
                position: Some(position),
            } => self.notice_behind(&span, position),
            ActivityRole::Request { .. }
            | ActivityRole::Record { .. }
            | ActivityRole::Settlement { .. }
            | ActivityRole::Outbound { .. } => {}
        }
        let mut events = self.numbers.events(&span).into_iter();
        if let Some(first) = events.next() {
            self.weaver.push(first);
        }
        // The end, in its turn.
        for event in events {
            self.insert(event.at(), PendingEvent::Event(event));
        }
    }

    /// Notices a commit that covers a record whose delivery was not seen, and what else it covers:
    /// the consumer had received records before its first span came here.
    fn notice_behind(&mut self, commit: &ActivitySpan, position: QueuePosition) {
        let is_new = commit.start.saturating_sub(self.first_start) < MAX_BEHIND;
        let is_same_commit = self.behind == Some((position.queue, commit.start));
        if is_new && (is_same_commit || self.numbers.parent_of(commit).is_none()) {
            self.behind = Some((position.queue, commit.start));
            let given_up = self.weaver.begin_behind(position).into_iter();
            self.given_up.extend(given_up.map(|call| call.0));
        }
    }

    /// Returns the decisions that later proofs have confirmed or refuted since the last time.
    pub(super) fn new_checks(&mut self) -> LiveChecks {
        let (now, before) = (self.weaver.checks(), self.reported_checks);
        self.reported_checks = now;
        LiveChecks {
            right: now.right.saturating_sub(before.right),
            wrong: now.wrong.saturating_sub(before.wrong),
        }
    }

    /// Returns when the last span came, in nanoseconds since the Unix epoch.
    pub(super) const fn last_seen(&self) -> u64 {
        self.last_seen
    }

    /// Remembers this number of spans of each kind at most, and [`MAX_KNOWN`] in any case.
    pub(super) fn limit_known(&mut self, max_known: usize) {
        self.numbers.limit_known(max_known.min(MAX_KNOWN));
    }

    /// Returns the number of spans that wait for a decision.
    pub(super) fn open(&self) -> usize {
        let undecided = self.numbers.outbound.keys.len();
        self.pending_open + undecided.saturating_sub(self.provisional.len())
    }
}

/// Returns the decision that takes back an earlier join with `parent`, if there is another one now.
/// The store may refuse the new one, and must not keep the old one then.
fn separation_from(parent: SpanKey, decided: &WovenEdge) -> Option<WovenEdge> {
    (joined_parent(decided) != Some(parent)).then(|| WovenEdge {
        parent: Some(parent),
        is_joined: false,
        ..decided.clone()
    })
}

fn joined_parent(edge: &WovenEdge) -> Option<SpanKey> {
    edge.parent.filter(|_| edge.is_joined)
}

fn nanos(time: u64) -> Nanos {
    Nanos::try_from(time).unwrap_or(Nanos::MAX)
}

#[cfg(test)]
pub(super) mod tests;
