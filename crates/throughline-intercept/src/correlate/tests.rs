//! Behaviour of the correlator as a whole, in virtual time.

use std::sync::Arc;

use throughline_model::context::{HeaderList, Sampling, SpanContext};
use throughline_model::{SpanId, TraceId};

use super::*;
use crate::Timestamp;

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;
const START: Timestamp = 1_700_000_000 * SECOND;

struct TestProcess {
    correlator: Correlator,
    now: Timestamp,
    topic: Arc<str>,
    queue: RecordQueueId,
}

fn operation() -> CallSignature {
    CallSignature::new(&"GET /checkout")
}

impl TestProcess {
    /// Returns a process in which nothing is inferred from the steps of requests.
    fn new() -> Self {
        Self::with(Settings {
            inference_threshold: None,
            ..Settings::default()
        })
    }

    /// Returns a process in which three requests have shown the call.
    fn with_shown_call() -> Self {
        let mut process = Self::new();
        for id in 101..104 {
            let request = process.begin(id);
            process.exchange();
            process.end(request, RequestOutcome::Completed);
            process.wait(2_000);
        }
        process
    }

    /// Returns a process that has been idle for two minutes.
    fn with(settings: Settings) -> Self {
        Self {
            correlator: Correlator::new(settings, START),
            now: START + 120 * SECOND,
            topic: Arc::from("eshop-topic"),
            queue: RecordQueueId::new(&"eshop-topic-0"),
        }
    }

    fn with_limits(limits: CorrelationLimits) -> Self {
        Self::with(Settings {
            limits,
            ..Settings::default()
        })
    }

    fn wait(&mut self, milliseconds: u64) {
        self.now += milliseconds * MILLISECOND;
    }

    fn begin(&mut self, id: u8) -> ActivityId {
        self.begin_with(id, None)
    }

    fn begin_with(&mut self, id: u8, request_id: Option<&str>) -> ActivityId {
        self.correlator
            .begin_request(self.now, context(id), operation(), tokens(request_id))
    }

    fn end(&mut self, id: ActivityId, outcome: RequestOutcome) {
        self.correlator.end_request(self.now, id, outcome);
    }

    fn deliver(&mut self, offset: i64, id: u8) {
        self.deliver_with(offset, id, None);
    }

    fn deliver_with(&mut self, offset: i64, id: u8, request_id: Option<&str>) {
        let delivery = RecordDelivery {
            queue: self.queue,
            topic: Arc::clone(&self.topic),
            offset,
            context: context(id),
            tokens: tokens(request_id),
        };
        self.correlator.deliver_record(self.now, delivery);
    }

    /// Commits all offsets before `next`.
    fn commit(&mut self, next: i64) {
        let settlement = RecordSettlement {
            queue: self.queue,
            offsets: i64::MIN..=next - 1,
            asked_at: self.now,
        };
        self.correlator.settle_records(self.now, &settlement);
    }

    fn call(&mut self) -> (ParentDecision, CallHandle) {
        self.call_with(None)
    }

    fn call_with(&mut self, request_id: Option<&str>) -> (ParentDecision, CallHandle) {
        let call = OutboundCall {
            expects_response: true,
            tokens: tokens(request_id),
            ..outbound("GET inventory:8080/createOrder")
        };
        let attribution = self.correlator.attribute_call(self.now, &call);
        (attribution.parent, attribution.call)
    }

    fn send(&mut self, created_at: Timestamp) -> ParentDecision {
        let call = OutboundCall {
            created_at: Some(created_at),
            ..outbound("orders")
        };
        self.correlator.attribute_call(self.now, &call).parent
    }

    /// Makes a call that takes five milliseconds.
    fn exchange(&mut self) -> ParentDecision {
        let (parent, call) = self.call();
        self.wait(5);
        self.complete(call, CallOutcome::Succeeded);
        parent
    }

    fn complete(&mut self, call: CallHandle, outcome: CallOutcome) {
        self.correlator.complete_call(self.now, call, outcome);
    }

    fn in_flight(&self) -> usize {
        self.correlator.in_flight_count()
    }
}

fn context(id: u8) -> SpanContext {
    SpanContext::new(
        TraceId::from_bytes([id; 16]).unwrap(),
        SpanId::from_bytes([id; 8]).unwrap(),
        Sampling::Sample,
    )
}

fn tokens(request_id: Option<&str>) -> TokenSet {
    let mut headers = HeaderList::default();
    request_id
        .into_iter()
        .for_each(|id| headers.push(REQUEST_ID, id));
    TokenExtractor::new(vec![CorrelationKey::request_id()], 0).extract(TokenSource {
        headers: &headers,
        key: None,
        body: None,
    })
}

