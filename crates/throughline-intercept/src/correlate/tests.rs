use std::sync::Arc;

use throughline_model::context::{HeaderList, Sampling, SpanContext};
use throughline_model::{SpanId, TraceId};

use super::*;
use crate::Timestamp;
use crate::kafka::ClientKey;

const START: Timestamp = 1_700_000_000 * SECOND;

struct Process {
    correlator: Correlator,
    now: Timestamp,
    client: ClientKey,
    topic: Arc<str>,
    fetching: Fetching,
}

impl Process {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    /// A process that was idle for two minutes.
    fn with(settings: Settings) -> Self {
        let correlator = Correlator::new(settings, START);
        let topic = Arc::from("eshop-topic");
        let (client, fetching) = (ClientKey::default(), Fetching::Ahead);
        Self {
            correlator,
            now: START + 120 * SECOND,
            client,
            topic,
            fetching,
        }
    }

    fn wait(&mut self, milliseconds: u64) {
        self.now += milliseconds * MILLISECOND;
    }

    fn begin(&mut self, id: u8) -> Inbound {
        self.begin_with(id, None)
    }

    fn begin_with(&mut self, id: u8, request_id: Option<&str>) -> Inbound {
        let tokens = tokens(request_id);
        self.correlator.begin(self.now, &context(id), tokens)
    }

    fn end(&mut self, inbound: Inbound, end: End) {
        self.correlator.end(inbound, self.now, end);
    }

    fn deliver(&mut self, offset: i64, id: u8) {
        let place = Partition {
            client: &self.client,
            topic: &self.topic,
            partition: 0,
            fetching: self.fetching,
        };
        self.correlator
            .deliver(self.now, &place, offset, &context(id), Tokens::default());
    }

    fn commit(&mut self, next: i64) {
        let place = Partition {
            client: &self.client,
            topic: &self.topic,
            partition: 0,
            fetching: self.fetching,
        };
        self.correlator
            .commit(self.now, &place, i64::MIN..=next - 1);
    }

    fn fetch(&mut self, offset: i64) {
        let place = Partition {
            client: &self.client,
            topic: &self.topic,
            partition: 0,
            fetching: self.fetching,
        };
        self.correlator.fetch(self.now, &place, offset);
    }

    fn call(&mut self) -> (Parent, Call) {
        self.call_with(None)
    }

    fn call_with(&mut self, request_id: Option<&str>) -> (Parent, Call) {
        let kind = Kind::http("GET", "inventory:8080", "/createOrder");
        let tokens = tokens(request_id);
        let outbound = Outbound {
            kind,
            made: None,
            carried: None,
            tokens,
            is_answered: true,
        };
        self.correlator.parent(self.now, &outbound)
    }

    fn send(&mut self, made: Timestamp) -> Parent {
        let outbound = Outbound {
            kind: Kind::record("orders"),
            made: Some(made),
            carried: None,
            tokens: Tokens::default(),
            is_answered: false,
        };
        self.correlator.parent(self.now, &outbound).0
    }

    /// A call that takes five milliseconds.
    fn exchange(&mut self) -> Parent {
        let (parent, call) = self.call();
        self.wait(5);
        self.correlator.answered(self.now, call, true);
        parent
    }
}

fn context(id: u8) -> SpanContext {
    SpanContext::new(
        TraceId::from_bytes([id; 16]).unwrap(),
        SpanId::from_bytes([id; 8]).unwrap(),
        Sampling::Sample,
    )
}

fn tokens(request_id: Option<&str>) -> Tokens {
    let mut headers = HeaderList::default();
    request_id
        .into_iter()
        .for_each(|id| headers.push(REQUEST_ID, id));
    Tokens::of(
        &[Key::request_id()],
        Message {
            headers: &headers,
            key: None,
            body: None,
        },
        0,
    )
}

#[track_caller]
fn is(parent: &Parent, evidence: Evidence, id: u8) {
    assert_eq!(
        (parent.evidence, parent.context.as_ref()),
        (evidence, Some(&context(id)))
    );
    assert_eq!(parent.confidence.is_some(), !evidence.is_exact());
}

#[test]
fn a_context_in_the_message_is_the_parent_whatever_is_in_flight() {
    let mut process = Process::new();
    process.begin(1);
    let carried = context(9);
    let outbound = Outbound {
        kind: Kind::record("t"),
        made: None,
        carried: Some(&carried),
        tokens: Tokens::default(),
        is_answered: false,
    };
    is(
        &process.correlator.parent(process.now, &outbound).0,
        Evidence::Header,
        9,
    );
}

