//! `cargo xtask bench http`: the cost of tracing every request, in our sidecar and in Envoy.

use anyhow::Result;

use super::peer_proxies;
use super::report::{self, BenchLine};
use crate::requirements::{self, PYTHON, WRK};

/// Options of `cargo xtask bench http`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Options of the benchmark itself: --rounds, --warmups, --seconds, --rate, --connections,
    /// --workers, --only, --baseline
    #[arg(last = true)]
    more: Vec<String>,
}

pub(super) fn run(options: &Options) -> Result<()> {
    eprintln!("building in the release profile (the first time takes minutes)");
    requirements::install_missing(&[PYTHON, WRK])?;
    let mut bench = report::path_bench("http_path", &peer_proxies::HTTP)?;
    bench.args(&options.more);
    let rows = report::run(&mut bench, row)?;
    eprintln!(
        "\n{:<16} {:<12} {:>10} {:>12} {:>10} {:>9} {:>9} {:>9} {:>8}",
        "case",
        "through",
        "requests/s",
        "per CPU s",
        "CPU us",
        "p50 us",
        "p99 us",
        "spans",
        "peak MB"
    );
    eprintln!("{}", rows.join("\n"));
    Ok(())
}

fn row(line: &BenchLine) -> Option<String> {
    // A line without a case and a target is not a result.
    Some(format!(
        "{:<16} {:<12} {:>10} {:>12} {:>10} {:>9} {:>9} {:>9} {:>8}",
        line.text("case")?,
        line.text("target")?,
        line.figure("requests_per_s", 0),
        line.figure("requests_per_cpu_s", 0),
        line.figure("cpu_us_per_request", 1),
        line.figure("p50_us", 0),
        line.figure("p99_us", 0),
        line.figure("spans_per_request", 2),
        line.figure("peak_mb", 0),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_figures_leave_their_columns_empty() {
        let line = r#"{"case":"saturated","target":"envoy","requests_per_s":9000.4,
            "cpu_us_per_request":81.26,"peak_mb":69}"#;
        let row = row(&BenchLine::parse(line).unwrap()).unwrap();
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(words, ["saturated", "envoy", "9000", "81.3", "69"]);
    }
}
