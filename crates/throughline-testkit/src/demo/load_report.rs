//! Evaluation of a load: which checkouts are whole, and which parents are wrong.
//!
//! The judge knows the checkout of each span by its reference ([`super::reference`]). A parent is
//! wrong if it belongs to another checkout than its child.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::complete::parts;
use super::load::{CheckoutLoad, LoadResult, number};
use super::reference::ReferenceTable;
use crate::legacy_span::spans;

/// Evaluation of the traces of a load.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoadReport {
    /// Checkouts that were sent, those that succeeded, and those that were not sent because too
    /// many had not been answered.
    pub sent: usize,
    pub answered: usize,
    pub skipped: usize,
    /// Longest delay of a checkout against the schedule.
    pub latest: Duration,
    /// Traces as the proxies reported them: parents found at the moment of the call.
    pub live: TraceReport,
    /// Traces as the collector shows them: with the parents that it found later.
    pub woven: TraceReport,
    /// Response time: median and 99th percentile.
    pub p50: Duration,
    pub p99: Duration,
}

/// Checkouts and parents in one view of the traces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceReport {
    /// Successful checkouts with all spans in one trace of their own.
    pub whole: usize,
    /// Those whose spans are in several traces, because a parent was not found.
    pub open: usize,
    /// Those with a span whose parent belongs to another checkout, on either side.
    pub wrong: usize,
    /// Those with missing spans.
    pub incomplete: usize,
    /// Number of spans of known checkouts, without those of commits.
    pub spans: usize,
    /// Parents by evidence. Spans with evidence `open` have none.
    pub edges: BTreeMap<String, EdgeCount>,
}

/// Number of parents with one kind of evidence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EdgeCount {
    pub found: usize,
    /// Those that belong to another checkout than their child.
    pub wrong: usize,
}

/// A span as the judge sees it.
struct JudgedSpan<'a> {
    number: usize,
    parent: Option<&'a str>,
    evidence: &'a str,
    part: Option<usize>,
}

type JudgedSpans<'a> = BTreeMap<&'a str, JudgedSpan<'a>>;

/// Evidence of a span whose parent was not found.
const OPEN: &str = "open";
/// Evidence of parents that a message names.
const EXACT: [&str; 3] = ["header", "request-id", "offset"];

// === impl LoadReport ===

impl LoadReport {
    /// Evaluates two views (Jaeger's JSON) of the traces of a load.
    pub(super) fn of(load: &LoadResult, live: &[Value], woven: &[Value]) -> Self {
        let mut times: Vec<Duration> = load.answered.values().copied().collect();
        times.sort_unstable();
        let at = |share: usize| {
            let last = times.len().saturating_sub(1);
            times.get((times.len() * share / 100).min(last)).copied()
        };
        Self {
            sent: load.sent,
            answered: load.answered.len(),
            skipped: load.skipped,
            latest: load.latest,
            live: TraceReport::of(load, live),
            woven: TraceReport::of(load, woven),
            p50: at(50).unwrap_or_default(),
            p99: at(99).unwrap_or_default(),
        }
    }

    /// Returns the report as JSON: counts, and times in milliseconds.
    #[must_use]
    pub fn json(&self, load: &CheckoutLoad) -> Value {
        json!({
            "rate": load.rate,
            "seconds": load.duration.as_secs_f64(),
            "sent": self.sent,
            "answered": self.answered,
            "skipped": self.skipped,
            "latest_ms": self.latest.as_secs_f64() * 1e3,
            "live": self.live.json(),
            "woven": self.woven.json(),
            "p50_ms": self.p50.as_secs_f64() * 1e3,
            "p99_ms": self.p99.as_secs_f64() * 1e3,
        })
    }
}

// === impl TraceReport ===

impl TraceReport {
    fn of(load: &LoadResult, traces: &[Value]) -> Self {
        let judged = judge(traces, &load.references);
        let mut report = Self {
            spans: judged.len(),
            edges: edges(&judged),
            ..Self::default()
        };
        // A wrong parent spoils both traces: one lacks a span, and the other has a foreign one.
        let wrong: BTreeSet<usize> = judged
            .values()
            .filter_map(|span| {
                let parent = judged.get(span.parent?)?;
                (parent.number != span.number).then_some([parent.number, span.number])
            })
            .flatten()
            .collect();
        let mut found: BTreeMap<usize, Vec<&JudgedSpan<'_>>> = BTreeMap::new();
        for span in judged.values() {
            found.entry(span.number).or_default().push(span);
        }
        for number in load.answered.keys() {
            let own = found.get(number).map_or(&[][..], Vec::as_slice);
            let parts_found: BTreeSet<usize> = own.iter().filter_map(|span| span.part).collect();
            let has_all_parents = || own.iter().filter_map(|span| span.parent);
            // Missing spans outrank the rest: a missing span may be the link between two traces.
            let count = if parts_found.len() < parts().count()
                || has_all_parents().any(|parent| !judged.contains_key(parent))
            {
                &mut report.incomplete
            } else if wrong.contains(number) {
                &mut report.wrong
            } else if own.iter().filter(|span| span.parent.is_none()).count() == 1 {
                &mut report.whole
            } else {
                &mut report.open
            };
            *count += 1;
        }
        report
    }

    /// Returns whether every checkout has its final result.
    pub(super) const fn is_whole(&self) -> bool {
        self.open == 0 && self.incomplete == 0
    }

    /// Returns the parents that were inferred: found, and not named by the message.
    #[must_use]
    pub fn inferred(&self) -> EdgeCount {
        let inferred = self.edges.iter().filter(|(evidence, _)| {
            evidence.as_str() != OPEN && !EXACT.contains(&evidence.as_str())
        });
        inferred.fold(EdgeCount::default(), |sum, (_, count)| EdgeCount {
            found: sum.found + count.found,
            wrong: sum.wrong + count.wrong,
        })
    }

