//! The report of `throughline weave`, on stderr.

use std::fmt::Write as _;

use throughline_collector::{StreamWeavingProgress, WeavingReport};

/// Prints the report.
#[expect(clippy::print_stderr, reason = "stdout has the spans")]
pub(super) fn print(report: &WeavingReport, min_confidence: f64) {
    eprint!("{}", text(report, min_confidence));
}

/// Says that some spans of a file are left out.
#[expect(clippy::print_stderr, reason = "stdout has the spans")]
pub(super) fn warn_rejected(name: &str, rejected: u64) {
    eprintln!("{name}: {rejected} spans without valid ids are left out");
}

/// Prints the counts of a stream that has ended.
#[expect(clippy::print_stderr, reason = "it is where the progress was")]
pub(super) fn print_stream(counts: &StreamWeavingProgress) {
    let StreamWeavingProgress {
        records,
        poisoned,
        spans,
        woven,
        sent,
        dropped,
        ..
    } = counts;
    eprintln!(
        "{spans} spans of {records} records read, {woven} woven, {sent} sent, {dropped} dropped, \
         {poisoned} records skipped"
    );
}

/// Returns the report as text. Writing to a string cannot fail.
fn text(report: &WeavingReport, min_confidence: f64) -> String {
    let mut out = String::new();
    let mut line = |label: &str, count: u64, note: &str| {
        let text = format!("{label:<12}{count:>10}  {note}");
        writeln!(out, "{}", text.trim_end()).unwrap_or_default();
    };
    let traces = format!(
        "in {} traces, {} after weaving",
        report.reported_traces, report.traces
    );
    line("spans", report.spans, &traces);
    let processes = "with spans that lack a parent";
    line("processes", report.processes, processes);
    let joined: u64 = report.joined.values().map(|joined| joined.count).sum();
    line("woven", joined, "");
    for (evidence, spans) in &report.joined {
        let note = if *evidence == "offset" {
            "exact".to_owned()
        } else {
            #[expect(clippy::cast_precision_loss, reason = "a number of spans")]
            let mean = spans.confidence / spans.count.max(1) as f64;
            format!("mean confidence {mean:.4}")
        };
        line(&format!("  {evidence}"), spans.count, &note);
    }
    let bound = format!("their likeliest parent has less than {min_confidence}");
    line("open", report.uncertain, &bound);
    let alone = "most likely have none: jobs, timers";
    line("no parent", report.without_parent, alone);
    let all = joined + report.uncertain + report.without_parent;
    #[expect(clippy::cast_precision_loss, reason = "a number of spans")]
    let share = 100.0 * report.uncertain as f64 / all.max(1) as f64;
    writeln!(out, "{share:.1} % of the spans without a parent stay open").unwrap_or_default();
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use throughline_collector::JoinedSpans;

    use super::*;

    #[test]
    fn report_shows_evidence_confidence_and_the_share_that_is_open() {
        let joined = |count, confidence| JoinedSpans { count, confidence };
        let report = WeavingReport {
            spans: 100,
            reported_traces: 20,
            traces: 5,
            processes: 3,
            joined: BTreeMap::from([("offset", joined(5, 5.0)), ("timing", joined(10, 9.8))]),
            uncertain: 4,
            without_parent: 1,
        };
        let text = text(&report, 0.95);
        for part in [
            "spans              100  in 20 traces, 5 after weaving",
            "woven               15\n",
            "  offset             5  exact",
            "  timing            10  mean confidence 0.9800",
            "20.0 % of the spans",
        ] {
            assert!(text.contains(part), "{part:?} in\n{text}");
        }
    }
}
