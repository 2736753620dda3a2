//! Cases in which a rule that looks right gives a wrong parent: each was seen with real services.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "scripts that know their own numbers"
)]

use throughline_intercept::correlate::{
    Attribution, CallOutcome, CallSignature, CorrelationKey, Correlator, Evidence, OutboundCall,
    RequestOutcome, Settings, TokenExtractor, TokenSet, TokenSource,
};
use throughline_model::context::{HeaderList, Sampling, SpanContext};
use throughline_model::{SpanId, TraceId};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// An event of a process, with the request that it belongs to; 0 is none.
#[derive(Debug, Clone, Copy)]
enum ProcessEvent {
    Begin,
    End(RequestOutcome),
    Call { kind: &'static str, number: usize },
    Response { number: usize },
}

/// A process whose events are known before they are played.
#[derive(Default)]
struct ScriptedProcess {
    events: Vec<(u64, usize, ProcessEvent)>,
    calls: usize,
    request_ids: Vec<(usize, &'static str)>,
}

/// A call with its cause and what was found.
struct PlayedCall {
    at: u64,
    cause: usize,
    attribution: Attribution,
}

impl ScriptedProcess {
    fn call(&mut self, cause: usize, kind: &'static str, start: u64, end: u64) {
        let number = self.calls;
        self.calls += 1;
        let call = ProcessEvent::Call { kind, number };
        self.events.push((start, cause, call));
        self.events
            .push((end, cause, ProcessEvent::Response { number }));
    }

    fn request(&mut self, id: usize, start: u64, end: u64, outcome: RequestOutcome) {
        self.events.push((start, id, ProcessEvent::Begin));
        self.events.push((end, id, ProcessEvent::End(outcome)));
    }

    /// A request with two calls, which takes 24 ms.
    fn usual_request(&mut self, id: usize, start: u64) {
        let jitter = (id as u64 * 7919 % 1000) * 1_000;
        self.request(id, start, start + 24 * MS, RequestOutcome::Completed);
        self.call(id, "/stock", start + 2 * MS + jitter, start + 10 * MS);
        self.call(id, "/payment", start + 12 * MS + jitter, start + 22 * MS);
    }

    fn play(mut self) -> Vec<PlayedCall> {
        self.events.sort_by_key(|(at, ..)| *at);
        let mut correlator = Correlator::new(Settings::default(), 0);
        let mut activities = std::collections::HashMap::new();
        let mut handles = vec![None; self.calls];
        let mut played = Vec::new();
        for (at, id, event) in &self.events {
            let request_id = self.request_ids.iter().find(|(it, _)| it == id);
            let tokens = tokens(request_id.map(|(_, value)| *value));
            match event {
                ProcessEvent::Begin => {
                    let operation = CallSignature::new(&"GET /checkout");
                    let activity = correlator.begin_request(*at, context(*id), operation, tokens);
                    activities.insert(*id, activity);
                }
                ProcessEvent::End(outcome) => {
                    correlator.end_request(*at, activities[id], *outcome);
                }
                ProcessEvent::Call { kind, number } => {
                    let call = OutboundCall {
                        signature: CallSignature::new(kind),
                        created_at: None,
                        carried: None,
                        tokens,
                        expects_response: true,
                    };
                    let attribution = correlator.attribute_call(*at, &call);
                    handles[*number] = Some(attribution.call);
                    played.push(PlayedCall {
                        at: *at,
                        cause: *id,
                        attribution,
                    });
                }
                ProcessEvent::Response { number } => {
                    if let Some(handle) = handles[*number] {
                        correlator.complete_call(*at, handle, CallOutcome::Succeeded);
                    }
                }
            }
        }
        played
    }
}

impl PlayedCall {
    fn is_wrong(&self) -> bool {
        let found = &self.attribution.parent.context;
        found.is_some() && *found != Some(context(self.cause))
    }

    fn is_right(&self) -> bool {
        self.attribution.parent.context == Some(context(self.cause))
    }

