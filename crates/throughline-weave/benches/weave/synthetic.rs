//! Sets that are generated: processes of the common kinds, at several loads, with fixed seeds.

use crate::dataset::{SpanRow, SpanTable};
use crate::one_thread;

/// Requests of a set.
pub(crate) const REQUESTS: usize = 1500;
/// Mean of the time that a handler works between two steps, in microseconds.
pub(crate) const WORK_US: f64 = 2_000.0;
/// Mean of the duration of a call.
pub(crate) const CALL_US: f64 = 8_000.0;

/// Callees, in the order in which a request calls them.
const PEERS: [&str; 3] = ["stock", "billing", "delivery"];

/// How a process handles requests.
#[derive(Debug, Clone, Copy)]
struct ProcessShape {
    name: &'static str,
    in_flight: f64,
    /// Calls are made at the same time.
    concurrent: bool,
    retries: f64,
    skips: f64,
    /// Two operations that share their callees.
    two_operations: bool,
    /// Calls of a timer per request.
    timer: f64,
}

const PLAIN: ProcessShape = ProcessShape {
    name: "turns",
    in_flight: 1.0,
    concurrent: false,
    retries: 0.0,
    skips: 0.0,
    two_operations: false,
    timer: 0.0,
};

/// Returns all generated sets.
pub(crate) fn tables() -> Vec<SpanTable> {
    let mut tables: Vec<SpanTable> = [1.0, 4.0, 10.0, 50.0]
        .into_iter()
        .map(|in_flight| ProcessShape { in_flight, ..PLAIN }.table())
        .collect();
    let shapes = [
        ProcessShape {
            name: "fan-out",
            concurrent: true,
            ..PLAIN
        },
        ProcessShape {
            name: "retries",
            retries: 0.05,
            ..PLAIN
        },
        ProcessShape {
            name: "skips",
            skips: 0.1,
            ..PLAIN
        },
        ProcessShape {
            name: "two-operations",
            two_operations: true,
            ..PLAIN
        },
        ProcessShape {
            name: "timer",
            timer: 0.2,
            ..PLAIN
        },
    ];
    for shape in shapes {
        for in_flight in [1.0, 4.0, 10.0] {
            tables.push(ProcessShape { in_flight, ..shape }.table());
        }
    }
    tables.extend([1.0, 4.0, 10.0].map(one_thread::event_loop));
    let pools = [(1, 0.5), (1, 0.8), (1, 0.95), (4, 0.9)];
    tables.extend(pools.map(|(count, utilization)| one_thread::workers(count, utilization)));
    tables.push(consumer(0.3));
    tables.push(consumer(0.8));
    tables.push(consumer(1.0));
    tables.push(consumer(1.1));
    tables
}

// === impl ProcessShape ===

impl ProcessShape {
    /// Returns when a handler goes on after a call.
    fn ready_after(self, start: f64, end: f64) -> f64 {
        if self.concurrent {
            start - WORK_US * 0.8
        } else {
            end
        }
    }

    fn table(self) -> SpanTable {
        let mut rng = fastrand::Rng::with_seed(42);
        let duration_us = if self.concurrent {
            2.0 * WORK_US + 1.5 * CALL_US
        } else {
            4.0 * WORK_US + 3.0 * CALL_US
        };
        let gap_us = duration_us / self.in_flight;
        let mut rows = Vec::new();
        let mut now = 0.0;
        for trace in 0..REQUESTS as u64 {
            now += exponential(&mut rng, gap_us);
            let mut at = now;
            let mut spans = Vec::new();
            let mut last_end = at;
            for kind in 0..3 {
                if rng.f64() < self.skips {
                    continue;
                }
                let attempts = 1 + usize::from(rng.f64() < self.retries);
                for _ in 0..attempts {
                    let start = at + spread(&mut rng, WORK_US);
                    let end = start + spread(&mut rng, CALL_US);
                    spans.push((kind, start, end));
                    last_end = last_end.max(end);
                    at = self.ready_after(start, end);
                }
            }
            let end = last_end.max(at) + spread(&mut rng, WORK_US);
            let operation = if self.two_operations && trace % 2 == 1 {
                "GET /b"
            } else {
                "GET /a"
            };
            rows.push(row(trace, 0, -1, ('S', "external", operation), (now, end)));
            for (index, (kind, start, end)) in spans.into_iter().enumerate() {
                let span = index as u64 + 1;
                let peer = ('C', PEERS[kind], "POST /");
                rows.push(row(trace, span, 0, peer, (start, end)));
            }
            if rng.f64() < self.timer {
                let start = now + rng.f64() * duration_us;
                let times = (start, start + spread(&mut rng, CALL_US));
                rows.push(row(trace, 99, -1, ('C', "stock", "POST /"), times));
            }
        }
        SpanTable {
            name: format!("{} {}", self.name, self.in_flight),
            rows,
        }
    }
}

/// A consumer that handles the records of its partition in turn, and commits every five seconds.
fn consumer(utilization: f64) -> SpanTable {
    let mut rng = fastrand::Rng::with_seed(42);
    let busy_us = 2.0 * WORK_US + CALL_US;
    let (mut now, mut idle_from) = (0.0, 0.0_f64);
    let mut rows = Vec::new();
    for trace in 0..REQUESTS as u64 {
        now += exponential(&mut rng, busy_us / utilization);
        let start = idle_from.max(now) + spread(&mut rng, WORK_US);
        let end = start + spread(&mut rng, CALL_US);
        idle_from = end + spread(&mut rng, WORK_US);
        let commit = (idle_from / 5e6).ceil() * 5e6;
        for (span, kind, times) in [(0, 'D', (now, now)), (2, 'K', (commit, commit))] {
            let mut row = row(trace, span, -1, (kind, "kafka", "orders"), times);
            row.partition = "0".to_owned();
            row.offset = Some(trace as i64);
            rows.push(row);
        }
        rows.push(row(trace, 1, 0, ('C', "mail", "POST /"), (start, end)));
    }
    SpanTable {
        name: format!("consumer {utilization}"),
        rows,
    }
}

/// A request of a set with one operation.
pub(crate) fn request_row(trace: u64, start: f64, end: f64) -> SpanRow {
    row(trace, 0, -1, ('S', "external", "GET /a"), (start, end))
}

/// The call of a kind that a request makes once.
pub(crate) fn call_row(trace: u64, kind: usize, times: (f64, f64)) -> SpanRow {
    let peer = ('C', PEERS[kind], "POST /");
    row(trace, kind as u64 + 1, 0, peer, times)
}

fn row(
    trace: u64,
    span: u64,
    parent: i64,
    (kind, peer, operation): (char, &str, &str),
    (start, end): (f64, f64),
) -> SpanRow {
    SpanRow {
        trace,
        span,
        parent,
        kind,
        service: "shop".to_owned(),
        peer: peer.to_owned(),
        operation: operation.to_owned(),
        start_us: start as i64,
        duration_us: (end - start) as i64,
        partition: String::new(),
        offset: None,
        made_us: None,
    }
}

pub(crate) fn exponential(rng: &mut fastrand::Rng, mean: f64) -> f64 {
    -mean * (1.0 - rng.f64()).ln()
}

/// A duration with a minimum and a tail.
pub(crate) fn spread(rng: &mut fastrand::Rng, mean: f64) -> f64 {
    0.5 * mean + exponential(rng, 0.5 * mean)
}
