//! Sends checkouts at a steady rate and evaluates their traces.
//!
//! Each checkout has a number, which its requests and records carry where tracing ignores it: in
//! URL queries and record keys. So each span shows its checkout, and the report can verify that a
//! trace holds the spans of one checkout.

use std::collections::{BTreeMap, BTreeSet};
use std::thread::{park_timeout, scope};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::complete::{LegacySpan, parts, spans};
use crate::http;

/// Rate and duration of a load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CheckoutLoad {
    /// Checkouts per second.
    pub rate: f64,
    pub duration: Duration,
}

/// Evaluation of the traces of a load.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoadReport {
    /// Checkouts that were sent, and those that succeeded.
    pub sent: usize,
    pub answered: usize,
    /// Successful checkouts with all spans in one trace.
    pub whole: usize,
    /// Successful checkouts whose spans are in several traces, because a parent was not found.
    pub open: usize,
    /// Successful checkouts with missing spans.
    pub incomplete: usize,
    /// Number of spans.
    pub spans: usize,
    /// Spans in the trace of another checkout.
    pub wrong: usize,
    /// Number of parents by evidence.
    pub evidence: BTreeMap<String, usize>,
    /// Response time: median and 99th percentile.
    pub p50: Duration,
    pub p99: Duration,
}

const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

// === impl CheckoutLoad ===

impl CheckoutLoad {
    /// Sends checkouts on schedule, whether or not earlier ones have completed. Returns the number
    /// sent, and the duration of each successful one by number.
    pub(super) fn run(
        &self,
        url: &str,
        progress: &mut dyn FnMut(&str),
    ) -> (usize, BTreeMap<usize, Duration>) {
        let begin = Instant::now();
        let mut sent = 0;
        let (mut last_progress, answered) = (begin, std::sync::Mutex::new(BTreeMap::new()));
        scope(|scope| {
            while let Some(left) = self.until_next(sent, begin) {
                if !left.is_zero() {
                    // A parked thread may wake early, so the schedule is read again.
                    park_timeout(left);
                    continue;
                }
                sent += 1;
                let (order, answered) = (sent, &answered);
                // One thread per checkout: the load must not slow down with the responses.
                scope.spawn(move || {
                    send_checkout(url, order).map(|duration| lock(answered).insert(order, duration))
                });
                if last_progress.elapsed() > PROGRESS_INTERVAL {
                    last_progress = Instant::now();
                    progress(&format!(
                        "{sent} checkouts sent, {} answered",
                        lock(answered).len()
                    ));
                }
            }
        });
        (sent, answered.into_inner().unwrap_or_default())
    }

    /// Returns the time until the next checkout, or [`None`] at the end.
    fn until_next(&self, sent: usize, begin: Instant) -> Option<Duration> {
        let due = Duration::from_secs_f64(number(sent) / self.rate);
        // An interrupt ends the load; the report covers the checkouts sent so far.
        let continues = due < self.duration && !crate::wait::is_interrupted();
        continues.then(|| due.saturating_sub(begin.elapsed()))
    }
}

/// Sends one checkout; returns its duration if it succeeded.
fn send_checkout(url: &str, order: usize) -> Option<Duration> {
    let begin = Instant::now();
    let reply = http::get(&format!("{url}?order={order}"), RESPONSE_TIMEOUT);
    reply
        .is_ok_and(|reply| reply.status == 200)
        .then(|| begin.elapsed())
}

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

// === impl LoadReport ===

impl LoadReport {
    /// Evaluates the traces (Jaeger's JSON) of the successful checkouts.
    pub(super) fn of(sent: usize, answered: &BTreeMap<usize, Duration>, traces: &[Value]) -> Self {
        let mut report = Self {
            sent,
            answered: answered.len(),
            ..Self::default()
        };
        let mut found: BTreeMap<usize, BTreeMap<usize, &str>> = BTreeMap::new();
        for trace in traces {
            let spans: Vec<LegacySpan<'_>> = spans(trace).collect();
            let of = spans
                .iter()
                .find(|span| span.parents.is_empty())
                .and_then(order);
            for span in &spans {
                report.spans += 1;
                let order = order(span);
                // The root names the checkout of its trace; a span with another number was
                // attributed wrongly.
                report.wrong += usize::from(order != of);
                if let Some(evidence) = span.tag("throughline.parent.evidence") {
                    *report.evidence.entry(evidence.to_owned()).or_default() += 1;
                }
                let part = parts()
                    .position(|(service, name)| span.service == service && span.operation == name);
                if let (Some(order), Some(part)) = (order, part) {
                    found.entry(order).or_default().insert(part, span.id.0);
                }
            }
        }
        for order in answered.keys() {
            let parts_found = found.get(order);
            let traces: BTreeSet<&str> = parts_found
                .into_iter()
                .flat_map(BTreeMap::values)
                .copied()
                .collect();
            match (
                parts_found.map_or(0, BTreeMap::len) == parts().count(),
                traces.len(),
            ) {
                // Missing spans outrank split traces: a missing span may be the link between them.
                (true, 1) => report.whole += 1,
                (true, _) => report.open += 1,
                (false, _) => report.incomplete += 1,
            }
        }
        let mut times: Vec<Duration> = answered.values().copied().collect();
        times.sort_unstable();
        let at = |share: usize| {
            times
                .get((times.len() * share / 100).min(times.len().saturating_sub(1)))
                .copied()
        };
        report.p50 = at(50).unwrap_or_default();
        report.p99 = at(99).unwrap_or_default();
        report
    }
}

