//! The cases of the W3C trace-context test suite without sockets: exchanges of a simulated process.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "support/trace_context.rs"]
mod cases;
#[path = "support/shared_correlator.rs"]
mod shared_correlator;

use std::sync::Arc;

use cases::{CASES, Callback, Fields, PARENT, TracedService};
use shared_correlator::SharedCorrelator;

use throughline_intercept::correlate::{self, SingleInFlightPolicy};
use throughline_intercept::http::{Direction, HttpExchange, HttpPeer, HttpRequestHead, Settings};
use throughline_model::context::{Carrier, HeaderList};

const START: u64 = 1_700_000_000_000_000_000;
const MS: u64 = 1_000_000;

/// A service that is a new process for each request, so that the evidence is always unambiguous.
struct FreshService;

/// A service in one process, with a proxy beside it.
struct ProxiedService {
    correlator: SharedCorrelator,
    settings: Arc<Settings>,
    now: u64,
    seed: u64,
}

// === impl FreshService ===

impl TracedService for FreshService {
    fn request_callbacks(&mut self, fields: &[(&str, &str)], callbacks: usize) -> Vec<Fields> {
        ProxiedService::with(SingleInFlightPolicy::default()).request_callbacks(fields, callbacks)
    }
}

// === impl ProxiedService ===

impl ProxiedService {
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
    ) -> HttpExchange {
        self.seed += 1;
        let request = HttpRequestHead {
            method: "POST",
            scheme: "http",
            authority: "127.0.0.1:7777",
            target,
            version: "1.1",
            body: None,
        };
        let mut exchange = HttpExchange::new(
            Arc::clone(&self.settings),
            direction,
            HttpPeer::default(),
            self.seed,
        );
        exchange.handle_request(self.now, &request, headers, &self.correlator);
        exchange
    }

    fn complete(&mut self, mut exchange: HttpExchange) {
        self.now += MS;
        exchange.handle_response(self.now, 200, &HeaderList::default(), &self.correlator);
        exchange.handle_end(self.now, &self.correlator);
        assert!(exchange.poll_span().is_some() || exchange.is_over());
    }

    /// Sends a request to the service, which makes `callbacks` calls for it.
    fn request_callbacks(&mut self, pairs: &[(&str, &str)], callbacks: usize) -> Vec<Fields> {
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
            self.complete(outbound);
        }
        self.complete(inbound);
        self.now += 5 * MS;
        found
    }

    /// Sends 200 requests, each of a trace of its own. Returns how many callbacks were of the right
    /// trace, and how many there were; the others must be roots.
    fn run(&mut self) -> (usize, usize) {
        let (mut found, mut total) = (0, 0);
        for nth in 0..200 {
            let value = format!("00-{}{nth:04x}-{PARENT}-01", "7".repeat(28));
            for out in self.request_callbacks(&[("traceparent", &value)], 1 + nth % 3) {
                let out = Callback::of(&out);
                total += 1;
                found += usize::from(value.contains(&out.trace_id));
                assert!(
                    value.contains(&out.trace_id) || !out.trace_id.starts_with("7777"),
                    "in the trace of another request"
                );
            }
        }
        (found, total)
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
fn every_case_of_the_suite_passes() {
    for (name, case) in CASES {
        eprintln!("{name}");
        case(&mut FreshService);
    }
}

/// The suite sends one request after the other to a service that only ever calls to answer them.
/// With that configured, every callback is in its trace, from the first one on.
#[test]
fn assumed_policy_attributes_every_callback_of_a_run() {
    let mut service = ProxiedService::with(SingleInFlightPolicy::Assumed);
    let (found, total) = service.run();
    assert_eq!(found, total);
}

/// Without that, the process has to show for a while that it makes no calls of its own.
#[test]
fn measured_policy_attributes_most_callbacks_and_none_wrongly() {
    let mut service = ProxiedService::with(SingleInFlightPolicy::default());
    let (found, total) = service.run();
    assert!(found > total * 9 / 10, "{found} of {total}");
}
