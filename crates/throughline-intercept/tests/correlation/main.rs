//! Simulation of processes that know which inbound message caused which of their calls, against the
//! correlator, which does not: how many parents it finds, and how many of them are wrong.
//!
//! ```text
//! cargo test --release -p throughline-intercept --test correlation -- --nocapture
//! ```
//!
//! prints the tables of `docs/correlation.md`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    reason = "a simulation that knows its own numbers, and prints a table"
)]

mod scenario;
mod simulation;
mod tally;

use std::fmt::Write as _;
use std::sync::Arc;

use throughline_intercept::correlate::{
    ActivityId, CallHandle, CallSignature, CorrelationKey, Correlator, OutboundCall,
    RecordDelivery, RecordQueueId, RecordSettlement, Settings, TokenExtractor, TokenSet,
    TokenSource,
};
use throughline_model::context::{HeaderList, Sampling, SpanContext};
use throughline_model::{SpanId, TraceId};

use scenario::{ConsumerScenario, ServiceScenario, consumers, services};
use simulation::{SimulatedEvent, SimulatedProcess};
use tally::{AttributionTally, TABLE_HEAD};

#[test]
fn service_calls_are_attributed_to_their_requests() {
    let mut all = Vec::new();
    for (name, service) in services() {
        for clients in [1, 2, 4, 8, 16, 32, 64] {
            let mut process = SimulatedProcess::new(clients as u64, minutes(clients as f64));
            process.serve(ServiceScenario { clients, ..service });
            all.push((name, format!("{clients} clients"), run(process)));
        }
    }
    check_and_print(&all, 0.05);
    let found = |name, clients| {
        let (.., tally) = all
            .iter()
            .find(|(other, load, _)| *other == name && load == clients)
            .unwrap();
        tally.share(tally.inferred_calls() + tally.exact)
    };
    assert!(found("sequential calls", "1 clients") > 98.0);
    assert!(found("sequential calls", "2 clients") > 60.0);
    assert!(found("1 % of clients disconnect", "1 clients") > 90.0);
    assert!(found("copies x-request-id", "64 clients") > 99.9);
}

#[test]
fn consumer_calls_are_attributed_to_their_records() {
    let mut all = Vec::new();
    for (name, consumer) in consumers() {
        for rate in [1.0, 5.0, 20.0, 60.0] {
            let mut process = SimulatedProcess::new(rate as u64, minutes(rate / 5.0));
            process.consume(ConsumerScenario { rate, ..consumer });
            all.push((name, format!("{rate}/s"), run(process)));
        }
    }
    check_and_print(&all, 0.03);
    let found = |name, rate| {
        let (.., tally) = all
            .iter()
            .find(|(other, load, _)| *other == name && load == rate)
            .unwrap();
        tally.share(tally.inferred_calls())
    };
    assert!(found("one call per record", "1/s") > 95.0);
    assert!(found("one call per record", "5/s") > 90.0);
    assert!(found("commits every 5 s", "5/s") > 50.0);
}

/// A process that has just started has shown nothing: only the priors count.
#[test]
fn calls_of_a_new_process_are_attributed_to_their_requests() {
    let mut all = Vec::new();
    let processes = if cfg!(debug_assertions) { 10 } else { 50 };
    for (name, service) in services() {
        for clients in [1, 2, 4, 16] {
            let mut sum = AttributionTally::default();
            for seed in 0..processes {
                let mut process = SimulatedProcess::new(seed, 6.0 / 60.0);
                process.serve(ServiceScenario { clients, ..service });
                sum.add(run(process));
            }
            all.push((
                name,
                format!("{clients} clients, {processes} times 3 s"),
                sum,
            ));
        }
    }
    check_and_print(&all, 0.3);
}

/// Returns the simulated minutes: at most ten, fewer under load, and far fewer without
/// optimization.
fn minutes(load: f64) -> f64 {
    if cfg!(debug_assertions) {
        (4.0 / load).min(4.0)
    } else {
        (10.0 / load).min(10.0)
    }
}