impl LoadReport {
    /// Returns the report as JSON: counts, and times in milliseconds.
    #[must_use]
    pub fn json(&self, load: &CheckoutLoad) -> Value {
        json!({
            "rate": load.rate,
            "seconds": load.duration.as_secs_f64(),
            "sent": self.sent,
            "answered": self.answered,
            "whole": self.whole,
            "open": self.open,
            "incomplete": self.incomplete,
            "spans": self.spans,
            "wrong": self.wrong,
            "evidence": self.evidence,
            "p50_ms": self.p50.as_secs_f64() * 1e3,
            "p99_ms": self.p99.as_secs_f64() * 1e3,
        })
    }
}

impl std::fmt::Display for LoadReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let share = |count: usize| {
            if self.answered == 0 {
                0.0
            } else {
                100.0 * number(count) / number(self.answered)
            }
        };
        let Self {
            sent,
            answered,
            whole,
            open,
            incomplete,
            spans,
            wrong,
            p50,
            p99,
            ..
        } = self;
        writeln!(
            f,
            "{sent} checkouts sent, {answered} answered (p50 {p50:.1?}, p99 {p99:.1?})"
        )?;
        writeln!(
            f,
            "  whole         {whole:>7}  {:>5.1} %   all spans in one trace",
            share(*whole)
        )?;
        writeln!(
            f,
            "  open          {open:>7}  {:>5.1} %   in several traces: a parent was not found",
            share(*open)
        )?;
        writeln!(
            f,
            "  incomplete    {incomplete:>7}  {:>5.1} %   spans are missing",
            share(*incomplete)
        )?;
        writeln!(f, "spans in another checkout's trace: {wrong} of {spans}")?;
        let evidence: Vec<String> = self
            .evidence
            .iter()
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        write!(f, "parents by evidence: {}", evidence.join(", "))
    }
}

/// Returns the number of a span's checkout, from its query or record key.
fn order(span: &LegacySpan<'_>) -> Option<usize> {
    let query = |text: &str| {
        text.rsplit_once("order=")
            .map(|(_, order)| order.to_owned())
    };
    let from_query = ["url.query", "url.full"]
        .into_iter()
        .find_map(|key| query(span.tag(key)?));
    let order =
        from_query.or_else(|| span.tag("messaging.kafka.message.key").map(str::to_owned))?;
    order.parse().ok()
}

#[expect(clippy::cast_precision_loss, reason = "counts of checkouts are small")]
fn number(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Builds a trace of (part of the checkout, checkout number); the first span is the root.
    fn trace(id: &str, of: &[(usize, usize)]) -> Value {
        let spans: Vec<Value> = of
            .iter()
            .enumerate()
            .map(|(number, (part, order))| {
                let (service, name) = parts().nth(*part).unwrap();
                let parent = json!([{"refType": "CHILD_OF", "traceID": id, "spanID": "0"}]);
                let (key, value) = if name.contains('_') {
                    ("messaging.kafka.message.key", order.to_string())
                } else {
                    ("url.query", format!("order={order}"))
                };
                json!({"traceID": id, "spanID": number.to_string(), "operationName": name,
                       "processID": service,
                       "references": if number == 0 { json!([]) } else { parent },
                       "tags": [{"key": key, "value": value}]})
            })
            .collect();
        let processes: serde_json::Map<String, Value> = parts()
            .map(|(service, _)| (service.to_owned(), json!({"serviceName": service})))
            .collect();
        json!({"traceID": id, "spans": spans, "processes": processes})
    }

    fn all(order: usize) -> Vec<(usize, usize)> {
        (0..parts().count()).map(|part| (part, order)).collect()
    }

    fn report(orders: usize, traces: &[Value]) -> (usize, usize, usize, usize) {
        let answered = (1..=orders)
            .map(|order| (order, Duration::from_millis(1)))
            .collect();
        let LoadReport {
            whole,
            open,
            incomplete,
            wrong,
            ..
        } = LoadReport::of(orders, &answered, traces);
        (whole, open, incomplete, wrong)
    }

    #[test]
    fn report_separates_whole_open_and_incomplete() {
        let (one, two, three) = (all(1), all(2), all(3));
        let traces = [
            trace("a", &one),
            trace("b", &two[..4]),
            trace("c", &two[4..]),
            trace("d", &three[1..]),
        ];
        assert_eq!(report(3, &traces), (1, 1, 1, 0));
        assert_eq!(report(1, &[]), (0, 0, 1, 0));
    }

    #[test]
    fn span_in_the_trace_of_another_checkout_is_counted() {
        let (mut one, two) = (all(1), all(2));
        one.push(two[5]);
        let rest: Vec<_> = two.iter().copied().filter(|(part, _)| *part != 5).collect();
        assert_eq!(
            report(2, &[trace("a", &one), trace("b", &rest)]),
            (1, 1, 0, 1)
        );
    }
}
