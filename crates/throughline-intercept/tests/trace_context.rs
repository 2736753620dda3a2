//! The cases of the W3C trace-context test suite without its sockets: the exchanges of a process that never ran.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may")]

#[path = "support/trace_context.rs"]
mod cases;
#[path = "support/shared_correlator.rs"]
mod shared_correlator;

use std::sync::Arc;

use cases::{CASES, Callback, Fields, PARENT, Service};
use shared_correlator::SharedCorrelator;

use throughline_intercept::correlate::{self, SingleInFlightPolicy};
use throughline_intercept::http::{Direction, Exchange, Peer, Request, Settings};
use throughline_model::context::{Carrier, HeaderList};

const START: u64 = 1_700_000_000_000_000_000;
const MS: u64 = 1_000_000;

/// A process for each time that it is asked: the evidence is the best there can be.
struct Fresh;

struct Harness {
    correlator: SharedCorrelator,
    settings: Arc<Settings>,
    now: u64,
    seed: u64,
}

// === impl Fresh ===

impl Service for Fresh {
    fn ask(&mut self, fields: &[(&str, &str)], callbacks: usize) -> Vec<Fields> {
        Harness::with(SingleInFlightPolicy::default()).ask(fields, callbacks)
    }
}

// === impl Harness ===

impl Harness {
    fn with(policy: SingleInFlightPolicy) -> Self {
        let correlator = SharedCorrelator::new(
            correlate::Settings {
                single_in_flight: policy,
                ..correlate::Settings::default()
            },
            START,
        );
        Self {
            correlator,
            settings: Arc::default(),
            now: START + 1_000 * MS,
            seed: 0,
        }
    }

    fn exchange(
        &mut self,
        direction: Direction,
        target: &str,
        headers: &mut HeaderList,
    ) -> Exchange {
        self.seed += 1;
        let request = Request {
            method: "POST",
            scheme: "http",
            authority: "127.0.0.1:7777",
            target,
            version: "1.1",
            body: None,
        };
        let mut exchange = Exchange::new(
            Arc::clone(&self.settings),
            direction,
            Peer::default(),
            self.seed,
        );
        exchange.handle_request(self.now, &request, headers, &self.correlator);
        exchange
    }

    fn end(&mut self, mut exchange: Exchange) {
        self.now += MS;
        exchange.handle_response(self.now, 200, &HeaderList::default(), &self.correlator);
        exchange.handle_end(self.now, &self.correlator);
        assert!(exchange.poll_span().is_some() || exchange.is_over());
    }

    /// Asks the service, which calls back so many times.
    fn ask(&mut self, pairs: &[(&str, &str)], callbacks: usize) -> Vec<Fields> {
        let mut sent = list(pairs);
        let inbound = self.exchange(Direction::Inbound, "/test", &mut sent);
        let mut found = Vec::new();
        for nth in 0..callbacks {
            self.now += MS;
            let mut out = list(&[("content-type", "application/json")]);
            let target = format!("/{:032x}.{nth}", self.seed);
            let outbound = self.exchange(Direction::Outbound, &target, &mut out);
            found.push(fields(&out));
            self.now += 2 * MS;
            self.end(outbound);
        }
        self.end(inbound);
        self.now += 5 * MS;
        found
    }

    /// Two hundred requests, each of a trace of its own. Gives how many callbacks were of the right trace, and how many there
    /// were; the others must be of none.
    fn run(&mut self) -> (usize, usize) {
        let (mut found, mut asked) = (0, 0);
        for nth in 0..200 {
            let value = format!("00-{}{nth:04x}-{PARENT}-01", "7".repeat(28));
            for out in self.ask(&[("traceparent", &value)], 1 + nth % 3) {
                let out = Callback::of(&out);
                asked += 1;
                found += usize::from(value.contains(&out.trace_id));
                assert!(
                    value.contains(&out.trace_id) || !out.trace_id.starts_with("7777"),
                    "of another's trace"
                );
            }
        }
        (found, asked)
    }
}

fn list(pairs: &[(&str, &str)]) -> HeaderList {
    let mut list = HeaderList::default();
    pairs
        .iter()
        .for_each(|(name, value)| list.push(name, value));
    list
}

fn fields(headers: &HeaderList) -> Fields {
    let mut found = Fields::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    headers.each(&mut |name, value| found.push((text(name), text(value.unwrap()))));
    found
}

#[test]
fn every_case_holds() {
    for (says, case) in CASES {
        eprintln!("{says}");
        case(&mut Fresh);
    }
}

/// The suite asks one after the other, at its own pace, and each of its cases must hold. Its service does nothing but answer,
/// and the user who says so has every callback in its trace from the first on.
#[test]
fn a_whole_run_of_the_suite_against_one_process_holds_together() {
    let mut harness = Harness::with(SingleInFlightPolicy::Assumed);
    let (found, asked) = harness.run();
    assert_eq!(found, asked);
}

/// Where nobody says so, requests that come as fast as this have to show for a while that the process does nothing of its own.
#[test]
fn without_being_told_it_takes_a_while_and_nothing_is_wrong_meanwhile() {
    let mut harness = Harness::with(SingleInFlightPolicy::default());
    let (found, asked) = harness.run();
    assert!(found > asked * 9 / 10, "{found} of {asked}");
}