fn outbound(signature: &str) -> OutboundCall {
    OutboundCall {
        signature: CallSignature::new(&signature),
        created_at: None,
        carried: None,
        tokens: TokenSet::default(),
        expects_response: false,
    }
}

#[track_caller]
fn assert_parent(parent: &ParentDecision, evidence: Evidence, id: u8) {
    assert_eq!(
        (parent.evidence, parent.context.as_ref()),
        (evidence, Some(&context(id)))
    );
    let is_inferred = matches!(evidence, Evidence::Sole | Evidence::Order);
    assert_eq!(parent.confidence.is_some(), is_inferred);
}

#[test]
fn context_in_message_headers_is_the_parent() {
    let mut process = TestProcess::new();
    process.begin(1);
    let call = OutboundCall {
        carried: Some(context(9)),
        ..outbound("t")
    };
    let attribution = process.correlator.attribute_call(process.now, &call);
    assert_parent(&attribution.parent, Evidence::Header, 9);
}

#[test]
fn first_call_of_the_only_request_in_flight_is_attributed() {
    let mut process = TestProcess::new();
    process.begin(1);
    process.wait(3);
    for _ in 0..3 {
        let parent = process.exchange();
        assert_parent(&parent, Evidence::Sole, 1);
        assert!(parent.confidence.unwrap() > 0.99);
    }
}

#[test]
fn late_call_that_no_other_request_has_shown_is_open_and_does_not_vouch_for_the_next() {
    let mut process = TestProcess::new();
    process.begin(1);
    process.wait(1_000);
    for _ in 0..3 {
        assert_eq!(process.exchange(), ParentDecision::open());
    }
    let mut process = TestProcess::with_shown_call();
    process.begin(1);
    process.wait(1_000);
    for _ in 0..3 {
        assert_parent(&process.exchange(), Evidence::Sole, 1);
    }
}

#[test]
fn call_with_no_or_two_candidates_is_open() {
    let mut process = TestProcess::new();
    assert_eq!(process.call().0, ParentDecision::open());
    let mut process = TestProcess::with_shown_call();
    let first = process.begin(1);
    process.begin(2);
    assert_eq!(process.exchange(), ParentDecision::open());
    process.end(first, RequestOutcome::Completed);
    assert_eq!(
        process.call().0,
        ParentDecision::open(),
        "the connections may have been read in the wrong order"
    );
    process.wait(1_100);
    assert_parent(&process.exchange(), Evidence::Sole, 2);
}

#[test]
fn request_id_finds_its_request_among_several_and_after_its_end() {
    let mut process = TestProcess::new();
    let first = process.begin_with(1, Some("a"));
    process.begin_with(2, Some("b"));
    assert_parent(&process.call_with(Some("a")).0, Evidence::RequestId, 1);
    assert_parent(&process.call_with(Some("b")).0, Evidence::RequestId, 2);
    process.end(first, RequestOutcome::Completed);
    process.wait(30_000);
    assert_parent(&process.call_with(Some("a")).0, Evidence::RequestId, 1);
    process.wait(60_000);
    assert_eq!(
        process.call_with(Some("a")).0,
        ParentDecision::open(),
        "no longer remembered"
    );
}

#[test]
fn request_id_shared_by_two_running_requests_is_ambiguous() {
    let mut process = TestProcess::new();
    let first = process.begin_with(1, Some("a"));
    process.begin_with(2, Some("a"));
    assert_eq!(process.call_with(Some("a")).0, ParentDecision::open());
    process.end(first, RequestOutcome::Completed);
    assert_eq!(
        process.call_with(Some("a")).0,
        ParentDecision::open(),
        "the handler of the first may still be running"
    );
    process.wait(1_100);
    assert_parent(&process.call_with(Some("a")).0, Evidence::RequestId, 2);
}

#[test]
fn request_id_of_a_retried_request_is_ambiguous() {
    let mut process = TestProcess::new();
    let first = process.begin_with(1, Some("a"));
    process.wait(1_000);
    process.end(first, RequestOutcome::Aborted);
    process.begin_with(2, Some("a"));
    process.wait(2_000);
    assert_eq!(
        process.call_with(Some("a")).0,
        ParentDecision::open(),
        "both handlers may be running"
    );
}

