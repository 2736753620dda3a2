//! The engine from outside: what it decides about processes whose truth is known.

#![expect(
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "ids are small and count from one"
)]

use std::collections::BTreeMap;

use throughline_weave::{
    Decision, EvidenceTier, InboundId, InboundOutcome, InboundStart, LiveDecider, Nanos,
    OperationKey, OutboundId, OutboundStart, ProcessPlan, QueuePosition, WeaveEvent, Weaver,
    WeaverSettings, weave_recording,
};

const MS: Nanos = 1_000_000;
const SECOND: Nanos = 1_000 * MS;

/// A process whose events are recorded with the truth: the id of a call is 1000 times that of its
/// request, plus a number below 1000; a call of request 0 has no cause.
#[derive(Default)]
struct Recorder {
    events: Vec<WeaveEvent>,
    calls: u64,
}

impl Recorder {
    fn request(&mut self, id: u64, start: Nanos, end: Nanos) {
        self.begin(id, start, Vec::new());
        self.end(id, end, InboundOutcome::Completed);
    }

    fn begin(&mut self, id: u64, at: Nanos, tokens: Vec<u64>) {
        self.events.push(WeaveEvent::InboundStarted(InboundStart {
            id: InboundId(id),
            at,
            operation: OperationKey(1),
            position: None,
            tokens,
        }));
    }

    fn end(&mut self, id: u64, at: Nanos, outcome: InboundOutcome) {
        let id = InboundId(id);
        self.events
            .push(WeaveEvent::InboundEnded { id, at, outcome });
    }

    fn record(&mut self, id: u64, at: Nanos, offset: i64) {
        let position = Some(QueuePosition { queue: 1, offset });
        self.events.push(WeaveEvent::InboundStarted(InboundStart {
            id: InboundId(id),
            at,
            operation: OperationKey(1),
            position,
            tokens: Vec::new(),
        }));
    }

    fn call(&mut self, cause: u64, kind: u64, start: Nanos, end: Nanos) {
        self.call_with(cause, kind, (start, end), Vec::new(), None);
    }

    fn call_with(
        &mut self,
        cause: u64,
        kind: u64,
        (start, end): (Nanos, Nanos),
        tokens: Vec<u64>,
        exact: Option<InboundId>,
    ) {
        self.calls += 1;
        let id = OutboundId(cause * 1_000_000 + self.calls);
        self.events.push(WeaveEvent::OutboundStarted(OutboundStart {
            id,
            at: start,
            operation: OperationKey(kind),
            tokens,
            is_record: false,
            exact,
        }));
        self.events.push(WeaveEvent::OutboundEnded { id, at: end });
    }

    /// A request that calls kinds 1 and 2 in turn, with gaps that vary a little.
    fn usual_request(&mut self, id: u64, start: Nanos, rng: &mut fastrand::Rng) {
        let mut gap = || (2_000 + rng.i64(0..2_000)) * 1_000;
        let first = start + gap();
        let second = first + 8 * MS + gap();
        let end = second + 8 * MS + gap();
        self.request(id, start, end);
        self.call(id, 1, first, first + 8 * MS);
        self.call(id, 2, second, second + 8 * MS);
    }

    /// Returns what the engine says once the requests have ended.
    fn run_settled(mut self) -> Vec<Decision> {
        self.events.sort_by_key(WeaveEvent::at);
        let mut weaver = Weaver::new(WeaverSettings::default());
        let mut decisions = BTreeMap::new();
        let end = self.events.last().map_or(0, WeaveEvent::at) + 120 * SECOND;
        let mut take = |weaver: &mut Weaver, now| {
            let taken = weaver.poll(now).into_iter();
            // Those about a new process come twice.
            decisions.extend(taken.map(|decision| (decision.outbound, decision)));
        };
        for event in self.events {
            let now = event.at();
            weaver.push(event);
            take(&mut weaver, now);
        }
        take(&mut weaver, end);
        decisions.into_values().collect()
    }

    /// Returns what the live engine says at each call, with what it saw by then.
    fn run_live(mut self) -> Vec<Decision> {
        self.events.sort_by_key(WeaveEvent::at);
        run(
            &mut LiveDecider::new(WeaverSettings::default()),
            self.events,
        )
    }
}

