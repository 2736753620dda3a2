//! Proof without timing: what remains when everything impossible is struck out.
//!
//! A call is within its request. A call with one possible cause has it, where there are no calls
//! without a cause; a request that makes each kind of call exactly once, and has one, has no other;
//! and if one call is left that it can have made, it made that one.

use std::collections::HashMap;

use crate::problem::{Lane, Problem};

/// Share of requests that make exactly one call of a kind, for it to count as a rule.
const MIN_EXACTLY_ONE: f64 = 0.995;
/// Requests that must have shown it.
const MIN_REQUESTS: f64 = 20.0;

/// How many requests of an operation make exactly one call of a kind.
#[derive(Debug, Clone, Default)]
pub(crate) struct CallCounts {
    exactly_one: HashMap<(u32, u32), f64>,
    requests: HashMap<u32, f64>,
}

// === impl CallCounts ===

impl CallCounts {
    pub(crate) fn observe_request(&mut self, operation: u32) {
        *self.requests.entry(operation).or_default() += 1.0;
    }

    pub(crate) fn observe_single(&mut self, operation: u32, kind: u32) {
        *self.exactly_one.entry((operation, kind)).or_default() += 1.0;
    }

    pub(crate) fn entries(&self) -> Vec<((u32, u32), f64)> {
        let mut entries: Vec<_> = self.exactly_one.iter().map(|(key, n)| (*key, *n)).collect();
        entries.sort_by_key(|(key, _)| *key);
        entries
    }

    pub(crate) fn request_entries(&self) -> Vec<(u32, f64)> {
        let mut entries: Vec<_> = self.requests.iter().map(|(key, n)| (*key, *n)).collect();
        entries.sort_by_key(|(key, _)| *key);
        entries
    }

    pub(crate) fn restore_single(&mut self, operation: u32, kind: u32, count: f64) {
        self.exactly_one.insert((operation, kind), count);
    }

    pub(crate) fn restore_requests(&mut self, operation: u32, count: f64) {
        self.requests.insert(operation, count);
    }

    pub(crate) fn is_exactly_one(&self, operation: u32, kind: u32) -> bool {
        let requests = self.requests.get(&operation).copied().unwrap_or(0.0);
        let single = self
            .exactly_one
            .get(&(operation, kind))
            .copied()
            .unwrap_or(0.0);
        requests >= MIN_REQUESTS && single >= MIN_EXACTLY_ONE * requests
    }
}

/// Strikes out impossible causes from `lanes`. Returns which outbound events are proven.
///
/// `has_strays` says of a kind whether there are calls of it without a cause.
pub(crate) fn propagate(
    problem: &Problem,
    lanes: &mut [Lane],
    counts: &CallCounts,
    has_strays: impl Fn(u32) -> bool,
) -> Vec<bool> {
    let mut possible: Vec<Vec<u32>> = vec![Vec::new(); problem.outbound.len()];
    for (index, lane) in lanes.iter().enumerate() {
        for candidate in &lane.candidates {
            possible[*candidate as usize].push(index as u32);
        }
    }
    let mut proven = vec![false; possible.len()];
    let mut pending: Vec<u32> = (0..possible.len() as u32).collect();
    while let Some(outbound) = pending.pop() {
        let kind = problem.outbound[outbound as usize].kind;
        if proven[outbound as usize] || has_strays(kind) {
            continue;
        }
        let sole = match possible[outbound as usize].as_slice() {
            [only] => Some(*only),
            several => several.iter().copied().find(|lane| {
                // The only call of its kind that the request can have made, and it made one.
                let lane = &lanes[*lane as usize];
                rules(problem, lane, counts, kind) && only_of_kind(problem, lane, kind)
            }),
        };
        let Some(sole) = sole else { continue };
        if lanes[sole as usize].is_queue {
            continue;
        }
        proven[outbound as usize] = true;
        for lane in std::mem::take(&mut possible[outbound as usize]) {
            if lane != sole {
                remove(&mut lanes[lane as usize], outbound);
                // Something may be left that only this lane can have made.
                requeue(problem, &lanes[lane as usize], kind, &mut pending);
            }
        }
        possible[outbound as usize] = vec![sole];
        if rules(problem, &lanes[sole as usize], counts, kind) {
            let others: Vec<u32> = same_kind(problem, &lanes[sole as usize], kind)
                .filter(|other| *other != outbound)
                .collect();
            for other in others {
                // Two proofs that contradict each other leave both as they are.
                if !proven[other as usize] && possible[other as usize].len() > 1 {
                    remove(&mut lanes[sole as usize], other);
                    possible[other as usize].retain(|lane| *lane != sole);
                    pending.push(other);
                }
            }
        }
    }
    proven
}

fn rules(problem: &Problem, lane: &Lane, counts: &CallCounts, kind: u32) -> bool {
    let inbound = &problem.inbound[lane.members[0] as usize];
    !lane.is_queue && !inbound.abandoned && counts.is_exactly_one(inbound.operation, kind)
}

fn same_kind<'a>(
    problem: &'a Problem,
    lane: &'a Lane,
    kind: u32,
) -> impl Iterator<Item = u32> + 'a {
    let candidates = lane.candidates.iter().copied();
    candidates.filter(move |other| problem.outbound[*other as usize].kind == kind)
}

fn only_of_kind(problem: &Problem, lane: &Lane, kind: u32) -> bool {
    same_kind(problem, lane, kind).nth(1).is_none()
}

fn remove(lane: &mut Lane, outbound: u32) {
    lane.candidates.retain(|other| *other != outbound);
}

fn requeue(problem: &Problem, lane: &Lane, kind: u32, pending: &mut Vec<u32>) {
    let mut left = same_kind(problem, lane, kind);
    if let (Some(last), None) = (left.next(), left.next()) {
        pending.push(last);
    }
}