#[test]
fn the_first_call_of_a_process_that_has_one_thing_to_do_has_its_parent() {
    let mut process = Process::new();
    process.begin(1);
    process.wait(3);
    for _ in 0..3 {
        let parent = process.exchange();
        is(&parent, Evidence::Sole, 1);
        assert!(parent.confidence.unwrap() > 0.99);
    }
}

#[test]
fn with_two_in_flight_or_none_it_is_open() {
    let mut process = Process::new();
    assert_eq!(process.call().0, Parent::open());
    let mut process = Process::new();
    let first = process.begin(1);
    process.begin(2);
    assert_eq!(process.exchange(), Parent::open());
    process.end(first, End::Answered);
    assert_eq!(
        process.call().0,
        Parent::open(),
        "two connections may be read in the wrong order"
    );
    process.wait(1_100);
    is(&process.exchange(), Evidence::Sole, 2);
}

#[test]
fn a_request_id_finds_its_request_among_many_and_after_its_end() {
    let mut process = Process::new();
    let first = process.begin_with(1, Some("a"));
    process.begin_with(2, Some("b"));
    is(&process.call_with(Some("a")).0, Evidence::RequestId, 1);
    is(&process.call_with(Some("b")).0, Evidence::RequestId, 2);
    process.end(first, End::Answered);
    process.wait(30_000);
    is(&process.call_with(Some("a")).0, Evidence::RequestId, 1);
    process.wait(60_000);
    assert_eq!(
        process.call_with(Some("a")).0,
        Parent::open(),
        "nobody remembers"
    );
}

#[test]
fn a_request_id_that_two_in_flight_share_tells_nothing() {
    let mut process = Process::new();
    let first = process.begin_with(1, Some("a"));
    process.begin_with(2, Some("a"));
    assert_eq!(process.call_with(Some("a")).0, Parent::open());
    process.end(first, End::Answered);
    assert_eq!(
        process.call_with(Some("a")).0,
        Parent::open(),
        "the first may not be done"
    );
    process.wait(1_100);
    is(&process.call_with(Some("a")).0, Evidence::RequestId, 2);
}

#[test]
fn a_request_that_is_sent_again_under_its_id_is_not_taken_for_the_first_attempt() {
    let mut process = Process::new();
    let first = process.begin_with(1, Some("a"));
    process.wait(1_000);
    process.end(first, End::Broken);
    process.begin_with(2, Some("a"));
    process.wait(2_000);
    assert_eq!(
        process.call_with(Some("a")).0,
        Parent::open(),
        "both handlers may be at work"
    );
}

#[test]
fn of_a_kind_that_carries_request_ids_one_without_is_of_nobody() {
    let mut process = Process::new();
    process.begin_with(1, Some("a"));
    is(&process.call_with(Some("a")).0, Evidence::RequestId, 1);
    assert_eq!(process.call().0, Parent::open());
    assert_eq!(process.call_with(Some("other")).0, Parent::open());
}

#[test]
fn a_value_in_the_body_of_a_request_is_found_in_the_key_of_a_record() {
    let key = Key {
        name: "order".to_owned(),
        places: vec![Place::Body("/id".to_owned()), Place::RecordKey],
    };
    let mut process = Process::with(Settings {
        keys: vec![key],
        ..Settings::default()
    });
    assert_eq!(process.correlator.wants_bodies(), Some(64 * 1024));
    let headers = HeaderList::default();
    let body = process.correlator.tokens(Message {
        headers: &headers,
        key: None,
        body: Some(b"{\"id\":17}"),
    });
    process.correlator.begin(process.now, &context(1), body);
    process.begin(2);
    let tokens = process.correlator.tokens(Message {
        headers: &headers,
        key: Some(b"17"),
        body: None,
    });
    let outbound = Outbound {
        kind: Kind::record("t"),
        made: None,
        carried: None,
        tokens,
        is_answered: false,
    };
    is(
        &process.correlator.parent(process.now, &outbound).0,
        Evidence::RequestId,
        1,
    );
}

#[test]
fn a_record_belongs_to_what_was_in_flight_when_it_was_made_not_when_it_is_sent() {
    let mut process = Process::new();
    let inbound = process.begin(1);
    process.wait(10);
    let made = process.now;
    process.end(inbound, End::Answered);
    process.wait(5);
    is(&process.send(made), Evidence::Sole, 1);
    process.begin(2);
    assert_eq!(
        process.send(made),
        Parent::open(),
        "its timestamp may be somebody else's"
    );
    process.wait(2_000);
    assert_eq!(process.send(made), Parent::open(), "too long ago");
    assert_eq!(
        process.send(process.now + SECOND),
        Parent::open(),
        "of another clock"
    );
}