#[test]
fn call_without_the_token_its_signature_usually_carries_is_open() {
    let mut process = TestProcess::new();
    process.begin_with(1, Some("a"));
    assert_parent(&process.call_with(Some("a")).0, Evidence::RequestId, 1);
    assert_eq!(process.call().0, ParentDecision::open());
    assert_eq!(process.call_with(Some("other")).0, ParentDecision::open());
}

#[test]
fn token_in_a_request_body_matches_a_record_key() {
    let key = CorrelationKey {
        name: "order".to_owned(),
        locations: vec![
            TokenLocation::Body("/id".to_owned()),
            TokenLocation::RecordKey,
        ],
    };
    let mut process = TestProcess::with(Settings {
        keys: vec![key],
        ..Settings::default()
    });
    let extractor = process.correlator.token_extractor().clone();
    assert_eq!(extractor.max_body_bytes(), Some(64 * 1024));
    let headers = HeaderList::default();
    let extract = |key, body| {
        extractor.extract(TokenSource {
            headers: &headers,
            key,
            body,
        })
    };
    let body = extract(None, Some(b"{\"id\":17}".as_slice()));
    process
        .correlator
        .begin_request(process.now, context(1), operation(), body);
    process.begin(2);
    let call = OutboundCall {
        tokens: extract(Some(b"17".as_slice()), None),
        ..outbound("t")
    };
    let attribution = process.correlator.attribute_call(process.now, &call);
    assert_parent(&attribution.parent, Evidence::RequestId, 1);
}

#[test]
fn record_belongs_to_the_request_in_flight_at_its_creation() {
    let mut process = TestProcess::new();
    let inbound = process.begin(1);
    process.wait(10);
    let made = process.now;
    process.end(inbound, RequestOutcome::Completed);
    process.wait(5);
    assert_parent(&process.send(made), Evidence::Sole, 1);
    process.begin(2);
    assert_eq!(
        process.send(made),
        ParentDecision::open(),
        "two requests are candidates"
    );
    process.wait(40_000);
    assert_eq!(
        process.send(made),
        ParentDecision::open(),
        "created too long ago"
    );
    assert_eq!(
        process.send(process.now + SECOND),
        ParentDecision::open(),
        "created by another clock"
    );
}

/// The first record of a topic waits until the topic has a leader.
#[test]
fn record_held_back_for_seconds_belongs_to_the_request_of_its_creation() {
    let mut process = TestProcess::new();
    let before = process.now - 500 * MILLISECOND;
    let inbound = process.begin(1);
    process.wait(10);
    let made = process.now;
    process.end(inbound, RequestOutcome::Completed);
    process.wait(5_000);
    assert_parent(&process.send(made), Evidence::Sole, 1);
    assert_eq!(process.send(before), ParentDecision::open(), "no request");
    process.begin(2);
    assert_eq!(process.send(made), ParentDecision::open(), "two candidates");
}

#[test]
fn request_that_just_ended_is_a_candidate_when_ends_arrive_out_of_order() {
    let mut process = TestProcess::with(Settings {
        single_in_flight: SingleInFlightPolicy::Assumed,
        ..Settings::default()
    });
    let requests = [1, 2, 3].map(|id| process.begin(id));
    process.wait(50);
    let made = process.now;
    process.end(requests[0], RequestOutcome::Completed);
    // Another connection read the clock before, and waited for the lock since.
    process.now -= 20 * MILLISECOND;
    process.end(requests[1], RequestOutcome::Completed);
    process.now = made;
    assert_eq!(
        process.send(made),
        ParentDecision::open(),
        "the first request ended at this moment, and the third is in flight"
    );
}

#[test]
fn call_soon_after_an_aborted_request_is_open() {
    let mut process = TestProcess::with_shown_call();
    let usual = process.begin(4);
    process.wait(30);
    process.end(usual, RequestOutcome::Completed);
    process.wait(2_000);
    // The second one has run longer than any other: nothing is known about its handler's end.
    for (first, ran_ms, open_ms) in [(1, 20, 200), (11, 200, 29_000)] {
        let left = process.begin(first);
        process.wait(ran_ms);
        process.end(left, RequestOutcome::Aborted);
        for (id, wait_ms) in [(first + 1, 5), (first + 2, open_ms)] {
            process.wait(wait_ms);
            let request = process.begin(id);
            process.wait(2);
            assert_eq!(process.exchange(), ParentDecision::open());
            process.end(request, RequestOutcome::Completed);
        }
        process.wait(2_000);
        let last = process.begin(first + 3);
        process.wait(2);
        assert_parent(&process.exchange(), Evidence::Sole, first + 3);
        process.end(last, RequestOutcome::Completed);
    }
}