    fn json(&self) -> Value {
        let edges = self.edges.iter().map(|(evidence, count)| {
            let count = json!({ "found": count.found, "wrong": count.wrong });
            (evidence.clone(), count)
        });
        let inferred = self.inferred();
        json!({
            "whole": self.whole,
            "open": self.open,
            "wrong": self.wrong,
            "incomplete": self.incomplete,
            "spans": self.spans,
            "edges": edges.collect::<serde_json::Map<String, Value>>(),
            "inferred": { "found": inferred.found, "wrong": inferred.wrong },
        })
    }
}

/// Returns the spans of known checkouts by id.
fn judge<'a>(traces: &'a [Value], references: &ReferenceTable) -> JudgedSpans<'a> {
    let spans = traces.iter().flat_map(spans);
    let judged = spans.filter_map(|span| {
        let part =
            parts().position(|(service, name)| span.service == service && span.operation == name);
        let judged = JudgedSpan {
            number: references.number(&span)?,
            // Later references are links, which do not make a parent.
            parent: span.parents.first().map(|(_, parent)| *parent),
            evidence: span.tag("throughline.parent.evidence").unwrap_or_default(),
            part,
        };
        Some((span.id.1, judged))
    });
    judged.collect()
}

fn edges(judged: &JudgedSpans<'_>) -> BTreeMap<String, EdgeCount> {
    let mut edges: BTreeMap<String, EdgeCount> = BTreeMap::new();
    // The root of a checkout has no evidence.
    for span in judged.values().filter(|span| !span.evidence.is_empty()) {
        let parent = span.parent.and_then(|parent| judged.get(parent));
        let count = edges.entry(span.evidence.to_owned()).or_default();
        count.found += 1;
        count.wrong += usize::from(parent.is_some_and(|parent| parent.number != span.number));
    }
    edges
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            sent,
            answered,
            skipped,
            latest,
            live,
            woven,
            p50,
            p99,
        } = self;
        writeln!(
            f,
            "{sent} checkouts sent, {answered} answered (p50 {p50:.1?}, p99 {p99:.1?})"
        )?;
        if *skipped > 0 {
            writeln!(
                f,
                "{skipped} not sent, because too many had not been answered"
            )?;
        }
        if !latest.is_zero() {
            // More than some milliseconds: the machine did not keep up.
            writeln!(f, "sent at most {latest:.1?} behind schedule")?;
        }
        writeln!(f)?;
        writeln!(f, "{:<14}{:>17}{:>19}", "", "live", "after weaving")?;
        writeln!(f, "checkouts")?;
        let row = |name: &str, (live, woven): (usize, usize), text: &str| {
            let [live_share, woven_share] = [live, woven].map(|count| share(count, *answered));
            format!("  {name:<12}{live:>8}{live_share:>9}  {woven:>8}{woven_share:>9}   {text}")
        };
        let [whole, open, wrong, incomplete] = [
            (live.whole, woven.whole),
            (live.open, woven.open),
            (live.wrong, woven.wrong),
            (live.incomplete, woven.incomplete),
        ];
        let rows = [
            row("whole", whole, "all spans in one trace"),
            row("open", open, "in several traces: a parent was not found"),
            row("wrong", wrong, "a parent belongs to another checkout"),
            row("incomplete", incomplete, "spans are missing"),
        ];
        writeln!(f, "{}", rows.join("\n"))?;
        write_edges(f, live, woven)
    }
}

/// Writes the parents by evidence, exact evidence first.
fn write_edges(f: &mut fmt::Formatter<'_>, live: &TraceReport, woven: &TraceReport) -> fmt::Result {
    let (found, wrong) = ("found", "wrong");
    writeln!(
        f,
        "\n{:<14}{found:>8}{wrong:>9}  {found:>8}{wrong:>9}",
        "parents by"
    )?;
    let names: BTreeSet<&str> = live
        .edges
        .keys()
        .chain(woven.edges.keys())
        .map(String::as_str)
        .collect();
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_by_key(|name| {
        let exact = EXACT.iter().position(|exact| exact == name);
        (*name == OPEN, exact.unwrap_or(EXACT.len()))
    });
    for name in names {
        let of = |report: &TraceReport| report.edges.get(name).copied().unwrap_or_default();
        write_edge_row(f, name, of(live), of(woven))?;
    }
    let (live, woven) = (live.inferred(), woven.inferred());
    write_edge_row(f, "all inferred", live, woven)?;
    let share = |count: EdgeCount| share(count.wrong, count.found);
    let (live, woven) = (share(live), share(woven));
    write!(f, "  {:<14}{live:>15}  {woven:>17}", "wrong of these")
}

fn write_edge_row(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    live: EdgeCount,
    woven: EdgeCount,
) -> fmt::Result {
    // A span without a parent cannot have a wrong one.
    let wrong = |count: EdgeCount| {
        if name == OPEN {
            "-".to_owned()
        } else {
            count.wrong.to_string()
        }
    };
    let (live_wrong, woven_wrong) = (wrong(live), wrong(woven));
    let (live, woven) = (live.found, woven.found);
    writeln!(
        f,
        "  {name:<12}{live:>8}{live_wrong:>9}  {woven:>8}{woven_wrong:>9}"
    )
}

fn share(count: usize, of: usize) -> String {
    let share = if of == 0 {
        0.0
    } else {
        100.0 * number(count) / number(of)
    };
    format!("{share:.1} %")
}

#[cfg(test)]
mod tests;