    fn evidence(&self) -> Evidence {
        self.attribution.parent.evidence
    }
}

fn tokens(request_id: Option<&str>) -> TokenSet {
    let mut headers = HeaderList::default();
    if let Some(id) = request_id {
        headers.push("x-request-id", id);
    }
    TokenExtractor::new(vec![CorrelationKey::request_id()], 0).extract(TokenSource {
        headers: &headers,
        key: None,
        body: None,
    })
}

fn context(id: usize) -> SpanContext {
    let id = id as u64 + 1;
    SpanContext::new(
        TraceId::from_bytes(u128::from(id).to_be_bytes()).unwrap(),
        SpanId::from_bytes(id.to_be_bytes()).unwrap(),
        Sampling::Sample,
    )
}

fn count(calls: &[PlayedCall], is: impl Fn(&PlayedCall) -> bool) -> usize {
    calls.iter().filter(|call| is(call)).count()
}

/// One call vouches for the next only if they were made for different requests.
#[test]
fn calls_of_a_job_are_not_given_to_a_lone_long_request() {
    let mut script = ScriptedProcess::default();
    for id in 1..=20 {
        script.usual_request(id, id as u64 * 200 * MS);
    }
    for repeat in 0..3 {
        let start = (10 + 20 * repeat) * SECOND;
        let id = 100 + repeat as usize;
        script.request(id, start, start + 10 * SECOND, RequestOutcome::Completed);
        for call in 0..50 {
            let at = start + SECOND + call * 100 * MS;
            script.call(0, "/report", at, at + 20 * MS);
        }
    }
    let calls = script.play();
    assert_eq!(count(&calls, |call| call.cause == 0), 150);
    assert_eq!(count(&calls, PlayedCall::is_wrong), 0);
    assert_eq!(count(&calls, PlayedCall::is_right), 40);
}

/// A kind of call that was seen straying a hundred times is known after an hour.
#[test]
fn hourly_job_is_not_forgotten() {
    let mut script = ScriptedProcess::default();
    for call in 0..100 {
        let at = SECOND + call * 20 * MS;
        script.call(0, "/report", at, at + 10 * MS);
    }
    for id in 1..=300 {
        script.usual_request(id, 10 * SECOND + id as u64 * 10 * SECOND);
    }
    let hour = 3_600 * SECOND;
    script.request(400, hour, hour + 5 * SECOND, RequestOutcome::Completed);
    for call in 0..40 {
        let at = hour + 50 * MS + call * 20 * MS;
        script.call(0, "/report", at, at + 10 * MS);
    }
    let calls = script.play();
    assert_eq!(count(&calls, |call| call.cause == 0), 140);
    assert_eq!(count(&calls, PlayedCall::is_wrong), 0);
}

/// The client gives up after a second and asks again; the first handler goes on for nine.
#[test]
fn handler_without_client_is_not_taken_for_the_request_that_follows() {
    for reload_ms in [1_500, 3_500, 6_000] {
        let mut script = ScriptedProcess::default();
        for id in 1..=60 {
            script.usual_request(id, id as u64 * 100 * MS);
        }
        for repeat in 0..5 {
            let start = (20 + 40 * repeat) * SECOND;
            let (left, reload) = (200 + 2 * repeat as usize, 201 + 2 * repeat as usize);
            script.request(left, start, start + SECOND, RequestOutcome::Aborted);
            script.call(left, "/stock", start + 3 * MS, start + 4 * SECOND);
            let second = start + 7 * SECOND;
            script.call(left, "/payment", second, start + 9 * SECOND);
            let again = start + reload_ms * MS;
            script.request(reload, again, again + 9 * SECOND, RequestOutcome::Completed);
            script.call(reload, "/stock", again + 3 * MS, again + 4 * SECOND);
            script.call(reload, "/payment", again + 7 * SECOND, again + 8 * SECOND);
        }
        let calls = script.play();
        assert_eq!(count(&calls, PlayedCall::is_wrong), 0, "{reload_ms} ms");
    }
}

#[test]
fn request_id_that_many_have_is_no_key() {
    for value in ["-", "undefined", "0", "build-7"] {
        let mut script = ScriptedProcess::default();
        for id in 1..=40 {
            // Two at a time.
            script.usual_request(id, SECOND + (id as u64 / 2) * 200 * MS);
            script.request_ids.push((id, value));
        }
        // A job that writes the same.
        script.request_ids.push((0, value));
        for id in 41..=60 {
            let start = 10 * SECOND + id as u64 * 100 * MS;
            script.usual_request(id, start);
            script.request_ids.push((id, value));
            script.call(0, "/report", start + 11 * MS, start + 12 * MS);
        }
        let calls = script.play();
        let late = |call: &PlayedCall| call.at > 2 * SECOND;
        let by_id = |call: &PlayedCall| late(call) && call.evidence() == Evidence::RequestId;
        assert_eq!(count(&calls, by_id), 0, "{value}");
    }
}

/// More requests with one id than are kept in its list.
#[test]
fn request_id_of_twenty_requests_in_flight_names_none() {
    let mut script = ScriptedProcess::default();
    for id in 1..=20 {
        let start = SECOND + id as u64 * MS;
        script.request(id, start, start + SECOND, RequestOutcome::Completed);
        script.request_ids.push((id, "order-4711"));
        script.call(id, "/stock", start + 500 * MS, start + 510 * MS);
    }
    let calls = script.play();
    let by_id = |call: &PlayedCall| call.evidence() == Evidence::RequestId;
    assert_eq!((calls.len(), count(&calls, by_id)), (20, 0));
    assert_eq!(count(&calls, PlayedCall::is_wrong), 0);
}

/// The same id twice within a second: the second request is whole, too.
#[test]
fn second_request_under_one_id_keeps_its_calls() {
    let mut script = ScriptedProcess::default();
    for id in 1..=60 {
        script.usual_request(id, SECOND + id as u64 * 200 * MS);
    }
    for (id, at) in [(61, 0), (62, 300 * MS)] {
        script.usual_request(id, 20 * SECOND + at);
        script.request_ids.push((id, "a-request-id"));
    }
    let calls = script.play();
    let late = |call: &PlayedCall| call.cause > 60;
    assert_eq!(count(&calls, late), 4);
    assert_eq!(count(&calls, |call| late(call) && call.is_right()), 4);
}

/// An id is exact evidence downstream, so only an exact parent passes its own on.
#[test]
fn inferred_parent_does_not_pass_its_request_id_on() {
    let mut script = ScriptedProcess::default();
    script.usual_request(1, 60 * SECOND);
    script.request_ids.push((1, "a-request-id"));
    let exact = script.play();
    assert!(
        exact
            .iter()
            .all(|call| call.evidence() == Evidence::RequestId)
    );
    assert!(
        exact
            .iter()
            .all(|call| call.attribution.request_id.is_some())
    );

    let mut correlator = Correlator::new(Settings::default(), 0);
    let operation = CallSignature::new(&"GET /checkout");
    let id = tokens(Some("a-request-id"));
    correlator.begin_request(60 * SECOND, context(1), operation, id);
    let call = OutboundCall {
        signature: CallSignature::new(&"/stock"),
        created_at: None,
        carried: None,
        tokens: TokenSet::default(),
        expects_response: true,
    };
    let inferred = correlator.attribute_call(60 * SECOND + MS, &call);
    assert_eq!(inferred.parent.evidence, Evidence::Sole);
    assert_eq!(inferred.request_id, None);
}