#[test]
fn periodic_call_is_not_attributed_to_a_coincident_request() {
    let mut process = TestProcess::new();
    for _ in 0..5 {
        assert_eq!(process.exchange(), ParentDecision::open());
        process.wait(1_000);
    }
    let inbound = process.begin(1);
    process.wait(500);
    assert_eq!(process.exchange(), ParentDecision::open());
    process.end(inbound, RequestOutcome::Completed);
}

#[test]
fn busy_process_has_no_sole_evidence_unless_assumed() {
    let mut process = TestProcess {
        now: START,
        ..TestProcess::new()
    };
    let mut last = process.begin(1);
    for id in 2..200 {
        process.wait(5);
        assert_eq!(process.exchange(), ParentDecision::open());
        let next = process.begin(id);
        process.end(last, RequestOutcome::Completed);
        last = next;
    }
    let assumed = Settings {
        single_in_flight: SingleInFlightPolicy::Assumed,
        ..Settings::default()
    };
    process.correlator = Correlator::new(assumed, process.now);
    process.begin(1);
    assert_parent(&process.exchange(), Evidence::Sole, 1);
}

#[test]
fn stream_is_not_a_candidate() {
    let mut process = TestProcess::new();
    let stream = process.begin(1);
    process.wait(61_000);
    assert_eq!(process.exchange(), ParentDecision::open());
    assert_eq!(process.in_flight(), 0);
    process.end(stream, RequestOutcome::Completed);
}

#[test]
fn overflow_suspends_inference_and_stays_within_the_cap() {
    let mut process = TestProcess::with_limits(CorrelationLimits {
        max_activities: 3,
        ..CorrelationLimits::default()
    });
    let all: Vec<ActivityId> = (1..=9)
        .map(|id| process.begin_with(id, Some("a")))
        .collect();
    assert_eq!(process.in_flight(), 3);
    all.iter()
        .for_each(|id| process.end(*id, RequestOutcome::Completed));
    let inbound = process.begin(10);
    process.wait(2_000);
    assert_eq!(
        process.exchange(),
        ParentDecision::open(),
        "one of the rejected requests may still be running"
    );
    process.end(inbound, RequestOutcome::Completed);
    process.wait(61_000);
    process.begin(11);
    process.wait(10);
    assert_parent(&process.exchange(), Evidence::Sole, 11);
}

#[test]
fn process_is_followed_closely_once_it_makes_calls() {
    let mut process = TestProcess::with(Settings::default());
    let serve = |process: &mut TestProcess| {
        for number in 0..2_000 {
            let request = process.begin_with(1, Some(&format!("request {number}")));
            process.end(request, RequestOutcome::Completed);
        }
    };
    let most = |process: &TestProcess| process.correlator.sizes().into_iter().max();
    serve(&mut process);
    assert_eq!(most(&process), Some(1024));
    assert!(!process.correlator.has_engine());
    let (parent, _) = process.call_with(Some("request 1999"));
    assert_parent(&parent, Evidence::RequestId, 1);
    assert!(process.correlator.has_engine());
    serve(&mut process);
    assert_eq!(most(&process), Some(3024));
}

// --- records ---

#[test]
fn record_is_in_flight_until_its_commit() {
    let mut process = TestProcess::with_shown_call();
    process.deliver(0, 1);
    process.wait(2);
    assert_parent(&process.exchange(), Evidence::Sole, 1);
    process.deliver(1, 2);
    process.wait(2);
    assert_eq!(
        process.exchange(),
        ParentDecision::open(),
        "the first may still be running"
    );
    process.commit(1);
    process.wait(1_100);
    assert_parent(&process.exchange(), Evidence::Sole, 2);
    process.commit(2);
    assert_eq!(process.in_flight(), 0);
}

#[test]
fn uncommitted_record_expires() {
    let mut process = TestProcess::new();
    process.deliver(0, 1);
    process.wait(301_000);
    assert_eq!(process.exchange(), ParentDecision::open());
    assert_eq!(process.in_flight(), 0);
}

