//! `cargo xtask bench ingest`: the store, the collector, and Jaeger beside it.

use std::process::Command;

use anyhow::Result;
use throughline_testkit::clients;

use super::report::{self, BenchLine};
use crate::requirements::{self, PYTHON};
use crate::runner::{self, cargo};

/// Options of `cargo xtask bench ingest`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Number of spans of a case; about 400 bytes of memory each
    #[arg(long, default_value_t = 1 << 20, value_name = "COUNT")]
    spans: u64,
    /// Rounds of the comparison with Jaeger
    #[arg(long, default_value_t = 3, value_name = "COUNT")]
    rounds: usize,
    /// The only part to run
    #[arg(long, value_enum, value_name = "PART")]
    only: Option<IngestPart>,
}

/// A part of the measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum IngestPart {
    Store,
    Collector,
    Jaeger,
}

pub(super) fn run(options: &Options) -> Result<()> {
    let has = |part| options.only.is_none_or(|only| only == part);
    let spans = options.spans.to_string();
    eprintln!("building in the release profile (the first time takes minutes)");
    if has(IngestPart::Store) {
        runner::run(store_bench().args(["ingest", &spans]))?;
    }
    if has(IngestPart::Collector) {
        runner::run(collector_bench().arg(&spans))?;
    }
    if has(IngestPart::Jaeger) {
        requirements::install_missing(&[PYTHON])?;
        let jaeger = clients::jaeger(&mut |step| eprintln!("{step}"))?;
        let mut bench = collector_bench();
        bench.args([&spans, "--rounds", &options.rounds.to_string(), "--jaeger"]);
        let rows = report::run(bench.arg(jaeger), row)?;
        eprintln!(
            "\n{:<12} {:<16} {:>12} {:>8} {:>14} {:>8}",
            "OTLP over", "target", "spans/s", "ratio", "per CPU s", "ratio"
        );
        eprintln!("{}", rows.join("\n"));
    }
    Ok(())
}

/// Returns the benchmark of the store, without its arguments.
pub(super) fn store_bench() -> Command {
    let package = ["bench", "--package", "throughline-segments"];
    let mut bench = cargo(&package);
    bench.args(["--bench", "store", "--"]);
    bench
}

fn collector_bench() -> Command {
    let mut bench = cargo(&["bench", "--package", "throughline-cli"]);
    bench.args(["--bench", "ingest", "--"]);
    bench
}

/// Returns a row of medians; the lines of single runs have no ratio.
fn row(line: &BenchLine) -> Option<String> {
    let ratio = |name: &str| Some(format!("{:.2}x", line.number(name)?));
    Some(format!(
        "{:<12} {:<16} {:>12} {:>8} {:>14} {:>8}",
        line.text("case")?,
        line.text("target")?,
        line.figure("stored_per_second", 0),
        ratio("times_as_fast")?,
        line.figure("stored_per_cpu_second", 0),
        ratio("times_per_cpu_second")?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_become_rows_and_single_runs_do_not() {
        let line = r#"{"case":"OTLP/gRPC","target":"jaeger, memory","stored_per_second":60000.0,
            "times_as_fast":4.5,"stored_per_cpu_second":40000.0,"times_per_cpu_second":6.25}"#;
        let row = row(&BenchLine::parse(line).unwrap()).unwrap();
        let words: Vec<&str> = row.split_whitespace().collect();
        let expected = "OTLP/gRPC jaeger, memory 60000 4.50x 40000 6.25x";
        assert_eq!(words.join(" "), expected);
        let single = r#"{"case":"OTLP/gRPC","target":"throughline","spans":1}"#;
        assert_eq!(super::row(&BenchLine::parse(single).unwrap()), None);
    }
}
