//! Generated sets of processes whose requests wait for a thread: an event loop, and pools of
//! workers.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::dataset::{SpanRow, SpanTable};
use crate::synthetic::{CALL_US, REQUESTS, WORK_US, call_row, exponential, request_row, spread};

/// Calls of a request.
const CALLS: usize = 3;
/// Mean of the time that the event loop works on a request until it calls or responds.
const TURN_US: f64 = 400.0;

/// A request that is ready to go on: the moment, its number, and the calls that it has made. In the
/// order of the moments, which are not negative.
type ReadyTurn = Reverse<(u64, usize, usize)>;

/// A process with one thread, which goes on with whatever request is ready first while others wait
/// for their calls.
pub(crate) fn event_loop(in_flight: f64) -> SpanTable {
    let mut rng = fastrand::Rng::with_seed(42);
    let calls = CALLS as f64;
    let gap_us = ((calls + 1.0) * TURN_US + calls * CALL_US) / in_flight;
    let arrivals = arrivals(&mut rng, gap_us);
    let mut ready: BinaryHeap<ReadyTurn> = BinaryHeap::new();
    ready.extend(
        (0..)
            .zip(&arrivals)
            .map(|(request, at)| Reverse((*at as u64, request, 0))),
    );
    let mut rows = Vec::new();
    let mut free_from = 0.0_f64;
    while let Some(Reverse((at, request, made))) = ready.pop() {
        free_from = free_from.max(at as f64) + spread(&mut rng, TURN_US);
        if made == CALLS {
            rows.push(request_row(request as u64, arrivals[request], free_from));
        } else {
            let end = free_from + spread(&mut rng, CALL_US);
            rows.push(call_row(request as u64, made, (free_from, end)));
            ready.push(Reverse((end as u64, request, made + 1)));
        }
    }
    SpanTable {
        name: format!("event-loop {in_flight}"),
        rows,
    }
}

/// A process with `count` workers, each of which handles one request from its start to its end;
/// others wait in the order in which they came. `utilization` is the share of time in which the
/// workers are busy.
pub(crate) fn workers(count: usize, utilization: f64) -> SpanTable {
    let mut rng = fastrand::Rng::with_seed(42);
    let calls = CALLS as f64;
    let busy_us = (calls + 1.0) * WORK_US + calls * CALL_US;
    let gap_us = busy_us / count as f64 / utilization;
    let mut free_from = vec![0.0_f64; count];
    let mut rows: Vec<SpanRow> = Vec::new();
    for (request, arrival) in (0..).zip(arrivals(&mut rng, gap_us)) {
        let worker = free_from.iter_mut().min_by(|a, b| a.total_cmp(b));
        let Some(worker) = worker else {
            break;
        };
        let mut at = worker.max(arrival);
        for kind in 0..CALLS {
            let start = at + spread(&mut rng, WORK_US);
            at = start + spread(&mut rng, CALL_US);
            rows.push(call_row(request, kind, (start, at)));
        }
        *worker = at + spread(&mut rng, WORK_US);
        rows.push(request_row(request, arrival, *worker));
    }
    SpanTable {
        name: format!("workers {count} at {utilization}"),
        rows,
    }
}

fn arrivals(rng: &mut fastrand::Rng, gap_us: f64) -> Vec<f64> {
    let mut now = 0.0;
    let mut next = || {
        now += exponential(rng, gap_us);
        now
    };
    (0..REQUESTS).map(|_| next()).collect()
}