fn run(decider: &mut LiveDecider, events: Vec<WeaveEvent>) -> Vec<Decision> {
    let mut decisions = Vec::new();
    for event in events {
        match event {
            WeaveEvent::OutboundStarted(start) => decisions.extend(decider.decide(&start)),
            WeaveEvent::InboundStarted(_)
            | WeaveEvent::InboundEnded { .. }
            | WeaveEvent::OutboundEnded { .. } => decider.push(event),
        }
    }
    decisions
}

fn cause(decision: &Decision) -> u64 {
    decision.outbound.0 / 1_000_000
}

fn is_right(decision: &Decision) -> bool {
    decision.parent.map_or(0, |parent| parent.0) == cause(decision)
}

fn is_stated(decision: &Decision) -> bool {
    decision.parent.is_some() && decision.confidence >= 0.99
}

/// Requests one after the other, then overlapping ones at different steps.
#[test]
fn overlapping_requests_at_different_steps_are_distinguished_live() {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut recorder = Recorder::default();
    for id in 1..=60 {
        recorder.usual_request(id, id as Nanos * 100 * MS, &mut rng);
    }
    // From here on each request begins while the one before waits for its second call.
    for id in 61..=120 {
        recorder.usual_request(id, 7 * SECOND + (id - 61) as Nanos * 17 * MS, &mut rng);
    }
    let decisions = recorder.run_live();
    let late: Vec<&Decision> = decisions.iter().filter(|d| cause(d) > 60).collect();
    let stated = late.iter().filter(|decision| is_stated(decision)).count();
    assert_eq!(late.len(), 120);
    assert!(stated >= 110, "{stated} of 120 are stated");
    assert!(
        late.iter()
            .all(|decision| !is_stated(decision) || is_right(decision))
    );
}

/// A job makes 50 calls while one long request is alone in flight, which calls nothing.
#[test]
fn the_calls_of_a_job_are_not_given_to_a_lone_long_request() {
    let mut rng = fastrand::Rng::with_seed(2);
    let mut recorder = Recorder::default();
    for id in 1..=20 {
        recorder.usual_request(id, id as Nanos * 100 * MS, &mut rng);
    }
    for repeat in 0..3 {
        let start = (10 + 20 * repeat) * SECOND;
        recorder.request(500 + repeat as u64, start, start + 10 * SECOND);
        for call in 0..50 {
            let at = start + SECOND + call * 100 * MS;
            recorder.call(0, 9, at, at + 20 * MS);
        }
    }
    let mut weaver = Weaver::new(WeaverSettings::default());
    let mut events = recorder.events.clone();
    events.sort_by_key(WeaveEvent::at);
    events.into_iter().for_each(|event| weaver.push(event));
    for (decisions, least) in [
        (recorder.run_live(), 0.99),
        (weaver.poll(100 * SECOND), 0.95),
    ] {
        let job: Vec<&Decision> = decisions.iter().filter(|d| cause(d) == 0).collect();
        let is_given = |it: &&&Decision| it.parent.is_some() && it.confidence >= least;
        let given = job.iter().filter(is_given).count();
        assert_eq!(
            (job.len(), given),
            (150, 0),
            "calls of the job given to the request"
        );
    }
}

/// An hourly job that was seen straying a hundred times is known after an hour, too.
#[test]
fn an_hourly_job_is_not_forgotten() {
    let mut recorder = Recorder::default();
    for call in 0..100 {
        let at = SECOND + call * 20 * MS;
        recorder.call(0, 9, at, at + 10 * MS);
    }
    let mut rng = fastrand::Rng::with_seed(3);
    for id in 1..=200 {
        recorder.usual_request(id, 10 * SECOND + id as Nanos * 10 * SECOND, &mut rng);
    }
    let hour = 3_600 * SECOND;
    recorder.request(900, hour, hour + 5 * SECOND);
    for call in 0..40 {
        let at = hour + SECOND + call * 20 * MS;
        recorder.call(0, 9, at, at + 10 * MS);
    }
    let decisions = recorder.run_live();
    let job: Vec<&Decision> = decisions.iter().filter(|d| cause(d) == 0).collect();
    assert_eq!(job.len(), 140);
    assert!(job.iter().all(|decision| !is_stated(decision)));
}

