use throughline_model::SpanId;
use throughline_weave::QueuePosition;

use super::*;

fn key(number: u8) -> SpanKey {
    SpanKey {
        trace_id: TraceId::from_bytes([number; 16]).unwrap(),
        span_id: SpanId::from_bytes([number; 8]).unwrap(),
    }
}

fn edge(parent: Option<SpanKey>, is_joined: bool) -> WovenEdge {
    WovenEdge {
        child: key(1),
        parent,
        evidence: WovenEvidence::Timing,
        confidence: 0.97,
        alternatives: Vec::new(),
        is_joined,
    }
}

/// A request from `start` to `end`, or a call in it.
fn span(number: u8, start: u64, end: u64, role: ActivityRole) -> ActivitySpan {
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

/// Passes requests on as they come, and returns the number of those that are remembered.
pub(in crate::weaving) fn requests(process: &mut ProcessWeaver, count: u64, begin: u64) -> usize {
    let request = ActivityRole::Request {
        is_abandoned: false,
    };
    for number in 1..=count {
        let at = begin + number * 1_000_000;
        let request = span(1, at, at + 1_000_000, request);
        process.last_seen = at;
        process.release(PendingEvent::Span(request));
    }
    process.known()
}

impl ProcessWeaver {
    pub(in crate::weaving) fn known(&self) -> usize {
        self.numbers.inbound.keys.len()
    }
}

#[test]
fn decisions_of_a_new_process_are_provisional_until_they_are_made_again() {
    const SECOND: u64 = 1_000_000_000;
    let (start, is_open) = (1_000 * SECOND, true);
    let mut process = ProcessWeaver::new();
    let request = ActivityRole::Request {
        is_abandoned: false,
    };
    let call = ActivityRole::Outbound {
        is_record: false,
        is_open,
    };
    let (begin, end) = (start + 1_000_000, start + 2_000_000);
    process.push(span(2, start, start + 5_000_000, request), start + SECOND);
    process.push(span(1, begin, end, call), start + SECOND);
    let mut due = DueDecisions::default();
    process.poll(start + 3 * SECOND, SECOND, 0.5, &mut due);
    let joined = |edges: &[WovenEdge]| edges.iter().map(joined_parent).collect::<Vec<_>>();
    assert_eq!(joined(&due.provisional), [Some(key(2))]);
    assert!(due.last.is_empty() && due.confirmed.is_empty() && due.decided.is_empty());
    let mut due = DueDecisions::default();
    process.poll(start + 120 * SECOND, SECOND, 0.5, &mut due);
    assert_eq!(joined(&due.confirmed), [Some(key(2))]);
    assert!(due.last.is_empty() && due.separated.is_empty());
    assert_eq!(due.decided, [key(1)]);
}

/// Twenty requests in turn, whose sidecar knew the parent of each call, and then two that
/// overlap.
#[test]
fn a_process_is_known_before_its_first_open_span() {
    const SECOND: u64 = 1_000_000_000;
    const MS: u64 = 1_000_000;
    let request = ActivityRole::Request {
        is_abandoned: false,
    };
    let call = |is_open| ActivityRole::Outbound {
        is_record: false,
        is_open,
    };
    let mut process = ProcessWeaver::new();
    let mut due = DueDecisions::default();
    let begin = 1_000 * SECOND;
    for number in 0..20_u8 {
        let at = begin + u64::from(number) * SECOND;
        let mut known = span(100 + number, at + MS, at + 9 * MS, call(false));
        known.key.trace_id = key(50 + number).trace_id;
        known.parent = Some(key(50 + number).span_id);
        process.push(known, at + 10 * MS);
        process.push(span(50 + number, at, at + 10 * MS, request), at + 10 * MS);
        process.poll(at + 10 * MS, SECOND, 0.5, &mut due);
    }
    assert_eq!(process.pending.len(), 3 * 20);
    let at = begin + 30 * SECOND;
    process.push(span(1, at + 4 * MS, at + 12 * MS, call(true)), at + SECOND);
    process.push(span(2, at, at + 40 * MS, request), at + SECOND);
    process.push(span(3, at + 3 * MS, at + 13 * MS, request), at + SECOND);
    process.poll(at + 120 * SECOND, SECOND, 0.5, &mut due);
    let joined: Vec<_> = due.last.iter().map(joined_parent).collect();
    assert_eq!(joined, [Some(key(3))]);
    assert!(due.provisional.is_empty());
    assert!(process.pending.is_empty());
}

#[test]
fn little_is_remembered_of_a_process_without_open_spans() {
    const SECOND: u64 = 1_000_000_000;
    let request = ActivityRole::Request {
        is_abandoned: false,
    };
    let mut process = ProcessWeaver::new();
    let mut due = DueDecisions::default();
    for number in 1..=1_000 {
        let at = 1_000 * SECOND + number * 1_000_000;
        process.push(span(1, at, at + 1_000_000, request), at + 1_000_000);
    }
    process.poll(1_100 * SECOND, SECOND, 0.5, &mut due);
    assert_eq!(process.pending.len(), MAX_REMEMBERED);
}

#[test]
fn another_decision_takes_the_earlier_join_back() {
    let earlier = key(2);
    assert_eq!(separation_from(earlier, &edge(Some(earlier), true)), None);
    for decided in [
        edge(Some(key(3)), true),
        edge(Some(earlier), false),
        edge(None, false),
    ] {
        let separation = separation_from(earlier, &decided).unwrap();
        assert_eq!(
            (separation.child, separation.parent),
            (key(1), Some(earlier))
        );
        assert!(!separation.is_joined);
    }
}

/// The spans of records that were delivered together come in any order.
#[test]
fn records_that_were_delivered_together_are_in_the_order_of_their_offsets() {
    const SECOND: u64 = 1_000_000_000;
    let mut process = ProcessWeaver::new();
    for offset in [3, 1, 0, 2] {
        let position = QueuePosition { queue: 7, offset };
        let role = ActivityRole::Record { position };
        let number = u8::try_from(offset + 1).unwrap();
        process.push(span(number, SECOND, SECOND, role), SECOND);
    }
    let offsets: Vec<i64> = process
        .pending
        .keys()
        .map(|(_, offset, _)| *offset)
        .collect();
    assert_eq!(offsets, [0, 1, 2, 3]);
}

/// A collector that starts while a consumer is behind sees calls that are about earlier records,
/// and a commit of them.
#[test]
fn commit_of_an_unseen_record_says_that_the_process_is_older() {
    const SECOND: u64 = 1_000_000_000;
    let at = |offset: i64| QueuePosition { queue: 7, offset };
    let call = ActivityRole::Outbound {
        is_record: false,
        is_open: true,
    };
    let mut process = ProcessWeaver::new();
    let mut due = DueDecisions::default();
    let delivered = ActivityRole::Record { position: at(8) };
    process.push(span(8, SECOND, SECOND, delivered), SECOND);
    process.push(span(1, SECOND + 5, SECOND + 6, call), SECOND);
    let commit = ActivityRole::Settlement {
        position: Some(at(5)),
    };
    let mut unseen = span(2, SECOND + 9, SECOND + 10, commit);
    unseen.parent = Some(key(5).span_id);
    process.push(unseen, SECOND);
    process.poll(3 * SECOND, SECOND, 0.95, &mut due);
    assert_eq!(process.behind, Some((7, SECOND + 9)));
    // Its call may be about record 6 or 7.
    process.poll(200 * SECOND, SECOND, 0.95, &mut due);
    assert!(due.last.iter().all(|edge| edge.parent.is_none()));
    assert_eq!(due.decided, [key(1)]);
}
