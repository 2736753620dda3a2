//! Sets that are generated: processes of the common kinds, at several loads, with fixed seeds.

use crate::dataset::{SpanRow, SpanTable};

/// Requests of a set.
const REQUESTS: usize = 1500;
/// Mean of the time that a handler works between two steps, in microseconds.
const WORK_US: f64 = 2_000.0;
/// Mean of the duration of a call.
const CALL_US: f64 = 8_000.0;

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
    /// Handlers run one at a time, in the order in which they became ready.
    event_loop: bool,
}

const PLAIN: ProcessShape = ProcessShape {
    name: "turns",
    in_flight: 1.0,
    concurrent: false,
    retries: 0.0,
    skips: 0.0,
    two_operations: false,
    timer: 0.0,
    event_loop: false,
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
        ProcessShape {
            name: "event-loop",
            event_loop: true,
            ..PLAIN
        },
    ];
    for shape in shapes {
        for in_flight in [1.0, 4.0, 10.0] {
            tables.push(ProcessShape { in_flight, ..shape }.table());
        }
    }
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

    /// Returns when a handler that is ready gets its turn.
    fn begin_turn(self, ready: f64, idle_from: &mut f64) -> f64 {
        if !self.event_loop {
            return ready;
        }
        let start = ready.max(*idle_from);
        *idle_from = start + 50.0;
        start
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
        // The moment from which the only thread of an event loop is free.
        let mut idle_from = 0.0_f64;
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
                    let ready = at + spread(&mut rng, WORK_US);
                    let start = self.begin_turn(ready, &mut idle_from);
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
                let peer = ["stock", "billing", "delivery"][kind];
                let span = index as u64 + 1;
                rows.push(row(trace, span, 0, ('C', peer, "POST /"), (start, end)));
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

fn exponential(rng: &mut fastrand::Rng, mean: f64) -> f64 {
    -mean * (1.0 - rng.f64()).ln()
}

/// A duration with a minimum and a tail.
fn spread(rng: &mut fastrand::Rng, mean: f64) -> f64 {
    0.5 * mean + exponential(rng, 0.5 * mean)
}