/// A handler goes on for 9 s after its client gave up at 1 s and asked again after 3.5 s.
#[test]
fn the_handler_of_an_abandoned_request_is_not_taken_for_the_next_one() {
    let mut rng = fastrand::Rng::with_seed(4);
    let mut recorder = Recorder::default();
    for id in 1..=60 {
        recorder.usual_request(id, id as Nanos * 100 * MS, &mut rng);
    }
    for repeat in 0..5_u64 {
        let start = 20 * SECOND + repeat as Nanos * 20 * SECOND;
        let (abandoned, reload) = (200 + 2 * repeat, 201 + 2 * repeat);
        recorder.begin(abandoned, start, Vec::new());
        recorder.end(abandoned, start + SECOND, InboundOutcome::Abandoned);
        recorder.call(abandoned, 1, start + 3 * MS, start + 4 * SECOND);
        recorder.call(
            abandoned,
            2,
            start + 4 * SECOND + 3 * MS,
            start + 9 * SECOND,
        );
        recorder.usual_request(reload, start + 3_500 * MS, &mut rng);
    }
    let decisions = recorder.run_live();
    let wrong = decisions
        .iter()
        .filter(|d| is_stated(d) && !is_right(d))
        .count();
    assert_eq!(wrong, 0);
}

/// A timer makes a call of its own, every 400 ms, beside requests.
#[test]
fn a_timer_is_recognized() {
    let mut rng = fastrand::Rng::with_seed(5);
    let mut recorder = Recorder::default();
    for id in 1..=300 {
        recorder.usual_request(id, id as Nanos * 60 * MS, &mut rng);
    }
    for call in 0..45 {
        let at = 100 * MS + call * 433 * MS;
        recorder.call(0, 9, at, at + 10 * MS);
    }
    let mut recording = weave_recording(&recorder.events, None).decisions;
    recording.retain(|decision| cause(decision) == 0);
    let given = recording
        .iter()
        .filter(|decision| !is_right(decision))
        .count();
    assert_eq!(recording.len(), 45);
    assert_eq!(given, 0, "{given} of 45 calls of the timer have a parent");
}

#[test]
fn a_named_parent_is_exact_and_a_shared_rare_value_decides() {
    let mut recorder = Recorder::default();
    // Forty at once, which make the same call at nearly the same time.
    for id in 1..=40 {
        recorder.begin(id, id as Nanos * MS, vec![id * 7919]);
        recorder.end(id, SECOND + id as Nanos * MS, InboundOutcome::Completed);
        let at = 500 * MS + (id * 13 % 40) as Nanos * MS;
        let exact = (id == 40).then_some(InboundId(40));
        recorder.call_with(id, 1, (at, at + 50 * MS), vec![id * 7919], exact);
    }
    let decisions = weave_recording(&recorder.events, None).decisions;
    assert!(decisions.iter().all(is_right));
    assert!(decisions.iter().all(|decision| decision.confidence > 0.95));
    let tiers = decisions
        .iter()
        .map(|decision| (cause(decision) == 40, decision.tier));
    for (is_named, tier) in tiers {
        let expected = if is_named {
            EvidenceTier::Exact
        } else {
            EvidenceTier::Tokens
        };
        assert_eq!(tier, expected);
    }
}

#[test]
fn equal_timestamps_in_any_order_give_the_same_decisions() {
    let mut rng = fastrand::Rng::with_seed(6);
    let mut recorder = Recorder::default();
    for id in 1..=100 {
        recorder.usual_request(id, (id as Nanos / 2) * 20 * MS, &mut rng);
    }
    let first = weave_recording(&recorder.events, None).decisions;
    rng.shuffle(&mut recorder.events);
    let second = weave_recording(&recorder.events, None).decisions;
    assert_eq!(first, second);
}

