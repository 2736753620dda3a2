//! A sender that repeats a request until it is acknowledged, as exporters do.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::{Value, json};
use throughline_testkit::wait;

use crate::fixture::TIMEOUT;

/// Service of all spans.
pub(crate) const SERVICE: &str = "shop";

/// Spans of a request, which are a trace.
pub(crate) const SPANS: usize = 4;

/// Processes that send.
pub(crate) const PROCESSES: u64 = 8;

/// Start of the first trace.
const BEGIN: u64 = 1_790_000_000_000_000_000;

/// A sender that runs.
pub(crate) struct SpanLoad {
    acknowledged: Arc<Mutex<BTreeSet<String>>>,
    is_stopping: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

// === impl SpanLoad ===

impl SpanLoad {
    pub(crate) fn start(address: SocketAddr) -> Self {
        Self::start_with(address, |url, number| send(url, number) == 200)
    }

    /// Starts a sender of traces of two processes, each of which sends a request.
    pub(crate) fn start_pairs(address: SocketAddr) -> Self {
        Self::start_with(address, |url, number| {
            let first = request_of(number, 1, number % PROCESSES);
            let second = request_of(number, 1 + SPANS, (number + 1) % PROCESSES);
            [first, second].iter().all(|it| post(url, it) == 200)
        })
    }

    fn start_with(
        address: SocketAddr,
        is_sent: impl Fn(&str, u64) -> bool + Send + 'static,
    ) -> Self {
        let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
        let is_stopping = Arc::new(AtomicBool::new(false));
        let (sent, stopping) = (Arc::clone(&acknowledged), Arc::clone(&is_stopping));
        let thread = std::thread::spawn(move || {
            let url = format!("http://{address}/v1/traces");
            let mut number = 0;
            while !stopping.load(Ordering::Relaxed) {
                if is_sent(&url, number) {
                    sent.lock().unwrap().insert(trace_id(number));
                }
                number += 1;
            }
        });
        Self {
            acknowledged,
            is_stopping,
            thread,
        }
    }

    /// Waits until this number of further requests are acknowledged.
    pub(crate) fn wait_for(&self, requests: usize) {
        let count = || self.acknowledged.lock().unwrap().len();
        let before = count();
        wait::until(TIMEOUT, || (count() >= before + requests).then_some(()))
            .unwrap_or_else(|| panic!("{} of {requests} requests", count() - before));
    }

    /// Returns the ids of all acknowledged traces.
    pub(crate) fn stop(self) -> BTreeSet<String> {
        self.is_stopping.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        std::mem::take(&mut self.acknowledged.lock().unwrap())
    }
}

/// Sends a request; returns its status.
pub(crate) fn send(url: &str, number: u64) -> u16 {
    post(url, &request(number))
}

fn post(url: &str, request: &Value) -> u16 {
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    let agent = ureq::Agent::new_with_config(config.timeout_global(Some(TIMEOUT)).build());
    agent
        .post(url)
        .send_json(request)
        .unwrap()
        .status()
        .as_u16()
}

fn trace_id(number: u64) -> String {
    format!("{:032x}", number + 1)
}

/// Returns a request in OTLP JSON, from one of the processes.
pub(crate) fn request(number: u64) -> Value {
    request_of(number, 1, number % PROCESSES)
}

/// Returns a request with the spans of a trace from this id on.
fn request_of(number: u64, first: usize, process: u64) -> Value {
    let start = BEGIN + number * 1_000_000;
    let spans = (first..first + SPANS).map(|id| {
        json!({
            "traceId": trace_id(number),
            "spanId": format!("{id:016x}"),
            "name": format!("step {id}"),
            "kind": 1,
            "startTimeUnixNano": start.to_string(),
            "endTimeUnixNano": (start + 1_000).to_string(),
        })
    });
    let attribute = |key: &str, value: String| json!({"key": key, "value": {"stringValue": value}});
    let attributes = [
        attribute("service.name", SERVICE.to_owned()),
        attribute("service.instance.id", process.to_string()),
    ];
    json!({"resourceSpans": [{
        "resource": {"attributes": attributes},
        "scopeSpans": [{"spans": spans.collect::<Vec<_>>()}],
    }]})
}