/// Handles records one after the other, each with one call.
fn handle_alone(process: &mut TestProcess, records: i64) {
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
fn exhausted_record_is_not_a_candidate() {
    let mut process = TestProcess::new();
    handle_alone(&mut process, 20);
    process.deliver(20, 2);
    process.wait(3);
    assert_parent(&process.exchange(), Evidence::Sole, 2);
    process.deliver(21, 3);
    process.wait(3);
    assert_parent(&process.exchange(), Evidence::Sole, 3);
}

#[test]
fn record_with_a_failed_call_is_not_exhausted() {
    let mut process = TestProcess::new();
    handle_alone(&mut process, 20);
    process.deliver(20, 2);
    process.wait(3);
    let (parent, call) = process.call();
    assert_parent(&parent, Evidence::Sole, 2);
    process.wait(5);
    process.complete(call, CallOutcome::Failed);
    process.deliver(21, 3);
    process.wait(3);
    assert_eq!(process.exchange(), ParentDecision::open());
}

#[test]
fn waiting_records_of_one_partition_are_attributed_in_order() {
    let mut process = TestProcess::new();
    handle_alone(&mut process, 600);
    (0..3).for_each(|nth| process.deliver(600 + nth, 2 + u8::try_from(nth).unwrap()));
    process.wait(3);
    assert_parent(&process.exchange(), Evidence::Order, 2);
    process.wait(2);
    assert_parent(&process.exchange(), Evidence::Order, 3);
    process.wait(2);
    assert_parent(&process.exchange(), Evidence::Sole, 4);
}

#[test]
fn concurrent_calls_of_records_disable_order() {
    let mut process = TestProcess::new();
    handle_alone(&mut process, 600);
    (0..3).for_each(|nth| process.deliver(600 + nth, 2 + u8::try_from(nth).unwrap()));
    process.wait(3);
    let (first, _) = process.call();
    assert_parent(&first, Evidence::Order, 2);
    assert_eq!(process.call().0, ParentDecision::open());
}

#[test]
fn token_of_a_record_settles_preceding_records() {
    let mut process = TestProcess::new();
    process.deliver(0, 1);
    process.deliver(1, 2);
    process.deliver_with(2, 3, Some("c"));
    assert_eq!(process.in_flight(), 3);
    assert_parent(&process.call_with(Some("c")).0, Evidence::RequestId, 3);
    assert_eq!(process.in_flight(), 1);
}

#[test]
fn unreadable_records_suspend_inference() {
    let mut process = TestProcess::new();
    process.correlator.suspend_inference(process.now);
    process.begin(1);
    assert_eq!(process.exchange(), ParentDecision::open());
}

#[test]
fn redelivered_record_replaces_its_first_delivery() {
    let mut process = TestProcess::with_shown_call();
    process.deliver(0, 1);
    process.deliver(0, 2);
    assert_eq!(process.in_flight(), 1);
    process.wait(1_100);
    assert_parent(&process.exchange(), Evidence::Sole, 2);
}

/// No order of events panics or grows a collection past its cap, and all activities are removed in
/// the end.
#[test]
fn random_events_keep_all_collections_bounded() {
    const MAX_ACTIVITIES: usize = 50;
    let limits = CorrelationLimits {
        max_activities: MAX_ACTIVITIES,
        max_candidates: 8,
        max_signatures: 4,
        ..CorrelationLimits::default()
    };
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut process = TestProcess::with_limits(limits);
        let (mut requests, mut calls) = (Vec::new(), Vec::new());
        for _ in 0..3_000 {
            process.now += random.u64(0..20_000) * MILLISECOND / 100;
            let token = format!("{}", random.u8(0..40));
            let offset = random.i64(0..100);
            match random.u8(0..8) {
                0 => requests.push(process.begin_with(random.u8(1..), Some(&token))),
                1 | 2 if !requests.is_empty() => {
                    let outcome = if random.bool() {
                        RequestOutcome::Completed
                    } else {
                        RequestOutcome::Aborted
                    };
                    process.end(requests[random.usize(..requests.len())], outcome);
                }
                3 => process.deliver(offset, random.u8(1..)),
                4 => process.commit(offset),
                5 => calls.push(process.call_with(random.bool().then_some(&token)).1),
                6 => drop(process.send(process.now - random.u64(0..2_000) * MILLISECOND)),
                7 if !calls.is_empty() => {
                    let outcome = if random.bool() {
                        CallOutcome::Succeeded
                    } else {
                        CallOutcome::Failed
                    };
                    process.complete(calls[random.usize(..calls.len())], outcome);
                }
                _ => process.wait(random.u64(0..30_000)),
            }
            let sizes = process.correlator.sizes();
            assert!(
                sizes.iter().all(|size| *size <= MAX_ACTIVITIES),
                "{sizes:?}"
            );
        }
        process.wait(4_000_000);
        process.begin(1);
        assert_eq!(process.correlator.sizes()[0], 1, "all others were removed");
    }
}