#[test]
fn records_that_arrive_together_are_handled_in_the_order_of_their_offsets() {
    let mut recorder = Recorder::default();
    let mut id = 0;
    for batch in 0..40 {
        let start = batch * SECOND;
        for record in 0..5 {
            id += 1;
            recorder.record(id, start, batch * 5 + record);
            let at = start + 5 * MS + record * 30 * MS;
            recorder.call(id, 1, at, at + 20 * MS);
            recorder.end(id, start + 900 * MS, InboundOutcome::Completed);
        }
    }
    let decisions = weave_recording(&recorder.events, None).decisions;
    let right = decisions
        .iter()
        .filter(|decision| is_right(decision))
        .count();
    assert_eq!((right, decisions.len()), (200, 200));
}

/// A consumer that is 30 records behind when it is first seen, and stays so. It handles a record in
/// 10 ms, and commits every half second.
fn consumer_behind(tells: bool) -> Vec<Decision> {
    let mut rng = fastrand::Rng::with_seed(11);
    let mut recorder = Recorder::default();
    let start = SECOND;
    for id in 1..600_u64 {
        let (offset, delivered) = (id as i64, id as Nanos * 10 * MS);
        let called = delivered + 302 * MS + rng.i64(0..MS);
        if delivered >= start {
            recorder.record(id, delivered, offset);
            let committed = ((called + 7 * MS) / (500 * MS) + 1) * 500 * MS;
            if committed > start + 500 * MS {
                recorder.end(id, committed, InboundOutcome::Completed);
            }
        }
        if called >= start {
            recorder.call(id, 1, called, called + 7 * MS);
        }
    }
    recorder.events.sort_by_key(WeaveEvent::at);
    let mut weaver = Weaver::new(WeaverSettings::default());
    let mut decisions = BTreeMap::new();
    let mut is_behind = tells;
    for event in recorder.events {
        let now = event.at();
        if is_behind && now > start + 500 * MS {
            is_behind = false;
            // Record 119 was handled right before.
            weaver.begin_behind(QueuePosition {
                queue: 1,
                offset: 119,
            });
        }
        weaver.push(event);
        let taken = weaver.poll(now).into_iter();
        decisions.extend(taken.map(|decision| (decision.outbound, decision)));
    }
    let taken = weaver.poll(200 * SECOND).into_iter();
    decisions.extend(taken.map(|decision| (decision.outbound, decision)));
    decisions.into_values().collect()
}

#[test]
fn a_consumer_that_was_behind_is_followed_from_a_commit_on() {
    let is_joined = |it: &&Decision| it.parent.is_some() && it.confidence >= 0.95;
    let decisions = consumer_behind(true);
    let (before, after): (Vec<_>, Vec<_>) = decisions.iter().partition(|it| cause(it) < 120);
    assert_eq!((before.len(), after.len()), (50, 480));
    assert_eq!(before.iter().copied().filter(is_joined).count(), 0);
    let joined: Vec<&Decision> = after.into_iter().filter(is_joined).collect();
    assert!(joined.iter().all(|it| is_right(it)));
    assert!(joined.len() > 460, "{} of 480", joined.len());
    // Otherwise hardly ever.
    let decisions = consumer_behind(false);
    let right = decisions.iter().filter(|it| is_joined(it) && is_right(it));
    assert!(right.count() < 10);
}

#[test]
fn a_plan_survives_being_written_and_read() {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut recorder = Recorder::default();
    for id in 1..=100 {
        recorder.usual_request(id, id as Nanos * 100 * MS, &mut rng);
    }
    let plan = weave_recording(&recorder.events, None).plan;
    let text = plan.to_text();
    let read: ProcessPlan = text.parse().unwrap();
    assert_eq!(read.to_text(), text);
    assert!("no plan".parse::<ProcessPlan>().is_err());
    assert!(
        text.replace("stay 0", "stay 99999")
            .parse::<ProcessPlan>()
            .is_err()
    );
    // A restarted process is known from its first request on.
    let mut decider = LiveDecider::with_plan(WeaverSettings::default(), read);
    let mut recorder = Recorder::default();
    for id in 1..=20 {
        recorder.usual_request(id, id as Nanos * 17 * MS, &mut rng);
    }
    recorder.events.sort_by_key(WeaveEvent::at);
    let decisions = run(&mut decider, recorder.events);
    let right = decisions
        .iter()
        .filter(|decision| is_right(decision))
        .count();
    assert!(right >= 38, "{right} of 40 are right");
}