#[test]
fn while_a_handler_may_work_on_for_a_client_that_left_nothing_is_sole() {
    let mut process = Process::new();
    let left = process.begin(1);
    process.wait(20);
    process.end(left, End::Broken);
    process.wait(5);
    process.begin(2);
    process.wait(2);
    assert_eq!(process.exchange(), Parent::open());
    process.wait(1_100);
    is(&process.exchange(), Evidence::Sole, 2);
}

#[test]
fn a_call_that_comes_by_itself_is_never_given_to_who_happens_to_be_in_flight() {
    let mut process = Process::new();
    for _ in 0..5 {
        assert_eq!(process.exchange(), Parent::open());
        process.wait(1_000);
    }
    let inbound = process.begin(1);
    process.wait(500);
    assert_eq!(process.exchange(), Parent::open());
    process.end(inbound, End::Answered);
}

#[test]
fn a_process_that_is_never_idle_has_no_sole() {
    let correlator = Correlator::new(Settings::default(), START);
    let mut process = Process {
        correlator,
        now: START,
        ..Process::new()
    };
    let mut last = process.begin(1);
    for id in 2..200 {
        process.wait(5);
        assert_eq!(process.exchange(), Parent::open());
        let next = process.begin(id);
        process.end(last, End::Answered);
        last = next;
    }
    let assumed = Settings {
        sole: Sole::Assumed,
        ..Settings::default()
    };
    process.correlator = Correlator::new(assumed, process.now);
    process.begin(1);
    is(&process.exchange(), Evidence::Sole, 1);
}

#[test]
fn a_stream_says_nothing_about_what_is_called_meanwhile() {
    let mut process = Process::new();
    let stream = process.begin(1);
    process.wait(61_000);
    assert_eq!(process.exchange(), Parent::open());
    assert_eq!(process.correlator.in_flight(), 0);
    process.end(stream, End::Answered);
}

#[test]
fn past_its_cap_nothing_is_guessed_and_nothing_grows() {
    let limits = Limits {
        max_inbound: 3,
        ..Limits::default()
    };
    let mut process = Process::with(Settings {
        limits,
        ..Settings::default()
    });
    let all: Vec<Inbound> = (1..=9)
        .map(|id| process.begin_with(id, Some("a")))
        .collect();
    assert_eq!(process.correlator.in_flight(), 3);
    all.iter()
        .for_each(|inbound| process.end(*inbound, End::Answered));
    let inbound = process.begin(10);
    process.wait(2_000);
    assert_eq!(
        process.exchange(),
        Parent::open(),
        "one of those that were turned away may be at work"
    );
    process.end(inbound, End::Answered);
    process.wait(61_000);
    process.begin(11);
    process.wait(10);
    is(&process.exchange(), Evidence::Sole, 11);
}

// --- records ---

#[test]
fn a_record_is_in_flight_until_it_is_committed() {
    let mut process = Process::new();
    process.deliver(0, 1);
    process.wait(2);
    is(&process.exchange(), Evidence::Sole, 1);
    process.deliver(1, 2);
    process.wait(2);
    assert_eq!(
        process.exchange(),
        Parent::open(),
        "the first may still be handled"
    );
    process.commit(1);
    process.wait(1_100);
    is(&process.exchange(), Evidence::Sole, 2);
    process.commit(2);
    assert_eq!(process.correlator.in_flight(), 0);
}

#[test]
fn a_poll_settles_what_was_delivered_before_the_last_one_unless_the_client_fetches_ahead() {
    for (fetching, left) in [(Fetching::OnPoll, 1), (Fetching::Ahead, 2)] {
        let mut process = Process {
            fetching,
            ..Process::new()
        };
        process.deliver(0, 1);
        process.fetch(1);
        process.deliver(1, 2);
        assert_eq!(
            process.correlator.in_flight(),
            2,
            "the first is being handled, the second may be"
        );
        process.fetch(2);
        assert_eq!(process.correlator.in_flight(), left);
    }
}

#[test]
fn a_record_that_nobody_commits_is_over_some_day() {
    let mut process = Process::new();
    process.deliver(0, 1);
    process.wait(301_000);
    assert_eq!(process.exchange(), Parent::open());
    assert_eq!(process.correlator.in_flight(), 0);
}

/// Twenty records, one after the other, that make one call each.
fn routine(process: &mut Process, records: i64) {
    for offset in 0..records {
        process.deliver(offset, 1);
        process.wait(3);
        process.exchange();
        process.wait(2);
        process.commit(offset + 1);
        process.wait(50);
    }
}

#[test]
fn a_record_that_has_done_what_records_of_its_topic_do_is_out_of_the_way() {
    let mut process = Process::new();
    routine(&mut process, 20);
    process.deliver(20, 2);
    process.wait(3);
    is(&process.exchange(), Evidence::Sole, 2);
    process.deliver(21, 3);
    process.wait(3);
    is(&process.exchange(), Evidence::Sole, 3);
}