/// Prints the table. Checks that hardly any inferred parent is wrong, and that no more are than
/// their confidences predict.
fn check_and_print(all: &[(&str, String, AttributionTally)], max_wrong_percent: f64) {
    let mut table = format!("{TABLE_HEAD}\n");
    let (mut inferred, mut wrong, mut confidence) = (0, 0, 0.0);
    for (name, load, tally) in all {
        writeln!(table, "{}", tally.row(name, load)).unwrap();
        inferred += tally.inferred;
        wrong += tally.wrong();
        confidence += tally.confidence;
    }
    let expected = 100.0 * (1.0 - confidence / f64::from(inferred));
    let share = 100.0 * f64::from(wrong) / f64::from(inferred);
    writeln!(
        table,
        "\n{inferred} inferred, {wrong} wrong: {share:.4} %, {expected:.4} % expected"
    )
    .unwrap();
    println!("{table}");
    assert!(
        share < max_wrong_percent && share <= expected,
        "too many inferred parents are wrong"
    );
    for (name, load, tally) in all {
        assert_eq!(
            tally.exact_wrong, 0,
            "{name}, {load}: exact evidence was wrong"
        );
        let (wrong, calls) = (tally.wrong(), tally.calls);
        assert!(
            // One mistake makes several, so a few say little about a row.
            tally.share(wrong) < 2.0 * max_wrong_percent || wrong < 16,
            "{name}, {load}: {wrong} of {calls} calls are wrong"
        );
    }
}

/// Feeds the events of a simulation to a correlator, in the order in which a proxy sees them.
fn run(mut process: SimulatedProcess) -> AttributionTally {
    process
        .events
        .sort_by_key(|(time, number, _)| (*time, *number));
    let mut correlator = Correlator::new(Settings::default(), 0);
    let mut activities: Vec<Option<ActivityId>> = vec![None; process.activities];
    let mut calls: Vec<Option<CallHandle>> = vec![None; process.calls];
    let topic = Arc::from("eshop-topic");
    let queue = |partition: i32| RecordQueueId::new(&("eshop-topic", partition));
    let mut tally = AttributionTally::default();
    for (now, _, event) in process.events {
        match event {
            SimulatedEvent::Begin { activity, token } => {
                let id = correlator.begin_request(
                    now,
                    context(activity),
                    CallSignature::new(&"GET /checkout"),
                    tokens(token),
                );
                activities[activity] = Some(id);
            }
            SimulatedEvent::End { activity, outcome } => {
                correlator.end_request(now, activities[activity].unwrap(), outcome);
            }
            SimulatedEvent::Deliver {
                activity,
                partition,
                offset,
            } => {
                let delivery = RecordDelivery {
                    queue: queue(partition),
                    topic: Arc::clone(&topic),
                    offset,
                    context: context(activity),
                    tokens: TokenSet::default(),
                };
                correlator.deliver_record(now, delivery);
            }
            SimulatedEvent::Commit { partition, next } => {
                let settlement = RecordSettlement {
                    queue: queue(partition),
                    offsets: i64::MIN..=next - 1,
                    asked_at: now,
                };
                correlator.settle_records(now, &settlement);
            }
            SimulatedEvent::Call {
                call,
                cause,
                signature,
                created_at,
                token,
            } => {
                let outbound = OutboundCall {
                    signature,
                    created_at,
                    carried: None,
                    tokens: tokens(token),
                    expects_response: created_at.is_none(),
                };
                let attribution = correlator.attribute_call(now, &outbound);
                calls[call] = Some(attribution.call);
                tally.record(&attribution.parent, cause.map(context).as_ref());
            }
            SimulatedEvent::Response { call, outcome } => {
                correlator.complete_call(now, calls[call].unwrap(), outcome);
            }
        }
    }
    tally
}

fn tokens(token: Option<usize>) -> TokenSet {
    let mut headers = HeaderList::default();
    if let Some(token) = token {
        headers.push("x-request-id", format!("request-{token}"));
    }
    TokenExtractor::new(vec![CorrelationKey::request_id()], 0).extract(TokenSource {
        headers: &headers,
        key: None,
        body: None,
    })
}

fn context(activity: usize) -> SpanContext {
    let id = u64::try_from(activity).unwrap() + 1;
    SpanContext::new(
        TraceId::from_bytes(u128::from(id).to_be_bytes()).unwrap(),
        SpanId::from_bytes(id.to_be_bytes()).unwrap(),
        Sampling::Sample,
    )
}