#[test]
fn a_new_process_is_decided_about_twice() {
    let mut rng = fastrand::Rng::with_seed(8);
    let mut recorder = Recorder::default();
    for id in 1..=200 {
        recorder.usual_request(id, id as Nanos * 12 * MS, &mut rng);
    }
    recorder.events.sort_by_key(WeaveEvent::at);
    let calls = 400;
    let mut weaver = Weaver::new(WeaverSettings::default());
    let mut first = Vec::new();
    for event in recorder.events {
        let now = event.at();
        weaver.push(event);
        first.extend(weaver.poll(now));
    }
    first.extend(weaver.poll(4 * SECOND));
    assert!(weaver.is_opening());
    assert_eq!(first.len(), calls);
    let second = weaver.poll(60 * SECOND);
    assert!(!weaver.is_opening());
    assert_eq!(second.len(), calls);
    let right = |decisions: &[Decision]| decisions.iter().filter(|it| is_right(it)).count();
    assert!(right(&second) >= right(&first));
    assert_eq!(weaver.poll(120 * SECOND), []);
}

/// Requests arrive while nothing happens, and then all go on at once: which of them made which call
/// is a guess, and so is all that each of them does afterwards.
#[test]
fn calls_after_a_stall_are_seldom_joined_wrong() {
    let (mut wrong, mut usual) = (0, 0);
    for seed in 0..40 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut recorder = Recorder::default();
        for id in 1..=200 {
            recorder.usual_request(id, id as Nanos * 20 * MS, &mut rng);
        }
        let stall = 4_500 * MS;
        for (id, turn) in (1_000..).zip([2, 0, 3, 1, 5, 4]) {
            let first = stall + 300 * MS + turn * 5 * MS + rng.i64(0..5 * MS);
            let second = first + 10 * MS + rng.i64(0..2 * MS);
            let begin = stall + (id as Nanos - 1_000) * 45 * MS;
            recorder.request(id, begin, second + 10 * MS + rng.i64(0..2 * MS));
            recorder.call(id, 1, first, first + 8 * MS);
            recorder.call(id, 2, second, second + 8 * MS);
        }
        for id in 201..=300 {
            recorder.usual_request(id, stall + (id as Nanos - 180) * 20 * MS, &mut rng);
        }
        let decisions = recorder.run_settled();
        let joined = decisions
            .iter()
            .filter(|it| it.parent.is_some() && it.confidence >= 0.95);
        wrong += joined.clone().filter(|it| !is_right(it)).count();
        usual += joined
            .filter(|it| cause(it) > 200 && cause(it) < 1_000)
            .count();
    }
    // More than 80 if only the calls right after the stall are doubted.
    assert!(wrong <= 40, "{wrong} of 480");
    assert_eq!(usual, 40 * 200);
}

#[test]
fn memory_is_bounded_and_losses_are_counted() {
    let settings = WeaverSettings {
        max_inbound: 50,
        max_outbound: 40,
        ..WeaverSettings::default()
    };
    let (weaver, undecided) = crowd(settings);
    assert_eq!(weaver.losses().inbound, 950);
    assert_eq!(weaver.losses().outbound, 960);
    assert_eq!((weaver.losses().crowded, undecided), (0, 960));
    let (weaver, undecided) = crowd(WeaverSettings::default());
    assert_eq!((weaver.losses().inbound, weaver.losses().outbound), (0, 0));
    // One more request competes for each call.
    assert_eq!((weaver.losses().crowded, undecided), (936, 936));
}

/// A thousand requests that stay open and make a call each. Returns the engine, and the number of
/// calls that it has already given up.
fn crowd(settings: WeaverSettings) -> (Weaver, usize) {
    let mut weaver = Weaver::new(settings);
    let mut recorder = Recorder::default();
    for id in 1..=1_000 {
        recorder.begin(id, id as Nanos, Vec::new());
        recorder.call(id, 1, id as Nanos, SECOND);
    }
    recorder.events.sort_by_key(WeaveEvent::at);
    for event in recorder.events {
        weaver.push(event);
    }
    let given_up = weaver.poll(SECOND).into_iter();
    (weaver, given_up.filter(|it| it.confidence == 0.0).count())
}