#[test]
fn a_record_whose_call_failed_may_call_again() {
    let mut process = Process::new();
    routine(&mut process, 20);
    process.deliver(20, 2);
    process.wait(3);
    let (parent, call) = process.call();
    is(&parent, Evidence::Sole, 2);
    process.wait(5);
    process.correlator.answered(process.now, call, false);
    process.deliver(21, 3);
    process.wait(3);
    assert_eq!(process.exchange(), Parent::open());
}

#[test]
fn records_that_wait_in_one_partition_take_their_turns() {
    let mut process = Process::new();
    routine(&mut process, 600);
    (0..3).for_each(|nth| process.deliver(600 + nth, 2 + u8::try_from(nth).unwrap()));
    process.wait(3);
    is(&process.exchange(), Evidence::Order, 2);
    process.wait(2);
    is(&process.exchange(), Evidence::Order, 3);
    process.wait(2);
    is(&process.exchange(), Evidence::Sole, 4);
}

#[test]
fn records_that_call_at_the_same_time_have_no_turns() {
    let mut process = Process::new();
    routine(&mut process, 600);
    (0..3).for_each(|nth| process.deliver(600 + nth, 2 + u8::try_from(nth).unwrap()));
    process.wait(3);
    let (first, _) = process.call();
    is(&first, Evidence::Order, 2);
    assert_eq!(process.call().0, Parent::open());
}

#[test]
fn a_record_that_is_named_settles_those_before_it() {
    let mut process = Process::new();
    process.deliver(0, 1);
    process.deliver(1, 2);
    let place = Partition {
        client: &process.client,
        topic: &process.topic,
        partition: 0,
        fetching: Fetching::Ahead,
    };
    process
        .correlator
        .deliver(process.now, &place, 2, &context(3), tokens(Some("c")));
    assert_eq!(process.correlator.in_flight(), 3);
    is(&process.call_with(Some("c")).0, Evidence::RequestId, 3);
    assert_eq!(process.correlator.in_flight(), 1);
}

#[test]
fn records_that_could_not_be_read_make_everything_uncertain_for_a_while() {
    let mut process = Process::new();
    process.correlator.lose_sight(process.now);
    process.begin(1);
    assert_eq!(process.exchange(), Parent::open());
}

#[test]
fn a_record_that_is_delivered_again_is_one() {
    let mut process = Process::new();
    process.deliver(0, 1);
    process.deliver(0, 2);
    assert_eq!(process.correlator.in_flight(), 1);
    process.wait(1_100);
    is(&process.exchange(), Evidence::Sole, 2);
}

/// Whatever happens, in whatever order: nothing panics, nothing grows past its cap, and all is let go in the end.
#[test]
fn anything_may_happen() {
    const MOST: usize = 50;
    let limits = Limits {
        max_inbound: MOST,
        max_candidates: 8,
        max_kinds: 4,
        ..Limits::default()
    };
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut process = Process::with(Settings {
            limits,
            ..Settings::default()
        });
        let (mut inbounds, mut calls) = (Vec::new(), Vec::new());
        for _ in 0..3_000 {
            process.now += random.u64(0..20_000) * MILLISECOND / 100;
            process.fetching = if random.bool() {
                Fetching::OnPoll
            } else {
                Fetching::Ahead
            };
            let token = format!("{}", random.u8(0..40));
            let offset = random.i64(0..100);
            match random.u8(0..9) {
                0 => inbounds.push(process.begin_with(random.u8(1..), Some(&token))),
                1 | 2 if !inbounds.is_empty() => {
                    let end = if random.bool() {
                        End::Answered
                    } else {
                        End::Broken
                    };
                    process.end(inbounds[random.usize(..inbounds.len())], end);
                }
                3 => process.deliver(offset, random.u8(1..)),
                4 => process.commit(offset),
                5 => process.fetch(offset),
                6 => calls.push(process.call_with(random.bool().then_some(&token)).1),
                7 => drop(process.send(process.now - random.u64(0..2_000) * MILLISECOND)),
                8 if !calls.is_empty() => {
                    let call = calls[random.usize(..calls.len())];
                    process
                        .correlator
                        .answered(process.now, call, random.bool());
                }
                _ => process.wait(random.u64(0..30_000)),
            }
            let sizes = process.correlator.sizes();
            assert!(sizes.iter().all(|size| *size <= MOST), "{sizes:?}");
        }
        process.wait(4_000_000);
        process.begin(1);
        assert_eq!(process.correlator.sizes()[0], 1, "all has been let go");
    }
}
