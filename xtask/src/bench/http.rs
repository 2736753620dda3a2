//! `cargo xtask bench http`: what tracing every request costs, through our sidecar and through Envoy.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::{lines_of, peer_proxies, released};
use crate::requirements::{self, PYTHON, WRK};
use crate::runner::{self, cargo};

/// What `cargo xtask bench http` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What the benchmark takes: --rounds, --warmups, --seconds, --rate, --connections, --workers, --only
    #[arg(last = true)]
    more: Vec<String>,
}

pub(super) fn run(options: &Options) -> Result<()> {
    eprintln!("building in the release profile (the first time takes minutes)");
    requirements::provide(&[PYTHON, WRK])?;
    runner::run(&mut cargo(&[
        "build",
        "--release",
        "--package",
        "throughline-cli",
    ]))?;
    let mut bench = cargo(&[
        "bench",
        "--package",
        "throughline-testkit",
        "--bench",
        "http_path",
        "--",
    ]);
    bench
        .args(peer_proxies::provide(&peer_proxies::HTTP)?)
        .arg("--throughline")
        .arg(released())
        .args(&options.more);
    let mut rows = Vec::new();
    lines_of(&mut bench, |line| rows.extend(row(line)))?;
    ensure!(!rows.is_empty(), "the benchmark gave no figures");
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

/// A line of the benchmark as a row of the table; [`None`] when it is no figure.
fn row(line: &str) -> Option<String> {
    let json: Value = serde_json::from_str(line).ok()?;
    let text = |name: &str| json.get(name).and_then(Value::as_str);
    let figure = |name: &str, digits: usize| {
        json.get(name)
            .and_then(Value::as_f64)
            .map_or_else(String::new, |figure| format!("{figure:.digits$}"))
    };
    Some(format!(
        "{:<16} {:<12} {:>10} {:>12} {:>10} {:>9} {:>9} {:>9} {:>8}",
        text("case")?,
        text("target")?,
        figure("requests_per_s", 0),
        figure("requests_per_cpu_s", 0),
        figure("cpu_us_per_request", 1),
        figure("p50_us", 0),
        figure("p99_us", 0),
        figure("spans_per_request", 2),
        figure("peak_mb", 0),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_becomes_a_row_and_anything_else_does_not() {
        let line = r#"{"case":"saturated","target":"envoy","requests_per_s":9000.4,"cpu_us_per_request":81.26,"peak_mb":69}"#;
        let words: Vec<String> = row(line)
            .unwrap()
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        assert_eq!(words, ["saturated", "envoy", "9000", "81.3", "69"]);
        assert_eq!(row("round 1"), None);
        assert_eq!(row("{}"), None);
    }
}
